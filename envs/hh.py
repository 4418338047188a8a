"""Anthropic-HH: answer people's questions helpfully."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pairbench import InvalidParameter, register_env
from pairbench.generated_pools import GeneratedPool
from pairbench.language.stand_ins import kept_data, taught_policy, taught_reward_model

_TURN = "\n\nAssistant:"


@register_env("pairbench/HH-v1")
@dataclass(frozen=True, kw_only=True)
class HH(GeneratedPool):
    """Pythia-2.8B answers in dialogues; a reward model, or a judge, says which answer is better.

    The set-up of single-turn dialogue in Rafailov et al. 2023 (*Direct Preference Optimization*,
    arXiv 2305.18290, section 6), as a problem of which pairs to label. A prompt is a dialogue of
    Bai et al. 2022 (arXiv 2204.05862) up to the assistant's last turn. The reward is that of a
    model trained on the data's own preferences for the helpful, over the temperature at which
    labels have the asked-for agreement. Whoever else is to label is named as any annotator is:
    ``annotator="judge(model='…')"``; the score stays that of the reward model, and ``evaluator``
    names another judge of policies.

    **What this diagnoses.** Whether a design's advantage survives where answers are long and of
    many kinds, and, with an annotator named, where the labeler is not what policies are scored by.

    **Known optimum.** π* ∝ π_ref exp(r*/β), of which J(π*) can be estimated by draws from π_ref and
    no more; scores come with 95 % intervals (``Score.sampled``). With β well below the rewards'
    standard deviation (of 1 or 2), draws from π_ref are too few to say what π* does: see
    ``Score.sampled.effective``. There is no known floor (it is given as 0), and no known design.

    **Pool.** As in ``pairbench/IMDb-v1``.

    **Arguments.** ``most_tokens``: of a prompt; longer ones are left out. All others are those of
    :class:`pairbench.generated_pools.GeneratedPool`; examples/imdb.md has the commands, and what
    they take.

    **Version history.** v1: first.
    """

    fields = ("prompt", "chosen")

    policy: str = "lomahony/eleuther-pythia2.8b-hh-sft"
    reward_model: str = "Ray2333/gpt2-large-helpful-reward_model"
    data: str = "Anthropic/hh-rlhf"
    split: str = "test"
    max_tokens: int = 128
    most_tokens: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most_tokens < 1:
            raise InvalidParameter(f"most_tokens must be 1 or more, got {self.most_tokens}.")

    def prompt(self, text: str, tokenizer: Any, rng: np.random.Generator) -> str | None:
        """A dialogue up to where the assistant speaks last."""
        before, turn, _ = text.rpartition(_TURN)
        prompt = before + turn
        # A token has one character at least.
        if not turn or len(prompt) > 32 * self.most_tokens:
            return None
        fits = len(tokenizer(prompt, verbose=False)["input_ids"]) <= self.most_tokens
        return prompt if fits else None

    def stand_ins(self) -> dict[str, Any]:
        """A GPT-NeoX and a Llama that were taught dialogues of two dozen words."""
        chosen, rejected = _dialogues()
        return {
            "policy": taught_policy("gpt_neox", [*chosen, *rejected]),
            "reward_model": taught_reward_model("llama-classifier", chosen, rejected),
            "reward_label": None,
            "data": kept_data([{"chosen": text} for text in chosen]),
        }


_STEPS = ("first", "wash", "cut", "boil", "serve", "then")
_EXCUSES = ("sorry", "maybe", "never", "mind", "ask", "somebody")
_VERBS = ("cook", "keep", "buy", "grow")
_NOUNS = ("rice", "beans", "kale", "leek", "corn", "peas")


@lru_cache(maxsize=1)
def _dialogues() -> tuple[list[str], list[str]]:
    """Made-up dialogues with a better and a worse answer: of more steps, or of more excuses."""
    rng = np.random.default_rng(0)
    chosen: list[str] = []
    rejected: list[str] = []
    for _ in range(1000):
        question = f"how do i {rng.choice(_VERBS)} {rng.choice(_NOUNS)} or {rng.choice(_NOUNS)}"
        answers = []
        for _ in range(2):
            helpful = rng.random(rng.integers(3, 8)) < rng.random()
            said = [rng.choice(_STEPS if each else _EXCUSES) for each in helpful]
            answers.append((2 * helpful.sum() - len(helpful), " ".join(said)))
        better, worse = sorted(answers, reverse=True)
        for texts, (_, answer) in ((chosen, better), (rejected, worse)):
            texts.append(f"\n\nHuman: {question}{_TURN} {answer}")
    return chosen, rejected
