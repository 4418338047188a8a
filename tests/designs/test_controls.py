"""The controls that say how bad a design can be."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest

from pairbench import (
    ControlView,
    Pool,
    RunSpec,
    View,
    load_report,
    make_design,
    make_env,
    play,
    replay,
    run,
)
from pairbench.cli.show.run import section_table
from pairbench.information import policy_covariance
from tests.reference import all_pairs, precision_of, sigmoid, unordered

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
TINY = "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"


def told(view: View, scale: float = 1.0) -> ControlView:
    theta = scale * np.random.default_rng(5).normal(size=view.pool.dim)
    covariance = policy_covariance(view.pool, theta, view.beta)
    return ControlView(**vars(view), theta=theta, covariance=covariance)


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("asked", [0, 4])
@pytest.mark.parametrize("n", [1, 4])
def test_no_choice_of_pairs_is_worse_than_the_adversarial_one(
    make_pool: MakePool, make_view: MakeView, scale: float, asked: int, n: int
) -> None:
    pool = make_pool(2, 2, 3, 3)
    questions = all_pairs(pool)
    view = told(
        make_view(pool, questions[:asked], [1, 0, np.nan, 1][:asked], n=n, ridge=0.3), scale
    )
    start = precision_of(view, view.theta)

    def predicted(chosen: list[tuple[int, int, int]]) -> float:
        matrix = start.copy()
        for x, i, j in chosen:
            z = pool.phi[x, i] - pool.phi[x, j]
            p = sigmoid(float(z @ view.theta))
            matrix += p * (1 - p) * np.outer(z, z)
        return float(np.trace(view.covariance @ np.linalg.inv(matrix)))

    chosen = unordered(make_design("adversarial").select(view, n))
    worst = max(predicted(list(c)) for c in combinations_with_replacement(questions, n))
    assert len(set(chosen)) == 1
    assert predicted(chosen) == pytest.approx(worst, rel=1e-12)


def test_the_adversary_breaks_ties_at_random(make_view: MakeView) -> None:
    # The first two completions of each of four prompts are the same.
    phi = np.random.default_rng(0).integers(1, 9, size=(4, 3, 2)).astype(np.float64)
    phi[:, 1] = phi[:, 0]
    pool = Pool(phi)
    rows = Counter(
        tuple(make_design("adversarial").select(told(make_view(pool, seed=s)), 1)[0].tolist())
        for s in range(200)
    )
    assert set(rows) == {(x, *pair) for x in range(4) for pair in ((0, 1), (1, 0))}


@pytest.mark.parametrize("world", ["Isotropic", "NearDuplicates"])
def test_the_adversary_learns_little_of_many_labels(world: str) -> None:
    def gap(name: str) -> float:
        episodes = [play(f"pairbench/{world}-v1", name, seed, (400, 800)) for seed in range(3)]
        return float(np.mean([episode.rounds[-1].score.gap for episode in episodes]))

    assert 5 * gap("uniform") < gap("adversarial") < gap("label-free")


def test_label_free_stops_at_once_and_stays_at_the_reference() -> None:
    world = make_env(TINY)
    episode = play(world, "label-free", 0, (4, 8))
    assert [len(r.pairs) for r in episode.rounds] == [0, 0]
    assert [r.tokens_read for r in episode.rounds] == [0, 0]
    for r in episode.rounds:
        assert r.labels.shape == (0,)
        assert r.score == episode.start
    again = replay(world, [r.pairs for r in episode.rounds], 0, (4, 8))
    assert again.results() == episode.results()


def test_a_run_with_a_design_that_buys_nothing_is_reported(tmp_path: Path) -> None:
    designs = ["label-free", "adversarial", "first-two"]
    result = run(
        RunSpec("custom", [TINY], designs, (0, 1, 2), "uniform", (8, 16)), tmp_path, jobs=1
    )
    assert not result.failed
    assert not result.notes
    report = load_report(tmp_path)
    (section,) = report.sections
    rows = {row.design: row for row in section.rows}
    row = rows["label-free"]
    assert row.rank is rows["adversarial"].rank is None
    assert rows["uniform"].rank is not None
    assert (row.spent, [point.spent for point in row.curve]) == (0, [0, 0])
    assert row.savings is None, "no labels are no share of uniform's"
    assert row.gap.value == pytest.approx(section.start)
    assert report.to_json()
    assert "label-free (control)" in report.to_markdown()
    assert section_table(section, "uniform").row_count == len(rows)
