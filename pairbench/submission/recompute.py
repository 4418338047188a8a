"""Recomputation of bundles: labels, policies and scores, from the recorded pairs.

Labels, tokens read and money spent must be equal. A score may differ by the tolerance t of its
kind, |claimed − actual| ≤ t (1 + |actual|):

- 10⁻⁹ where policies are log-linear (:data:`EXACT`);
- 10⁻³ where policies are language models trained in float32, whose scores depend on the order in
  which a processor adds (:data:`TRAINED`);
- 0.05 where scores are Monte Carlo estimates (:data:`SAMPLED`). Such an estimate may also differ by
  twice the width of the recomputed 95 % interval, which is about five and a half standard errors of
  a difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairbench.cells.plan import Cell
from pairbench.cells.play import replay
from pairbench.errors import MissingData
from pairbench.submission.bundle import BundledCell, BundledRound
from pairbench.worlds.environment import draw_world
from pairbench.worlds.registry import environment_from
from pairbench.worlds.world import World

EXACT, TRAINED, SAMPLED = 1e-9, 1e-3, 0.05

Mismatch = tuple[str, str, str]
"""A quantity that differs, with its claimed and its actual value as text."""


@dataclass(frozen=True)
class Difference:
    """First difference between a claimed cell and the recomputed one.

    Attributes:
        environment: label of the environment.
        seed: seed of the world.
        round: number of the round, counted from 1; 0 is before the first label.
        quantity: name of the value, such as ``"score.gap"``, or ``"pairs[3]"`` for an item of a
            list.
        claimed: value in the bundle.
        actual: recomputed value.
    """

    environment: str
    seed: int
    round: int
    quantity: str
    claimed: str
    actual: str

    def __str__(self) -> str:
        return (
            f"{self.environment}, seed {self.seed}, round {self.round}: {self.quantity} is "
            f"{self.actual}, where {self.claimed} was claimed"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the difference as ``pairbench verify --json`` prints it."""
        return {
            "environment": self.environment,
            "seed": self.seed,
            "round": self.round,
            "what": self.quantity,
            "claimed": self.claimed,
            "found": self.actual,
        }


def recompute_cell(cell: Cell, claimed: BundledCell) -> Difference | None:
    """Replay a cell from its pairs and return the first difference, None if there is none.

    Args:
        cell: the cell to replay.
        claimed: the cell's record in the bundle, with as many rounds as the cell has budgets.

    Raises:
        MissingData: If the environment lacks its data on this machine.
    """
    world_id = claimed.environment, claimed.seed
    environment = environment_from(cell.environment)
    try:
        results = replay(
            environment,
            [np.array(r.pairs, dtype=np.int64).reshape(-1, 3) for r in claimed.rounds],
            cell.seed,
            cell.budgets,
            [np.array(r.generated, dtype=np.int64) for r in claimed.rounds],
        ).results()
    except MissingData:  # a fault of this machine, not of the bundle
        raise
    except Exception as error:  # the bundle's pairs or parameters are invalid, in whatever way
        reason = f"not playable: {type(error).__name__}: {error}"
        return Difference(*world_id, 0, "the episode", "playable", reason)
    tolerance = _tolerance(draw_world(environment, cell.seed), results["start"])
    if mismatch := _score_mismatch(claimed.start, results["start"], tolerance, "score"):
        return Difference(*world_id, 0, *mismatch)
    rounds = zip(claimed.rounds, results["rounds"], strict=True)
    for number, (claimed_round, actual_round) in enumerate(rounds, start=1):
        if mismatch := _round_mismatch(claimed_round, actual_round, tolerance):
            return Difference(*world_id, number, *mismatch)
    return None


def _tolerance(world: World, score: Mapping[str, Any]) -> float:
    """Choose the relative tolerance of a world's scores."""
    if "sampled" in score:
        return SAMPLED
    return EXACT if type(world) is World else TRAINED  # subclasses are worlds of language models


