"""Admission of bundles: the checks that need no recomputation.

A bundle is admitted if its board is installed, its design's names are consistent, and it has
exactly the cells that the board requires of that design. Whether its figures are true is checked
by :mod:`pairbench.submission.verify`.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairbench.boards.board import Board, load_board
from pairbench.boards.entry import SubmittedDesign, read_entry
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
from pairbench.submission.bundle import Bundle, BundledCell, unpack_bundle
from pairbench.submission.sandbox import UntrustedDesign
from pairbench.submission.submit import BoardCell, board_cells, entry_from_bundle, make_slug


@dataclass(frozen=True)
class AdmittedBundle:
    """A bundle that satisfies all requirements of its board, with figures not yet verified.

    Attributes:
        bundle: content of the bundle.
        digest: SHA-256 of the content.
        board: board that the bundle is for.
        board_root: folder of boards that contains the board; None for boards that ship with
            pairbench.
        board_cells: cells that the board requires, in the order of the bundle's.
    """

    bundle: Bundle
    digest: str
    board: Board
    board_root: Path | None
    board_cells: list[BoardCell]

    @property
    def cells(self) -> list[tuple[BoardCell, BundledCell]]:
        """Pairs of a required cell and its claimed results."""
        return list(zip(self.board_cells, self.bundle.cells, strict=True))

    @property
    def environments(self) -> list[tuple[str, list[tuple[BoardCell, BundledCell]]]]:
        """Labels of the environments, each with its cells."""
        groups = itertools.groupby(self.cells, key=lambda pair: pair[0].label)
        return [(label, list(group)) for label, group in groups]

    @property
    def design(self) -> UntrustedDesign:
        """The design in the form in which the sandbox runs it."""
        design = self.bundle.manifest.design
        return UntrustedDesign(design.name, dict(design.params), self.bundle.source, design.control)

    @property
    def runnable(self) -> bool:
        """Whether the design that would run on this machine is the one that was submitted."""
        submitted = self.bundle.manifest.design
        if self.bundle.source is not None:
            return True
        try:
            installed = design_spec(submitted.label)
        except PairbenchError:
            return False
        return (installed.source, installed.params) == (submitted.source, submitted.params)


def admit_bundle(
    data: bytes, name: str, *, entry: bytes | None = None, board_root: Path | None = None
) -> AdmittedBundle:
    """Read a bundle and check that it can be an entry of its board.

    Args:
        data: content of the bundle's file.
        name: name of the file, for messages.
        entry: content of the entry's file, whose figures must be those of the bundle.
        board_root: folder of boards; None for the boards that ship with pairbench.

    Raises:
        InvalidSubmission: If the file is not a bundle, its board is not installed here, its cells
            are not exactly those that the board requires, or the entry is of another bundle.
        MissingData: If an environment lacks its data.
    """
    bundle, digest = unpack_bundle(data, name)
    board = _load_board(bundle, name, board_root)
    admitted_bundle = AdmittedBundle(
        bundle, digest, board, board_root, check_cells(bundle, board, name)
    )
    if entry is not None:
        _check_entry(entry, bundle, digest)
    return admitted_bundle


def check_cells(bundle: Bundle, board: Board, name: str) -> list[BoardCell]:
    """Check that a bundle has exactly the cells that the board requires, and return these.

    Args:
        bundle: the bundle.
        board: board that the bundle is for.
        name: name of the bundle's file, for messages.

    Returns:
        The required cells, in the order of the bundle's.

    Raises:
        InvalidSubmission: If a cell is missing, superfluous, out of order, or contradicts itself.
        MissingData: If an environment lacks its data.
    """
    _check_design(bundle)
    required = _required_cells(bundle, board, name)
    _check_keys(bundle.cells, required, board, name)
    for claimed, cell in zip(bundle.cells, required, strict=True):
        _check_fields(claimed, cell, name)
    return required


def _required_cells(bundle: Bundle, board: Board, name: str) -> list[BoardCell]:
    """Derive the cells that the board requires of the bundle's design."""
    design = bundle.manifest.design
    try:
        spec = Spec(design.name, dict(design.params), design.source, design.label)
        return board_cells(board, spec, bundle.manifest.changes)
    except MissingData:  # a fault of this machine, not of the bundle
        raise
    except PairbenchError as error:
        raise InvalidSubmission(f"{name}: {error}") from error


def _check_keys(
    claimed: Sequence[BundledCell], required: Sequence[BoardCell], board: Board, name: str
) -> None:
    """Check that the bundle has all cells that are required and no others, in any order."""
    required_keys = {cell.cell.key for cell in required}
    claimed_keys = {cell.key for cell in claimed}
    for cell in claimed:
        if cell.key not in required_keys:
            raise InvalidSubmission(
                f"{name}: the cell of {cell.environment}, seed {cell.seed}, is none that "
                f"{board.name!r} asks of this design: it is of other seeds, budgets, parameters, "
                "another board, another source or another protocol."
            )
    if missing := [cell for cell in required if cell.cell.key not in claimed_keys]:
        raise InvalidSubmission(
            f"{name}: {len(missing)} of {len(required)} cells are missing, the first that of "
            f"{missing[0].label}, seed {missing[0].cell.seed}."
        )


