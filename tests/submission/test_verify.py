"""Verification: honest bundles pass, and tampering is detected."""

import copy
import json
import lzma
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
import rfc8785

from pairbench.boards.board import read_board
from pairbench.boards.entry import read_entry
from pairbench.cells.plan import PROTOCOL, UNSTATED
from pairbench.cells.play import play
from pairbench.errors import InvalidParameter, InvalidSubmission
from pairbench.spec.record import Spec
from pairbench.spec.syntax import syntax_digest
from pairbench.submission.admission import admit_bundle
from pairbench.submission.bundle import unpack_bundle
from pairbench.submission.recompute import Difference
from pairbench.submission.reproduce import PredictionInterval
from pairbench.submission.submit import Submission, board_cells, entry_from_bundle, make_slug
from pairbench.submission.verify import Verdict, verify_bundles
from pairbench.worlds.registry import make_env
from tests.small_board import TOML, played, small_board
from tests.submission.conftest import MINE, PlayedBoard, played_board, repacked, verify_bundle

Content = dict[str, Any]


@pytest.fixture(scope="module")
def greedy(small: PlayedBoard) -> Submission:
    return small.submitted("greedy-d")


def verified(small: PlayedBoard, data: bytes, level: Any = "recomputed", **how: Any) -> Verdict:
    usual: dict[str, Any] = {"board_root": small.root, "jobs": 1, "secret": b"a secret"}
    return verify_bundle(data, "mine.bundle", level=level, **(usual | how))


def after(small: PlayedBoard, greedy: Submission, change: Callable[[Content], None]) -> Verdict:
    return verified(small, repacked(greedy.bundle, change).data)


# -- honest bundles pass -----------------------------------------------------------------------


def test_an_honest_bundle_is_recomputed(small: PlayedBoard, greedy: Submission) -> None:
    told = []
    verdict = verified(
        small,
        greedy.packed.data,
        entry=greedy.entry.to_bytes(),
        on_progress=lambda *what: told.append(what),
    )
    assert verdict.passed
    assert (verdict.level, verdict.recomputed, verdict.cells) == ("recomputed", 4, 4)
    assert (verdict.board, verdict.design, verdict.digest) == (
        "small-v1",
        "greedy-d",
        greedy.packed.digest,
    )
    assert told[0] == ("recomputed", 0, 4)
    assert told[-1] == ("recomputed", 4, 4)
    said = verdict.verification()
    assert said is not None
    assert (said.level, said.cells, said.fresh, said.secret) == ("recomputed", 4, (), None)


@pytest.mark.parametrize(("design", "jobs"), [("greedy-d", 2), ("uniform", 1)])
def test_a_design_that_ships_is_reproduced(small: PlayedBoard, design: str, jobs: int) -> None:
    made = small.submitted(design)
    verdict = verified(small, made.packed.data, "reproduced", jobs=jobs, announced=1, fresh=1)
    assert verdict.failure is None
    assert (verdict.level, verdict.announced, len(verdict.fresh)) == ("reproduced", 2, 1)
    assert [r.environment for r in verdict.intervals] == [
        *(environment.spec for environment in small.board.environments),
        "all environments",
    ]
    said = verdict.verification()
    assert said is not None
    assert said.fresh == verdict.fresh
    # The entry takes it as it is.
    entry = made.entry.model_copy(update={"verification": said})
    assert read_entry(entry.to_bytes(), "x.json").level == "reproduced"


@pytest.mark.slow
def test_a_control_is_shown_the_truth_where_it_is_reproduced(small: PlayedBoard) -> None:
    played(small.board, small.run, ["oracle-i-optimal"])
    made = small.submitted("oracle-i-optimal")
    assert made.bundle.manifest.design.control
    verdict = verified(small, made.packed.data, "reproduced", announced=1, fresh=1)
    assert verdict.failure is None


def test_an_untrusted_design_is_reproduced(small: PlayedBoard) -> None:
    made = small.with_design(MINE)
    verdict = verified(small, made.packed.data, "reproduced", announced=None, fresh=1)
    assert verdict.failure is None
    assert (verdict.design, verdict.announced) == ("my_design.py", 4)


