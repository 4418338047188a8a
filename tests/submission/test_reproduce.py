"""Fresh seeds, and the intervals that claimed figures predict for them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pairbench import play
from pairbench.boards.board import load_board
from pairbench.design.registry import design_spec
from pairbench.submission.reproduce import (
    ALL_ENVIRONMENTS,
    derive_generator,
    draw_fresh_seeds,
    last_budget,
    log_gap_ratios,
    prediction_intervals,
    trusted_gap,
)
from pairbench.submission.submit import board_cells
from tests.small_board import small_board


def test_the_interval_is_student_s_prediction_interval_for_a_mean() -> None:
    # By hand: mean 2, s = 1, n = 3, m = 2; t(2 degrees, 97.5 %) = 4.302653, and √(1/3 + 1/2).
    (found,) = prediction_intervals(
        {"A": np.array([1.0, 2.0, 3.0])}, {"A": np.array([4.0, 6.0])}, 0.05
    )
    reach = 4.302653 * np.sqrt(5 / 6)
    assert found.low == pytest.approx(2 - reach, abs=2e-4)
    assert found.high == pytest.approx(2 + reach, abs=2e-4)
    assert (found.environment, found.mean, found.holds) == ("A", 5.0, True)
    (found,) = prediction_intervals(
        {"A": np.array([1.0, 2.0, 3.0])}, {"A": np.array([6.0, 6.0])}, 0.05
    )
    assert not found.holds


def test_one_seed_predicts_nothing() -> None:
    assert prediction_intervals({"A": np.array([1.0])}, {"A": np.array([9.0])}) == []


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_false_alarms_are_as_rare_as_the_given_rate(alike: float) -> None:
    """Also where the worlds of one seed have much in common, as on boards of one world."""
    rng, runs, level = np.random.default_rng(1), 4000, 0.1
    alarms = 0
    for _ in range(runs):
        claimed, fresh = {}, {}
        common = rng.normal(size=13)
        for name in "ABCD":
            own = alike * common + np.sqrt(1 - alike**2) * rng.normal(size=13)
            claimed[name], fresh[name] = own[:10], own[10:]
        for values in (claimed, fresh):
            values[ALL_ENVIRONMENTS] = np.mean([*values.values()], axis=0)
        alarms += not all(found.holds for found in prediction_intervals(claimed, fresh, level))
    # Bonferroni is exact for none and cautious for dependent ranges: at most 10 %, and not idle.
    assert 0.02 < alarms / runs < level + 3 * np.sqrt(level * (1 - level) / runs)


def test_a_small_shift_in_each_environment_is_detected_in_the_mean() -> None:
    rng = np.random.default_rng(2)
    claimed = {str(i): rng.normal(size=20) for i in range(16)}
    fresh = {name: rng.normal(1.5, 1, size=5) for name in claimed}
    ranges = prediction_intervals(claimed, fresh)
    assert sum(not found.holds for found in ranges) <= 2
    for values in (claimed, fresh):
        values[ALL_ENVIRONMENTS] = np.mean([*values.values()], axis=0)
    (whole,) = (
        found
        for found in prediction_intervals(claimed, fresh)
        if found.environment == ALL_ENVIRONMENTS
    )
    assert not whole.holds


@given(st.binary(max_size=40), st.integers(1, 20), st.sets(st.integers(0, 2**32 - 1), max_size=5))
def test_fresh_seeds_follow_from_the_secret_and_are_not_announced(
    secret: bytes, number: int, announced: set[int]
) -> None:
    def drawn(secret: bytes, digest: str, purpose: str = "fresh") -> tuple[int, ...]:
        return draw_fresh_seeds(derive_generator(secret, digest, purpose), number, announced)

    seeds = drawn(secret, "a" * 64)
    assert len(set(seeds)) == number
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert not announced & set(seeds)
    assert seeds == drawn(secret, "a" * 64)
    others = [
        drawn(secret + b"x", "a" * 64),
        drawn(secret, "b" * 64),
        drawn(secret, "a" * 64, "cells"),
    ]
    assert seeds not in others


def test_announced_seeds_are_not_drawn_even_if_there_are_few_others() -> None:
    class Few(np.random.Generator):
        def integers(self, *_: object, **__: object) -> int:  # type: ignore[override]
            return int(super().integers(4))

    rng = Few(np.random.PCG64(0))
    assert set(draw_fresh_seeds(rng, 2, [1, 3])) == {0, 2}


def test_log_gap_ratios_compare_gaps_on_one_world() -> None:
    gaps, reference = {"A": [1.0, 2.0], "B": [4.0, 0.0]}, {"A": [2.0, 2.0], "B": [2.0, 1.0]}
    found = log_gap_ratios(gaps, reference, same_seeds=False)
    assert list(found) == ["A", "B"]
    assert found["A"].tolist() == pytest.approx([-np.log(2), 0.0])
    assert np.isfinite(found["B"]).all()  # a gap can be nothing
    alone = log_gap_ratios(gaps, None, same_seeds=True)
    assert alone["B"][0] == pytest.approx(np.log(4))
    assert alone[ALL_ENVIRONMENTS][0] == pytest.approx(np.log(2))
    assert ALL_ENVIRONMENTS not in log_gap_ratios({"A": [1.0]}, None, same_seeds=True)


def test_the_reference_is_played_to_the_board_s_end(tmp_path: Path) -> None:
    small_board(tmp_path)
    board = load_board("small-v1", tmp_path)
    one = board_cells(board, design_spec("uniform"))[0]
    episode = play(one.label, "uniform", one.cell.seed, one.cell.budgets, horizon=one.cell.horizon)
    at = one.cell.budgets.index(one.horizon)
    assert last_budget(one.cell) == one.horizon
    assert trusted_gap(one.cell) == episode.rounds[at].score.gap
    assert at < len(episode.rounds) - 1
