"""Choice of pairs from a user's pool, with a proven efficiency and a predicted gap.

All figures assume the model: labels follow Bradley–Terry with a reward that is linear in the
features, with the ridge as its prior. With A = λI + Σ_labels ω z zᵀ, the predicted gap is
tr(C(θ̂) A⁻¹) / 2β (docs/theory.md, section 2), which is finite even with fewer labels than
dimensions.
"""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_positive
from pairbench.design.design import Design
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
from pairbench.pool.content import QUESTION_ID
from pairbench.pool.corpus import Corpus
from pairbench.pool.labels import Label
from pairbench.pool.pairs import check_pairs, count_repeats
from pairbench.pool.pool import Pairs, Pool
from pairbench.view.budget import Ledger
from pairbench.view.view import View

Array = NDArray[np.float64]

_MOST_LABELS = 1e9  # beyond so many random labels, the equivalent number is reported as infinite


@dataclass(frozen=True, eq=False)
class LabelledPairs:
    """Pairs with their labels.

    Attributes:
        pairs: ``(m, 3)``.
        values: labels, ``(m,)``: 1 the first is better, 0 the second, ½ a tie, NaN no answer.
    """

    pairs: Pairs
    values: Array

    def __post_init__(self) -> None:
        # Designs see these arrays, and the certificate must be computed from the same labels.
        self.pairs.flags.writeable = self.values.flags.writeable = False


@dataclass(frozen=True, eq=False)
class RandomLabels:
    """Predicted gap of labels on uniformly drawn pairs, as a function of their number.

    In the basis in which both A and the information of a random label are diagonal, the gap after m
    labels is Σ c_i / (1 + m s_i). It is computed at the expected information and so favours random
    pairs: an actual draw does worse on average (Jensen).

    Attributes:
        weights: c, ``(dim,)``, reward units.
        slopes: s, ``(dim,)``, per label.
    """

    weights: Array
    slopes: Array

    @classmethod
    def diagonalise(
        cls, covariance: Array, precision: Array, information: Array, beta: float
    ) -> "RandomLabels":
        """Compute weights and slopes in the basis that diagonalises A and the information.

        Args:
            covariance: C, ``(dim, dim)``.
            precision: A before the first random label, ``(dim, dim)``, positive definite.
            information: expected information of one random label, ``(dim, dim)``.
            beta: β, reward units per nat.
        """
        root = np.linalg.inv(np.linalg.cholesky(precision))
        slopes, basis = np.linalg.eigh(root @ information @ root.T)
        directions = basis.T @ root
        weights = np.einsum("id,de,ie->i", directions, covariance, directions) / (2 * beta)
        return cls(np.maximum(weights, 0.0), np.maximum(slopes, 0.0))

    def gap(self, labels: float) -> float:
        """Predict the gap after a number of random labels, reward units."""
        return float(np.sum(self.weights / (1 + labels * self.slopes)))

    def needed(self, gap: float) -> float:
        """Compute how many random labels lower the gap to this; infinite if no number does.

        Args:
            gap: reward units.
        """
        from scipy.optimize import brentq  # slow to import

        if self.gap(0.0) <= gap:
            return 0.0
        if self.gap(_MOST_LABELS) > gap:
            return np.inf
        # On a log scale, because the root may be ten or ten million.
        root = brentq(lambda t: self.gap(np.expm1(t)) - gap, 0.0, np.log1p(_MOST_LABELS))
        return float(np.expm1(root))


@dataclass(frozen=True, eq=False)
class Selection:
    """Chosen pairs, with their predicted gaps and their certificate.

    Attributes:
        pairs: ``(n, 3)``, greedily ordered, so that every prefix is a good choice.
        gaps: predicted gap before the first pair and after each, ``(n + 1,)``, reward units.
        efficiency: a proven lower bound of (gap of the best n pairs) / (gap of these), in (0, 1].
        random: the predicted gap of random pairs.
        repeated: the number of pairs that were asked before.
        seconds: the time of the choice and that of the certificate.
    """

    pairs: Pairs
    gaps: Array
    efficiency: float
    random: RandomLabels
    repeated: int
    seconds: tuple[float, float]

    @property
    def gap(self) -> float:
        """Predicted gap after all pairs, reward units."""
        return float(self.gaps[-1])

    @property
    def worth(self) -> float:
        """Number of random labels with the same predicted gap; infinite if there is none."""
        return self.random.needed(self.gap)


def match_labels(
    corpus: Corpus, labels: list[Label], source: str, *, include_comparisons: bool = True
) -> LabelledPairs:
    """Match labels with the pairs of a pool.

    Args:
        corpus: the pool's prompts and completions.
        labels: the labels; their ids name the pairs.
        source: the origin of the labels, for messages.
        include_comparisons: whether to add the comparisons in the pool file itself.

    Raises:
        InvalidPairs: If a label's pair is not in the pool.
    """
    comparisons = corpus.comparisons if include_comparisons else ()
    keys = [(comparison.first, comparison.second) for comparison in comparisons]
    sources = [f"{corpus.path}" for _ in comparisons]
    values = [comparison.value for comparison in comparisons]
    for number, label in enumerate(labels, start=1):
        match = QUESTION_ID.fullmatch(label.id)
        assert match is not None  # the label was validated
        keys.append((match[1], match[2]))
        sources.append(f"label {number} of {source} (id {label.id})")
        values.append(label.value)
    return LabelledPairs(corpus.pairs(keys, sources), np.array(values, dtype=np.float64))


