"""What is to be played: cells, and the runs that are made of them."""

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
"""Version of what a cell means. A change of scores, labels, the fit, the tools that designs share
(``pairbench.design``, ``pairbench.information``), or of what tells cells apart makes a new one.

From 4 on the ``source`` of a design, or of an environment given by path, is the digest of its
file's syntax tree; up to 3 it was that of the file's bytes."""

UNSTATED = 3
"""The protocol of runs, bundles and entries that state none."""

LAST_VERSIONS = {3: "0.1.0"}
"""The last version of pairbench of each earlier protocol under which entries were published."""

# Why: docs/decisions/022-the-reference-runs-past-the-last-budget.md
REFERENCE_REACH = (2, 4, 8)
"""How far beyond the last budget the reference is run, so that label savings can be read off."""


@dataclass(frozen=True)
class Cell:
    """One episode: an environment, a design, a seed, and a schedule.

    Attributes:
        environment: its spec.
        design: its spec.
        seed: of the world.
        budgets: the schedule.
        horizon: the number of labels that the design plans for, the last budget if None. A
            reference is played on beyond it, without knowing.
    """

    environment: Spec
    design: Spec
    seed: int
    budgets: tuple[int, ...]
    horizon: int | None = None

    def identity(self) -> dict[str, Any]:
        """All that its result depends on, as JSON."""
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
        """SHA-256 of the canonical JSON (RFC 8785) of the identity."""
        return hashlib.sha256(rfc8785.dumps(self.identity())).hexdigest()


@dataclass(frozen=True)
class RunEnvironment:
    """An environment of a run.

    Attributes:
        environment: its spec, such as ``"pairbench/LogLinear-v1(dim=32)"``.
        seeds: which worlds to play; the run's own if None.
        budgets: the schedule; the run's own if None.
        optional: leave it out, with a note, where its data is missing.
    """

    environment: str
    seeds: Sequence[int] | None = None
    budgets: Sequence[int] | None = None
    optional: bool = False


@dataclass(frozen=True)
class Worlds:
    """An environment of a run with all that is not left to its defaults.

    Attributes:
        environment: its spec.
        budgets: the schedule.
        seeds: which worlds are played.
    """

    environment: Spec
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]

    def cell(self, design: Spec, seed: int, *, reference: bool = False) -> Cell:
        """A design's cell; as the reference, it is played beyond the schedule."""
        further = tuple(self.budgets[-1] * factor for factor in REFERENCE_REACH * reference)
        return Cell(self.environment, design, seed, self.budgets + further, self.budgets[-1])


@dataclass(frozen=True)
class RunSpec:
    """What to run: all designs on all seeds of all environments.

    Attributes:
        name: of the board, or ``"custom"``.
        environments: specs or entries.
        designs: specs.
        seeds: which worlds to play.
        budgets: the schedule; each environment's own if None.
        reference: the design that label savings are measured against. It is always run, and also at
            2, 4 and 8 times the last budget.
        changes: parameters of all environments, in place of their own.
    """

    name: str
    environments: Sequence[str | RunEnvironment]
    designs: Sequence[str]
    seeds: Sequence[int]
    reference: str
    budgets: Sequence[int] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def resolve_environments(self) -> tuple[list["Worlds"], list[str]]:
        """What is played by every design, and notes on what was left out.

        Raises:
            InvalidParameter: If a seed or a budget cannot be, or nothing is to be run.
            UnknownName: If an environment is not known.
            MissingData: If an environment that is not optional lacks its data.
        """
        found: list[Worlds] = []
        notes: list[str] = []
        for item in self.environments:
            entry = RunEnvironment(item) if isinstance(item, str) else item
            try:
                environment = environment_spec(entry.environment, **self.changes)
            except MissingData as error:
                if not entry.optional:
                    raise
                notes.append(f"{entry.environment} is left out: {error}")
                continue
            given = self.budgets if entry.budgets is None else entry.budgets
            usual = environment_from(environment).budgets
            marks = check_budgets(usual if given is None else given)
            seeds = check_seeds(self.seeds if entry.seeds is None else entry.seeds)
            found.append(Worlds(environment, marks, seeds))
        if not found:
            raise InvalidParameter("there is nothing to run. " + " ".join(notes))
        return found, notes

    def cells(self) -> tuple[list[Cell], list[str]]:
        """The cells, those of one world together, and notes on what was left out.

        Raises:
            InvalidParameter: If a seed or a budget cannot be, or nothing is to be run.
            UnknownName: If an environment or a design is not known.
            MissingData: If an environment that is not optional lacks its data.
        """
        reference = design_spec(self.reference)
        designs = [reference, *map(design_spec, self.designs)]
        worlds, notes = self.resolve_environments()
        cells = [
            group.cell(design, seed, reference=design == reference)
            for group in worlds
            for seed in group.seeds
            for design in designs
        ]
        # What is asked for twice, or is the reference itself, is played once.
        return list({cell.key: cell for cell in cells}.values()), notes


def stated_protocol(content: object) -> int | None:
    """Read the protocol that a run's header or a bundle's manifest states, None if there is none.

    Those of version 0.1.0 state none and are of protocol 3.
    """
    stated = content.get("protocol", UNSTATED) if isinstance(content, Mapping) else None
    return stated if type(stated) is int else None


def version_for(protocol: int) -> str:
    """Name the version of pairbench that knows a protocol, and the command that installs it."""
    if protocol > PROTOCOL:
        return "a newer pairbench: pip install --upgrade pairbench"
    version = LAST_VERSIONS.get(protocol)
    if version is None:
        return "an older pairbench"
    return f"pairbench {version}: pip install pairbench=={version}"


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds without repeats.

    Raises:
        InvalidParameter: If there are none, or one is not a whole number from 0 to 2³²−1.
    """
    whole = all(isinstance(s, int | np.integer) and not isinstance(s, bool) for s in seeds)
    if len(seeds) == 0 or not whole or not all(0 <= seed < 2**32 for seed in seeds):
        raise InvalidParameter(
            f"seeds must be whole numbers, 0 or more and below 2**32, at least one; got {seeds}."
        )
    return tuple(dict.fromkeys(int(seed) for seed in seeds))
