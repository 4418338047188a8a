"""Reproduction of claims: a design is run again in the sandbox, on announced and on fresh seeds.

On announced seeds a design that is declared deterministic must choose exactly the pairs that the
bundle claims; the figures of any other design are only recomputed. On fresh seeds, which nobody
knew before, there are no claimed pairs to compare with; the claimed figures predict a range
instead. In an environment, let x be the log of the design's gap over the reference's gap at the
board's last budget, on the same world. If the n claimed values and m fresh ones are draws from one
normal distribution, the mean of the fresh ones lies with probability 1 − α/E' within

    x̄ ± t_{n−1, 1−α/2E'} s √(1/n + 1/m),

where x̄ and s are the mean and the standard deviation of the claimed values, and t is Student's
quantile (Hahn and Meeker, *Statistical Intervals*, 1991, section 4.8). A false advantage that is
too small to be detected in one environment may be detected in all: where all environments have the
same seeds, the mean of x over environments is tested, too. It is taken seed by seed, because worlds
of one seed may be correlated. With E environments that makes E' = E + 1 intervals, which share α by
Bonferroni: the probability that any of them misses for an honest design is at most
:data:`FALSE_ALARM_RATE`. For the reference itself, x is the log of its own gap.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from threadpoolctl import threadpool_limits

from pairbench.cells.plan import Cell
from pairbench.cells.play import RoundSelection, play_rounds
from pairbench.design.design import Design
from pairbench.design.registry import design_from
from pairbench.errors import NoSandbox, PairbenchError
from pairbench.submission.bundle import BundledCell
from pairbench.submission.recompute import Difference, list_mismatch, pair_rows
from pairbench.submission.sandbox import Limits, UntrustedDesign, isolated_design
from pairbench.worlds.pair_env import PairEnv
from pairbench.worlds.registry import environment_from

Array = NDArray[np.float64]

FALSE_ALARM_RATE = 0.001
"""Probability that an honest design fails on fresh seeds."""

ALL_ENVIRONMENTS = "all environments"
"""Label of the mean over environments."""

_MIN_GAP = 1e-12  # reward units; a gap of 0 has no logarithm
_ROUNDING = 1e-4  # nats; entries round gaps to six digits


@dataclass(frozen=True)
class IsolatedEpisode:
    """Result of an episode that a design played in the sandbox.

    Attributes:
        gap: gap at the board's last budget, in reward units; None if the design failed.
        failure: why the design failed, None if it did not.
        difference: first difference from the claimed choices, None if there is none or nothing was
            claimed.
    """

    gap: float | None = None
    failure: str | None = None
    difference: Difference | None = None


@dataclass(frozen=True)
class PredictionInterval:
    """Mean log gap ratio on fresh seeds, and the interval that the claimed figures predict for it.

    Attributes:
        environment: label of the environment, or :data:`ALL_ENVIRONMENTS`.
        mean: mean log gap ratio on fresh seeds, in nats.
        low: lower end of the interval, in nats.
        high: upper end of the interval, in nats.
    """

    environment: str
    mean: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the mean lies within the interval."""
        return self.low <= self.mean <= self.high

    def as_json(self) -> dict[str, str | float]:
        """Return the interval as ``pairbench verify --json`` prints it."""
        return {
            "environment": self.environment,
            "found": self.mean,
            "low": self.low,
            "high": self.high,
        }


def reproduce_cell(
    cell: Cell, design: UntrustedDesign, limits: Limits, claimed: BundledCell | None
) -> IsolatedEpisode:
    """Play a cell with a sandboxed design.

    Args:
        cell: the cell to play.
        design: the design.
        limits: resource limits of the design.
        claimed: the cell's record in the bundle, whose pairs must be the same; None on fresh seeds.

    Raises:
        NoSandbox: If this machine cannot isolate the design.
    """
    env = _make_env(cell)
    try:
        with isolated_design(design, limits) as agent:
            choices, gap = _play_to_horizon(cell, env, agent)
    except NoSandbox:
        raise
    except PairbenchError as error:
        failure = f"{cell.environment.label}, seed {cell.seed}: {error}"
        return IsolatedEpisode(failure=failure)
    difference = None if claimed is None else _first_difference(claimed, choices)
    return IsolatedEpisode(gap, difference=difference)


def trusted_gap(cell: Cell) -> float:
    """Play a cell without a sandbox, and return the gap at the board's last budget.

    The verifier uses this for the reference, which ships with pairbench. The gap is in reward
    units.
    """
    return _play_to_horizon(cell, _make_env(cell), design_from(cell.design))[1]


def last_budget(cell: Cell) -> int:
    """Return the board's last budget, beyond which only a reference is played."""
    return cell.budgets[-1] if cell.horizon is None else cell.horizon