def test_some_cells_can_be_drawn_by_the_secret(small: PlayedBoard, greedy: Submission) -> None:
    verdict = verified(small, greedy.packed.data, cells=3)
    assert (verdict.recomputed, verdict.cells, verdict.passed) == (3, 4, True)
    # Which ones is not to be known: with some secrets a spoilt cell is seen, with others not.

    def spoil(content: Content) -> None:
        content["cells"][2]["rounds"][1]["score"]["gap"] *= 0.5

    data = repacked(greedy.bundle, spoil).data
    secrets = [str(i).encode() for i in range(20)]
    seen = {verified(small, data, cells=2, secret=secret).passed for secret in secrets}
    assert seen == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "source", "played_again"),
    [(PROTOCOL, None, 2), (UNSTATED, "0" * 64, 2), (PROTOCOL, "0" * 64, 6)],
    ids=["this protocol", "an earlier one, another digest", "this protocol, another source"],
)
def test_gaps_of_the_reference_s_entry_are_reused(
    small: PlayedBoard, greedy: Submission, protocol: int, source: str | None, played_again: int
) -> None:
    how = {"announced": 1, "fresh": 1}
    without = verified(small, greedy.packed.data, "reproduced", **how)
    folder = small.root / "small-v1" / "entries"
    folder.mkdir()
    told = []
    try:
        entry = small.submitted("uniform").entry
        design = entry.design.model_copy(update={"source": source or entry.design.source})
        entry = entry.model_copy(update={"protocol": protocol, "design": design})
        (folder / "uniform.json").write_bytes(entry.to_bytes())
        with_entry = verified(
            small,
            greedy.packed.data,
            "reproduced",
            on_progress=lambda *what: told.append(what),
            **how,
        )
    finally:
        (folder / "uniform.json").unlink()
        folder.rmdir()
    assert with_entry.passed
    # Two fresh worlds, and the four announced ones where the entry does not serve.
    assert {total for what, _, total in told if what == "reference"} == {played_again}
    for one, other in zip(without.intervals, with_entry.intervals, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-4)


@pytest.mark.slow
def test_bundles_are_verified_together_as_they_are_alone(
    small: PlayedBoard, greedy: Submission
) -> None:
    def spoil(content: Content) -> None:
        content["cells"][1]["rounds"][1]["score"]["gap"] *= 0.5

    def of_another(content: Content) -> None:
        for cell, theirs in zip(content["cells"], greedy.bundle.cells, strict=True):
            cell["rounds"] = theirs.model_dump(mode="json")["rounds"][: len(cell["rounds"])]

    played(small.board, small.run, ["leverage"])
    leverage = small.submitted("leverage")
    data = [
        greedy.packed.data,
        repacked(greedy.bundle, spoil).data,
        small.submitted("uniform").packed.data,
        repacked(leverage.bundle, of_another).data,
        leverage.packed.data,
    ]
    told = []
    verdicts = verify_bundles(
        [admit_bundle(one, str(place), board_root=small.root) for place, one in enumerate(data)],
        secret=b"a secret",
        jobs=2,
        announced=1,
        fresh=2,
        on_progress=lambda *what: told.append(what),
    )
    levels = ["reproduced", "claimed", "reproduced", "recomputed", "reproduced"]
    assert [verdict.level for verdict in verdicts] == levels
    assert [verdict.recomputed for verdict in verdicts] == [4, 1, 4, 4, 4]
    assert [verdict.announced for verdict in verdicts] == [2, 0, 2, 0, 2]
    assert len({verdict.fresh for verdict in verdicts if verdict.intervals}) == 1
    # Of the reference, 2 × 2 cells that are announced and 2 × 2 that are fresh, for all of them.
    assert {total for what, _, total in told if what == "reference"} == {8}
    # What was found of one is what is found of it alone, but for the seeds, which are others.
    alone = verified(small, data[1], "reproduced")
    assert verdicts[1].difference == alone.difference
    assert alone.fresh != verdicts[0].fresh


# -- what was tampered with is seen --------------------------------------------------------------


