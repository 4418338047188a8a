"""Completions up to a given number for each prompt, then pairs by another design.

Where completions are generated at a price: K completions for each prompt are bought before the
first label, as far as the budget of a round goes, and the rest of the money goes into labels of
pairs that ``design`` chooses. With few completions and ``all-pairs`` that is a small pool with all
its labels; with many and an optimal design, a large pool with the most informative labels. Where
nothing can be generated it is ``design`` itself.

Family: wrapper.
Source: Han, Goyal, Ma 2026, Which Pairs to Compare for LLM Post-Training?, arXiv 2606.19607,
    introduction, for the question.
Assumes: That all prompts deserve as many completions.
Cost: That of ``design``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import Pairs, View, WrapperDesign, check_counts


@dataclass(frozen=True)
class GenerateFirst(WrapperDesign):
    """A pool of a given number of completions a prompt, labelled by another design.

    Attributes:
        design: name or spec of the design that chooses the pairs.
        completions: K, how many completions each prompt is to have.
    """

    design: str = "uniform"
    completions: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "completions")

    def generate(self, view: View) -> NDArray[np.int64]:
        """Generate the missing completions, first for prompts that have the fewest."""
        n_valid = view.pool.valid.sum(axis=1)
        n_missing = np.clip(self.completions - n_valid, 0, view.hidden)
        prompts = np.repeat(np.arange(len(n_valid)), n_missing)
        turn = np.arange(len(prompts)) - np.repeat(np.cumsum(n_missing) - n_missing, n_missing)
        order = np.argsort(turn + n_valid[prompts], kind="stable")
        return prompts[order][: view.ledger.affordable_completions]

    def select(self, view: View, n: int) -> Pairs:
        """Choose the pairs of the inner design."""
        return self.inner.select(view, n)
