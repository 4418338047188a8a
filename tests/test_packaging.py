"""What is built is what is in the tree, and works alone; the engine names no content."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from pairbench.boards.board import board_names
from pairbench.design.registry import design_names
from pairbench.worlds.registry import environment_ids

CONTENT = ("envs", "designs", "leaderboards")


def tree(root: Path) -> list[str]:
    """The files of the source: tracked ones, and new ones that git does not ignore."""
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    names = done.stdout.decode().split("\0")
    return sorted({name for name in names if name and (root / name).is_file()})


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tree(root):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, folder / "source" / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ".", *options, "-w", str(folder)],
        cwd=folder / "source",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(wheel)],
        capture_output=True,
        check=True,
    )
    return target


def test_the_wheel_holds_the_files_of_the_tree_and_nothing_else(root: Path, wheel: Path) -> None:
    expected = set()
    for name in tree(root):
        top = name.partition("/")[0]
        if top == "pairbench":
            expected.add(name)
        elif top in CONTENT:
            expected.add(f"pairbench/{name}")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    (info,) = {name.partition("/")[0] for name in packed if ".dist-info/" in name}
    assert {name for name in packed if not name.startswith(info)} == expected
    assert {"pairbench/py.typed", "pairbench/leaderboards/quickstart/board.toml"} <= expected
    assert {f"pairbench/{part}/__init__.py" for part in CONTENT} <= expected
    assert f"{info}/licenses/LICENSE" in packed


def test_the_wheel_holds_the_files_byte_for_byte(root: Path, wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    for name in archive.namelist():
        if ".dist-info/" not in name:
            source = root / name
            if name.split("/")[1] in CONTENT:
                source = root / name.removeprefix("pairbench/")
            assert archive.read(name) == source.read_bytes(), name


def test_the_wheel_says_what_it_needs(root: Path, wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
    (entries,) = [n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt")]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    text = archive.read(metadata).decode()
    needed = re.findall(r"^Requires-Dist: ([A-Za-z0-9_.-]+)", text, re.MULTILINE)
    for requirement in project["dependencies"]:
        assert re.split(r"[^A-Za-z0-9_.-]", requirement)[0] in needed
    assert "Requires-Python: >=3.11" in text
    assert "License-Expression: Apache-2.0" in text
    assert "pairbench = pairbench.cli.app:main" in archive.read(entries).decode()


def in_target(installed: Path, cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_package_is_found_outside_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "import pairbench; from pairbench.design.registry import design_names;"
        "from pairbench.worlds.registry import environment_ids; print(pairbench.__file__);"
        "print(list(pairbench.__path__)); print(design_names()); print(environment_ids())"
    )
    done = in_target(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    where, path, designs, environments = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed)
    assert ast.literal_eval(path) == [str(installed / "pairbench")]
    assert ast.literal_eval(designs) == design_names()
    assert ast.literal_eval(environments) == environment_ids()


@pytest.mark.slow
def test_the_installed_package_runs_the_quickstart_outside_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    arguments = ["run", "quickstart", "--out", str(tmp_path / "run")]
    done = in_target(installed, tmp_path, "-m", "pairbench", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    table = re.findall(r"^ +\d+=? +([a-z-]+) +\d\.\d{4} ", done.stdout, re.MULTILINE)
    assert {"uniform", "i-optimal", "greedy-i-robust"} <= set(table)
    (figure,) = re.findall(r"^figure: (\S+) and", done.stdout, re.MULTILINE)
    assert Path(figure).read_text().startswith("<?xml")
    shown = in_target(
        installed, tmp_path, "-c", "import pairbench; print(pairbench.__file__)"
    ).stdout.strip()
    assert Path(shown).is_relative_to(installed)


# -- metadata ------------------------------------------------------------------------------------


def constraints(root: Path) -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in (root / "constraints.txt").open()]
    pins = dict(line.split("==") for line in lines if line)
    return {name.lower().replace("_", "-"): version for name, version in pins.items()}


def requirements(root: Path) -> dict[str, str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    asked = list(project["dependencies"])
    for extra in ("llm", "parquet", "plots", "test"):
        asked += project["optional-dependencies"][extra]
    found = {}
    for text in asked:
        name, sign, rest = re.match(
            r"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?([<>=!~]*)(.*)", text
        ).groups()  # type: ignore[union-attr]
        found[name.lower()] = sign + rest
    return found


def test_torch_is_uncapped_in_the_metadata_and_pinned_in_the_constraints(root: Path) -> None:
    assert re.fullmatch(r">=[\d.]+", requirements(root)["torch"])
    assert constraints(root)["torch"] == "2.13.0"


def test_no_requirement_is_capped_and_all_are_pinned_where_it_is_tested(root: Path) -> None:
    pins = constraints(root)
    for name, bound in requirements(root).items():
        if name != "pairbench":
            assert re.fullmatch(r">=[\d.]+", bound), name
            least = [int(part) for part in bound[2:].split(".")]
            assert [int(part) for part in pins[name].split(".")[: len(least)]] >= least, name


def test_every_package_folder_is_in_the_list_of_packages(root: Path) -> None:
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [Path(name).parent for name in tree(root) if name.endswith("/__init__.py")]
    folders = {".".join(folder.parts) for folder in inits if folder.parts[0] == "pairbench"}
    folders |= {f"pairbench.{'.'.join(f.parts)}" for f in inits if f.parts[0] in CONTENT}
    assert set(listed) == folders


def test_the_version_is_the_same_everywhere(root: Path) -> None:
    import pairbench

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["version"] == pairbench.__version__


# -- the engine knows no content by name ---------------------------------------------------------

# The command line says how to begin, and what the usual reference and the usual design are.
ALLOWED = {("pairbench/cli/options.py", name) for name in ("uniform", "quickstart")}
ALLOWED |= {("pairbench/cli/app.py", "quickstart"), ("pairbench/cli/run.py", "uniform")}
ALLOWED |= {("pairbench/cli/annotation.py", "greedy-i-robust")}
# "ids" is a word for identifiers, too.
ALLOWED |= {(f"pairbench/{f}.py", "ids") for f in ("cli/show/annotation", "annotation/exchange")}
ALLOWED |= {
    ("pairbench/spec/catalogue.py", "uncertainty")
}  # a family is called like one of its designs


def docstrings(module: ast.Module) -> set[int]:
    """The ids of all nodes that are docstrings, those of attributes included."""
    return {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}


def strings(path: Path) -> list[str]:
    """The texts in a file that are not documentation."""
    module = ast.parse(path.read_text())
    documentation = docstrings(module)
    return [
        node.value
        for node in ast.walk(module)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation
    ]


def test_the_engine_knows_no_design_environment_or_board_by_name(root: Path) -> None:
    names = [*design_names(), *board_names()]
    names += [part for id_ in environment_ids() for part in {id_, id_.split("/")[-1]}]
    patterns = {name: re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])") for name in names}
    files = sorted((root / "pairbench").rglob("*.py"))
    assert len(files) > 20
    found = {
        (str(file.relative_to(root)), name)
        for file in files
        for text in strings(file)
        for name, pattern in patterns.items()
        if pattern.search(text)
    }
    assert found <= ALLOWED


def test_neither_engine_nor_tests_import_content_statically(root: Path) -> None:
    for file in [*(root / "pairbench").rglob("*.py"), *(root / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.removeprefix("pairbench.").partition(".")[0]
                assert top not in CONTENT, f"{file} imports {name}"


def test_content_imports_only_the_public_face_or_named_modules(root: Path) -> None:
    """A design file holds its equation and its code; it takes only numpy, scipy and pairbench."""
    for file in (root / "designs").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            tops = {name.partition(".")[0] for name in names}
            assert tops <= {"numpy", "pairbench", "scipy", *sys.stdlib_module_names}, file