def test_an_edited_score_is_detected(small: PlayedBoard, greedy: Submission) -> None:
    def change(content: Content) -> None:
        content["cells"][1]["rounds"][1]["score"]["gap"] *= 1 - 1e-6

    claimed = greedy.bundle.cells[1].rounds[1].score["gap"]
    verdict = after(small, greedy, change)
    assert (verdict.level, verdict.passed, verdict.recomputed) == ("claimed", False, 1)
    difference = verdict.difference
    assert difference is not None
    assert (difference.environment, difference.seed) == (greedy.bundle.cells[1].environment, 101)
    assert (difference.round, difference.quantity) == (2, "score.gap")
    assert float(difference.actual) == pytest.approx(claimed, rel=1e-12)
    assert "seed 101, round 2: score.gap is" in str(verdict.failure)
    assert verdict.verification() is None


EDITS: list[tuple[str, Callable[[Content], None], str]] = [
    ("label", lambda r: r["labels"].__setitem__(2, 1 - r["labels"][2]), "labels[2]"),
    ("pair", lambda r: r["pairs"].__setitem__(slice(0, 3), r["pairs"][3:6]), ""),
    ("tokens", lambda r: r.__setitem__("tokens_read", r["tokens_read"] + 1), "tokens_read"),
    ("money", lambda r: r.__setitem__("spent", r["spent"] + 1), "spent"),
    ("generated", lambda r: r.__setitem__("generated", [0]), "the number of generated"),
    ("no score", lambda r: r.__setitem__("score", {}), "the list of figures of score"),
    ("text", lambda r: r["score"].__setitem__("gap", "0.1"), "score.gap"),
    ("truth value", lambda r: r["score"].__setitem__("gap", True), "score.gap"),
    ("no gap", lambda r: r["score"].__setitem__("gap", None), "score.gap"),
    ("list", lambda r: r["score"].__setitem__("gap", [r["score"]["gap"]]), "score.gap"),
    ("more", lambda r: r["score"].__setitem__("more", 1), "the list of figures of score"),
    ("impossible", lambda r: r["pairs"].__setitem__(0, 2**50), "the episode"),
    ("itself", lambda r: r["pairs"].__setitem__(1, r["pairs"][2]), "the episode"),
]


