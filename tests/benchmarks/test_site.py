"""Timing of the pages, by ``pytest tests/benchmarks --benchmark-enable``; it asserts nothing."""

from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from pairbench.boards.board import load_board
from pairbench.site import build_site
from tests.site.generated_boards import fill_board, make_board


def test_site_of_two_boards_with_sixty_designs(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    environments = [e.spec for e in load_board("synthetic-v1").environments]
    for name in ("one-v1", "two-v1"):
        fill_board(tmp_path / "boards", make_board(tmp_path / "boards", name, environments, 30), 57)
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        build_site, (tmp_path / "out", tmp_path / "boards"), rounds=3
    )
