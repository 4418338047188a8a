"""Choose pairs of one's own pool, prove how good they are, and say what they are worth.

All figures are of the model: labels follow Bradley–Terry with a reward that is linear in the
features, of which nothing is known beyond the ridge and the labels so far. With
A = λI + Σ_labels ω z zᵀ, the predicted gap is tr(C(θ̂) A⁻¹) / 2β (docs/theory.md, section 2), which
means something also where there are fewer labels than dimensions.
"""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from pairbench.annotation.content import QUESTION
from pairbench.annotation.labels import Label
from pairbench.annotation.pools import Corpus
from pairbench.budget import Ledger
from pairbench.design import Design, View
from pairbench.errors import InvalidPairs, InvalidParameter
from pairbench.estimators import Laplace
from pairbench.information import (
    RankOne,
    label_information,
    logistic_slope,
    optimal_weights,
    policy_covariance,
    uniform_information,
)
from pairbench.information.fisher import trace_criterion
from pairbench.pool import Pairs, Pool, checked_pairs, repeats

Array = NDArray[np.float64]

_FARTHEST = 1e9  # random labels beyond which "worth" is no number that means anything


@dataclass(frozen=True, eq=False)
class Labelled:
    """Questions that were answered already.

    Attributes:
        pairs: ``(m, 3)``.
        values: ``(m,)``: 1 the first is better, 0 the second, ½ a tie, NaN no answer.
    """

    pairs: Pairs
    values: Array

    def __post_init__(self) -> None:
        # Designs see them, and what is proven of a choice must be of these labels.
        self.pairs.flags.writeable = self.values.flags.writeable = False


@dataclass(frozen=True, eq=False)
class RandomLabels:
    """The predicted gap of labels of pairs drawn uniformly, as a function of their number.

    In the basis in which both A and the information of a random label are diagonal, the gap after m
    is Σ c_i / (1 + m s_i). It is taken at the expected information, which is kind to random pairs:
    those that are really drawn do worse on average (Jensen).

    Attributes:
        weights: c, ``(dim,)``, reward units.
        slopes: s, ``(dim,)``, per label.
    """

    weights: Array
    slopes: Array

    @classmethod
    def of(
        cls, covariance: Array, precision: Array, information: Array, beta: float
    ) -> "RandomLabels":
        """Find the basis.

        Args:
            covariance: C, ``(dim, dim)``.
            precision: A, before the first random label, ``(dim, dim)``, positive definite.
            information: of one random label, ``(dim, dim)``.
            beta: β, reward units per nat.
        """
        root = np.linalg.inv(np.linalg.cholesky(precision))
        slopes, basis = np.linalg.eigh(root @ information @ root.T)
        seen = basis.T @ root
        weights = np.einsum("id,de,ie->i", seen, covariance, seen) / (2 * beta)
        return cls(np.maximum(weights, 0.0), np.maximum(slopes, 0.0))

    def gap(self, labels: float) -> float:
        """The predicted gap after so many random labels, reward units."""
        return float(np.sum(self.weights / (1 + labels * self.slopes)))

    def needed(self, gap: float) -> float:
        """How many random labels make the gap as small; infinite if none are enough."""
        if self.gap(0.0) <= gap:
            return 0.0
        if self.gap(_FARTHEST) > gap:
            return np.inf
        # On a log scale, because the answer may be ten or ten million.
        log = brentq(lambda t: self.gap(np.expm1(t)) - gap, 0.0, np.log1p(_FARTHEST))
        return float(np.expm1(log))


@dataclass(frozen=True, eq=False)
class Selection:
    """Chosen pairs, and what the model says of them.

    Attributes:
        pairs: ``(n, 3)``, in an order of which every beginning is a good choice.
        gaps: predicted gap before the first of them and after each, ``(n + 1,)``, reward units.
        efficiency: a proven lower bound of (gap of the best n pairs) / (gap of these), in (0, 1].
        random: what random pairs would do instead.
        repeated: how many of the pairs ask a question again.
        seconds: what choosing took, and what the certificate took.
    """

    pairs: Pairs
    gaps: Array
    efficiency: float
    random: RandomLabels
    repeated: int
    seconds: tuple[float, float]

    @property
    def gap(self) -> float:
        """Predicted gap after all of them, reward units."""
        return float(self.gaps[-1])

    @property
    def worth(self) -> float:
        """How many random labels would do as much; infinite if no number would."""
        return self.random.needed(self.gap)