def _round_mismatch(
    claimed: BundledRound, actual: Mapping[str, Any], tolerance: float
) -> Mismatch | None:
    """Find the first value in which a claimed round differs from the recomputed one."""
    # The policy's fingerprint holds for one machine only: the same fit may differ in its last bit.
    for name in ("budget", "generated", "pairs", "labels", "tokens_read"):
        claimed_value, actual_value = getattr(claimed, name), actual[name]
        if name == "pairs":
            claimed_value, actual_value = pair_rows(claimed_value), pair_rows(actual_value)
        if isinstance(actual_value, list):
            if mismatch := list_mismatch(name, claimed_value, actual_value):
                return mismatch
        elif claimed_value != actual_value:
            return name, str(claimed_value), str(actual_value)
    if not _is_close(claimed.spent, actual["spent"], EXACT, 0.0):
        return "spent", str(claimed.spent), str(actual["spent"])
    return _score_mismatch(claimed.score, actual["score"], tolerance, "score")


def pair_rows(numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """Group a flat sequence of ``3 n`` numbers into ``n`` rows (prompt, first, second)."""
    return list(zip(*[iter(numbers)] * 3, strict=True))


def list_mismatch(name: str, claimed: Sequence[Any], actual: Sequence[Any]) -> Mismatch | None:
    """Find the first index at which two lists differ, or else a difference of their lengths.

    Args:
        name: name of the lists, for the name of the item.
        claimed: items in the bundle.
        actual: items as recomputed.
    """
    for i, (claimed_item, actual_item) in enumerate(zip(claimed, actual, strict=False)):
        if claimed_item != actual_item:
            return f"{name}[{i}]", str(claimed_item), str(actual_item)
    if len(claimed) != len(actual):
        return f"the number of {name}", str(len(claimed)), str(len(actual))
    return None


def _score_mismatch(
    claimed: Any, actual: Any, tolerance: float, name: str, margin: float = 0.0
) -> Mismatch | None:
    """Find the first figure in which two scores differ by more than the tolerance.

    Args:
        claimed: a figure, or a nested mapping of figures.
        actual: the recomputed figure or mapping, which determines the form.
        tolerance: relative tolerance, see the module.
        name: name of the figure.
        margin: absolute difference that is allowed in any case, in the figure's unit.
    """
    if not isinstance(actual, Mapping):
        if _is_close(claimed, actual, tolerance, margin):
            return None
        return name, f"{claimed!r:.100}", f"{actual!r}"
    if not isinstance(claimed, Mapping) or claimed.keys() != actual.keys():
        claimed_names = sorted(claimed) if isinstance(claimed, Mapping) else claimed
        return f"the list of figures of {name}", f"{claimed_names!r:.200}", f"{sorted(actual)}"
    estimates = actual.get("sampled") or {}
    for key, value in actual.items():
        # Only recomputed intervals widen the margin: a claimed one could be as wide as one likes.
        key_margin = max(margin, _margin(value), _margin(estimates.get(key)))
        mismatch = _score_mismatch(claimed[key], value, tolerance, f"{name}.{key}", key_margin)
        if mismatch:
            return mismatch
    return None


def _margin(estimate: object) -> float:
    """Return twice the width of an estimate's confidence interval, 0 if it has none."""
    if not isinstance(estimate, Mapping) or not {"low", "high"} <= estimate.keys():
        return 0.0
    return 2.0 * float(estimate["high"] - estimate["low"])


def _is_close(claimed: object, actual: object, tolerance: float, margin: float) -> bool:
    """Compare two numbers within a tolerance or margin, and other values exactly."""
    if isinstance(claimed, bool) or not isinstance(claimed, int | float):
        return type(claimed) is type(actual) and claimed == actual
    if not isinstance(actual, int | float):
        return False
    return abs(claimed - actual) <= max(tolerance * (1 + abs(actual)), margin)
