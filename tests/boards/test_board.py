"""Boards that ship with pairbench, and messages about malformed board files."""

import pytest

from pairbench import InvalidParameter, WrapperDesign, load_board, make_design
from pairbench.boards.board import board_names, describe_board, parse_seeds, read_board
from pairbench.cli.options import parse_budgets, parse_changes
from pairbench.design.registry import design_names
from pairbench.errors import MissingData, UnknownBoard
from pairbench.spec.text import parse_spec
from pairbench.worlds.registry import environment_ids

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


PUBLISHED = {
    "alpaca-eval-v1": "ac246ec13203d64970ad8fb435970964ee306b0b1ba1087be09520629267813d",
    "annotators-v1": "efdf0bed9920e7df913938b5a810840f170736ea1b507187a8ead11ae1491ac9",
    "cost-v1": "066fdb8fe1b3f213d4d67ccae18dca3c0e09472cec097e5bfda0216a9e756f78",
    "hh-v1": "860ea80a4ba6d02dc0e92b3ae1771b57e6adbb1da30dd57f933a0084c5b3d1a1",
    "imdb-v1": "dbf1025891f4f275b038b81ebbfc4f441d0ec821b4704de2d1db15ef7912d9af",
    "synthetic-v1": "f09ec677dafae22e1319b1b7d99d01ce900de9ccd432a6b798821f37f75c713f",
    "tiny-lm-v1": "f7a556091c997fe78734c4b3c3a4aaaf39136982fc0f23852d60a67b4ecd269d",
}
"""Digests of published boards. A line here is never changed: a board that must change gets the next
version, and a line of its own."""


def test_published_boards_stay_as_they_are() -> None:
    boards = [load_board(name) for name in board_names()]
    assert {board.name: board.digest for board in boards if board.published} == PUBLISHED


def test_the_digest_depends_on_the_content_of_a_file_and_not_on_its_formatting() -> None:
    board = read_board("mine", GOOD)
    assert read_board("mine", "# a remark\n" + GOOD.replace(" = ", "=")).digest == board.digest
    assert read_board("mine", GOOD.replace("0:3", "0:4")).digest != board.digest


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_boards_have_what_a_leaderboard_needs(name: str) -> None:
    board = load_board(name)
    assert board.designs == ()
    assert board.reference == "uniform"
    assert "first-two" in board.controls
    assert {parse_spec(control)[0] for control in board.controls} <= set(design_names())
    assert "trainer" in board.open
    assert board.budgets is not None
    assert len(board.seeds) >= 3
    assert board.testing is not None
    assert {parse_spec(spec)[0] for spec in board.testing.environments} <= set(environment_ids())


STANDARD = (
    'published = "2026-01-31"\nopen = ["ridge", "trainer"]\n'
    + GOOD
    + """
[testing]
environments = ["pairbench/LogLinear-v1(dim=2)"]
seeds = "0:2"
budgets = [5]
"""
)


def test_with_testing_the_quick_subset_runs_in_place_of_the_board() -> None:
    cells, _ = read_board("mine-v1", STANDARD).run_spec("first-two", testing=True).cells()
    assert {cell.environment.label for cell in cells} == {"pairbench/LogLinear-v1(dim=2)"}
    assert {cell.seed for cell in cells} == {0, 1}
    assert {cell.budgets[0] for cell in cells} == {5}
    assert {cell.design.name for cell in cells} == {"uniform", "leverage", "first-two"}
    with pytest.raises(InvalidParameter, match=r"'mine' has no \[testing\] table"):
        read_board("mine", GOOD).run_spec(testing=True)


def test_an_open_run_changes_what_the_board_leaves_open_and_nothing_else() -> None:
    board = read_board("mine-v1", STANDARD)
    cells, _ = board.run_spec(changes={"trainer": "ipo", "ridge": 0.5}).cells()
    assert {cell.environment.params["trainer"] for cell in cells} == {"ipo"}
    assert {cell.environment.params["ridge"] for cell in cells} == {0.5}
    assert not {cell.key for cell in cells} & {cell.key for cell in board.run_spec().cells()[0]}
    with pytest.raises(InvalidParameter, match=r"leave 'dim' open .* open: ridge, trainer\."):
        board.run_spec(changes={"dim": 7})
    with pytest.raises(InvalidParameter, match=r"leave 'dim' open to change\. It leaves none\."):
        read_board("mine", GOOD).run_spec(changes={"dim": 7})