def labelled(corpus: Corpus, labels: list[Label], source: str, *, own: bool = True) -> Labelled:
    """Labels as pairs of a pool.

    Args:
        corpus: the pool's prompts and completions.
        labels: the labels; their ids say which pairs they answer.
        source: where they come from, for messages.
        own: whether to take in the comparisons that the pool file itself holds.

    Raises:
        InvalidPairs: If one answers a pair that is not in the pool.
    """
    answers = corpus.answers if own else ()
    keys = [(answer.first, answer.second) for answer in answers]
    where = [f"{corpus.path}" for _ in answers]
    values = [answer.value for answer in answers]
    for number, label in enumerate(labels, start=1):
        match = QUESTION.fullmatch(label.id)
        assert match is not None  # the label was validated
        keys.append((match[1], match[2]))
        where.append(f"label {number} of {source} (id {label.id})")
        values.append(label.value)
    return Labelled(corpus.pairs(keys, where), np.array(values, dtype=np.float64))


def select_pairs(
    pool: Pool,
    design: Design,
    budget: int,
    *,
    past: Labelled | None = None,
    beta: float = 1.0,
    ridge: float = 1.0,
    seed: int = 0,
    name: str = "the design",
) -> Selection:
    """Let a design choose, and judge what it chose.

    Args:
        pool: the pool.
        design: any design.
        budget: the number of labels to buy.
        past: what was answered before.
        beta: β of the DPO training to come, reward units per nat.
        ridge: λ, the prior: rewards have variance 1/λ where E‖φ‖² = 1.
        seed: of the design's randomness, with the number of labels so far.
        name: the design's, for messages.

    Raises:
        InvalidParameter: If the budget is not from 1 to the number of pairs, β or λ is not
            positive, or the design is a control.
        InvalidPairs: If the design returns what is no pair, or nothing.
    """
    for what, value in (("beta", beta), ("ridge", ridge)):
        if not (np.isfinite(value) and value > 0):
            raise InvalidParameter(f"{what} must be positive and finite, got {value}.")
    if not 1 <= budget <= pool.n_pairs:
        raise InvalidParameter(
            f"the budget must be from 1 to {pool.n_pairs:,}, the number of pairs in the pool; "
            f"got {budget:,}."
        )
    if design.control:
        raise InvalidParameter(
            f"{name!r} is a control, which is shown the truth, and of your own data nobody has it. "
            "Choose a design; `pairbench designs` lists them."
        )
    past = past or Labelled(np.empty((0, 3), dtype=np.int64), np.empty(0))
    view = _view(pool, past, budget, beta, ridge, seed)
    start = perf_counter()
    chosen = checked_pairs(design.select(view, budget), pool, budget, f"design {name!r}")
    if not len(chosen):
        raise InvalidPairs(f"design {name!r} returned no pairs, where {budget} labels are to buy.")
    took = perf_counter() - start
    belief = Laplace().fit(view)
    theta, precision = belief.theta, belief.precision
    covariance = policy_covariance(pool, theta, beta)
    start = perf_counter()
    ordered, falls = _in_order(pool, chosen, theta, precision, covariance)
    # From the end, where it is computed afresh: so rounding does not pile up.
    last = trace_criterion(covariance, precision + label_information(pool, ordered, theta=theta))
    to_come = np.concatenate([np.cumsum(falls[::-1])[::-1], [0.0]])
    gaps = (last + to_come) / (2 * beta)
    best = optimal_weights(
        pool, theta=theta, n=len(chosen), beta=beta, covariance=covariance, prior=precision
    )
    least = best.value * best.efficiency_bound / len(chosen) / (2 * beta)
    random = RandomLabels.of(covariance, precision, uniform_information(pool, theta), beta)
    return Selection(
        pairs=ordered,
        gaps=gaps,
        efficiency=min(1.0, least / gaps[-1]) if gaps[-1] > 0 else 1.0,
        random=random,
        repeated=int((repeats(chosen, past.pairs) > 0).sum()),
        seconds=(took, perf_counter() - start),
    )


def _view(pool: Pool, past: Labelled, budget: int, beta: float, ridge: float, seed: int) -> View:
    bought = len(past.pairs)
    marks = (bought, bought + budget) if bought else (budget,)
    ledger = Ledger(marks)
    return View(
        pool=pool,
        beta=beta,
        ridge=ridge,
        pairs=past.pairs,
        labels=past.values,
        ledger=ledger.charge(past.pairs, pool) if bought else ledger,
        # With the labels so far, or a second round of random pairs would be the first once more.
        rng=np.random.default_rng([seed, bought]),
    )


def _in_order(
    pool: Pool, pairs: Pairs, theta: Array, precision: Array, covariance: Array
) -> tuple[Pairs, Array]:
    """The pairs, each next one the one that lowers tr(C A⁻¹) most; by how much each does."""
    z = pool.differences(pairs)
    z *= np.sqrt(logistic_slope(z @ theta))[:, None]
    state = RankOne(z, np.linalg.inv(precision).astype(np.float64), covariance)
    left = np.ones(len(z), dtype=np.bool_)
    order, falls = np.empty(len(z), dtype=np.int64), np.empty(len(z))
    for k in range(len(z)):
        gains = np.where(left, state.gains(), -1.0)
        order[k] = p = int(gains.argmax())
        falls[k] = gains[p]
        left[p] = False
        state.take(p)
    return pairs[order], falls
