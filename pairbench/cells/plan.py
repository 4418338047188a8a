"""Plans of runs: cells, each of which is one episode, and the runs that consist of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import rfc8785

from pairbench.design.registry import design_spec
from pairbench.errors import InvalidParameter, MissingData
from pairbench.spec.record import Spec
from pairbench.view.budget import check_budgets
from pairbench.worlds.registry import environment_from, environment_spec

# Why: docs/decisions/004-design-identity-is-its-syntax-tree.md
PROTOCOL = 4
"""Version of the meaning of a cell. Raise it with any change of scores, labels, fitted policies,
the tools that designs share (``pairbench.design``, ``pairbench.information``), or the identity of
cells, so that cells of different meanings are never mixed.

From protocol 4 on, the ``source`` of a design, or of an environment given by path, is the digest of
its file's syntax tree; up to protocol 3 it was the digest of the file's bytes."""

UNSTATED = 3
"""The protocol of runs, bundles and entries whose files do not state one, as in version 0.1.0."""

LAST_VERSIONS = {3: "0.1.0"}
"""The last version of pairbench for each earlier protocol under which entries were published."""

# Why: docs/decisions/022-the-reference-runs-past-the-last-budget.md
REFERENCE_REACH = (2, 4, 8)
"""Multiples of the last budget at which the reference design is scored as well. Label savings are
read off this longer learning curve."""


@dataclass(frozen=True)
class Cell:
    """One episode: an environment, a design, a seed, and a schedule.

    Attributes:
        environment: spec of the environment.
        design: spec of the design.
        seed: seed of the world.
        budgets: the schedule: cumulative budgets, labels or units of money.
        horizon: the budget that the design plans for, the last one if None. The reference design
            plays beyond its horizon and is not told so.
    """

    environment: Spec
    design: Spec
    seed: int
    budgets: tuple[int, ...]
    horizon: int | None = None

    def identity(self) -> dict[str, Any]:
        """Return all that the cell's result depends on, as JSON."""
        return {
            "protocol": PROTOCOL,
            "environment": self.environment.identity(),
            "design": self.design.identity(),
            "seed": self.seed,
            "budgets": list(self.budgets),
            "horizon": self.budgets[-1] if self.horizon is None else self.horizon,
        }

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON (RFC 8785) of the cell's identity."""
        return hashlib.sha256(rfc8785.dumps(self.identity())).hexdigest()


@dataclass(frozen=True)
class RunEnvironment:
    """An environment of a run, with what differs from the run's settings.

    Attributes:
        environment: text of the spec, such as ``"pairbench/LogLinear-v1(dim=32)"``.
        seeds: seeds of the worlds; those of the run if None.
        budgets: the schedule; that of the run if None.
        optional: whether to leave the environment out, with a note, where its data is missing.
    """

    environment: str
    seeds: Sequence[int] | None = None
    budgets: Sequence[int] | None = None
    optional: bool = False


@dataclass(frozen=True)
class ScheduledEnvironment:
    """An environment with its resolved schedule and seeds.

    Attributes:
        environment: spec of the environment.
        budgets: the schedule: cumulative budgets, labels or units of money.
        seeds: seeds of the worlds.
    """

    environment: Spec
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]

    def cell(self, design: Spec, seed: int, *, reference: bool = False) -> Cell:
        """Build the cell of a design and a seed.

        Args:
            design: spec of the design.
            seed: seed of the world.
            reference: whether the design is the run's reference, which plays beyond the schedule.
        """
        last = self.budgets[-1]
        further = tuple(last * factor for factor in REFERENCE_REACH) if reference else ()
        return Cell(self.environment, design, seed, self.budgets + further, horizon=last)


