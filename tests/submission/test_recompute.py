"""Recomputation of every kind of world, and its tolerances."""

from pathlib import Path
from typing import Any

import pytest

from pairbench import make_env, run
from pairbench.boards.board import Board
from pairbench.submission.recompute import EXACT, SAMPLED, TRAINED, _score_mismatch, _tolerance
from pairbench.submission.submit import Submission, make_submission
from pairbench.submission.verify import Verdict
from pairbench.worlds.environment import draw_world
from pairbench.worlds.world import World
from tests.small_board import small_board
from tests.submission.conftest import repacked, verify_bundle

KINDS = """
title = "Worlds of many kinds"
description = "Money, completions that are generated, votes, skipped questions, other trainers."
published = "2026-01-31"
reference = "uniform"
designs = []
open = ["ridge", "trainer"]
seeds = "7:9"
budgets = [8, 16]

[[environments]]
spec = "pairbench/GenerateThenLabel-v1(prompts=4, completions=6, dim=3)"

[[environments]]
spec = "pairbench/LogLinear-v1(prompts=8, dim=3, unit='money', prices='token_read=0.01')"

[[environments]]
spec = "pairbench/LogLinear-v1(prompts=8, dim=3, annotator='crowd(votes=3)')"

[[environments]]
spec = "pairbench/LogLinear-v1(prompts=8, dim=3, annotator='b-pref-skip', missing=0.4)"

[[environments]]
spec = "pairbench/LogLinear-v1(prompts=8, dim=3, misspecification=1.0, trainer='ipo')"
"""


def submitted(root: Path, board: Board, design: str, **changes: Any) -> Submission:
    assert not run(board.run_spec(design, changes=changes), root / "run", jobs=1).failed
    return make_submission(
        board,
        root / "run",
        design,
        author="Ada Lovelace",
        link="https://example.org",
        changes=changes,
    )


def verified(root: Path, data: bytes, level: Any = "recomputed") -> Verdict:
    return verify_bundle(data, "x", board_root=root, level=level, jobs=1, announced=1, fresh=1)


@pytest.mark.slow
def test_cells_of_many_kinds_of_worlds_are_recomputed_and_reproduced(tmp_path: Path) -> None:
    board = small_board(tmp_path, "kinds-v1", KINDS)
    made = submitted(tmp_path, board, "generate-first(completions=4)")
    assert any(round_.generated for cell in made.bundle.cells for round_ in cell.rounds)
    assert any(None in round_.labels for cell in made.bundle.cells for round_ in cell.rounds)
    verdict = verified(tmp_path, made.packed.data, "reproduced")
    assert (verdict.failure, verdict.recomputed, verdict.announced) == (None, 10, 5)

    def forget(content: dict[str, Any]) -> None:
        content["cells"][0]["rounds"][0]["generated"].pop()

    verdict = verified(tmp_path, repacked(made.bundle, forget).data)
    assert verdict.difference is not None
    assert (verdict.difference.seed, verdict.difference.round) == (7, 0)


@pytest.mark.slow
def test_an_open_entry_is_recomputed_with_its_changes(tmp_path: Path) -> None:
    board = small_board(tmp_path)
    made = submitted(tmp_path, board, "greedy-d", ridge=5.0)
    assert verified(tmp_path, made.packed.data, "reproduced").failure is None


TINY = """
title = "A language model"
description = "With an exact score."
published = "2026-01-31"
reference = "uniform"
designs = []
open = ["lora_rank"]
seeds = [5]
budgets = [8]

[[environments]]
spec = "pairbench/TinyLM-v1(prompts=8, held_out_prompts=8)"
"""


@pytest.mark.slow
def test_scores_of_a_language_model_have_the_documented_tolerance(tmp_path: Path) -> None:
    board = small_board(tmp_path, "tiny-lm-v1", TINY)
    made = submitted(tmp_path, board, "uniform-prompts")
    assert verified(tmp_path, made.packed.data, "reproduced").failure is None
    for factor, level in ((1 + TRAINED / 10, "recomputed"), (1 - 3 * TRAINED, "claimed")):

        def change(content: dict[str, Any], factor: float = factor) -> None:
            content["cells"][0]["rounds"][0]["score"]["gap"] *= factor

        gap = made.bundle.cells[0].rounds[0].score["gap"]
        assert gap > 0.5  # so that the relative part counts
        assert verified(tmp_path, repacked(made.bundle, change).data).level == level


def test_each_kind_of_world_has_its_tolerance() -> None:
    world = draw_world(make_env("pairbench/LogLinear-v1(prompts=4, dim=3)"), 0)
    assert _tolerance(world, {"gap": 1.0}) == EXACT

    class Trained(World):
        """A subclass, as worlds of language models are."""

    other = Trained(**vars(world))
    assert _tolerance(other, {"gap": 1.0}) == TRAINED
    assert _tolerance(other, {"gap": 1.0, "sampled": {}}) == SAMPLED


def test_log_linear_figures_are_the_same_to_nine_digits() -> None:
    assert _score_mismatch({"gap": 1.0 + 1e-9}, {"gap": 1.0}, EXACT, "score") is None
    assert _score_mismatch({"gap": 1.0 + 3e-9}, {"gap": 1.0}, EXACT, "score") is not None
    assert _score_mismatch({"gap": 1e6 + 1e-4}, {"gap": 1e6}, EXACT, "score") is None
    assert _score_mismatch({"gap": None}, {"gap": None}, EXACT, "score") is None
    assert _score_mismatch({"gap": 0}, {"gap": None}, EXACT, "score") == ("score.gap", "0", "None")


def test_an_estimate_may_be_off_by_twice_its_interval() -> None:
    def score(gap: float, low: float, high: float) -> dict[str, Any]:
        estimate = {"value": gap, "low": low, "high": high, "censored": None}
        return {"gap": max(0.0, gap), "floor": 0.0, "sampled": {"gap": estimate, "effective": 9.0}}

    found = score(1.0, 0.9, 1.1)
    assert _score_mismatch(score(1.3, 1.2, 1.4), found, SAMPLED, "score") is None
    unlike = _score_mismatch(score(1.5, 1.4, 1.6), found, SAMPLED, "score")
    assert unlike == ("score.gap", "1.5", "1.0")
    # A wide claimed interval does not widen the margin.
    assert _score_mismatch(score(1.5, 0.0, 9.0), found, SAMPLED, "score") is not None
    assert _score_mismatch(score(1.0, 0.0, 9.0), found, SAMPLED, "score") is not None
