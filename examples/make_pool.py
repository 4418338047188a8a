"""Generate a synthetic pool for `pairbench select`: python examples/make_pool.py pool.jsonl."""

import json
import random
import sys
from pathlib import Path

FOODS = "bread cheese basil coffee mushrooms apples rice butter honey potatoes".split()
QUESTIONS = (
    "How do I keep {} fresh?",
    "What can I make of old {}?",
    "Is it safe to freeze {}?",
    "How much {} should I buy for six people?",
)
OPENINGS = ("", "", "Great question! ", "Sure, happy to help. ", "As an AI, I cannot taste. ")
TIPS = (
    "Keep the {} in a cool, dark place.",
    "A closed glass jar is best.",
    "Wrap the {} in paper, not in plastic.",
    "Two hundred grams a head are plenty.",
    "If it smells odd, throw it away!",
    "It can be frozen for three months.",
    "Most people buy far too much of it.",
    "Toast it, or bake it with an egg and some milk.",
)


def completion(food: str, rng: random.Random) -> str:
    """Compose an answer of one to six tips, in prose or as a list, with or without an opening."""
    tips = [tip.format(food) for tip in rng.sample(TIPS, rng.randint(1, 6))]
    body = "\n".join(f"- {tip}" for tip in tips) if rng.random() < 0.4 else " ".join(tips)
    return rng.choice(OPENINGS) + body


def main() -> None:
    """Write 40 prompts with 6 completions each."""
    rng = random.Random(0)
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        for food in FOODS:
            for question in QUESTIONS:
                completions = [completion(food, rng) for _ in range(6)]
                row = {"prompt": question.format(food), "completions": completions}
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
