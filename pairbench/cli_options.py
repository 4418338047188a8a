"""Options that several commands have."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")]
Device = Annotated[
    str | None,
    typer.Option(help="Where language models run: cpu, cuda, cuda:1. [default: a GPU if there]"),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="Numbers that they compute in: float32, bfloat16, float16, float64. "
        "[default: bfloat16 on a GPU, else float32]"
    ),
]


def use(device: str | None, dtype: str | None) -> None:
    """Have models run there, in this process and in those that it starts."""
    import os

    from pairbench.language.checkpoints import DEVICE, DTYPE, checked_device, checked_dtype

    if dtype is not None:
        os.environ[DTYPE] = checked_dtype(dtype)
    if device is not None:  # torch takes a second to load
        os.environ[DEVICE] = checked_device(device)
