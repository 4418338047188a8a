"""What can be an entry of a board at all: the bundle asks for nothing but to be computed again.

A bundle is admitted if it is of a board that is installed, is called what it is, and has exactly
the cells that the board asks of its design. What its figures are worth is for
:mod:`pairbench.submission.verify` to find out.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairbench.boards.board import Board, load_board
from pairbench.boards.entry import read_entry
from pairbench.design.registry import design_details, design_spec
from pairbench.errors import (
    InvalidParameter,
    InvalidSubmission,
    MissingData,
    PairbenchError,
    UnknownBoard,
)
from pairbench.spec.loading import is_file, iter_modules
from pairbench.spec.record import Spec
from pairbench.spec.text import parse_spec
from pairbench.submission.bundle import Bundle, BundledCell, unpacked
from pairbench.submission.sandbox import Foreign
from pairbench.submission.submit import BoardCell, board_cells, entry_of, slug


@dataclass(frozen=True)
class Admitted:
    """A bundle that can be an entry.

    Attributes:
        bundle: what it says.
        digest: SHA-256 of its content.
        board: the board that it is for.
        root: the folder of boards that this one is in; None for those that ship.
        planned: the cells that the board asks for, in the order of the bundle's.
    """

    bundle: Bundle
    digest: str
    board: Board
    root: Path | None
    planned: list[BoardCell]

    @property
    def cells(self) -> list[tuple[BoardCell, BundledCell]]:
        """What is asked for, and what is claimed to have come of it."""
        return list(zip(self.planned, self.bundle.cells, strict=True))

    @property
    def environments(self) -> list[tuple[str, list[tuple[BoardCell, BundledCell]]]]:
        """The cells of each environment, by its label."""
        groups = itertools.groupby(self.cells, key=lambda pair: pair[0].label)
        return [(label, list(group)) for label, group in groups]

    @property
    def design(self) -> Foreign:
        """The design, as it is run in isolation."""
        said = self.bundle.manifest.design
        return Foreign(said.name, dict(said.params), self.bundle.source, said.control)

    @property
    def runnable(self) -> bool:
        """Whether what would be run here is the very design that was submitted."""
        said = self.bundle.manifest.design
        if self.bundle.source is not None:
            return True
        try:
            installed = design_spec(said.label)
        except PairbenchError:
            return False
        return (installed.source, installed.params) == (said.source, said.params)


def admitted(
    data: bytes, name: str, *, entry: bytes | None = None, board_root: Path | None = None
) -> Admitted:
    """A bundle, if it can be an entry.

    Args:
        data: the bytes of the bundle's file.
        name: of the file, for messages.
        entry: the bytes of its entry's file, whose figures must be the bundle's.
        board_root: a folder of boards; those that ship with pairbench if None.

    Raises:
        InvalidSubmission: If it is no bundle, not of a board that is installed here, has not
            exactly the cells that the board asks for, or the entry is another's.
        MissingData: If an environment lacks its data.
    """
    bundle, digest = unpacked(data, name)
    board = _board(bundle, name, board_root)
    found = Admitted(bundle, digest, board, board_root, checked_cells(bundle, board, name))
    if entry is not None:
        _check_entry(entry, bundle, digest)
    return found


def checked_cells(bundle: Bundle, board: Board, name: str) -> list[BoardCell]:
    """The cells that the board asks for, which must be the bundle's, in the same order.

    Args:
        bundle: the bundle.
        board: the board that it is for.
        name: of the bundle's file, for messages.

    Raises:
        InvalidSubmission: If a cell is missing, too many, or of something else.
    """
    said = bundle.manifest.design
    _check_design(bundle)
    try:
        spec = Spec(said.name, dict(said.params), said.source, said.label)
        planned = board_cells(board, spec, bundle.manifest.changes)
    except MissingData:  # of this machine
        raise
    except PairbenchError as error:
        raise InvalidSubmission(f"{name}: {error}") from error
    wanted = {one.cell.key: one for one in planned}
    there = {cell.key for cell in bundle.cells}
    for cell in bundle.cells:
        if cell.key not in wanted:
            raise InvalidSubmission(
                f"{name}: the cell of {cell.environment}, seed {cell.seed}, is none that "
                f"{board.name!r} asks of this design: it is of other seeds, budgets, parameters, "
                "another board, another source or another protocol."
            )
    if missing := [one for key, one in wanted.items() if key not in there]:
        raise InvalidSubmission(
            f"{name}: {len(missing)} of {len(planned)} cells are missing, the first that of "
            f"{missing[0].label}, seed {missing[0].cell.seed}."
        )
    for cell, one in zip(bundle.cells, planned, strict=True):
        if (cell.key, cell.environment, cell.unit, cell.seed, cell.horizon) != (
            one.cell.key,
            one.label,
            one.unit,
            one.cell.seed,
            one.horizon,
        ):
            raise InvalidSubmission(
                f"{name}: where the cell of {one.label}, seed {one.cell.seed}, should be, one "
                f"says that it is of {cell.environment}, seed {cell.seed}."
            )
        if [r.budget for r in cell.rounds] != list(one.cell.budgets):
            raise InvalidSubmission(
                f"{name}: {one.label}, seed {one.cell.seed}: the budgets must be "
                f"{', '.join(map(str, one.cell.budgets))}."
            )
    return planned


def _board(bundle: Bundle, name: str, root: Path | None) -> Board:
    said = bundle.manifest
    try:
        board = load_board(said.board, root)
    except UnknownBoard as error:
        raise InvalidSubmission(f"{name}: {error}") from error
    if board.published is None:
        raise InvalidSubmission(f"{name}: board {board.name!r} is a study and takes no entries.")
    if board.digest != said.board_digest:
        raise InvalidSubmission(
            f"{name} is for a board {board.name!r} whose board.toml says something else than the "
            "one that is installed here. Take the version of pairbench that it was made with."
        )
    return board


def _check_design(bundle: Bundle) -> None:
    """Refuse a design that is called what it is not."""
    said = bundle.manifest.design
    own = {module.name.replace("_", "-") for module in iter_modules("pairbench.designs")}
    what = f"the design {said.name!r}"
    try:
        _, given = parse_spec(said.label)
    except InvalidParameter as error:
        raise InvalidSubmission(f"{what}: its label is no spec. {error}") from error
    told = ", ".join(f"{key}={value!r}" for key, value in given.items())
    unlike = any(k not in said.params or said.params[k] != given[k] for k in given)
    if unlike or said.label != (f"{said.name}({told})" if told else said.name):
        raise InvalidSubmission(f"{what} cannot be labelled {said.label!r}.")
    changes = bundle.manifest.changes
    # What an open entry changes is told by its slug, too; JSON does not keep how it was written.
    start = slug(f"{said.label} open")
    if not (said.slug.startswith(start) if changes else said.slug == slug(said.label)):
        raise InvalidSubmission(f"{what} cannot be called {said.slug!r} in file names.")
    if bundle.source is None:
        if said.name not in own:
            raise InvalidSubmission(
                f"{what} is none that ships with pairbench, so its source must be in the bundle."
            )
        if said.control != design_details(said.name)["control"]:
            raise InvalidSubmission(f"{what}: whether it is a control is said wrongly.")
        return
    if not is_file(said.name):
        raise InvalidSubmission(f"{what} has a source, so its name must be a file's: my_design.py")
    if said.control:
        raise InvalidSubmission(f"{what}: only designs that ship with pairbench can be controls.")
    looks = {_skeleton(name): name for name in own}
    stem = said.name.partition(".py")[0]
    if (like := looks.get(_skeleton(stem))) is not None:
        raise InvalidSubmission(
            f"{what} looks like pairbench's own {like!r}. Give its file another name."
        )


def _skeleton(name: str) -> str:
    """What a name looks like at a glance; names that are easily confused have one in common."""
    text = re.sub(r"[^a-z0-9]", "", name.lower().replace("rn", "m").replace("vv", "w"))
    return text.translate(str.maketrans("015i", "olsl"))


def _check_entry(data: bytes, bundle: Bundle, digest: str) -> None:
    said, made = read_entry(data, "the entry"), entry_of(bundle, digest)
    if said.bundle != digest:
        raise InvalidSubmission(
            f"the entry is of another bundle: it names {said.bundle[:12]}…, and this one is "
            f"{digest[:12]}…."
        )
    one, other = said.content(), made.content()
    one.pop("verification", None)
    if unlike := _place(one, other):
        raise InvalidSubmission(f"the entry's {unlike} is not what its bundle comes to.")


def _place(one: Any, other: Any, name: str = "") -> str | None:
    """Where two values differ, None if nowhere."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        parts = [(f"{name}.{key}" if name else key, one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [(f"{name}[{i}]", x, y) for i, (x, y) in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else name or "form"
    return next((found for n, x, y in parts if (found := _place(x, y, n))), None)
