"""Boards: standard runs, each defined by a ``board.toml`` in a folder of ``leaderboards/``.

A *published* board accepts entries (:mod:`pairbench.submission`), and its file never changes: a
change makes another board, with the next version in its name.
"""

import datetime
import hashlib
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import rfc8785
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from pairbench.cells.plan import RunEnvironment, RunSpec, check_seeds
from pairbench.design.registry import describe_design, design_names
from pairbench.errors import InvalidParameter, UnknownBoard, unknown_name_error
from pairbench.spec.catalogue import WRAPPER
from pairbench.view.budget import check_budgets


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse seeds such as ``"0:10"``, ``"3"`` or ``"1,2,5:8"``.

    Args:
        text: numbers and ranges, separated by commas; a range excludes its end, as in Python.

    Raises:
        InvalidParameter: If the text has another form, or the seeds are too many or out of range.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, colon, end = part.partition(":")
            span = range(int(first or 0), int(end)) if colon else range(int(first), int(first) + 1)
            seeds += span[:_MAX_SEEDS]  # so that a huge range is never written out
    except (ValueError, OverflowError):
        raise InvalidParameter(
            f"cannot read the seeds {text!r}. Write a range such as 0:10 (0 to 9), or 1,2,5."
        ) from None
    if len(seeds) >= _MAX_SEEDS:
        raise InvalidParameter(
            f"{text!r} has too many seeds. Give fewer than {_MAX_SEEDS:,}, such as 0:10."
        )
    return check_seeds(seeds)


def _seeds_from_text(value: object) -> object:
    return parse_seeds(value) if isinstance(value, str) else value


def _designs_from_text(value: object) -> object:
    return _expand_all("all") if value == "all" else value


def _expand_all(design: str) -> list[str]:
    """Expand ``"all"`` to every installed design that wraps no other one."""
    if design != "all":
        return [design]
    return [name for name in design_names() if describe_design(name)["family"] != WRAPPER]


_VERSION_SUFFIX = re.compile(r"-v\d+$")
_MAX_SEEDS = 1_000_000
Seeds = Annotated[tuple[int, ...], BeforeValidator(_seeds_from_text), AfterValidator(check_seeds)]
Budgets = Annotated[tuple[int, ...], AfterValidator(check_budgets)]


