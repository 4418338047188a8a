"""What charts are drawn from."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from pairbench import Pool, make_env
from pairbench.boards.collection import load_entries
from pairbench.boards.standings import Standings, standings
from pairbench.site import charts
from tests.conftest import MakePool
from tests.site.generated_boards import BUDGETS, ENVIRONMENTS, fill_board, make_board, make_entry


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Standings:
    root = tmp_path_factory.mktemp("boards")
    board = make_board(root)
    fill_board(root, board, 5)
    return standings(board, load_entries(board.name, root))


def circles(svg: str) -> list[tuple[float, float, float]]:
    elements = ET.fromstring(svg).iter("circle")
    return [tuple(float(circle.attrib[k]) for k in ("cx", "cy", "r")) for circle in elements]  # type: ignore[misc]


def test_every_chart_has_a_figure_for_every_design(table: Standings) -> None:
    assert table.reference is not None
    data = charts.chart_data(table.board, table.closed, table.reference)
    assert [d["slug"] for d in data["designs"]] == [s.entry.design.slug for s in table.closed]
    assert [p["environment"] for p in data["panels"]] == [
        name.removeprefix("pairbench/") for name in ENVIRONMENTS
    ]
    for k, panel in enumerate(data["panels"]):
        assert tuple(panel["budgets"]) == BUDGETS
        for standing, gaps in zip(table.closed, panel["gaps"], strict=True):
            expected = [gap.value for gap in standing.environments[k].gaps]
            assert [value for value, _, _ in gaps] == pytest.approx(expected, rel=1e-3)
    assert len(data["savings"]) == len(data["profile"]["shares"]) == len(table.closed)


def test_one_environment_can_be_drawn_alone(table: Standings) -> None:
    assert table.reference is not None
    data = charts.chart_data(table.board, table.closed, table.reference, [1])
    assert [p["environment"] for p in data["panels"]] == [
        ENVIRONMENTS[1].removeprefix("pairbench/")
    ]


def test_a_profile_counts_worlds_and_all_environments_alike(tmp_path: Path) -> None:
    board = make_board(tmp_path, environments=ENVIRONMENTS[:2], seeds=4)
    reference = make_entry(board, "uniform", 1.0)
    first, second = reference.curves
    # Halved in one of four worlds of the first environment, and in all of the second.
    halved = [tuple(gap / 2 for gap in row) for row in first.gaps]
    curves = (
        first.model_copy(update={"gaps": (halved[0], *first.gaps[1:])}),
        second.model_copy(update={"gaps": tuple(tuple(g / 2 for g in row) for row in second.gaps)}),
    )
    entry = reference.model_copy(update={"curves": curves})
    shares = charts.profile(board, entry, reference, np.array([0.4, 0.5001, 0.9, 1.0]))
    assert shares == pytest.approx([0, 5 / 8, 5 / 8, 1])
    # The order of seeds says nothing.
    turned = [
        c.model_copy(update={"seeds": c.seeds[::-1], "gaps": c.gaps[::-1]}) for c in entry.curves
    ]
    same = entry.model_copy(update={"curves": tuple(turned)})
    assert charts.profile(board, same, reference, np.array([0.5001])) == pytest.approx([5 / 8])


def test_a_profile_grows_and_the_references_steps_at_one(table: Standings) -> None:
    assert table.reference is not None
    taus = 2.0 ** np.linspace(-5, 5, 41)
    for standing in table.closed:
        assert (
            np.diff(charts.profile(table.board, standing.entry, table.reference, taus)) >= 0
        ).all()
    shares = charts.profile(table.board, table.reference, table.reference, taus)
    np.testing.assert_array_equal(shares, taus >= 1)


def test_the_still_picture_has_a_bar_from_one_to_each_designs_savings(table: Standings) -> None:
    svg = ET.fromstring(str(charts.savings_svg(table.closed)))
    groups = svg.findall("g")
    assert [g.findtext("text") for g in groups] == [s.entry.design.label for s in table.closed]
    base = next(float(line.attrib["x1"]) for line in svg.findall("line[@class='base']"))
    for group, standing in zip(groups, table.closed, strict=True):
        bar = group.find("rect")
        assert bar is not None
        start, width = float(bar.attrib["x"]), float(bar.attrib["width"])
        middle = start + width / 2
        if standing.savings.value > 1.02:
            assert start == pytest.approx(base, abs=0.11)
        elif standing.savings.value < 0.98:
            assert start + width == pytest.approx(base, abs=0.11)
            assert middle < base
        assert (group.attrib["class"] == "control") == (standing.rank is None)


def test_a_pools_picture_has_a_circle_for_each_completion(make_pool: MakePool) -> None:
    pool = make_pool(prompts=8, completions=5, dim=4, ragged=True)
    result = circles(str(charts.pool_svg(pool)))
    assert len(result) == pool.valid[:6].sum()
    valid = pool.valid[:6]
    radii = np.array([r for _, _, r in result])
    order = np.argsort(pool.log_ref[:6][valid], kind="stable")
    assert (np.diff(radii[order]) >= -0.11).all()


def test_a_pools_picture_keeps_distances_in_the_plane(make_pool: MakePool) -> None:
    pool = make_pool(prompts=1, completions=6, dim=2)
    points = np.array([(x, y) for x, y, _ in circles(str(charts.pool_svg(pool)))])
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    true = np.linalg.norm(pool.phi[0][:, None] - pool.phi[0], axis=2)
    far = true > 0
    ratio = distances[far] / true[far]
    assert ratio == pytest.approx(np.full_like(ratio, ratio.mean()), rel=0.05)


@pytest.mark.parametrize("dim", [1, 2])
def test_pools_of_few_or_equal_features_are_drawn(make_pool: MakePool, dim: int) -> None:
    assert len(circles(str(charts.pool_svg(make_pool(prompts=2, dim=dim))))) == 8
    equal = Pool(np.ones((2, 3, dim)))
    places = {(round(x) % 214, round(y)) for x, y, _ in circles(str(charts.pool_svg(equal)))}
    assert places == {(100, 100)}


def test_a_wide_pool_is_drawn() -> None:
    pool = make_env("pairbench/WidePool-v1").world(0).pool
    assert len(circles(str(charts.pool_svg(pool)))) == 6 * 64
