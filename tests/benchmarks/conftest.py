"""Benchmarks run only where timings are asked for."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--benchmark-enable"):
        return
    skip = pytest.mark.skip(reason="a benchmark: give --benchmark-enable")
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(skip)
