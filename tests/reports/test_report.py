"""Reports and figures of a small run."""

import copy
import io
import json
import shutil
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pairbench import RunSpec, load_report, play, run
from pairbench.cells.store import CellRecord, Store
from pairbench.cli.show.run import print_report, section_table
from pairbench.errors import RunError
from pairbench.reports.figures import (
    family_map,
    family_winners,
    frontier,
    learning_curves,
    savings_chart,
    size_curves,
)
from pairbench.reports.report import Report, Section
from pairbench.stats.bootstrap import Estimate

TINY = "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"
SEEDS, BUDGETS = (0, 1, 2, 3), (8, 16)
RAISES = "def select(view, n):\n    raise RuntimeError('no')\n"
Change = Callable[[CellRecord], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_folder = tmp_path_factory.mktemp("run")
    (run_folder / "bad.py").write_text(RAISES)
    designs = ["leverage", "first-two", str(run_folder / "bad.py")]
    environments = [TINY, f"{TINY[:-1]}, misspecification=1.0)"]
    run(RunSpec("custom", environments, designs, SEEDS, "uniform", BUDGETS), run_folder, jobs=2)
    return run_folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Report:
    return load_report(folder)


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of the run, its successful records changed and sealed again."""

    def change(how: Change) -> Path:
        shutil.copytree(folder, tmp_path / "copy")
        store = Store(tmp_path / "copy" / "cells")
        for key, record in list(store.records()):
            if record["status"] == "ok":
                how(record)
                store.write(key, record)
        return tmp_path / "copy"

    return change


def test_there_is_a_section_for_each_environment_and_a_row_for_each_design(found: Report) -> None:
    assert [section.environment for section in found.sections] == [
        TINY,
        f"{TINY[:-1]}, misspecification=1.0)",
    ]
    for section in found.sections:
        assert {row.design for row in section.rows} == {"uniform", "leverage", "first-two"}
        assert all((row.seeds, row.budget) == (4, 16) for row in section.rows)
    assert (found.name, found.reference, found.invalid) == ("custom", "uniform", 0)


def test_figures_of_merit_are_means_over_seeds(found: Report) -> None:
    for section in found.sections:
        for row in section.rows:
            rounds = [play(section.environment, row.design, s, BUDGETS).rounds for s in SEEDS]
            scores = [r[-1].score for r in rounds]
            assert row.gap.value == pytest.approx(np.mean([s.gap for s in scores]), rel=1e-12)
            assert row.win_rate == pytest.approx(np.mean([s.win_rate for s in scores]))
            assert row.efficiency == pytest.approx(np.mean([s.design_efficiency for s in scores]))
            early = np.mean([r[0].score.gap for r in rounds])
            assert row.curve[0].budget == 8
            assert row.curve[0].gap.value == pytest.approx(early)


def test_rows_stand_best_first(found: Report) -> None:
    for section in found.sections:
        order = [(row.rank, row.gap.value) for row in section.rows]
        assert order == sorted(order)
        assert order[0][0] == 1


def test_savings_and_ratio_of_the_reference_are_one(found: Report) -> None:
    for section in found.sections:
        (row,) = [row for row in section.rows if row.design == "uniform"]
        assert row.savings is not None
        assert row.ratio is not None
        assert (row.savings.low, row.savings.value, row.savings.high) == (1, 1, 1)
        assert (row.ratio.low, row.ratio.value, row.ratio.high) == (1, 1, 1)


def test_the_reference_reaches_further_than_the_others(found: Report) -> None:
    for row in found.sections[0].rows:
        budgets = [point.budget for point in row.curve]
        assert budgets == ([8, 16, 32, 64, 128] if row.design == "uniform" else [8, 16])


def test_the_floor_is_told_where_there_is_one(found: Report) -> None:
    exact, misspecified = found.sections
    assert exact.floor == 0
    assert 0 < misspecified.floor < misspecified.start


def test_failures_are_listed_and_stay_out_of_the_rows(found: Report) -> None:
    assert len(found.failures) == 2 * len(SEEDS)
    assert {failure.design for failure in found.failures} == {"bad.py"}
    assert {failure.error for failure in found.failures} == {"RuntimeError: no (in round 1)"}


def test_json_is_strict_and_holds_the_report(found: Report) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    read = json.loads(found.to_json(), parse_constant=refuse)
    assert [section["environment"] for section in read["sections"]] == [
        section.environment for section in found.sections
    ]
    assert read["sections"][0]["rows"][0]["gap"]["value"] == found.sections[0].rows[0].gap.value
    assert len(read["failures"]) == len(found.failures)


def test_json_is_strict_where_savings_are_beyond_reach(
    changed: Callable[[Change], Path],
) -> None:
    def superb(record: CellRecord) -> None:
        if record["labels"]["design"] == "leverage":
            for round_ in record["results"]["rounds"]:
                round_["score"]["gap"] = 1e-9

    report = load_report(changed(superb))
    (row,) = [row for row in report.sections[0].rows if row.design == "leverage"]
    assert row.savings is not None
    assert row.savings.value == pytest.approx(8)
    assert row.savings.high == np.inf
    assert row.savings.censored == "above"
    assert row.rank == 1
    assert "Infinity" not in report.to_json()
    read = json.loads(report.to_json())
    (same,) = [row for row in read["sections"][0]["rows"] if row["design"] == "leverage"]
    assert same["savings"] == {
        "value": row.savings.value,
        "low": row.savings.low,
        "high": None,
        "censored": "above",
    }


def test_json_is_strict_where_every_gap_is_zero(changed: Callable[[Change], Path]) -> None:
    def perfect(record: CellRecord) -> None:
        for round_ in record["results"]["rounds"]:
            round_["score"]["gap"] = 0.0

    report = load_report(changed(perfect))
    assert "NaN" not in report.to_json()
    assert [row.rank for row in report.sections[0].rows] == [1, 1, 1]


def test_designs_of_the_same_gaps_tie(changed: Callable[[Change], Path]) -> None:
    def same(record: CellRecord) -> None:
        for round_, gap in zip(
            record["results"]["rounds"], (0.5, 0.25, 0.1, 0.05, 0.02), strict=False
        ):
            round_["score"]["gap"] = gap * (1 + record["cell"]["seed"])

    for section in load_report(changed(same)).sections:
        assert [row.rank for row in section.rows] == [1, 1, 1]
        assert all(row.savings and row.savings.value == pytest.approx(1) for row in section.rows)


def test_a_cell_that_is_missing_leaves_the_comparison_paired(
    changed: Callable[[Change], Path],
) -> None:
    copy_ = changed(lambda record: None)
    store = Store(copy_ / "cells")
    key = next(
        key
        for key, record in store.records()
        if record["labels"] == {"environment": TINY, "design": "leverage"}
        and record["cell"]["seed"] == 2
    )
    store.path(key).write_bytes(b"{")
    report = load_report(copy_)
    (row,) = [row for row in report.sections[0].rows if row.design == "leverage"]
    assert (row.seeds, report.invalid) == (3, 1)
    gaps = {
        design: [play(TINY, design, s, BUDGETS).rounds[-1].score.gap for s in SEEDS if s != 2]
        for design in ("uniform", "leverage")
    }
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(np.mean(gaps["leverage"]) / np.mean(gaps["uniform"]))


def test_figures_are_svg_and_png_and_the_same_each_time(found: Report, tmp_path: Path) -> None:
    first = learning_curves(found, tmp_path / "one")
    second = learning_curves(copy.deepcopy(found), tmp_path / "two")
    assert [path.suffix for path in first] == [".svg", ".png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert ET.parse(first[0]).getroot().tag.endswith("svg")
    assert first[1].read_bytes().startswith(b"\x89PNG\r\n")


def test_a_figure_names_every_design_and_environment(found: Report, tmp_path: Path) -> None:
    text = "".join(ET.parse(learning_curves(found, tmp_path)[0]).getroot().itertext())
    for section in found.sections:
        name = section.environment.removeprefix("pairbench/")
        assert "".join(name.split()) in "".join(text.split())  # on two lines
        assert all(row.design in text for row in section.rows)
    assert "floor" in text


def test_there_is_a_frontier_where_policies_were_scored_by_draws(
    found: Report, changed: Callable[[Change], Path], tmp_path: Path
) -> None:
    assert frontier(found, tmp_path) == []

    def sample(record: CellRecord) -> None:
        if "misspecification" in record["labels"]["environment"]:
            for k, round_ in enumerate(record["results"]["rounds"]):
                value = {"value": k + record["cell"]["seed"] - 3, "low": 0.0, "high": 1.0}
                round_["score"]["sampled"] = {"kl": value, "reward": value}

    report = load_report(changed(sample))
    by_name = {section.environment: section for section in report.sections}
    exact, sampled = by_name[TINY].rows[0], by_name[f"{TINY[:-1]}, misspecification=1.0)"].rows[0]
    assert [(p.kl, p.reward) for p in exact.curve] == [(None, None)] * len(exact.curve)
    for k, point in enumerate(sampled.curve):
        assert point.kl is not None
        assert point.reward is not None
        assert point.kl.value == point.reward.value == k - 1.5  # the mean of seeds 0 to 3, less 3
        assert point.kl.low < point.kl.value < point.kl.high
    files = frontier(report, tmp_path)
    assert [path.name for path in files] == ["frontier.svg", "frontier.png"]
    text = "".join(ET.parse(files[0]).getroot().itertext())
    assert "misspecification" in text
    assert text.count("KL from the reference") == 1


def test_a_long_name_leaves_room_for_the_figure(found: Report, tmp_path: Path) -> None:
    annotator = " | ".join(["length-bias(weight=0.25)"] * 6)
    sections = [
        replace(section, environment=f"{TINY[:-1]}, annotator={annotator!r})")
        for section in found.sections
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learning_curves(replace(found, sections=sections), tmp_path)


@pytest.mark.parametrize("name", ["_mine.py", "$x$.py", "$\\oops$.py", "a_b^c.py", "<i>&amp;.py"])
def test_a_figure_shows_names_as_they_are(found: Report, tmp_path: Path, name: str) -> None:
    rows = [
        replace(row, design=name) if row.design == "leverage" else row
        for row in found.sections[0].rows
    ]
    odd = replace(found, sections=[replace(found.sections[0], rows=rows)])
    text = "".join(ET.parse(learning_curves(odd, tmp_path)[0]).getroot().itertext())
    assert name in text


FAMILIES = {"uniform": "plain", "first-two": "plain", "leverage": "optimal design"}


@pytest.mark.parametrize("draw", [savings_chart, family_map])
def test_figures_by_family_are_the_same_each_time(
    found: Report, tmp_path: Path, draw: Callable[[Report, dict[str, str], Path], list[Path]]
) -> None:
    first, second = (draw(found, FAMILIES, tmp_path / name) for name in ("one", "two"))
    assert [path.suffix for path in first] == [".svg", ".png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    text = "".join(ET.parse(first[0]).getroot().itertext())
    assert "LogLinear-v1" in text
    assert "leverage" in text
    assert draw(replace(found, sections=[]), FAMILIES, tmp_path) == []


def test_the_winner_has_the_least_gap_and_families_tie_where_intervals_overlap(
    found: Report,
) -> None:
    won = family_winners(found.sections[0], FAMILIES)
    assert list(won) == list(BUDGETS)
    for mark, (winner, ratio, tied) in won.items():
        points = {
            row.design: point.ratio
            for row in found.sections[0].rows
            for point in row.curve
            if point.budget == mark
        }
        values = {design: p.value for design, p in points.items() if p}
        assert ratio == min(values.values()) == values[winner]
        rest = [d for d in values if FAMILIES[d] != FAMILIES[winner]]
        best = points[min(rest, key=values.__getitem__)]
        assert best is not None
        assert tied == [FAMILIES[rest[0]]] * (best.low <= ratio)


def test_a_control_wins_nothing(found: Report) -> None:
    section = found.sections[0]
    rows = [replace(row, rank=None) if row.design == "leverage" else row for row in section.rows]
    won = family_winners(replace(section, rows=rows), FAMILIES)
    assert all(winner != "leverage" for winner, _, _ in won.values())


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            RunError, match=r"is no run folder.*Give the folder that `pairbench run`"
        ):
            load_report(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"name": "x"}', "\xff"])
def test_a_damaged_header_is_refused(changed: Callable[[Change], Path], text: str) -> None:
    copy_ = changed(lambda record: None)
    (copy_ / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match="is no run folder"):
        load_report(copy_)


def test_an_empty_run_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"name": "custom", "reference": "uniform", "cells": []}')
    with pytest.raises(
        RunError, match=r"holds no cells yet\. Run the command that created it again"
    ):
        load_report(tmp_path)


def test_a_run_of_failures_alone_has_a_report_without_sections(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(RAISES)
    bad = str(tmp_path / "bad.py")
    run(RunSpec("custom", [TINY], [], (0,), bad, BUDGETS), tmp_path, jobs=1)
    report = load_report(tmp_path)
    assert report.sections == []
    assert len(report.failures) == 1
    assert learning_curves(report, tmp_path / "figures") == []


def test_a_run_of_the_reference_alone_stands_at_its_own_budget(tmp_path: Path) -> None:
    run(RunSpec("custom", [TINY], [], (0, 1), "uniform", BUDGETS), tmp_path, jobs=1)
    (row,) = load_report(tmp_path).sections[0].rows
    assert (row.design, row.budget) == ("uniform", 16)


def test_a_folder_used_for_two_plans_still_reports_the_last_one(tmp_path: Path) -> None:
    """`runs/custom` is where every run without a board goes by default."""
    for design, budgets in (("leverage", (8, 16)), ("first-two", (5, 10))):
        run(RunSpec("custom", [TINY], [design], (0, 1), "uniform", budgets), tmp_path, jobs=1)
    rows = {row.design: row for row in load_report(tmp_path).sections[0].rows}
    assert {"uniform", "first-two"} <= set(rows)
    assert rows["first-two"].budget == 10


@pytest.mark.slow
def test_a_control_is_shown_and_not_ranked(folder: Path, tmp_path: Path) -> None:
    environments = [TINY]
    plain = ["leverage", "first-two"]
    for name, designs in (("plain", plain), ("with", [*plain, "oracle-i-optimal"])):
        spec = RunSpec("custom", environments, designs, SEEDS, "uniform", BUDGETS)
        run(spec, tmp_path / name, jobs=1)
    (section,) = load_report(tmp_path / "with").sections
    rows = {row.design: row for row in section.rows}
    assert rows["oracle-i-optimal"].rank is None
    assert section.rows[-1].design == "oracle-i-optimal"
    (without,) = load_report(tmp_path / "plain").sections
    for row in without.rows:
        assert rows[row.design].rank == row.rank
        assert rows[row.design].gap == row.gap
    (line,) = [text for text in drawn(section).splitlines() if "oracle-i-optimal" in text]
    assert line.split()[0] == "control"
    assert "control" not in drawn(without)


def test_a_long_name_takes_more_lines_and_no_figure_is_cut(tmp_path: Path) -> None:
    name = "generate-first(design='greedy-i-robust', completions=4)"
    run(RunSpec("custom", [TINY], [name], (0, 1), "uniform", BUDGETS), tmp_path, jobs=1)
    (section,) = load_report(tmp_path).sections
    for width in (150, 120, 100):
        text = drawn(section, width)
        assert "…" not in text
        (row,) = (row for row in section.rows if row.design == name)
        assert f"{row.gap.low:.4f} to {row.gap.high:.4f}" in text
    assert name not in text


def drawn(section: Section, width: int = 150) -> str:
    """The section's table as text."""
    screen = Console(width=width, file=io.StringIO())
    screen.print(section_table(section, "uniform"))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_a_run_for_money_is_reported_in_money(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = (
        "LogLinear-v1(prompts=6, held_out_prompts=5, completions=4, dim=3, unit='money', "
        "prices='token_read=0.01')"
    )
    spec = RunSpec("custom", [world], ["first-two"], (0, 1, 2), "uniform", (20, 40))
    run(spec, tmp_path, jobs=1)
    report = load_report(tmp_path)
    (section,) = report.sections
    assert section.unit == "money"
    for row in section.rows:
        assert row.spent <= 40
        assert row.spent != row.labels
        assert [point.spent for point in row.curve][:2] == sorted(p.spent for p in row.curve)[:2]
    assert "money saved" in report.to_markdown()
    assert "after so much money" in report.to_markdown()
    print_report(report, [])
    output = " ".join(capsys.readouterr().out.split())
    assert "after 40 units of money" in output
    assert "money saved: how much money uniform needs" in output


def test_savings_of_money_are_those_of_what_was_spent(tmp_path: Path) -> None:
    world = "LogLinear-v1(prompts=6, completions=4, dim=3{})"
    money = world.format(", unit='money', prices='label=10'")
    reports = []
    for name, env, budgets in (("a", world.format(""), (5, 10)), ("b", money, (50, 100))):
        spec = RunSpec("custom", [env], ["leverage"], (0, 1), "uniform", budgets)
        run(spec, tmp_path / name, jobs=1)
        reports.append(load_report(tmp_path / name).sections[0].rows)
    for labels, paid in zip(*reports, strict=True):
        assert labels.gap == paid.gap
        assert labels.savings is not None
        assert paid.savings is not None
        assert labels.savings.value == pytest.approx(paid.savings.value)
        assert paid.spent == 10 * labels.spent == 10 * labels.labels


def test_curves_by_size_are_drawn_the_same_each_time(tmp_path: Path) -> None:
    points = [(size, Estimate(1 / size, 0.8 / size, 1.3 / size)) for size in (2, 4, 8)]
    panels = {"cheap": {"one": points, "two": points[:2]}, "dear": {"one": points[:1]}}
    first, second = (size_curves(panels, "K", tmp_path / name) for name in ("a", "b"))
    assert [path.suffix for path in first] == [".svg", ".png"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    text = first[0].read_text()
    assert all(word in text for word in ("cheap", "dear", "one", "two", ">K<"))
