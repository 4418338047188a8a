"""IMDb: continue film reviews so that they are kind."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pairbench import InvalidParameter, register_env
from pairbench.generated_pools import GeneratedPool
from pairbench.language.stand_ins import kept_data, taught_classifier, taught_policy


@register_env("pairbench/IMDb-v1")
@dataclass(frozen=True, kw_only=True)
class IMDb(GeneratedPool):
    """GPT-2 large continues film reviews; a sentiment classifier says how kind the texts are.

    The set-up of controlled sentiment generation in Rafailov et al. 2023 (*Direct Preference
    Optimization*, arXiv 2305.18290, section 6 and appendix C.1), as a problem of which pairs to
    label. A prompt is the first 2 to 8 tokens of a review. The reward is the classifier's log-odds
    of a positive review, over the temperature at which labels have the asked-for agreement.

    **What this diagnoses.** Whether a design's advantage survives at a real model's size, on a
    reward that is a network's, and on prompts and completions that were not seen.

    **Known optimum.** π* ∝ π_ref exp(r*/β), of which J(π*) can be estimated by draws from π_ref and
    no more; scores come with 95 % intervals (``Score.sampled``). With β well below the rewards'
    standard deviation (of 1 or 2), draws from π_ref are too few to say what π* does: see
    ``Score.sampled.effective``. There is no known floor (it is given as 0), and no known design.

    **Pool.** Completions are drawn from the reference and cut after ``max_tokens``; each draw
    counts alike, so π_ref over the pool is uniform but for texts that were drawn twice. Features
    are the reference's hidden states, or its score vectors.

    **Arguments.** ``least_tokens`` and ``most_tokens``: of a prompt. All others are those of
    :class:`pairbench.generated_pools.GeneratedPool`; examples/imdb.md has the commands, and what
    they take.

    **Version history.** v1: first.
    """

    fields = ("text", "review", "prompt")

    policy: str = "edbeeching/gpt2-large-imdb"
    reward_model: str = "siebert/sentiment-roberta-large-english"
    reward_label: str | None = "POSITIVE"
    data: str = "stanfordnlp/imdb"
    split: str = "test"
    least_tokens: int = 2
    most_tokens: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.least_tokens <= self.most_tokens:
            raise InvalidParameter(
                "least_tokens must be 1 or more, and most_tokens no less, got "
                f"{self.least_tokens} and {self.most_tokens}."
            )

    def prompt(self, text: str, tokenizer: Any, rng: np.random.Generator) -> str | None:
        """The first tokens of a review, as many as chance will have it."""
        length = int(rng.integers(self.least_tokens, self.most_tokens + 1))
        # Many times what they can have, so that whole reviews need not be read.
        ids = tokenizer(text[: 64 * length], add_special_tokens=False)["input_ids"]
        return str(tokenizer.decode(ids[:length])) if len(ids) > length else None

    def stand_ins(self) -> dict[str, Any]:
        """A GPT-2 and a DistilBERT that were taught reviews of two dozen words."""
        texts, kinds = zip(*_reviews(), strict=True)
        names = ("NEGATIVE", "POSITIVE")
        return {
            "policy": taught_policy("gpt2", texts),
            "reward_model": taught_classifier("distilbert", texts, kinds, names),
            "reward_label": "POSITIVE",
            "data": kept_data([{"text": text} for text in texts]),
        }


_ADJECTIVES = {
    "POSITIVE": ("good", "great", "lovely", "moving", "clever"),
    "NEGATIVE": ("bad", "poor", "dull", "weak", "silly"),
}
_PARTS = ("plot", "music", "cast", "end", "film", "story")
_LINKS = ("and", "but", "while", "so")


@lru_cache(maxsize=1)
def _reviews() -> list[tuple[str, str]]:
    """Made-up reviews with their kinds, which most of their adjectives agree with."""
    rng = np.random.default_rng(0)
    reviews = []
    for kind in rng.choice([*_ADJECTIVES], size=1000).tolist():
        other = next(each for each in _ADJECTIVES if each != kind)
        clauses = [
            f"the {rng.choice(_PARTS)} was "
            f"{rng.choice(_ADJECTIVES[kind if rng.random() < 0.75 else other])}"
            for _ in range(rng.integers(2, 5))
        ]
        text = clauses[0]
        for clause in clauses[1:]:
            text += f" {rng.choice(_LINKS)} {clause}"
        reviews.append((text, kind))
    return reviews
