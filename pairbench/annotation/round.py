"""One round of annotation: from a pool file and the labels so far to a pairs file."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairbench.annotation.embedding import pool_features
from pairbench.annotation.exchange import read_labels
from pairbench.annotation.pairs import pairs_bytes, questions
from pairbench.annotation.pools import Corpus, read_corpus
from pairbench.annotation.selection import Labelled, Selection, labelled, select_pairs
from pairbench.pool import Pool
from pairbench.registry import make_design


@dataclass(frozen=True, eq=False)
class Round:
    """What a round is made of, for people to read.

    Attributes:
        corpus: the prompts and completions.
        pool: what the design saw.
        features: what the features are.
        past: what was answered before.
        own_answers: how many of those the pool file itself holds.
        design: the design's name.
        selection: the chosen pairs, and what the model says of them.
        pairs_file: the content of the pairs file.
    """

    corpus: Corpus
    pool: Pool
    features: str
    past: Labelled
    own_answers: int
    design: str
    selection: Selection
    pairs_file: bytes

    @property
    def certainty(self) -> float:
        """The probability of a prompt's likeliest completion under π_ref, on average."""
        return float(np.exp(self.pool.log_ref.max(axis=1)) @ self.pool.prompt_weights)

    def summary(self) -> dict[str, Any]:
        """The figures as JSON; what is infinite is null."""
        chosen, worth = self.selection, self.selection.worth
        return {
            "pool": {
                "file": str(self.corpus.path),
                "prompts": self.pool.n_prompts,
                "completions": int(self.pool.valid.sum()),
                "pairs": self.pool.n_pairs,
                "prompts_with_one_completion": self.corpus.lonely,
                "duplicates": self.corpus.duplicates,
                "empty": self.corpus.empty,
                "prompts_without_text": self.corpus.nameless,
            },
            "features": {"dim": self.pool.dim, "source": self.features},
            "labels_so_far": len(self.past.pairs),
            "design": self.design,
            "pairs": len(chosen.pairs),
            "repeated": chosen.repeated,
            "efficiency": chosen.efficiency,
            "gap_before": float(chosen.gaps[0]),
            "gap": chosen.gap,
            "gap_random": chosen.random.gap(len(chosen.pairs)),
            "worth_random_labels": worth if math.isfinite(worth) else None,
            "seconds": {"design": chosen.seconds[0], "certificate": chosen.seconds[1]},
        }


def plan_round(
    pool_file: Path,
    design: str,
    budget: int,
    *,
    labels: Path | None = None,
    own_answers: bool = True,
    log_ref: bool = True,
    encoder: str | None = None,
    dim: int = 64,
    beta: float = 1.0,
    ridge: float = 1.0,
    seed: int = 0,
) -> Round:
    """Read, choose and judge.

    Args:
        pool_file: see :func:`pairbench.annotation.pools.read_corpus`.
        design: a design by name, file or spec.
        budget: labels to buy.
        labels: the labels so far.
        own_answers: whether comparisons that the pool file holds count as labels.
        log_ref: whether its reference log-probabilities count; else all completions are alike.
        encoder: see :func:`pairbench.annotation.embedding.pool_features`, as ``dim``.
        dim: features at most.
        beta: β, reward units per nat.
        ridge: λ.
        seed: of all randomness.

    Raises:
        PairbenchError: If anything that was given cannot be used.
    """
    made = make_design(design)  # a wrong name should not cost the time that features take
    corpus = read_corpus(pool_file)
    given = read_labels(labels) if labels else []
    past = labelled(corpus, given, str(labels), own=own_answers)
    features = pool_features(corpus, encoder=encoder, dim=dim, seed=seed)
    pool = corpus.pool(features.values, log_ref=log_ref)
    selection = select_pairs(
        pool, made, budget, past=past, beta=beta, ridge=ridge, seed=seed, name=design
    )
    asked = questions(corpus, selection.pairs, past.pairs)
    return Round(
        corpus=corpus,
        pool=pool,
        features=features.source,
        past=past,
        own_answers=len(past.pairs) - len(given),
        design=design,
        selection=selection,
        pairs_file=pairs_bytes(asked),
    )
