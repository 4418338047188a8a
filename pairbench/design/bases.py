"""Base classes of belief, duel, scored, weighted, confidence and wrapper designs."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_nonnegative
from pairbench.design.choosing import (
    Array,
    Duels,
    check_weighting,
    duel_per_prompt,
    randomize_order,
    sample_pairs,
    top_pairs,
)
from pairbench.design.design import Design
from pairbench.design.registry import make_design
from pairbench.errors import InvalidParameter
from pairbench.estimators import Belief, Estimator, make_estimator
from pairbench.information.optimal import OptimalDesign
from pairbench.pool.pool import Pairs
from pairbench.spec.loading import is_file
from pairbench.spec.text import parse_spec
from pairbench.view.view import View


@dataclass(frozen=True)
class BeliefDesign(Design):
    """A design that acts on the posterior belief of an estimator.

    Attributes:
        estimator: a name or spec for :func:`pairbench.make_estimator`, such as ``"laplace"`` or
            ``"ensemble(members=20)"``.
    """

    estimator: str = "laplace"

    def __post_init__(self) -> None:
        _ = self.belief_estimator

    @cached_property
    def belief_estimator(self) -> Estimator[Belief]:
        """The estimator object, built from the spec in the field ``estimator``."""
        return make_estimator(self.estimator)

    def parts(self) -> tuple[object, ...]:
        """Return the estimator."""
        return (self.belief_estimator,)

    def belief(self, view: View) -> Belief:
        """Fit the estimator to the labels of a view."""
        return self.belief_estimator.fit(view)


@dataclass(frozen=True)
class DuelDesign(BeliefDesign):
    """A design with a duel rule, which selects two completions of each prompt."""

    @abstractmethod
    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Select two different valid completions of each prompt, ``(n_prompts,)`` each.

        Args:
            belief: posterior belief on the round's pool.
            rng: the only source of randomness.
        """

    def select(self, view: View, n: int) -> Pairs:
        """Select pairs by the duel rule, which is applied once per turn over the prompts."""
        belief = self.belief(view)
        pairs = duel_per_prompt(view, lambda: self.duel(belief, view.rng), n)
        # Duel rules often put the preferred completion first; a position bias must not favour it.
        return randomize_order(view, pairs)


@dataclass(frozen=True)
class ScoredDesign(Design):
    """A design that selects the pairs of highest score, each once before any is repeated."""

    @abstractmethod
    def scores(self, view: View) -> Array:
        """Compute the acquisition score of each pair, ``(n_prompts, K, K)``.

        Only entries ``[i, j]`` with i < j are read.

        Args:
            view: the round's view.
        """

    def select(self, view: View, n: int) -> Pairs:
        """Select the pairs of highest score, each in random order."""
        return randomize_order(view, top_pairs(view, self.scores(view), n))


# Why: docs/decisions/017-wrapper-designs-take-names.md
@dataclass(frozen=True)
class WrapperDesign(Design):
    """A design that wraps another one.

    Attributes:
        design: name or spec of the wrapped design.
    """

    design: str

    def __post_init__(self) -> None:
        if is_file(parse_spec(self.design)[0]):
            raise InvalidParameter(
                f"a wrapped design goes by its name, so that runs can be repeated; got "
                f"the file {self.design!r}. Register it with pairbench.register_design."
            )
        if self.inner.control:
            raise InvalidParameter(
                f"{self.design!r} is a control, which needs the truth; a wrapped design has no "
                "access to it."
            )

    @cached_property
    def inner(self) -> Design:
        """The wrapped design."""
        return make_design(self.design)

    def parts(self) -> tuple[object, ...]:
        """Return the wrapped design and its parts."""
        return (self.inner, *self.inner.parts())


@dataclass(frozen=True)
class WeightedDesign(Design):
    """A design that draws a round's pairs in proportion to optimal weights.

    Attributes:
        tol: the weights' proven efficiency is at least 1 − tol.
        rounding: ``"systematic"``, ``"independent"`` or ``"efficient"``.
    """

    tol: float = 0.05
    rounding: str = "systematic"

    def __post_init__(self) -> None:
        check_weighting(self.tol, self.rounding)

    @abstractmethod
    def weights(self, view: View, n: int) -> OptimalDesign:
        """Compute the optimal weights of a round.

        Args:
            view: the round's view.
            n: number of labels.
        """

    def select(self, view: View, n: int) -> Pairs:
        """Round the weights to n pairs."""
        optimal = self.weights(view, n)
        return sample_pairs(view, optimal.pairs, optimal.weights, n, self.rounding)


@dataclass(frozen=True)
class ConfidenceDesign(DuelDesign):
    """A duel design that uses confidence bounds of the reward differences, μ_ij ± β s_ij.

    Attributes:
        beta: β, the width of the bounds in posterior standard deviations.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_nonnegative(beta=self.beta)

    def upper(self, belief: Belief) -> Array:
        """Compute the upper bounds u_ij = μ_ij + β s_ij, ``(n_prompts, K, K)``; l_ij = −u_ji."""
        bounds: Array = belief.differences() + self.beta * np.sqrt(belief.difference_variance())
        # Exactly 0, where the variance is a rounding error.
        np.einsum("nii->ni", bounds)[:] = 0
        return bounds

    def plausible(self, belief: Belief, upper: Array) -> NDArray[np.bool_]:
        """Return the mask of completions with u_ij ≥ 0 for all j, ``(n_prompts, K)``.

        No other completion beats them with confidence. Each prompt has at least one, that of
        largest mean.

        Args:
            belief: posterior belief.
            upper: u_ij, ``(n_prompts, K, K)``.
        """
        valid = belief.pool.valid
        mask: NDArray[np.bool_] = valid & ((upper >= 0) | ~valid[:, None]).all(axis=2)
        return mask
