"""Bundles computed again: labels, policies and scores, from the pairs on record.

Labels and what was read and spent must be the same. A figure may be off by the tolerance t of its
kind, |claimed − found| ≤ t (1 + |found|):

- 10⁻⁹ where policies are log-linear (:data:`EXACT`);
- 10⁻³ where they are language models, trained in float32, whose figures depend on the order in
  which a processor adds (:data:`TRAINED`);
- 0.05 where scores are also estimated by draws (:data:`SAMPLED`); there the estimates themselves
  may be off by twice the width of the 95 % interval that was found, which is about five and a half
  standard errors of a difference.
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


@dataclass(frozen=True)
class Difference:
    """The first thing that was found to be otherwise than claimed.

    Attributes:
        environment: its label.
        seed: of the world.
        round: counted from 1; 0 is before the first label.
        what: such as ``"score.gap"`` or ``"pairs"``; of a list, with the place.
        claimed: what the bundle says.
        found: what there was.
    """

    environment: str
    seed: int
    round: int
    what: str
    claimed: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.environment}, seed {self.seed}, round {self.round}: {self.what} is "
            f"{self.found}, where {self.claimed} was claimed"
        )


def recomputed(cell: Cell, claimed: BundledCell) -> Difference | None:
    """Play a cell again from its pairs; the first difference, None if there is none.

    Args:
        cell: what was to be played.
        claimed: what is said to have come of it; as many rounds as the cell has budgets.
    """
    where = claimed.environment, claimed.seed
    environment = environment_from(cell.environment)
    try:
        episode = replay(
            environment,
            [np.array(r.pairs, dtype=np.int64).reshape(-1, 3) for r in claimed.rounds],
            cell.seed,
            cell.budgets,
            [np.array(r.generated, dtype=np.int64) for r in claimed.rounds],
        ).results()
    except MissingData:  # of this machine
        raise
    except Exception as error:  # pairs that cannot be, or parameters that nobody had thought of
        told = f"not to be played: {type(error).__name__}: {error}"
        return Difference(*where, 0, "the episode", "played", told)
    tolerance = _tolerance(draw_world(environment, cell.seed), episode["start"])
    if unlike := _unlike(claimed.start, episode["start"], tolerance, "score"):
        return Difference(*where, 0, *unlike)
    for number, (said, found) in enumerate(
        zip(claimed.rounds, episode["rounds"], strict=True), start=1
    ):
        if unlike := _unlike_round(said, found, tolerance):
            return Difference(*where, number, *unlike)
    return None


def _tolerance(world: World, start: Mapping[str, Any]) -> float:
    if "sampled" in start:
        return SAMPLED
    return EXACT if type(world) is World else TRAINED  # language models have worlds of their own


def _unlike_round(
    said: BundledRound, found: Mapping[str, Any], tolerance: float
) -> tuple[str, str, str] | None:
    """What differs in a round, claimed and found; None if nothing does."""
    # The policy's fingerprint holds for one machine only: the same fit may differ in its last bit.
    for name in ("budget", "generated", "pairs", "labels", "tokens_read"):
        claimed, truth = getattr(said, name), found[name]
        if name == "pairs":
            claimed, truth = pair_rows(claimed), pair_rows(truth)
        if isinstance(truth, list):
            if unlike := first_unlike(name, claimed, truth):
                return unlike
        elif claimed != truth:
            return name, str(claimed), str(truth)
    if not _near(said.spent, found["spent"], EXACT, 0.0):
        return "spent", str(said.spent), str(found["spent"])
    return _unlike(said.score, found["score"], tolerance, "score")


def pair_rows(numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """Pairs as they are told of, from one number after the other."""
    return list(zip(*[iter(numbers)] * 3, strict=True))


def first_unlike(
    name: str, claimed: Sequence[Any], found: Sequence[Any]
) -> tuple[str, str, str] | None:
    """The first place at which two lists differ: its name, and what stands there in each."""
    for place, (one, other) in enumerate(zip(claimed, found, strict=False)):
        if one != other:
            return f"{name}[{place}]", str(one), str(other)
    if len(claimed) != len(found):
        return f"the number of {name}", str(len(claimed)), str(len(found))
    return None


def _unlike(
    claimed: Any, found: Any, tolerance: float, name: str, within: float = 0.0
) -> tuple[str, str, str] | None:
    """Where figures by name differ, within figures, too; None if nowhere.

    Args:
        claimed: a figure, or figures by name.
        found: what there was.
        tolerance: see the module.
        name: what they are called.
        within: how far off a figure may be in any case, in its own units.
    """
    if not isinstance(found, Mapping):
        if _near(claimed, found, tolerance, within):
            return None
        return name, f"{claimed!r:.100}", f"{found!r}"
    if not isinstance(claimed, Mapping) or claimed.keys() != found.keys():
        said = sorted(claimed) if isinstance(claimed, Mapping) else claimed
        return f"the list of figures of {name}", f"{said!r:.200}", f"{sorted(found)}"
    drawn = found.get("sampled") or {}
    for key, value in found.items():
        inside = max(within, _spread(value), _spread(drawn.get(key)))
        if unlike := _unlike(claimed[key], value, tolerance, f"{name}.{key}", inside):
            return unlike
    return None


def _spread(estimate: object) -> float:
    """Twice the width of an estimate's interval; 0 where there is none."""
    if not isinstance(estimate, Mapping) or not {"low", "high"} <= estimate.keys():
        return 0.0
    return 2.0 * float(estimate["high"] - estimate["low"])


def _near(claimed: object, found: object, tolerance: float, within: float) -> bool:
    if isinstance(claimed, bool) or not isinstance(claimed, int | float):
        return type(claimed) is type(found) and claimed == found
    if not isinstance(found, int | float):
        return False
    return abs(claimed - found) <= max(tolerance * (1 + abs(found)), within)