def test_all_expands_to_the_same_designs_in_a_run_and_in_a_file() -> None:
    spec = read_board("mine", GOOD).run_spec("all")
    assert set(spec.designs) == set(
        read_board("mine", GOOD.replace('["leverage"]', '"all"')).designs
    )


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        (["trainer=ipo", "ridge=0.5"], {"trainer": "ipo", "ridge": 0.5}),
        (
            [" trainer = 'a=b' ", "deep=True", "none=None"],
            {"trainer": "a=b", "deep": True, "none": None},
        ),
    ],
)
def test_changes_are_read(texts: list[str], expected: dict[str, object]) -> None:
    assert parse_changes(texts) == expected


@pytest.mark.parametrize("texts", [["trainer"], ["=ipo"], ["trainer="], ["a b=1"], ["a=1", "a=2"]])
def test_bad_changes_are_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidParameter, match=r"cannot read the change .* as in trainer=ipo"):
        parse_changes(texts)


def test_quickstart_is_a_board() -> None:
    assert "quickstart" in board_names()


@pytest.mark.slow
@pytest.mark.parametrize("name", board_names())
def test_a_board_names_designs_and_environments_that_exist(name: str) -> None:
    board = load_board(name)
    assert board.name == name
    designs = {board.reference, *board.designs}
    assert {parse_spec(design)[0] for design in designs} <= set(design_names())
    assert {parse_spec(e.spec)[0] for e in board.environments} <= set(environment_ids())
    try:
        cells, notes = board.run_spec().cells()
    except (MissingData, InvalidParameter):  # real data or models are not installed
        assert name.startswith(("alpaca-eval", "optimal-designs-alpaca-eval", "imdb", "hh"))
        return
    played = {cell.environment.name for cell in cells}
    optional = {parse_spec(e.spec)[0] for e in board.environments if e.optional}
    assert played | optional == {parse_spec(e.spec)[0] for e in board.environments}
    assert len(notes) <= len(optional)


def test_a_board_has_the_fields_of_its_file() -> None:
    board = read_board("mine", GOOD)
    assert (board.name, board.title, board.reference) == ("mine", "A title", "uniform")
    assert (board.seeds, board.budgets, board.designs) == ((0, 1, 2), (5, 10), ("leverage",))
    first, second = board.environments
    assert (first.seeds, first.budgets, first.optional) == (None, None, False)
    assert (second.seeds, second.budgets, second.optional) == ((7, 8), (20,), True)


def test_all_designs_are_the_installed_ones_without_wrappers() -> None:
    board = read_board("mine", GOOD.replace('["leverage"]', '"all"'))
    left_out = set(design_names()) - set(board.designs)
    assert set(board.designs) < set(design_names())
    assert left_out == {n for n in design_names() if isinstance(make_design(n), WrapperDesign)}
    with pytest.raises(InvalidParameter, match="designs"):
        read_board("mine", GOOD.replace('["leverage"]', '"every"'))


def test_a_run_adds_designs_to_those_of_the_board() -> None:
    cells, _ = read_board("mine", GOOD).run_spec("first-two").cells()
    assert {cell.design.name for cell in cells} == {"uniform", "leverage", "first-two"}
    assert {cell.seed for cell in cells if cell.environment.name.endswith("Isotropic-v1")} == {7, 8}
    assert len(cells) == 3 * (3 + 2)


def test_the_description_of_a_board_has_its_title_and_size() -> None:
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
    ("title =", "board.toml is not valid TOML"),
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
    ('published = "2026-01-31"\n' + GOOD, "name of a published board ends in its version"),
    ("published = 2026-01-31\n" + GOOD, "Put dates in quotes"),
    ('published = "soon"\n' + GOOD, "published"),
    ("controls = 5\n" + GOOD, "controls"),
    (GOOD + "\n[testing]\nseeds = '0:1'\nbudgets = [5]\n", r"testing\.environments"),
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
    assert parse_seeds(text) == seeds


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
        parse_seeds(text)


def test_a_huge_range_of_seeds_is_refused_without_being_expanded() -> None:
    with pytest.raises(InvalidParameter, match=r"below 2\*\*32|seeds"):
        parse_seeds("0:99999999999999999999")


def test_budgets_are_numbers_that_grow() -> None:
    assert parse_budgets("50, 100,200") == (50, 100, 200)


@pytest.mark.parametrize(
    "text", ["", "a", "1.5", "10,5", "5,5", "0,5", "-5", "5,,10", "1e3", "5 10"]
)
def test_bad_budgets_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="budgets"):
        parse_budgets(text)
