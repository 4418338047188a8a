"""Boards: standard runs, each a folder of ``leaderboards/`` with a ``board.toml``.

A board that is *published* takes entries (:mod:`pairbench.submission`), and its file never changes:
a change makes another board, with the next version in its name.
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


def parsed_seeds(text: str) -> tuple[int, ...]:
    """``"0:10"``, ``"3"`` or ``"1,2,5:8"`` as seeds; a range leaves out its end, as in Python.

    Raises:
        InvalidParameter: If the text is something else.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, colon, end = part.partition(":")
            span = range(int(first or 0), int(end)) if colon else range(int(first), int(first) + 1)
            seeds += span[:_MOST_SEEDS]
    except (ValueError, OverflowError):
        raise InvalidParameter(
            f"cannot read the seeds {text!r}. Write a range such as 0:10 (0 to 9), or 1,2,5."
        ) from None
    if len(seeds) >= _MOST_SEEDS:
        raise InvalidParameter(f"{text!r} are too many seeds; give less than {_MOST_SEEDS}.")
    return check_seeds(seeds)


def _read_seeds(value: object) -> object:
    return parsed_seeds(value) if isinstance(value, str) else value


def _read_designs(value: object) -> object:
    return _listed("all") if value == "all" else value


def _listed(design: str) -> list[str]:
    """The design, or every one that is installed, but for those that wrap another one."""
    if design != "all":
        return [design]
    return [name for name in design_names() if describe_design(name)["family"] != WRAPPER]


_VERSIONED = re.compile(r"-v\d+$")
_MOST_SEEDS = 1_000_000
Seeds = Annotated[tuple[int, ...], BeforeValidator(_read_seeds), AfterValidator(check_seeds)]
Budgets = Annotated[tuple[int, ...], AfterValidator(check_budgets)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BoardEnvironment(_Strict):
    """An environment of a board.

    Attributes:
        spec: id and parameters.
        seeds: ``"0:10"`` or a list; the board's own if not given.
        budgets: cumulative numbers of labels; the board's own if not given.
        optional: left out, with a note, where its data is missing.
    """

    spec: str
    seeds: Seeds | None = None
    budgets: Budgets | None = None
    optional: bool = False


class Testing(_Strict):
    """A part of a board that is played in seconds, to see that all of it works.

    Attributes:
        environments: some of the board's, or small ones of their kind.
        seeds: as the board's.
        budgets: as the board's.
    """

    environments: tuple[str, ...] = Field(min_length=1)
    seeds: Seeds
    budgets: Budgets


class Board(_Strict):
    """A standard run.

    Attributes:
        name: the folder's name; it does not stand in the file.
        digest: SHA-256 of what the file says, as canonical JSON (RFC 8785); likewise.
        title: one line.
        description: what it is for.
        reference: the design that label savings are measured against.
        designs: what is run besides; ``"all"`` stands for every design that is installed,
            but for those that wrap another one.
        environments: what they are run on.
        seeds: ``"0:10"`` or a list.
        budgets: cumulative numbers of labels; each environment's own if not given.
        published: the day from which on it takes entries; None where it is a study of its own.
        controls: designs that are always shown and never ranked.
        open: parameters of the environments that an entry of the open division may change; in the
            closed one, all is as it stands here.
        testing: a part that is played in seconds.
    """

    name: str
    digest: str
    title: str
    description: str
    reference: str
    designs: Annotated[tuple[str, ...], BeforeValidator(_read_designs)]
    environments: tuple[BoardEnvironment, ...] = Field(min_length=1)
    seeds: Seeds
    budgets: Budgets | None = None
    published: datetime.date | None = None
    controls: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    testing: Testing | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Board":
        if self.published is not None and not _VERSIONED.search(self.name):
            raise ValueError("the name of a published board ends in its version, as in 'name-v1'")
        return self

    def run_spec(
        self, *designs: str, testing: bool = False, changes: Mapping[str, Any] | None = None
    ) -> RunSpec:
        """What to run.

        Args:
            *designs: besides the board's own; ``"all"`` stands for every one that is installed.
            testing: only the part that is played in seconds.
            changes: parameters of the environments, as an open entry changes them.

        Raises:
            InvalidParameter: If the board has no such part, or does not leave a change open.
        """
        changes = dict(changes or {})
        if closed := sorted(changes.keys() - set(self.open)):
            left = f"It leaves open: {', '.join(self.open)}." if self.open else "It leaves none."
            raise InvalidParameter(
                f"board {self.name!r} does not leave {closed[0]!r} open to change. {left}"
            )
        environments, seeds, budgets = self.environments, self.seeds, self.budgets
        if testing:
            if self.testing is None:
                raise InvalidParameter(f"board {self.name!r} has no part for testing.")
            environments = tuple(BoardEnvironment(spec=e) for e in self.testing.environments)
            seeds, budgets = self.testing.seeds, self.testing.budgets
        further = [name for design in designs for name in _listed(design)]
        return RunSpec(
            name=self.name,
            environments=[
                RunEnvironment(e.spec, seeds=e.seeds, budgets=e.budgets, optional=e.optional)
                for e in environments
            ],
            designs=(*self.designs, *further),
            seeds=seeds,
            reference=self.reference,
            budgets=budgets,
            changes=changes,
        )


def board_names(root: Path | None = None) -> list[str]:
    """The names of all boards.

    Args:
        root: a folder of boards; those that ship with pairbench if None.
    """
    return sorted(folder.name for folder in _folders(root))


def load_board(name: str, root: Path | None = None) -> Board:
    """A board by name.

    Args:
        name: its folder's.
        root: see :func:`board_names`.

    Raises:
        UnknownBoard: If there is none of that name.
        InvalidParameter: If its file is not as it must be.
    """
    folder = board_folder(name, root)
    return read_board(name, folder.joinpath("board.toml").read_text(encoding="utf-8"))


def board_folder(name: str, root: Path | None = None) -> Traversable:
    """Where a board's file and its entries are.

    Args:
        name: the board's.
        root: see :func:`board_names`.

    Raises:
        UnknownBoard: If there is none of that name.
    """
    for folder in _folders(root):
        if folder.name == name:
            return folder
    raise unknown_name_error(UnknownBoard, "board", name, board_names(root))


def describe_board(name: str) -> dict[str, Any]:
    """Name, title, and size, for listings."""
    board = load_board(name)
    size = {
        "environments": len(board.environments),
        "designs": len({board.reference, *board.designs}),
        "seeds": len(board.seeds),
    }
    return {"name": name, "summary": board.title, "parameters": size}


def read_board(name: str, text: str) -> Board:
    """A board from the text of its ``board.toml``.

    Raises:
        InvalidParameter: If the text is not as it must be; the message names the fields.
    """
    try:
        content = tomllib.loads(text)
        if "name" in content:
            raise InvalidParameter(f"board {name!r}: name: that is the folder's, not the file's.")
        digest = hashlib.sha256(rfc8785.dumps(content)).hexdigest()
        return Board.model_validate({"name": name, "digest": digest, **content})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise InvalidParameter(f"board {name!r}: {faults}.") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidParameter(f"board {name!r} is no TOML: {error}.") from error
    except rfc8785.CanonicalizationError as error:  # a date without quotes, say
        raise InvalidParameter(f"board {name!r}: {error}. Put dates in quotes.") from error


def _folders(root: Path | None = None) -> list[Traversable]:
    found: Traversable = resources.files("pairbench.leaderboards") if root is None else root
    return [folder for folder in found.iterdir() if folder.joinpath("board.toml").is_file()]