def _check_fields(claimed: BundledCell, required: BoardCell, name: str) -> None:
    """Check that a bundled cell is at its position, and that its fields are those of its key."""
    label, cell = required.label, required.cell
    expected = (cell.key, label, required.unit, cell.seed, required.horizon)
    fields = (claimed.key, claimed.environment, claimed.unit, claimed.seed, claimed.horizon)
    if fields != expected:
        raise InvalidSubmission(
            f"{name}: where the cell of {label}, seed {cell.seed}, should be, one says that it is "
            f"of {claimed.environment}, seed {claimed.seed}."
        )
    budgets = [r.budget for r in claimed.rounds]
    if budgets != list(cell.budgets):
        raise InvalidSubmission(
            f"{name}: {label}, seed {cell.seed}: the budgets must be "
            f"{', '.join(map(str, cell.budgets))}, got {', '.join(map(str, budgets))}."
        )


def _load_board(bundle: Bundle, name: str, root: Path | None) -> Board:
    """Load the board that a bundle names, and check that it is the same version of it."""
    manifest = bundle.manifest
    try:
        board = load_board(manifest.board, root)
    except UnknownBoard as error:
        raise InvalidSubmission(f"{name}: {error}") from error
    if board.published is None:
        raise InvalidSubmission(f"{name}: board {board.name!r} is a study and takes no entries.")
    if board.digest != manifest.board_digest:
        raise InvalidSubmission(
            f"{name} is for a board {board.name!r} whose board.toml says something else than the "
            "one that is installed here. Take the version of pairbench that it was made with."
        )
    return board


def _check_design(bundle: Bundle) -> None:
    """Refuse a design whose names mislead about what it is."""
    design = bundle.manifest.design
    _check_label(design)
    _check_slug(design, bundle.manifest.changes)
    installed = {module.name.replace("_", "-") for module in iter_modules("pairbench.designs")}
    subject = f"the design {design.name!r}"
    if bundle.source is None:
        if design.name not in installed:
            raise InvalidSubmission(
                f"{subject} is none that ships with pairbench, so its source must be in the bundle."
            )
        control = design_details(design.name)["control"]
        if design.control != control:
            raise InvalidSubmission(
                f"{subject}: control is {design.control}, where the design that ships with "
                f"pairbench has {control}."
            )
        return
    if not is_file(design.name):
        raise InvalidSubmission(
            f"{subject} has a source, so its name must be a file's: my_design.py"
        )
    if design.control:
        raise InvalidSubmission(
            f"{subject}: only designs that ship with pairbench can be controls."
        )
    by_skeleton = {_skeleton(name): name for name in installed}
    stem = design.name.partition(".py")[0]
    if (lookalike := by_skeleton.get(_skeleton(stem))) is not None:
        raise InvalidSubmission(
            f"{subject} looks like pairbench's own {lookalike!r}. Give its file another name."
        )


def _check_label(design: SubmittedDesign) -> None:
    """Check that a design's label consists of its name and some of its parameters."""
    subject = f"the design {design.name!r}"
    try:
        _, label_params = parse_spec(design.label)
    except InvalidParameter as error:
        raise InvalidSubmission(f"{subject}: its label is no spec. {error}") from error
    arguments = ", ".join(f"{key}={value!r}" for key, value in label_params.items())
    differs = any(
        key not in design.params or design.params[key] != value
        for key, value in label_params.items()
    )
    if differs or design.label != (f"{design.name}({arguments})" if arguments else design.name):
        raise InvalidSubmission(f"{subject} cannot be labelled {design.label!r}.")


def _check_slug(design: SubmittedDesign, changes: Mapping[str, Any]) -> None:
    """Check that a design's name in file names follows from its label."""
    # The slug of an open entry also names its changes, of which only the head can be derived:
    # JSON does not keep how a number was written.
    head = make_slug(f"{design.label} open")
    valid = design.slug.startswith(head) if changes else design.slug == make_slug(design.label)
    if not valid:
        raise InvalidSubmission(
            f"the design {design.name!r} cannot be called {design.slug!r} in file names."
        )


def _skeleton(name: str) -> str:
    """Map a name to its visual skeleton, which names that are easily confused share."""
    text = re.sub(r"[^a-z0-9]", "", name.lower().replace("rn", "m").replace("vv", "w"))
    return text.translate(str.maketrans("015i", "olsl"))


def _check_entry(data: bytes, bundle: Bundle, digest: str) -> None:
    """Check that an entry is the one that follows from the bundle, but for its verification."""
    entry, expected = read_entry(data, "the entry"), entry_from_bundle(bundle, digest)
    if entry.bundle != digest:
        raise InvalidSubmission(
            f"the entry is of another bundle: it names {entry.bundle[:12]}…, and this one is "
            f"{digest[:12]}…."
        )
    content = entry.content()
    content.pop("verification", None)
    if path := _differing_path(content, expected.content()):
        raise InvalidSubmission(f"the entry's {path} is not what its bundle comes to.")


def _differing_path(left: Any, right: Any, path: str = "") -> str | None:
    """Find the path of the first value in which two JSON values differ, None if they are equal."""
    if isinstance(left, Mapping) and isinstance(right, Mapping) and left.keys() == right.keys():
        items = [(f"{path}.{key}" if path else key, left[key], right[key]) for key in left]
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        items = [(f"{path}[{i}]", x, y) for i, (x, y) in enumerate(zip(left, right, strict=True))]
    else:
        return None if left == right else path or "form"
    paths = (_differing_path(x, y, item_path) for item_path, x, y in items)
    return next((differing for differing in paths if differing is not None), None)