def derive_generator(secret: bytes, digest: str, purpose: str) -> np.random.Generator:
    """Seed a random generator by the HMAC-SHA-256 of a secret and a digest.

    Neither the secret nor the digest alone determines the random numbers.

    Args:
        secret: bytes that nobody knew when the bundle was made.
        digest: digest of the bundle.
        purpose: what the numbers are for; each purpose has its own generator.
    """
    code = hmac.digest(secret, f"{digest} {purpose}".encode(), hashlib.sha256)
    return np.random.default_rng(int.from_bytes(code))


def draw_fresh_seeds(
    rng: np.random.Generator, number: int, announced: Collection[int]
) -> tuple[int, ...]:
    """Draw distinct seeds that are not among the announced ones.

    Args:
        rng: generator derived from a secret.
        number: number of seeds.
        announced: seeds of the board.
    """
    seeds: dict[int, None] = {}
    while len(seeds) < number:
        seed = int(rng.integers(2**32))
        if seed not in announced:
            seeds[seed] = None
    return tuple(seeds)


def log_gap_ratios(
    gaps: Mapping[str, Sequence[float]],
    reference: Mapping[str, Sequence[float]] | None,
    *,
    same_seeds: bool,
) -> dict[str, Array]:
    """Compute log gaps over the reference's gaps, in nats, ``(n,)`` for each environment.

    Args:
        gaps: gaps of the design by environment, ``(n,)`` reward units.
        reference: gaps of the reference on the same worlds; None to compute plain log gaps.
        same_seeds: whether all environments have the same seeds. If so and there are several, their
            mean is added as :data:`ALL_ENVIRONMENTS`.
    """
    ratios = {name: np.log(np.maximum(values, _MIN_GAP)) for name, values in gaps.items()}
    if reference is not None:
        ratios = {
            name: ratio - np.log(np.maximum(reference[name], _MIN_GAP))
            for name, ratio in ratios.items()
        }
    if same_seeds and len(ratios) > 1:
        ratios[ALL_ENVIRONMENTS] = np.mean([*ratios.values()], axis=0)
    return ratios


def prediction_intervals(
    claimed: Mapping[str, Array],
    fresh: Mapping[str, Array],
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> list[PredictionInterval]:
    """Compare fresh log gap ratios with the intervals that the claimed ones predict.

    Args:
        claimed: claimed log gap ratios by environment, ``(n,)`` nats. An environment of a single
            seed predicts nothing and is left out.
        fresh: log gap ratios on fresh seeds by environment, ``(m,)`` nats.
        false_alarm_rate: probability that any interval misses its mean although all claims hold.
    """
    names = [name for name in fresh if len(claimed[name]) > 1]
    intervals = []
    for name in names:
        x, y = claimed[name], fresh[name]
        n, m = len(x), len(y)
        quantile = stdtrit(n - 1, 1 - false_alarm_rate / len(names) / 2)
        half_width = float(quantile * x.std(ddof=1) * np.sqrt(1 / n + 1 / m) + _ROUNDING)
        centre = float(x.mean())
        intervals.append(
            PredictionInterval(name, float(y.mean()), centre - half_width, centre + half_width)
        )
    return intervals


def _make_env(cell: Cell) -> PairEnv:
    return PairEnv(environment_from(cell.environment), cell.budgets, cell.horizon)


def _play_to_horizon(cell: Cell, env: PairEnv, agent: Design) -> tuple[list[RoundSelection], float]:
    """Play a cell, and return all choices and the gap at the board's last budget (reward units).

    Designs never see a policy, so that only the policy at the last budget is trained.
    """
    choices, gaps = [], {}
    with threadpool_limits(limits=1):
        for choice in play_rounds(env, agent, cell.seed, cell.design.label):
            choices.append(choice)
            if choice.budget == last_budget(cell):
                gaps[choice.budget] = env.gap
    return choices, gaps[last_budget(cell)]


def _first_difference(claimed: BundledCell, choices: Sequence[RoundSelection]) -> Difference | None:
    """Find the first choice that differs from the claimed one, None if there is none."""
    rounds = zip(claimed.rounds, choices, strict=True)
    for number, (claimed_round, choice) in enumerate(rounds, start=1):
        pairs = [tuple(row) for row in choice.pairs.tolist()]
        for name, claimed_items, items in (
            ("generated", claimed_round.generated, choice.generated.tolist()),
            ("pairs", pair_rows(claimed_round.pairs), pairs),
        ):
            if mismatch := list_mismatch(name, claimed_items, items):
                return Difference(claimed.environment, claimed.seed, number, *mismatch)
    return None
