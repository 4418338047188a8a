"""Commands for the data files that some environments need."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pairbench.cli.listing import print_listing
from pairbench.cli.options import Json

data_app = typer.Typer(help="Import the data files that some environments need.")


@data_app.command("import")
def data_import(
    name: Annotated[str, typer.Argument(help="Kind of data, such as alpaca-eval.")],
    path: Annotated[Path, typer.Argument(help="Your local copy of its public source.")],
) -> None:
    """Build a data file from your local copy of its public source."""
    from rich.markup import escape

    from pairbench.cli.show.terminal import say
    from pairbench.worlds import data

    say(f"reading {escape(str(path))} …")
    _print_data_file(data.build(name, path))


@data_app.command("add")
def data_add(
    file: Annotated[Path, typer.Argument(help="A built .npz file.")],
    name: Annotated[
        str | None, typer.Option(help="Kind of data.", show_default="inferred from its arrays")
    ] = None,
) -> None:
    """Add a data file that was built elsewhere."""
    from pairbench.worlds import data

    _print_data_file(data.add(file, name))


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the kinds of data, and whether each is installed."""
    from pairbench.errors import MissingData
    from pairbench.worlds import data

    def describe(name: str) -> dict[str, Any]:
        try:
            file: dict[str, Any] = vars(data.find_data_file(name))
        except MissingData:
            file = {"sha256": None}
        return {"name": name, "summary": data.datasets()[name].source, "parameters": file}

    print_listing("data", describe, list(data.datasets()), as_json)


def _print_data_file(file: Any) -> None:
    from rich.markup import escape

    from pairbench.cli.show.terminal import say
    from pairbench.worlds.data import data_folder

    say(
        f"{file.dataset}: {file.size / 2**20:.1f} MiB, SHA-256 {file.sha256[:12]}…, "
        f"now in {escape(str(data_folder()))}"
    )
