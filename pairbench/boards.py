"""Boards: standard runs, each a folder of ``leaderboards/`` with a ``board.toml``."""

import tomllib
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from pairbench.catalogue import WRAPPER
from pairbench.env import checked_budgets
from pairbench.errors import InvalidParameter, UnknownBoard, unknown
from pairbench.harness.plan import Entry, RunSpec, checked_seeds
from pairbench.registry import describe_design, design_names


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
    return checked_seeds(seeds)


def parsed_budgets(text: str) -> tuple[int, ...]:
    """``"50,100,200"`` as a schedule.

    Raises:
        InvalidParameter: If the text is something else, or the numbers do not grow.
    """
    try:
        budgets = [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidParameter(
            f"cannot read the budgets {text!r}. Write whole numbers that grow: 50,100,200."
        ) from None
    return checked_budgets(budgets)


def _read_seeds(value: object) -> object:
    return parsed_seeds(value) if isinstance(value, str) else value


def _read_designs(value: object) -> object:
    if value != "all":
        return value
    return [name for name in design_names() if describe_design(name)["family"] != WRAPPER]


_MOST_SEEDS = 1_000_000
Seeds = Annotated[tuple[int, ...], BeforeValidator(_read_seeds), AfterValidator(checked_seeds)]
Budgets = Annotated[tuple[int, ...], AfterValidator(checked_budgets)]


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


class Board(_Strict):
    """A standard run.

    Attributes:
        name: the folder's name; it does not stand in the file.
        title: one line.
        description: what it is for.
        reference: the design that label savings are measured against.
        designs: what is run besides; ``"all"`` stands for every design that is installed,
            but for those that wrap another one.
        environments: what they are run on.
        seeds: ``"0:10"`` or a list.
        budgets: cumulative numbers of labels; each environment's own if not given.
    """

    name: str
    title: str
    description: str
    reference: str
    designs: Annotated[tuple[str, ...], BeforeValidator(_read_designs)]
    environments: tuple[BoardEnvironment, ...] = Field(min_length=1)
    seeds: Seeds
    budgets: Budgets | None = None

    def run_spec(self, *designs: str) -> RunSpec:
        """What to run, with further designs."""
        entries = [
            Entry(e.spec, seeds=e.seeds, budgets=e.budgets, optional=e.optional)
            for e in self.environments
        ]
        return RunSpec(
            name=self.name,
            environments=entries,
            designs=(*self.designs, *designs),
            seeds=self.seeds,
            reference=self.reference,
            budgets=self.budgets,
        )


def board_names() -> list[str]:
    """The names of all boards."""
    return sorted(folder.name for folder in _folders())


def load_board(name: str) -> Board:
    """A board by name.

    Raises:
        UnknownBoard: If there is none of that name.
        InvalidParameter: If its file is not as it must be.
    """
    for folder in _folders():
        if folder.name == name:
            return read_board(name, folder.joinpath("board.toml").read_text(encoding="utf-8"))
    raise unknown(UnknownBoard, "board", name, board_names())


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
        return Board.model_validate({"name": name, **content})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise InvalidParameter(f"board {name!r}: {faults}.") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidParameter(f"board {name!r} is no TOML: {error}.") from error


def _folders() -> list[Traversable]:
    root = resources.files("pairbench.leaderboards")
    return [folder for folder in root.iterdir() if folder.joinpath("board.toml").is_file()]
