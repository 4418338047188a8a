"""Models are made once, whole or not at all."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pairbench.language.model_cache import cache_model


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path))


def make(folder: Path) -> None:
    (folder / "weights").write_text("1")


SLOW = """
import time
from pairbench.language.model_cache import cache_model

def slow(folder):
    (folder / "begun").write_text("1")
    time.sleep(60)

cache_model({"seed": 0}, slow)
"""

COUNT = """
import time
from pairbench.language.model_cache import cache_model

def count(folder):
    time.sleep(0.2)
    with (folder.parent / "made").open("a") as file:
        file.write("x")

cache_model({"seed": 1}, count)
"""


def test_it_is_made_once_for_the_same_settings() -> None:
    folder = cache_model({"seed": 0, "words": 4}, make)
    assert (folder / "weights").read_text() == "1"
    (folder / "weights").write_text("2")
    assert cache_model({"words": 4, "seed": 0}, make) == folder
    assert (folder / "weights").read_text() == "2"
    assert cache_model({"seed": 1, "words": 4}, make) != folder


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        make(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_model({"seed": 0}, fail)
    assert [path for path in (tmp_path / "models").iterdir() if path.is_dir()] == []


def test_what_a_killed_process_left_is_made_anew(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW])
    while not list((tmp_path / "models").glob(".*/begun")):
        time.sleep(0.05)
        assert process.poll() is None
    process.kill()
    process.wait()
    folder = cache_model({"seed": 0}, make)
    assert sorted(path.name for path in folder.iterdir()) == ["made-from.json", "weights"]


def test_processes_wait_for_whoever_makes_it(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", COUNT]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "models" / "made").read_text() == "x"
