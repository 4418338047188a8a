"""The entries of the boards that ship: complete, verified, and still what the code gives."""

import numpy as np
import pytest

from pairbench.boards.board import load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.entry import BoardEntry
from pairbench.boards.standings import standings
from pairbench.cells.play import play
from pairbench.design.registry import design_names, make_design
from pairbench.spec.text import parse_spec
from pairbench.worlds.registry import make_env

FILLED = ["alpaca-eval-v1", "annotators-v1", "cost-v1", "synthetic-v1", "tiny-lm-v1"]
WRAPPERS = {"generate-first", "per-cost"}  # another design, which prices make a difference to


@pytest.fixture(params=FILLED)
def entries(request: pytest.FixtureRequest) -> list[BoardEntry]:
    return load_entries(str(request.param))


@pytest.mark.slow
def test_every_design_has_an_entry_that_was_reproduced(entries: list[BoardEntry]) -> None:
    names = {entry.design.name for entry in entries}
    assert set(design_names()) - names == (set() if entries[0].board == "cost-v1" else WRAPPERS)
    assert {entry.level for entry in entries} == {"reproduced"}
    assert not any(entry.dirty for entry in entries)
    table = standings(load_board(entries[0].board), entries)
    assert len(table.closed) == len(entries)
    assert not table.open


@pytest.mark.parametrize("board", ["annotators-v1", "cost-v1", "synthetic-v1"])
@pytest.mark.parametrize("design", ["uniform", "greedy-i", "k-center", "smallest-gap", "dts"])
def test_an_entry_is_what_its_design_gives(board: str, design: str) -> None:
    whole = load_board(board).budgets
    assert whole is not None
    (entry,) = [one for one in load_entries(board) if one.design.label == design]
    for curve in entry.curves[:2]:
        name, params = parse_spec(curve.environment)
        budgets = [budget for budget in curve.budgets if budget <= 100]
        episode = play(
            make_env(name, **params),
            make_design(design),
            curve.seeds[0],
            budgets,
            horizon=whole[-1],
        )
        found = [round_.score.gap for round_ in episode.rounds]
        np.testing.assert_allclose(found, curve.gaps[0][: len(budgets)], rtol=1e-5)
