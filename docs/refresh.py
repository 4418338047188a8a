"""Run the commands that a page quotes, and update their output: python docs/refresh.py PAGE.

In the page's console blocks, lines that begin with "$ " are commands, followed by their output.
They are run in order in a temporary folder, in which `examples/` is a link to this repository's.
Text between <!-- $ COMMAND --> and <!-- end --> is Markdown that the command printed.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {"pairbench": [sys.executable, "-m", "pairbench"], "python": [sys.executable]}
PART = re.compile(r"(?<=^<!-- \$ )(.*?)( -->\n).*?(?=^<!-- end -->$)", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`((?:designs|envs)/\w+\.py)`")
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)


def refreshed(page: str, folder: Path) -> str:
    """Return the page with the current output of its commands.

    Args:
        page: text of the page.
        folder: an empty folder to run the commands in.

    Raises:
        RuntimeError: If a command fails.
    """
    (folder / "examples").symlink_to(ROOT / "examples")

    def block(match: re.Match[str]) -> str:
        commands = [line for line in match[0].splitlines() if line.startswith("$ ")]
        return "\n".join(f"{line}\n{output(line[2:], folder)}" for line in commands)

    def part(match: re.Match[str]) -> str:
        printed = CODE.sub(r"[`\1`](../\1)", output(match[1], folder))
        return f"{match[1]}{match[2]}\n{printed}\n"

    return PART.sub(part, BLOCK.sub(block, page))


def output(command: str, folder: Path) -> str:
    """Run a command and return its output."""
    name, *arguments = shlex.split(command)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*PROGRAMS.get(name, [name]), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"$ {command}\n{done.stdout}")
    return done.stdout


def main() -> None:
    """Refresh one page."""
    path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        text = refreshed(path.read_text(encoding="utf-8"), Path(folder))
        path.write_text(text, encoding="utf-8")
        for figure in Path(folder).glob("*.svg"):
            target = path.parent / "figures" / f"{path.stem}-{figure.name}"
            if target.name in text:
                target.write_bytes(figure.read_bytes())


if __name__ == "__main__":
    main()
