"""Boards: those that ship, and what is said of a bad file."""

import pytest

from pairbench import InvalidParameter, WrapperDesign, load_board, make_design
from pairbench.boards import board_names, describe_board, parsed_budgets, parsed_seeds, read_board
from pairbench.errors import MissingData, UnknownBoard
from pairbench.registry import design_names, environment_ids, parsed

GOOD = """
title = "A title"
description = "What it is for."
reference = "uniform"
designs = ["leverage"]
seeds = "0:3"
budgets = [5, 10]

[[environments]]
spec = "pairbench/LogLinear-v1(dim=3)"

[[environments]]
spec = "pairbench/Isotropic-v1"
seeds = [7, 8]
budgets = [20]
optional = true
"""


def test_there_is_a_quickstart() -> None:
    assert "quickstart" in board_names()


@pytest.mark.parametrize("name", board_names())
def test_a_board_names_designs_and_environments_that_exist(name: str) -> None:
    board = load_board(name)
    assert board.name == name
    designs = {board.reference, *board.designs}
    assert {parsed(design)[0] for design in designs} <= set(design_names())
    assert {parsed(e.spec)[0] for e in board.environments} <= set(environment_ids())
    try:
        cells, notes = board.run_spec().cells()
    except (MissingData, InvalidParameter):  # real data and models are not here
        assert name.startswith(("alpaca-eval", "optimal-designs-alpaca-eval", "imdb", "hh"))
        return
    played = {cell.environment.name for cell in cells}
    optional = {parsed(e.spec)[0] for e in board.environments if e.optional}
    assert played | optional == {parsed(e.spec)[0] for e in board.environments}
    assert len(notes) <= len(optional)


def test_a_board_is_read_as_written() -> None:
    board = read_board("mine", GOOD)
    assert (board.name, board.title, board.reference) == ("mine", "A title", "uniform")
    assert (board.seeds, board.budgets, board.designs) == ((0, 1, 2), (5, 10), ("leverage",))
    first, second = board.environments
    assert (first.seeds, first.budgets, first.optional) == (None, None, False)
    assert (second.seeds, second.budgets, second.optional) == ((7, 8), (20,), True)


def test_all_designs_are_those_that_are_installed_but_for_wrappers() -> None:
    board = read_board("mine", GOOD.replace('["leverage"]', '"all"'))
    left_out = set(design_names()) - set(board.designs)
    assert set(board.designs) < set(design_names())
    assert left_out == {n for n in design_names() if isinstance(make_design(n), WrapperDesign)}
    with pytest.raises(InvalidParameter, match="designs"):
        read_board("mine", GOOD.replace('["leverage"]', '"every"'))


def test_a_board_with_further_designs_runs_them_besides_its_own() -> None:
    cells, _ = read_board("mine", GOOD).run_spec("first-two").cells()
    assert {cell.design.name for cell in cells} == {"uniform", "leverage", "first-two"}
    assert {cell.seed for cell in cells if cell.environment.name.endswith("Isotropic-v1")} == {7, 8}
    assert len(cells) == 3 * (3 + 2)


def test_a_board_says_how_large_it_is() -> None:
    quickstart = describe_board("quickstart")
    assert quickstart["summary"] == load_board("quickstart").title
    assert set(quickstart["parameters"]) == {"environments", "designs", "seeds"}


def test_an_unknown_board_names_the_nearest() -> None:
    with pytest.raises(UnknownBoard, match=r"no board 'quikstart'\. Did you mean 'quickstart'\?"):
        load_board("quikstart")
    for name in ("", "..", "quickstart/board.toml", "__pycache__"):
        with pytest.raises(UnknownBoard, match="There are: "):
            load_board(name)


BAD = [
    ("title =", "no TOML"),
    (GOOD.replace('title = "A title"', ""), "title: Field required"),
    (GOOD.replace('reference = "uniform"', ""), "reference: Field required"),
    (GOOD.replace('"A title"', "5"), "title: Input should be a valid string"),
    (GOOD.replace("title =", "titel ="), "titel: Extra inputs are not permitted"),
    (GOOD.replace('["leverage"]', '"leverage"'), "designs: Input should be a valid tuple"),
    (GOOD.replace('"0:3"', '"0-3"'), "seeds: .*cannot read the seeds '0-3'"),
    (GOOD.replace('"0:3"', '"3:3"'), "seeds: .*seeds must be whole numbers"),
    (GOOD.replace('"0:3"', "[]"), "seeds"),
    (GOOD.replace('"0:3"', "[-1]"), "seeds"),
    (GOOD.replace('"0:3"', "[0.5]"), r"seeds\.0: Input should be a valid integer"),
    (GOOD.replace("[5, 10]", "[10, 5]"), "budgets: .*whole cumulative numbers .* that grow"),
    (GOOD.replace("[5, 10]", "[]"), "budgets: .*whole cumulative numbers .* that grow"),
    (GOOD.replace("[20]", "[20, 20]"), r"environments\.1\.budgets"),
    (GOOD.replace("[7, 8]", "[-7]"), r"environments\.1\.seeds"),
    (GOOD.replace("optional = true", 'optional = "perhaps"'), r"environments\.1\.optional"),
    (GOOD.replace("optional = true", "optionl = true"), r"environments\.1\.optionl: Extra inputs"),
    (GOOD.replace('spec = "pairbench/Isotropic-v1"', ""), r"environments\.1\.spec: Field required"),
    (GOOD[: GOOD.index("[[")], "environments: Field required"),
    (GOOD[: GOOD.index("[[")] + "environments = []", "environments: .*at least 1 item"),
    ('name = "other"\n' + GOOD, "name"),
    ("", "title: Field required; "),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_board_names_the_field(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=f"board 'mine'.*{message}"):
        read_board("mine", text)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0:3", (0, 1, 2)),
        (":2", (0, 1)),
        ("3", (3,)),
        ("1,2,5:8", (1, 2, 5, 6, 7)),
        (" 1, 1 ,0:2", (1, 0)),
        ("4294967295", (2**32 - 1,)),
    ],
)
def test_seeds_are_ranges_and_numbers(text: str, seeds: tuple[int, ...]) -> None:
    assert parsed_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the seeds ''"),
        ("a", "cannot read the seeds 'a'"),
        ("0:", "cannot read the seeds '0:'"),
        ("0:4:2", "cannot read the seeds"),
        ("1.5", "cannot read the seeds"),
        ("1,,2", "cannot read the seeds"),
        ("-1", "seeds must be whole numbers, 0 or more"),
        ("-2:2", "seeds must be whole numbers, 0 or more"),
        ("5:5", "at least one"),
        ("4294967296", r"below 2\*\*32"),
    ],
)
def test_bad_seeds_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        parsed_seeds(text)


def test_a_range_beyond_all_seeds_is_refused_before_it_is_written_out() -> None:
    with pytest.raises(InvalidParameter, match=r"below 2\*\*32|seeds"):
        parsed_seeds("0:99999999999999999999")


def test_budgets_are_numbers_that_grow() -> None:
    assert parsed_budgets("50, 100,200") == (50, 100, 200)


@pytest.mark.parametrize(
    "text", ["", "a", "1.5", "10,5", "5,5", "0,5", "-5", "5,,10", "1e3", "5 10"]
)
def test_bad_budgets_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="budgets"):
        parsed_budgets(text)
