"""What the README shows runs as it is shown."""

import re
from pathlib import Path

import pytest

from pairbench import play


def readme(root: Path) -> str:
    return (root / "README.md").read_text()


def blocks(root: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme(root), re.DOTALL)


def test_the_design_is_the_one_in_the_examples(root: Path) -> None:
    example = (root / "examples" / "my_design.py").read_text()
    _, _, code = example.partition("import numpy")
    assert blocks(root)[0] == "import numpy" + code


def test_the_design_plays(root: Path) -> None:
    example = str(root / "examples" / "my_design.py")
    episode = play("pairbench/LogLinear-v1(missing=0.3)", f"{example}(spread=2.0)", 0, (20, 40))
    assert [len(round_.pairs) for round_ in episode.rounds] == [20, 20]


@pytest.mark.parametrize("number", [1, 2])
def test_the_code_runs(root: Path, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks(root)[number], "README.md", "exec"), {})
    assert number == 2 or len(capsys.readouterr().out.split(",")) == 5


def test_the_set_up_is_the_one_that_is_checked(root: Path) -> None:
    first, second = re.findall(r"^    (pip install .*?|pytest.*?) +#", readme(root), re.MULTILINE)
    checks = (root / ".ci" / "run").read_text().splitlines()
    assert first in checks
    assert second in checks
