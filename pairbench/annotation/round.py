"""Annotation round: from a pool file and the labels so far to a pairs file."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairbench.annotation.answers import read_labels
from pairbench.annotation.embedding import pool_features
from pairbench.annotation.pairs import encode_pairs, make_questions
from pairbench.annotation.selection import LabelledPairs, Selection, match_labels, select_pairs
from pairbench.design.registry import make_design
from pairbench.pool.corpus import Corpus, read_corpus
from pairbench.pool.pool import Pool


@dataclass(frozen=True, eq=False)
class AnnotationRound:
    """An annotation round: its inputs, the chosen pairs, and the pairs file.

    Attributes:
        corpus: the prompts and completions.
        pool: the pool that the design saw.
        features: a description of the features.
        past: the labels so far.
        n_pool_file_labels: how many of the labels so far are in the pool file itself.
        design: the design's name.
        selection: the chosen pairs, with their predicted gaps and their certificate.
        pairs_file: the content of the pairs file.
    """

    corpus: Corpus
    pool: Pool
    features: str
    past: LabelledPairs
    n_pool_file_labels: int
    design: str
    selection: Selection
    pairs_file: bytes

    @property
    def certainty(self) -> float:
        """Mean over prompts of the largest probability of a completion under π_ref."""
        return float(np.exp(self.pool.log_ref.max(axis=1)) @ self.pool.prompt_weights)

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON, with null for infinity."""
        selection, worth = self.selection, self.selection.worth
        return {
            "pool": {
                "file": str(self.corpus.path),
                "prompts": self.pool.n_prompts,
                "completions": int(self.pool.valid.sum()),
                "pairs": self.pool.n_pairs,
                "prompts_with_one_completion": self.corpus.n_single_completion,
                "duplicates": self.corpus.n_duplicates,
                "empty": self.corpus.n_empty,
                "prompts_without_text": self.corpus.n_without_text,
                "identical_sides": self.corpus.n_identical,
                "fields_not_used": self.corpus.unused,
            },
            "features": {"dim": self.pool.dim, "source": self.features},
            "labels_so_far": len(self.past.pairs),
            "design": self.design,
            "pairs": len(selection.pairs),
            "repeated": selection.repeated,
            "efficiency": selection.efficiency,
            "gap_before": float(selection.gaps[0]),
            "gap": selection.gap,
            "gap_random": selection.random.gap(len(selection.pairs)),
            "worth_random_labels": worth if math.isfinite(worth) else None,
            "seconds": {"design": selection.seconds[0], "certificate": selection.seconds[1]},
        }


def plan_round(
    pool_file: Path,
    design: str,
    budget: int,
    *,
    labels: Path | None = None,
    pool_file_labels: bool = True,
    log_ref: bool = True,
    merge_prompts: bool = False,
    encoder: str | None = None,
    dim: int = 64,
    beta: float = 1.0,
    ridge: float = 1.0,
    seed: int = 0,
) -> AnnotationRound:
    """Read a pool file and the labels so far, choose pairs, and encode the pairs file.

    Args:
        pool_file: JSONL, JSON, CSV or Parquet, in a layout of :mod:`pairbench.pool.corpus`.
        design: a design by name, file or spec.
        budget: the number of labels to buy.
        labels: the labels so far, as a file.
        pool_file_labels: whether to count the comparisons in the pool file as labels.
        log_ref: whether to use the pool file's reference log-probabilities; uniform otherwise.
        merge_prompts: whether to merge prompts of the same text that have different ids.
        encoder: a Hugging Face model for embeddings, as an id or a folder.
        dim: the largest number of features.
        beta: β, reward units per nat.
        ridge: λ.
        seed: of all randomness.

    Raises:
        PairbenchError: If a file or a parameter cannot be used.
    """
    selector = make_design(design)  # before the features, so that a wrong name fails fast
    corpus = read_corpus(pool_file, merge_prompts=merge_prompts)
    label_list = read_labels(labels) if labels else []
    past = match_labels(corpus, label_list, str(labels), include_comparisons=pool_file_labels)
    features = pool_features(corpus, encoder=encoder, dim=dim, seed=seed)
    pool = corpus.pool(features.values, log_ref=log_ref)
    selection = select_pairs(
        pool, selector, budget, past=past, beta=beta, ridge=ridge, seed=seed, name=design
    )
    questions = make_questions(corpus, selection.pairs, past.pairs)
    return AnnotationRound(
        corpus=corpus,
        pool=pool,
        features=features.source,
        past=past,
        n_pool_file_labels=len(past.pairs) - len(label_list),
        design=design,
        selection=selection,
        pairs_file=encode_pairs(questions),
    )
