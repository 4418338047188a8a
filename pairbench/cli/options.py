"""Options that several commands share, and the functions that read their texts."""

import ast
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairbench.errors import InvalidParameter

if TYPE_CHECKING:
    from pairbench.cells.plan import RunSpec

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Markdown = Annotated[
    bool, typer.Option("--markdown", help="Print the full documentation as Markdown.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
Jobs = Annotated[
    int | None, typer.Option(help="Number of worker processes.", show_default="the CPU cores")
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device of the language models, e.g. cpu, cuda or cuda:1.",
        show_default="a GPU if available",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="Floating-point type of the language models: float32, bfloat16, float16 or float64.",
        show_default="bfloat16 on a GPU, else float32",
    ),
]


def set_device(device: str | None, dtype: str | None) -> None:
    """Set device and dtype of language models, for this process and its workers.

    Raises:
        InvalidParameter: If one of them is unknown or not available.
    """
    import os

    from pairbench.language.checkpoints import (
        DEVICE_VARIABLE,
        DTYPE_VARIABLE,
        resolve_device,
        resolve_dtype,
    )

    if dtype is not None:
        os.environ[DTYPE_VARIABLE] = resolve_dtype(dtype)
    if device is not None:  # torch takes a second to load
        os.environ[DEVICE_VARIABLE] = resolve_device(device)


def parse_budgets(text: str) -> tuple[int, ...]:
    """Parse a schedule of budgets, such as ``"50,100,200"``.

    Raises:
        InvalidParameter: If a part is no integer, or the integers do not increase.
    """
    from pairbench.view.budget import check_budgets

    try:
        budgets = [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidParameter(
            f"cannot read the budgets {text!r}. Write increasing integers: 50,100,200."
        ) from None
    return check_budgets(budgets)


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """Parse parameter changes, such as ``["trainer=ipo", "ridge=0.5"]``.

    A value that is no Python literal is taken as a string.

    Raises:
        InvalidParameter: If a text has no equals sign, or two texts set the same parameter.
    """
    changes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name.isidentifier() and equals and value) or name in changes:
            raise InvalidParameter(
                f"cannot read the change {text!r}. Write each parameter once, as in trainer=ipo."
            )
        try:
            changes[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            changes[name] = value
    return changes


def run_spec(
    board: str | None,
    *,
    env: Sequence[str] | None = None,
    design: Sequence[str] | None = None,
    annotator: Sequence[str] | None = None,
    seeds: str | None = None,
    budgets: str | None = None,
    reference: str | None = None,
    testing: bool = False,
    change: Sequence[str] | None = None,
) -> "RunSpec":
    """Build the specification of a run from the options of ``pairbench run``.

    Args:
        board: name of a board, or None for a run of ``env``.
        env: specs of environments.
        design: specs of designs, besides the board's own.
        annotator: stages of the annotator model, in order.
        seeds: seeds of the worlds, such as ``"0:10"``.
        budgets: schedule, such as ``"50,100,200"``.
        reference: spec of the reference design.
        testing: whether to run the board's quick subset.
        change: parameter changes of a board's open division, such as ``"trainer=ipo"``.

    Raises:
        InvalidParameter: If the options contradict each other, or one cannot be read.
    """
    if board is not None:
        fixed_by_board = {
            "--env": env,
            "--annotator": annotator,
            "--seeds": seeds,
            "--budgets": budgets,
            "--reference": reference,
        }
        return _board_spec(board, design or (), fixed_by_board, testing, change or ())
    if not env:
        raise InvalidParameter(
            "nothing to run. Name a board (`pairbench run quickstart`) or an environment (--env)."
        )
    if testing or change:
        raise InvalidParameter(
            "--testing and --change need a board. Write parameters in the environment's spec: "
            "--env \"ID(trainer='ipo')\"."
        )
    from pairbench.boards.board import parse_seeds
    from pairbench.cells.plan import RunSpec
    from pairbench.oracles.annotators import join_stages

    return RunSpec(
        name="custom",
        environments=env,
        designs=design or (),
        seeds=parse_seeds("0:10" if seeds is None else seeds),
        reference="uniform" if reference is None else reference,
        budgets=None if budgets is None else parse_budgets(budgets),
        changes={"annotator": join_stages(annotator)} if annotator else {},
    )


def _board_spec(
    board: str,
    designs: Sequence[str],
    fixed_by_board: dict[str, Any],
    testing: bool,
    change: Sequence[str],
) -> "RunSpec":
    from pairbench.boards.board import load_board

    for option, value in fixed_by_board.items():
        if value is not None:
            raise InvalidParameter(
                f"a board fixes its own settings, so {option} cannot be combined with one. "
                "Leave it out, or name environments with --env instead of a board."
            )
    return load_board(board).run_spec(*designs, testing=testing, changes=parse_changes(change))