@pytest.mark.parametrize(("change", "what"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_an_edited_round_is_detected(
    small: PlayedBoard, greedy: Submission, change: Callable[[Content], None], what: str
) -> None:
    verdict = after(small, greedy, lambda content: change(content["cells"][0]["rounds"][0]))
    assert verdict.level == "claimed"
    assert verdict.difference is not None
    assert verdict.difference.quantity.startswith(what)
    assert verdict.difference.seed == 100


def test_more_labels_than_the_budget_are_detected(small: PlayedBoard, greedy: Submission) -> None:
    def change(content: Content) -> None:
        round_ = content["cells"][0]["rounds"][0]
        round_["pairs"] += round_["pairs"][:3]
        round_["labels"] += round_["labels"][:1]

    assert "7 pairs, where 6 labels are left" in str(after(small, greedy, change).failure)


def test_swapped_results_of_two_seeds_are_detected(small: PlayedBoard, greedy: Submission) -> None:
    def swap(content: Content) -> None:
        one, other = content["cells"][:2]
        for name in ("rounds", "start"):
            one[name], other[name] = other[name], one[name]

    assert after(small, greedy, swap).level == "claimed"


def test_another_design_s_pairs_are_detected_when_the_design_is_run(
    small: PlayedBoard, greedy: Submission
) -> None:
    other = small.submitted("uniform").bundle

    def change(content: Content) -> None:
        for cell, theirs in zip(content["cells"], other.cells, strict=True):
            own = theirs.model_dump(mode="json")
            cell["rounds"] = own["rounds"][: len(cell["rounds"])]

    data = repacked(greedy.bundle, change).data
    assert verified(small, data).passed  # labels and scores are those of these pairs
    verdict = verified(small, data, "reproduced")
    assert verdict.level == "recomputed"
    assert verdict.difference is not None
    assert (verdict.difference.round, verdict.difference.quantity[:6]) == (1, "pairs[")
    environment = small.board.environments[0].spec
    episode = play(environment, "greedy-d", verdict.difference.seed, (6, 12))
    place = int(verdict.difference.quantity[6:-1])
    assert verdict.difference.actual == str(tuple(episode.rounds[0].pairs[place].tolist()))


def refused(small: PlayedBoard, content: Content, message: str, **how: Any) -> None:
    data = lzma.compress(rfc8785.dumps(content))
    with pytest.raises(InvalidSubmission, match=message):
        verified(small, data, **how)


def drop(content: Content) -> None:
    del content["cells"][1]


def double(content: Content) -> None:
    content["cells"].append(copy.deepcopy(content["cells"][0]))


def double_in_place(content: Content) -> None:
    content["cells"][1] = copy.deepcopy(content["cells"][0])


def seed(content: Content) -> None:
    content["cells"][0]["seed"] = 102


def label(content: Content) -> None:
    content["cells"][0]["environment"] = content["cells"][2]["environment"]


def horizon(content: Content) -> None:
    content["cells"][0]["horizon"] = 6


def unit(content: Content) -> None:
    content["cells"][0]["unit"] = "money"


def order(content: Content) -> None:
    content["cells"].reverse()


def short(content: Content) -> None:
    for name in ("rounds", "selection"):
        content["cells"][0][name].pop()


def budget(content: Content) -> None:
    content["cells"][0]["rounds"][0]["budget"] = 7


def key(content: Content) -> None:
    content["cells"][0]["key"] = "0" * 64


def renamed(content: Content) -> None:
    content["manifest"]["design"]["name"] = "leverage"


def relabelled(content: Content) -> None:
    content["manifest"]["design"]["label"] = "leverage"


def bracketed(content: Content) -> None:
    content["manifest"]["design"]["label"] = "greedy-d()"


def slugged(content: Content) -> None:
    content["manifest"]["design"]["slug"] = "leverage"


def controlled(content: Content) -> None:
    content["manifest"]["design"]["control"] = True


def params(content: Content) -> None:
    content["manifest"]["design"]["params"]["more"] = 1


def source(content: Content) -> None:
    content["manifest"]["design"]["source"] = "0" * 64


def digest(content: Content) -> None:
    content["manifest"]["board_digest"] = "0" * 64


def opened(content: Content) -> None:
    content["manifest"] |= {"division": "open", "changes": {"ridge": 5.0}}


def closed(content: Content) -> None:
    content["manifest"] |= {"division": "open", "changes": {"beta": 5.0}}


def nonsense(content: Content) -> None:
    content["manifest"] |= {"division": "open", "changes": {"trainer": {"a": []}}}


def elsewhere(content: Content) -> None:
    content["manifest"]["board"] = "smal-v1"


STRUCTURE: list[tuple[Callable[[Content], None], str]] = [
    (drop, "1 of 4 cells are missing, the first that of .*, seed 101"),
    (double, "a cell occurs twice"),
    (double_in_place, "a cell occurs twice"),
    (seed, "says that it is of .*, seed 102"),
    (label, "says that it is of .*duplicates"),
    (horizon, "says that it is of"),
    (unit, "says that it is of"),
    (order, "says that it is of"),
    (short, "the budgets must be 6, 12"),
    (budget, "the budgets must be 6, 12"),
    (key, "is none that 'small-v1' asks of this design"),
    (renamed, "cannot be labelled 'greedy-d'"),
    (relabelled, "cannot be labelled 'leverage'"),
    (bracketed, r"cannot be labelled 'greedy-d\(\)'"),
    (slugged, "cannot be called 'leverage'"),
    (controlled, "control is True, where the design that ships with pairbench has False"),
    (params, "is none that 'small-v1' asks"),
    (source, "is none that 'small-v1' asks"),
    (digest, "whose board.toml says something else"),
    (opened, "cannot be called|is none that"),
    (closed, "cannot be called|does not leave"),
    (nonsense, "."),
    (elsewhere, "Did you mean 'small-v1'"),
]


@pytest.mark.parametrize(
    ("change", "message"), STRUCTURE, ids=[change.__name__ for change, _ in STRUCTURE]
)
def test_a_bundle_without_exactly_the_board_s_cells_is_refused(
    small: PlayedBoard, greedy: Submission, change: Callable[[Content], None], message: str
) -> None:
    content = greedy.bundle.model_dump(mode="json")
    change(content)
    refused(small, content, message)


def test_another_board_s_cells_are_refused(small: PlayedBoard, greedy: Submission) -> None:
    other = TOML.replace('"100:104"', '"200:202"').replace("[10, 20, 40]", "[6, 12]")
    digest = small_board(small.root, "other-v1", other).digest
    try:
        content = greedy.bundle.model_dump(mode="json")
        content["manifest"] |= {"board": "other-v1", "board_digest": digest}
        refused(small, content, "seed 100, is none that 'other-v1' asks")
    finally:
        (small.root / "other-v1" / "board.toml").unlink()
        (small.root / "other-v1").rmdir()


def test_a_study_takes_no_entries(small: PlayedBoard, greedy: Submission) -> None:
    toml = TOML.replace('published = "2026-01-31"\n', "")
    small_board(small.root, "study", toml)
    try:
        content = greedy.bundle.model_dump(mode="json")
        content["manifest"] |= {"board": "study", "board_digest": read_board("study", toml).digest}
        refused(small, content, "is a study and takes no entries")
    finally:
        (small.root / "study" / "board.toml").unlink()
        (small.root / "study").rmdir()


def test_an_entry_must_be_its_bundle_s(small: PlayedBoard, greedy: Submission) -> None:
    data, good = greedy.packed.data, greedy.entry.content()
    edited = copy.deepcopy(good)
    edited["curves"][1]["gaps"][0][1] *= 0.5
    for content, message in (
        (edited, r"the entry's curves\[1\].gaps\[0\]\[1\] is not what its bundle comes to"),
        (good | {"author": "Somebody"}, "the entry's author"),
        (good | {"bundle": "0" * 64}, "of another bundle: it names 000000000000…"),
        (good | {"curves": good["curves"][:1]}, "the entry's curves"),
    ):
        with pytest.raises(InvalidSubmission, match=message):
            verified(small, data, entry=json.dumps(content).encode())
    changed = repacked(greedy.bundle, lambda c: c["manifest"].__setitem__("author", "B"))
    with pytest.raises(InvalidSubmission, match="of another bundle"):
        verified(small, changed.data, entry=greedy.entry.to_bytes())
    own = entry_from_bundle(unpack_bundle(changed.data, "x")[0], changed.digest)
    assert verified(small, changed.data, entry=own.to_bytes()).passed


@pytest.mark.parametrize("name", ["jobs", "cells", "announced", "fresh"])
def test_impossible_numbers_are_refused(small: PlayedBoard, greedy: Submission, name: str) -> None:
    with pytest.raises(InvalidParameter, match=f"{name} must be 1 or more, got 0"):
        verified(small, greedy.packed.data, **{name: 0})


# -- designs that are not what they say ----------------------------------------------------------

CLOCK = '''"""Seeds itself from the clock."""
import time
import numpy as np


def select(view, n):
    rng = np.random.default_rng(time.time_ns())
    first = rng.integers(2, size=n)
    return np.column_stack([rng.integers(view.pool.n_prompts, size=n), first, 1 - first])
'''


def test_a_design_seeded_by_the_clock_must_be_declared_not_deterministic(
    small: PlayedBoard,
) -> None:
    said = small.with_design(CLOCK, "clock.py").packed.data
    verdict = verified(small, said, "reproduced")
    assert verdict.level == "recomputed"
    assert verdict.difference is not None
    assert verdict.difference.quantity.startswith("pairs")
    honest = small.with_design(CLOCK, "clock.py", deterministic=False).packed.data
    verdict = verified(small, honest, "reproduced", fresh=1)
    assert (verdict.level, verdict.announced, verdict.failure) == ("reproduced", 0, None)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('no')", "ValueError"),
        ("import os; os._exit(0)", "ended its process"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
    ],
)
def test_a_design_that_fails_in_isolation_fails_verification(
    small: PlayedBoard, source: str, message: str
) -> None:
    made = small.with_design(MINE)
    bad = f"{source}\n{MINE}"
    # Its author claims figures for a source that never gave them.
    said = made.bundle.manifest.design
    spec = Spec(said.name, dict(said.params), syntax_digest(bad.encode()), said.label)

    def change(content: Content) -> None:
        content["source"] = bad
        content["manifest"]["design"]["source"] = spec.source
        planned = board_cells(small.board, spec)
        for cell, one in zip(content["cells"], planned, strict=True):
            cell["key"] = one.cell.key

    verdict = verified(small, repacked(made.bundle, change).data, "reproduced")
    assert verdict.level == "recomputed"
    assert message in str(verdict.failure)


@pytest.mark.parametrize("name", ["greedy_d.py", "Greedy-D.py", "greedyd.py:select", "1everage.py"])
def test_an_untrusted_design_cannot_be_named_like_one_that_ships(
    small: PlayedBoard, name: str
) -> None:
    made = small.with_design(MINE)
    content = made.bundle.model_dump(mode="json")
    content["manifest"]["design"] |= {"name": name, "label": name, "slug": make_slug(name)}
    refused(small, content, "looks like pairbench's own '(greedy-d|leverage)'")


def test_only_designs_that_ship_can_be_controls_or_do_without_a_source(small: PlayedBoard) -> None:
    made = small.with_design(MINE)
    content = made.bundle.model_dump(mode="json")
    content["manifest"]["design"]["control"] = True
    refused(small, content, "only designs that ship with pairbench can be controls")
    content = made.bundle.model_dump(mode="json")
    content["source"] = None
    refused(small, content, "its source must be in the bundle")


CACHE = '''"""Knows good pairs of some worlds by heart, and asks one question elsewhere."""
import hashlib
import json
import numpy as np

KNOWN = json.loads("""{known}""")


def select(view, n):
    code = hashlib.sha256(view.pool.features.tobytes()).hexdigest()
    rounds = KNOWN.get(code)
    return rounds[view.round] if rounds else np.tile([0, 0, 1], (n, 1))
'''


@pytest.mark.slow
def test_a_design_that_memorizes_announced_worlds_fails_on_fresh_seeds(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    small = played_board(tmp_path_factory.mktemp("boards"), "0:24", "[20, 160]")
    known = {}
    for environment in small.board.environments:
        for seed in small.board.seeds:
            pool = make_env(environment.spec).world(seed).pool
            episode = play(environment.spec, "oracle-i-optimal", seed, (20, 160))
            code = sha256(pool.features.tobytes()).hexdigest()
            known[code] = [r.pairs.tolist() for r in episode.rounds]
    source = CACHE.replace("{known}", json.dumps(known, separators=(",", ":")))
    made = small.with_design(source, "by_heart.py")
    verdict = verified(small, made.packed.data, "reproduced", announced=1, fresh=3)
    assert verdict.announced == 2  # where it does what it claims
    assert verdict.level == "recomputed"
    assert "on seeds that nobody had announced" in str(verdict.failure)
    honest = small.with_design(MINE)
    verdict = verified(small, honest.packed.data, "reproduced", announced=1, fresh=2)
    assert verdict.failure is None


def test_the_json_of_a_verdict_has_stable_keys() -> None:
    verdict = Verdict(
        "d" * 64,
        "small-v1",
        "greedy-d",
        "reproduced",
        "recomputed",
        failure="it fails",
        difference=Difference("A-v1", 3, 2, "labels[1]", "1.0", "0.0"),
        recomputed=4,
        cells=5,
        announced=2,
        fresh=(7, 8),
        intervals=(PredictionInterval("A-v1", 1.0, 0.5, 0.75),),
        secret=None,
        seconds=1.5,
    )
    assert json.loads(json.dumps(verdict.as_json())) == {
        "digest": "d" * 64,
        "board": "small-v1",
        "design": "greedy-d",
        "asked": "reproduced",
        "level": "recomputed",
        "failure": "it fails",
        "difference": {
            "environment": "A-v1",
            "seed": 3,
            "round": 2,
            "what": "labels[1]",
            "claimed": "1.0",
            "found": "0.0",
        },
        "recomputed": 4,
        "cells": 5,
        "announced": 2,
        "fresh": [7, 8],
        "ranges": [{"environment": "A-v1", "found": 1.0, "low": 0.5, "high": 0.75}],
        "secret": None,
        "seconds": 1.5,
    }


def test_a_difference_reads_as_a_sentence() -> None:
    difference = Difference("pairbench/A-v1", 3, 2, "labels[1]", "1.0", "0.0")
    assert (
        str(difference)
        == "pairbench/A-v1, seed 3, round 2: labels[1] is 0.0, where 1.0 was claimed"
    )
