from pathlib import Path

import pytest

from pairbench._util.cache import cache_folder


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path))
    assert cache_folder("scores") == tmp_path / "scores"


def test_it_is_the_users_otherwise_and_is_not_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PAIRBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_folder("scores")
    assert folder.name == "scores"
    assert not folder.exists()