@dataclass(frozen=True)
class RunSpec:
    """Specification of a run: all designs on all seeds of all environments.

    Attributes:
        name: name of the board, or ``"custom"``.
        environments: texts of specs, or environments with settings of their own.
        designs: texts of specs.
        seeds: seeds of the worlds.
        reference: the design against which label savings are measured. It is always run, and also
            at 2, 4 and 8 times the last budget.
        budgets: the schedule; the default of each environment if None.
        changes: parameters that replace those of every environment.
    """

    name: str
    environments: Sequence[str | RunEnvironment]
    designs: Sequence[str]
    seeds: Sequence[int]
    reference: str
    budgets: Sequence[int] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def resolve_environments(self) -> tuple[list[ScheduledEnvironment], list[str]]:
        """Resolve the schedule and the seeds of each environment.

        Returns:
            The environments, and a note on each that is left out because its data is missing.

        Raises:
            InvalidParameter: If a seed or a budget is invalid, or no environment remains.
            UnknownName: If an environment is not registered.
            MissingData: If an environment that is not optional lacks its data.
        """
        environments: list[ScheduledEnvironment] = []
        notes: list[str] = []
        for item in self.environments:
            entry = RunEnvironment(item) if isinstance(item, str) else item
            try:
                environments.append(self._resolve(entry))
            except MissingData as error:
                if not entry.optional:
                    raise
                notes.append(f"{entry.environment} is left out: {error}")
        if not environments:
            raise InvalidParameter("there is nothing to run. " + " ".join(notes))
        return environments, notes

    def _resolve(self, entry: RunEnvironment) -> ScheduledEnvironment:
        """Resolve one environment: its settings come first, then the run's, then its defaults."""
        spec = environment_spec(entry.environment, **self.changes)
        budgets = self.budgets if entry.budgets is None else entry.budgets
        if budgets is None:
            budgets = environment_from(spec).budgets
        seeds = self.seeds if entry.seeds is None else entry.seeds
        return ScheduledEnvironment(spec, check_budgets(budgets), check_seeds(seeds))

    def cells(self) -> tuple[list[Cell], list[str]]:
        """Build the cells of the run, without repeats.

        Returns:
            The cells, those of one world adjacent, and a note on each environment that is left out
            because its data is missing.

        Raises:
            InvalidParameter: If a seed or a budget is invalid, or no environment remains.
            UnknownName: If an environment or a design is not registered.
            MissingData: If an environment that is not optional lacks its data.
        """
        reference = design_spec(self.reference)
        designs = [reference, *map(design_spec, self.designs)]
        environments, notes = self.resolve_environments()
        cells = [
            environment.cell(design, seed, reference=design == reference)
            for environment in environments
            for seed in environment.seeds
            for design in designs
        ]
        # A design that is listed twice, or is the reference as well, is played once.
        return list({cell.key: cell for cell in cells}.values()), notes


def stated_protocol(content: object) -> int | None:
    """Read the protocol of a run's header or a bundle's manifest; None if it is no valid one.

    Headers and manifests of version 0.1.0 do not state their protocol, which is 3.
    """
    stated = content.get("protocol", UNSTATED) if isinstance(content, Mapping) else None
    return stated if type(stated) is int else None


def version_for(protocol: int) -> str:
    """Name the version of pairbench that reads a protocol, and the command that installs it."""
    if protocol > PROTOCOL:
        return "a newer pairbench: pip install --upgrade pairbench"
    version = LAST_VERSIONS.get(protocol)
    if version is None:
        return "an older pairbench"
    return f"pairbench {version}: pip install pairbench=={version}"


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Check seeds and return them without repeats.

    Raises:
        InvalidParameter: If there are none, or one is not a whole number from 0 to 2³²−1.
    """
    whole = all(isinstance(s, int | np.integer) and not isinstance(s, bool) for s in seeds)
    if len(seeds) == 0 or not whole or not all(0 <= seed < 2**32 for seed in seeds):
        raise InvalidParameter(
            f"seeds must be whole numbers, 0 or more and below 2**32, at least one; got {seeds}."
        )
    return tuple(dict.fromkeys(int(seed) for seed in seeds))
