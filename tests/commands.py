"""The commands of the command line, walked as a tree."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from pairbench.cli.app import app


def commands() -> dict[str, Any]:
    """Every command and group of commands by its words, with the program itself as ``""``."""

    def walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield words, command
        for name, sub in getattr(command, "commands", {}).items():
            yield from walk(f"{words} {name}".strip(), sub)

    return dict(walk("", get_command(app)))