class _BoardModel(BaseModel):
    """Immutable part of a board's file, which refuses fields that it does not declare."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BoardEnvironment(_BoardModel):
    """Environment of a board.

    Attributes:
        spec: id of the environment and its parameters.
        seeds: seeds, in the file as ``"0:10"`` or as a list; the board's if None.
        budgets: cumulative budgets, in labels or money; the board's if None.
        optional: whether the environment is left out, with a note, where its data is missing.
    """

    spec: str
    seeds: Seeds | None = None
    budgets: Budgets | None = None
    optional: bool = False


class QuickSubset(_BoardModel):
    """Quick subset of a board, a run of a few seconds that shows whether a design works on it.

    Attributes:
        environments: specs of some environments of the board, or of small ones of their kind.
        seeds: seeds, in the file as ``"0:10"`` or as a list.
        budgets: cumulative budgets, in labels or money.
    """

    environments: tuple[str, ...] = Field(min_length=1)
    seeds: Seeds
    budgets: Budgets


class Board(_BoardModel):
    """Standard run, whose results can be compared and published.

    Attributes:
        name: name of the board's folder; not a field of the file.
        digest: SHA-256 of the file's content as canonical JSON (RFC 8785); not a field of the file.
        title: one line.
        description: purpose of the board.
        reference: spec of the design that label savings are measured against.
        designs: specs of the other designs to run; in the file, ``"all"`` stands for every
            installed design that wraps no other one.
        environments: environments that the designs are run on.
        seeds: seeds, in the file as ``"0:10"`` or as a list.
        budgets: cumulative budgets, in labels or money; each environment's default if None.
        published: day from which the board accepts entries; None for a study without entries.
        controls: designs that are always listed and never ranked.
        open: parameters of the environments that an entry of the open division may change; an
            entry of the closed division changes none.
        testing: quick subset, which runs in seconds; None if the board has none.
    """

    name: str
    digest: str
    title: str
    description: str
    reference: str
    designs: Annotated[tuple[str, ...], BeforeValidator(_designs_from_text)]
    environments: tuple[BoardEnvironment, ...] = Field(min_length=1)
    seeds: Seeds
    budgets: Budgets | None = None
    published: datetime.date | None = None
    controls: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    testing: QuickSubset | None = None

    @model_validator(mode="after")
    def _check_version(self) -> "Board":
        if self.published is not None and not _VERSION_SUFFIX.search(self.name):
            raise ValueError("the name of a published board ends in its version, as in 'name-v1'")
        return self

    def run_spec(
        self, *designs: str, testing: bool = False, changes: Mapping[str, Any] | None = None
    ) -> RunSpec:
        """Return the settings of a run of the board.

        Args:
            *designs: specs of designs to run besides the board's; ``"all"`` stands for every
                installed design that wraps no other one.
            testing: whether to run only the quick subset.
            changes: values of environment parameters that an entry of the open division changes.

        Raises:
            InvalidParameter: If the board has no quick subset, or does not leave a parameter open
                to change.
        """
        changes = dict(changes or {})
        self._check_open(changes)
        environments, seeds, budgets = self.environments, self.seeds, self.budgets
        if testing:
            subset = self._quick_subset()
            environments = tuple(BoardEnvironment(spec=e) for e in subset.environments)
            seeds, budgets = subset.seeds, subset.budgets
        added = [name for design in designs for name in _expand_all(design)]
        return RunSpec(
            name=self.name,
            environments=[
                RunEnvironment(e.spec, seeds=e.seeds, budgets=e.budgets, optional=e.optional)
                for e in environments
            ],
            designs=(*self.designs, *added),
            seeds=seeds,
            reference=self.reference,
            budgets=budgets,
            changes=changes,
        )

    def _check_open(self, changes: Mapping[str, Any]) -> None:
        """Raise if the board does not leave a parameter open to change."""
        if closed := sorted(changes.keys() - set(self.open)):
            open_ = f"It leaves open: {', '.join(self.open)}." if self.open else "It leaves none."
            raise InvalidParameter(
                f"board {self.name!r} does not leave {closed[0]!r} open to change. {open_}"
            )

    def _quick_subset(self) -> QuickSubset:
        if self.testing is None:
            raise InvalidParameter(
                f"board {self.name!r} has no [testing] table in its board.toml, which defines its "
                "quick subset. Run the whole board, without --testing."
            )
        return self.testing


def board_names(root: Path | None = None) -> list[str]:
    """List the names of all boards, sorted.

    Args:
        root: folder of boards; the one that ships with pairbench if None.
    """
    return sorted(folder.name for folder in _folders(root))


def load_board(name: str, root: Path | None = None) -> Board:
    """Load a board by name.

    Args:
        name: name of the board.
        root: folder of boards; the one that ships with pairbench if None.

    Raises:
        UnknownBoard: If no board has that name.
        InvalidParameter: If the board's file is malformed.
    """
    folder = board_folder(name, root)
    return read_board(name, folder.joinpath("board.toml").read_text(encoding="utf-8"))


def board_folder(name: str, root: Path | None = None) -> Traversable:
    """Return the folder of a board's file and entries.

    Args:
        name: name of the board.
        root: folder of boards; the one that ships with pairbench if None.

    Raises:
        UnknownBoard: If no board has that name.
    """
    for folder in _folders(root):
        if folder.name == name:
            return folder
    raise unknown_name_error(UnknownBoard, "board", name, board_names(root))


def describe_board(name: str) -> dict[str, Any]:
    """Return a board's name, title and size, for listings."""
    board = load_board(name)
    size = {
        "environments": len(board.environments),
        "designs": len({board.reference, *board.designs}),
        "seeds": len(board.seeds),
    }
    return {"name": name, "summary": board.title, "parameters": size}


def read_board(name: str, text: str) -> Board:
    """Parse the text of a ``board.toml``.

    Args:
        name: name of the board.
        text: content of the file.

    Raises:
        InvalidParameter: If the text is malformed; the message names the fields.
    """
    try:
        content = tomllib.loads(text)
        if "name" in content:
            raise InvalidParameter(
                f"board {name!r}: name: a board has the name of its folder. Remove the field."
            )
        digest = hashlib.sha256(rfc8785.dumps(content)).hexdigest()
        return Board.model_validate({"name": name, "digest": digest, **content})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise InvalidParameter(f"board {name!r}: {problems}.") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidParameter(f"board {name!r}: board.toml is not valid TOML: {error}.") from error
    except rfc8785.CanonicalizationError as error:  # such as a date without quotes
        raise InvalidParameter(f"board {name!r}: {error}. Put dates in quotes.") from error


def _folders(root: Path | None = None) -> list[Traversable]:
    parent: Traversable = resources.files("pairbench.leaderboards") if root is None else root
    return [folder for folder in parent.iterdir() if folder.joinpath("board.toml").is_file()]