# Why: docs/decisions/026-certificates-judge-the-chosen-pairs.md
def select_pairs(
    pool: Pool,
    design: Design,
    budget: int,
    *,
    past: LabelledPairs | None = None,
    beta: float = 1.0,
    ridge: float = 1.0,
    seed: int = 0,
    name: str = "the design",
) -> Selection:
    """Let a design choose pairs, and certify how informative they are.

    Args:
        pool: the pool.
        design: any design but a control.
        budget: the number of labels to buy.
        past: the labels so far.
        beta: β of the DPO training to come, reward units per nat.
        ridge: λ, the prior: rewards have variance 1/λ where E‖φ‖² = 1.
        seed: of the design's randomness, together with the number of labels so far.
        name: the design's name, for messages.

    Raises:
        InvalidParameter: If the budget is not from 1 to the number of pairs, β or λ is not
            positive, or the design is a control.
        InvalidPairs: If the design returns anything but pairs, or none.
    """
    check_positive(beta=beta, ridge=ridge)
    if not 1 <= budget <= pool.n_pairs:
        raise InvalidParameter(
            f"the budget must be from 1 to {pool.n_pairs:,}, the number of pairs in the pool; "
            f"got {budget:,}."
        )
    if design.control:
        raise InvalidParameter(
            f"{name!r} is a control, which sees the true reward, and your own data has none. "
            "Choose a design; `pairbench designs` lists them."
        )
    past = past or LabelledPairs(np.empty((0, 3), dtype=np.int64), np.empty(0))
    view = _view(pool, past, budget, beta, ridge, seed)
    start = perf_counter()
    chosen = check_pairs(design.select(view, budget), pool, budget, f"design {name!r}")
    if not len(chosen):
        raise InvalidPairs(f"design {name!r} returned no pairs, where {budget} labels are to buy.")
    select_seconds = perf_counter() - start
    belief = Laplace().fit(view)
    theta, precision = belief.theta, belief.precision
    covariance = policy_covariance(pool, theta, beta)
    start = perf_counter()
    ordered, gaps = _order_greedily(pool, chosen, theta, precision, covariance, beta)
    best = optimal_weights(
        pool, theta=theta, n=len(chosen), beta=beta, covariance=covariance, prior=precision
    )
    least_gap = best.value * best.efficiency_bound / len(chosen) / (2 * beta)
    return Selection(
        pairs=ordered,
        gaps=gaps,
        efficiency=min(1.0, least_gap / gaps[-1]) if gaps[-1] > 0 else 1.0,
        random=RandomLabels.diagonalise(
            covariance, precision, uniform_information(pool, theta), beta
        ),
        repeated=int((count_repeats(chosen, past.pairs) > 0).sum()),
        seconds=(select_seconds, perf_counter() - start),
    )


def _view(
    pool: Pool, past: LabelledPairs, budget: int, beta: float, ridge: float, seed: int
) -> View:
    """Build the view of a design that has these labels and may buy ``budget`` more."""
    n_past = len(past.pairs)
    budgets = (n_past, n_past + budget) if n_past else (budget,)
    ledger = Ledger(budgets)
    return View(
        pool=pool,
        beta=beta,
        ridge=ridge,
        pairs=past.pairs,
        labels=past.values,
        ledger=ledger.charge(past.pairs, pool) if n_past else ledger,
        # Without n_past, a second round of random pairs would repeat the first.
        rng=np.random.default_rng([seed, n_past]),
    )


def _order_greedily(
    pool: Pool, pairs: Pairs, theta: Array, precision: Array, covariance: Array, beta: float
) -> tuple[Pairs, Array]:
    """Order pairs greedily, each next one the one that lowers tr(C A⁻¹) most.

    Args:
        pool: the pool.
        pairs: ``(n, 3)``.
        theta: θ̂, ``(dim,)``.
        precision: A before the first pair, ``(dim, dim)``.
        covariance: C, ``(dim, dim)``.
        beta: β, reward units per nat.

    Returns:
        The ordered pairs, and the predicted gap before the first and after each, ``(n + 1,)``
        reward units.
    """
    z = pool.differences(pairs)
    z *= np.sqrt(logistic_slope(z @ theta))[:, None]
    state = RankOne(z, np.linalg.inv(precision).astype(np.float64), covariance)
    remaining = np.ones(len(z), dtype=np.bool_)
    order, falls = np.empty(len(z), dtype=np.int64), np.empty(len(z))
    for k in range(len(z)):
        gains = np.where(remaining, state.gains(), -1.0)
        order[k] = p = int(gains.argmax())
        falls[k] = gains[p]
        remaining[p] = False
        state.take(p)
    ordered = pairs[order]
    # Summed from the last value, which is computed afresh, so that rounding does not pile up.
    last = trace_criterion(covariance, precision + label_information(pool, ordered, theta=theta))
    falls_to_come = np.concatenate([np.cumsum(falls[::-1])[::-1], [0.0]])
    return ordered, (last + falls_to_come) / (2 * beta)
