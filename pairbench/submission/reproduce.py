"""Designs run again in isolation: on announced seeds, and on seeds that nobody had announced.

On announced seeds a design that says that it is deterministic must choose the very pairs that the
bundle claims; one that does not is held to its figures only. On fresh ones there is no claim to
compare with, but a prediction. In an environment let x be the log of the design's gap over the
reference's at the board's last budget, played on the same world. The n claimed values predict the
mean of m fresh ones, if all are draws from one normal distribution, to be within

    x̄ ± t_{n−1, 1−α/2E'} s √(1/n + 1/m),

t being Student's quantile and s the standard deviation of the claimed values (Hahn and Meeker,
*Statistical Intervals*, 1991, section 4.8). So that an advantage that is too small to be missed in
one environment is missed in all, the same is asked of a seed's mean over the environments, where
they have the same seeds: worlds of one seed may have much in common. With E environments that makes
E' = E + 1 ranges, and α is shared among them by Bonferroni: all of them hold for an honest design
but with chance :data:`FALSE_ALARM`. The reference itself is held to the log of its own gap.
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
from pairbench.submission.recompute import Difference, first_unlike, pair_rows
from pairbench.submission.sandbox import Foreign, Limits, confined
from pairbench.worlds.pair_env import PairEnv
from pairbench.worlds.registry import environment_from

Array = NDArray[np.float64]

FALSE_ALARM = 0.001
"""The chance that an honest design is taken for another on fresh seeds."""

ALL = "all environments"

_LEAST = 1e-12  # reward units; a gap of 0 has no logarithm
_ROUNDING = 1e-4  # entries keep six digits of a gap


@dataclass(frozen=True)
class Played:
    """What came of an episode in isolation.

    Attributes:
        gap: at the board's last budget, reward units; None where the episode has no end.
        failure: why it has none.
        difference: from what was claimed, if anything was.
    """

    gap: float | None = None
    failure: str | None = None
    difference: Difference | None = None


@dataclass(frozen=True)
class Range:
    """What fresh seeds gave, and what was to be expected.

    Attributes:
        environment: its label, or :data:`ALL` for the mean over environments.
        found: mean log gap ratio on fresh seeds, nats.
        low: least that claimed figures predict.
        high: most.
    """

    environment: str
    found: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether what was found was to be expected."""
        return self.low <= self.found <= self.high


def reproduced(cell: Cell, design: Foreign, limits: Limits, claimed: BundledCell | None) -> Played:
    """Have a design play a cell in isolation.

    Args:
        cell: what is played.
        design: by whom.
        limits: what it may take.
        claimed: whose pairs must be the same; None where nothing was claimed.

    Raises:
        NoSandbox: If this machine cannot isolate it.
    """
    env = _environment(cell)
    try:
        with confined(design, limits) as agent:
            chosen, gap = _chosen(cell, env, agent)
    except NoSandbox:
        raise
    except PairbenchError as error:
        return Played(failure=f"{cell.environment.label}, seed {cell.seed}: {error}")
    return Played(gap, difference=None if claimed is None else _unlike(claimed, chosen))


def played_here(cell: Cell) -> float:
    """The gap of a design that ships with pairbench, reward units; for the reference."""
    return _chosen(cell, _environment(cell), design_from(cell.design))[1]


def last_budget(cell: Cell) -> int:
    """The board's last budget, which a reference is played beyond."""
    return cell.budgets[-1] if cell.horizon is None else cell.horizon


def drawn_stream(secret: bytes, digest: str, purpose: str) -> np.random.Generator:
    """Random numbers that follow from a secret and a bundle, and from neither alone.

    Args:
        secret: what nobody knew when the bundle was made.
        digest: the bundle's.
        purpose: what they are for; each has its own.
    """
    code = hmac.digest(secret, f"{digest} {purpose}".encode(), hashlib.sha256)
    return np.random.default_rng(int.from_bytes(code))


def fresh_seeds(
    rng: np.random.Generator, number: int, announced: Collection[int]
) -> tuple[int, ...]:
    """Seeds that are not among the announced ones.

    Args:
        rng: from a secret.
        number: how many.
        announced: the board's.
    """
    found: dict[int, None] = {}
    while len(found) < number:
        seed = int(rng.integers(2**32))
        if seed not in announced:
            found[seed] = None
    return tuple(found)


def log_ratios(
    gaps: Mapping[str, Sequence[float]],
    reference: Mapping[str, Sequence[float]] | None,
    *,
    together: bool,
) -> dict[str, Array]:
    """Log gaps, over the reference's where there is one, by environment, ``(n,)`` nats.

    Args:
        gaps: by environment, ``(n,)`` reward units.
        reference: likewise, on the same worlds.
        together: whether all environments have the same seeds; their mean is then :data:`ALL`.
    """
    found = {name: np.log(np.maximum(own, _LEAST)) for name, own in gaps.items()}
    if reference is not None:
        found = {x: own - np.log(np.maximum(reference[x], _LEAST)) for x, own in found.items()}
    if together and len(found) > 1:
        found[ALL] = np.mean([*found.values()], axis=0)
    return found


def prediction(
    claimed: Mapping[str, Array], fresh: Mapping[str, Array], false_alarm: float = FALSE_ALARM
) -> list[Range]:
    """Whether fresh log ratios are what the claimed ones predict.

    Args:
        claimed: by environment, ``(n,)`` nats; where n is 1 nothing is predicted.
        fresh: likewise, ``(m,)``.
        false_alarm: the chance that one of the ranges does not hold though all is as claimed.
    """
    names = [name for name in fresh if len(claimed[name]) > 1]
    found = []
    for name in names:
        x, y = claimed[name], fresh[name]
        n, m = len(x), len(y)
        quantile = stdtrit(n - 1, 1 - false_alarm / len(names) / 2)
        reach = quantile * x.std(ddof=1) * np.sqrt(1 / n + 1 / m) + _ROUNDING
        centre = float(x.mean())
        found.append(Range(name, float(y.mean()), centre - float(reach), centre + float(reach)))
    return found


def _environment(cell: Cell) -> PairEnv:
    return PairEnv(environment_from(cell.environment), cell.budgets, cell.horizon)


def _chosen(cell: Cell, env: PairEnv, agent: Design) -> tuple[list[RoundSelection], float]:
    """What a design chooses in a cell, and its gap at the board's last budget, reward units.

    No design sees a policy, so that only the one that is looked at is trained.
    """
    chosen, gaps = [], {}
    with threadpool_limits(limits=1):
        for choice in play_rounds(env, agent, cell.seed, cell.design.label):
            chosen.append(choice)
            if choice.budget == last_budget(cell):
                gaps[choice.budget] = env.gap
    return chosen, gaps[last_budget(cell)]


def _unlike(claimed: BundledCell, chosen: Sequence[RoundSelection]) -> Difference | None:
    """The first choice that was not the claimed one."""
    for number, (said, found) in enumerate(zip(claimed.rounds, chosen, strict=True), start=1):
        for name, one, other in (
            ("generated", said.generated, found.generated.tolist()),
            ("pairs", pair_rows(said.pairs), [tuple(row) for row in found.pairs.tolist()]),
        ):
            if unlike := first_unlike(name, one, other):
                return Difference(claimed.environment, claimed.seed, number, *unlike)
    return None
