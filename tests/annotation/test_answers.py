"""Reading of annotators' answers: no label is added, lost or reversed.

The files in ``exports`` were written by argilla 2.8.0 (``to_list(flatten=True)``, ``to_json``, and
``to_datasets`` saved as JSONL and CSV) and by the converter of label-studio-sdk 2.1.2, from what
``pairbench export`` makes of the questions of ``test_exchange``. Neither package is a dependency of
the tests: argilla 2.8 does not declare all that it imports, and the other brings 30 packages.
"""

import csv
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairbench.annotation.agreement import measure_agreement
from pairbench.annotation.answers import read_answers, read_labels
from pairbench.annotation.exchange import import_answers
from pairbench.errors import InvalidData
from pairbench.pool.labels import Label, merge_labels
from tests.annotation.test_exchange import IDS, said

Write = Callable[..., Path]
Cli = Callable[..., subprocess.CompletedProcess[str]]
EXPORTS = Path(__file__).parent / "exports"
CASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "cases"
ANN, BEN = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2))
ARGILLA = [
    (IDS[0], "first", ANN),
    (IDS[0], "second", BEN),
    (IDS[1], "second", ANN),
    (IDS[2], "skip", ANN),
    (IDS[3], "tie", BEN),
]
STUDIO = [
    (IDS[0], "first", "1"),
    (IDS[0], "second", "2"),
    (IDS[1], "skip", "1"),
    (IDS[1], "tie", "2"),
    (IDS[2], "second", "2"),
]
PAIRWISE = [
    (IDS[0], "first", "1"),
    (IDS[0], "second", "2"),
    (IDS[1], "second", "1"),
    (IDS[2], "first", "2"),
]


def task(k: int, *annotations: dict[str, Any], key: str = "annotations") -> dict[str, Any]:
    """A task of Label Studio."""
    ids = [{"id": 10 * k + n, "completed_by": n} for n in range(1, len(annotations) + 1)]
    answered = [i | a for i, a in zip(ids, annotations, strict=True)]
    return {"id": k, "data": {"pair_id": IDS[k], "prompt": "P"}, key: answered}


def chosen(*choices: str, name: str = "preferred") -> dict[str, Any]:
    return {"from_name": name, "type": "choices", "value": {"choices": list(choices)}}


def comment(text: str) -> dict[str, Any]:
    return {"from_name": "comment", "type": "textarea", "value": {"text": [text]}}


def selected(side: str | None, to_name: str = "first,second", name: str = "pw") -> dict[str, Any]:
    value = {"selected": side}
    return {"from_name": name, "to_name": to_name, "type": "pairwise", "value": value}


def result(*results: dict[str, Any]) -> dict[str, Any]:
    return {"result": list(results)}


def table(write: Write, answers: str, name: str, annotator: str = "") -> Path:
    """A filled table; one letter for the answer to each question, a dot for none."""
    words = {"f": "first", "s": "second", "t": "tie", ".": ""}
    lines = [f"{IDS[k]},{words[a]},{annotator}" for k, a in enumerate(answers)]
    return write("\n".join(["pair_id,preferred,annotator", *lines]) + "\n", name)


def done(path: Path, labels: Path, annotator: str | None = None) -> tuple[int, int, int, int]:
    merge = import_answers(path, labels, annotator).merge
    return merge.new, merge.changed, merge.unchanged, len(merge.labels)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.jsonl"


# -- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "answers"),
    [
        (["argilla.flat.json", "argilla.datasets.jsonl", "argilla.datasets.csv"], ARGILLA),
        (["label-studio.min.json", "label-studio.csv"], STUDIO),
        (["label-studio.json"], [*STUDIO, (IDS[3], "skip", "2")]),  # the others leave cancelled out
        (["label-studio-pairwise.json", "label-studio-pairwise.min.json"], PAIRWISE),
        (["label-studio-pairwise.csv"], PAIRWISE),
    ],
)
def test_all_forms_of_an_export_are_the_same_answers(
    labels: Path, files: list[str], answers: list[tuple[str, str, str]]
) -> None:
    for k, name in enumerate([*files, *files]):
        assert sorted(said(EXPORTS / name)) == sorted(answers)
        n = len(answers)
        assert done(EXPORTS / name, labels) == ((0, 0, n, n) if k else (n, 0, 0, n))
    assert sorted(said(labels)) == sorted(answers)


def test_a_parquet_file_of_argilla_is_read(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = json.loads((EXPORTS / "argilla.flat.json").read_text())
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "answers.parquet")
    assert sorted(said(tmp_path / "answers.parquet")) == sorted(ARGILLA)


# -- argilla -------------------------------------------------------------------------------------


def test_drafts_and_discarded_responses_are_counted() -> None:
    answers = read_answers(EXPORTS / "argilla.flat.json")
    assert answers.omitted == {"drafts": 2, "discarded responses": 1}
    assert (answers.unanswered, answers.unclear, answers.warnings) == (1, (), ())


def test_a_form_without_status_is_read_with_a_warning() -> None:
    path = EXPORTS / "argilla.to_json.json"
    answers = read_answers(path)
    assert len(answers.labels) == 7
    assert answers.unclear == (("item 4", "a response without a value"),)
    (warning,) = answers.warnings
    assert warning.startswith("7 of Argilla's responses come without their status")
    assert "dataset.records.to_list(flatten=True)" in warning
    with pytest.warns(UserWarning, match="without their status"):
        read_labels(path)


@pytest.mark.parametrize("form", ["by question", "by user", "by column"])
@pytest.mark.parametrize(
    ("status", "n_labels", "n_warnings"),
    [("submitted", 1, 0), ("draft", 0, 0), ("discarded", 0, 0), ("missing", 0, 0), (None, 1, 1)],
)
def test_the_status_of_a_response_counts_in_every_form(
    write: Write, form: str, status: str | None, n_labels: int, n_warnings: int
) -> None:
    by_user = {"user_id": "u", "status": status, "values": {"preferred": {"value": "tie"}}}
    by_question = {"preferred": [{"value": "tie", "user_id": "u", "status": status}]}
    row = {
        "by question": {"id": IDS[0], "fields": {}, "responses": by_question},
        # The server has an id of its own beside ours.
        "by user": {"id": "7", "external_id": IDS[0], "fields": {}, "responses": [by_user]},
        "by column": {
            "id": IDS[0],
            "preferred.responses": ["tie"],
            "preferred.responses.users": ["u"],
            "preferred.responses.status": [status],
        },
    }[form]
    answers = read_answers(write([row]))
    assert (len(answers.labels), len(answers.warnings)) == (n_labels, n_warnings)
    assert answers.unanswered == 1 - n_labels


def test_a_response_taken_back_is_a_label_no_more(write: Write, labels: Path) -> None:
    assert done(EXPORTS / "argilla.to_json.json", labels)[3] == 7
    summary = import_answers(EXPORTS / "argilla.flat.json", labels)
    assert (summary.merge.new, summary.n_withdrawn, len(summary.merge.labels)) == (0, 2, 5)
    assert sorted(said(labels)) == sorted(ARGILLA)


def test_bad_responses_do_not_stop_the_rest(write: Write) -> None:
    good = [{"value": "first", "user_id": "u", "status": "submitted"}]
    rows: list[dict[str, Any]] = [
        {"id": IDS[0], "fields": {}, "responses": {"preferred": good}},
        {"id": IDS[1], "fields": {}, "responses": {"preferred": [good[0] | {"value": "A"}]}},
        {"id": "12", "fields": {}, "responses": {"preferred": good}},
        {"id": IDS[3], "preferred.responses": ["tie"], "preferred.responses.users": ["u", "v"]},
        {"id": IDS[4], "fields": {}, "responses": {"preferred": "first"}},
        {"id": IDS[5], "fields": {}, "responses": {"other": good}},
    ]
    answers = read_answers(write(rows))
    assert [label.id for label in answers.labels] == [IDS[0]]
    assert answers.unanswered == 5
    assert [location for location, _ in answers.unclear] == [f"line {k}" for k in (2, 3, 4, 5)]
    assert answers.unclear[0].reason.startswith(
        "field 'label': expected first, second, tie or skip"
    )
    assert "1 responses, 2 users" in answers.unclear[2].reason


# -- label studio --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([], "nothing is selected"),
        ([comment("hm")], "nothing is selected"),
        ([selected("none")], "nothing is selected"),
        ([selected(None)], "nothing is selected"),
        ([chosen()], "nothing is selected"),
        ([chosen("first", "second")], "2 answers, 'first' and 'second'"),
        ([chosen("first"), chosen("tie")], "2 answers, 'first' and 'tie'"),
        ([chosen("tie"), selected("left")], "2 answers, 'tie' and 'first'"),
        (
            [{"from_name": "preferred", "value": {"choices": [["first"]]}}],
            "field 'label': expected",
        ),
        ([chosen("maybe")], "field 'label': expected first, second, tie or skip, or 1"),
        ([{"type": "rating", "value": {"rating": 3}}], "nothing is selected"),
    ],
)
def test_an_item_without_one_clear_answer_is_unanswered(
    write: Write, results: list[dict[str, Any]], reason: str
) -> None:
    good = result(chosen("second"), comment("clear"))
    path = write([task(0, result(*results)), task(1, good), task(2)], "answers.json")
    answers = read_answers(path)
    assert said(path) == [(IDS[1], "second", "1")]
    assert answers.unanswered == 2
    ((location, found),) = answers.unclear
    assert location == "line 1"
    assert found.startswith(reason)
    with pytest.raises(InvalidData, match=f"no answer. line 1: {re.escape(reason)}"):
        read_labels(write([task(0, result(*results))], "alone.json"))


@pytest.mark.parametrize(
    "row",
    [
        {"data": {"text": "x"}, "annotations": []},
        {"data": {"pair_id": "x"}},
        {"data": {"pair_id": IDS[0]}, "annotations": 3},
        {"data": None},
    ],
)
def test_a_task_of_something_else_does_not_stop_the_rest(write: Write, row: dict[str, Any]) -> None:
    answers = read_answers(write([row, task(1, result(chosen("tie")))]))
    assert ([label.id for label in answers.labels], answers.unanswered) == ([IDS[1]], 1)
    assert [location for location, _ in answers.unclear] == ["line 1"]


@pytest.mark.parametrize(
    ("to_name", "left", "n_warnings"),
    [
        ("first,second", "first", 0),
        ("second,first", "second", 0),
        (" Second , first", "second", 0),
        ("a,b", "first", 1),
        ("pw", "first", 1),
    ],
)
def test_left_is_the_first_text_of_the_pairwise_tag(
    write: Write, to_name: str, left: str, n_warnings: int
) -> None:
    right = {"first": "second", "second": "first"}[left]
    rows = [task(k, result(selected(s, to_name))) for k, s in enumerate(["left", "right"])]
    answers = read_answers(write(rows))
    assert [label.label for label in answers.labels] == [left, right]
    assert len(answers.warnings) == n_warnings
    assert all("export as JSON" in warning for warning in answers.warnings)


def test_choices_of_other_questions_are_no_answers(write: Write) -> None:
    sure = chosen("1", name="confidence")
    rows = [task(0, result(sure, chosen("tie"))), task(1, result(sure))]
    assert said(write(rows)) == [(IDS[0], "tie", "1")]
    rows = [task(0, result(sure, selected("right"))), task(1, result(sure))]
    assert said(write(rows)) == [(IDS[0], "second", "1")]
    with pytest.raises(InvalidData, match="of several controls, 'better', 'confidence', and it"):
        read_answers(write([task(0, result(sure, chosen("first", name="better")))]))
    assert said(write([task(0, result(chosen("right", name="better")))])) == [
        (IDS[0], "second", "1")
    ]


def test_completions_are_annotations_before_label_studio_1(write: Write) -> None:
    rows = [
        task(0, result(chosen("first")), key="completions"),
        task(1, result() | {"skipped": True, "was_cancelled": False}, key="completions"),
        task(2, result(comment("hm")), key="completions"),
    ]
    assert said(write(rows)) == [(IDS[0], "first", "1"), (IDS[1], "skip", "1")]


def test_an_annotation_made_unclear_is_a_label_no_more(write: Write, labels: Path) -> None:
    import_answers(
        write([task(0, result(chosen("first"))), task(1, result(chosen("tie")))]), labels
    )
    rows = [task(0, result(chosen("first", "second"))), task(1, result(chosen("tie")))]
    assert import_answers(write(rows), labels).n_withdrawn == 1
    assert said(labels) == [(IDS[1], "tie", "1")]


def test_the_command_names_items_and_abbreviates(here: Cli, write: Write) -> None:
    rows = [task(k % 6, result(chosen("first") if k == 3 else comment("?"))) for k in range(9)]
    write(json.dumps(rows), "answers.json")
    out = here("import", "answers.json").stdout
    assert "1 answer by 1 annotator: 1 first" in out
    assert "  8 rows have no answer yet" in out
    assert "without a clear answer: item 1 (nothing is selected), item 2 (nothing" in out
    assert "item 6 (nothing is selected) and 3 more" in out
    assert "item 7" not in out


# -- who answered --------------------------------------------------------------------------------


def test_the_name_of_a_file_does_not_count(write: Write, labels: Path) -> None:
    for annotator in ("ann", ""):
        labels.unlink(missing_ok=True)
        assert done(table(write, "fst", "a.csv", annotator), labels) == (3, 0, 0, 3)
        assert done(table(write, "fst", "copy.csv", annotator), labels) == (0, 0, 3, 3)
        assert done(table(write, "fstff", "more.csv", annotator), labels) == (2, 0, 3, 5)
        assert done(table(write, "...ff.", "part.csv", annotator), labels) == (0, 0, 2, 5)
    assert "csv" not in labels.read_text()


def test_a_second_table_without_annotator_needs_a_name(write: Write, labels: Path) -> None:
    for who in ("ann", "ben"):
        (labels.parent / who).mkdir()
    ann, ben = table(write, "fst", "ann/filled.csv"), table(write, "ffs", "ben/filled.csv")
    import_answers(ann, labels)
    before = labels.read_bytes()
    with pytest.raises(InvalidData, match=r"to 3 of .*another person's, or .*--annotator"):
        import_answers(ben, labels)
    assert labels.read_bytes() == before
    assert done(ben, labels, "ben") == (3, 0, 0, 6)
    assert done(ben, labels, "ben") == (0, 0, 3, 6)
    assert done(ann, labels) == (0, 0, 3, 6)
    with pytest.raises(InvalidData, match="have no annotator"):
        import_answers(ben, labels)
    # Whether ann's are those without a name cannot be told either.
    with pytest.raises(InvalidData, match=r"the answers of 'ann' to 3 of .* a new labels file"):
        import_answers(ann, labels, "ann")


def test_one_different_answer_is_enough_to_ask(write: Write, labels: Path) -> None:
    import_answers(table(write, "fsts", "a.csv"), labels)
    with pytest.raises(InvalidData, match="--annotator NAME"):
        import_answers(table(write, "fstf", "b.csv"), labels)
    with pytest.raises(InvalidData, match="answers to 4 of the questions"):
        import_answers(table(write, "fstff", "b.csv"), labels)
    assert done(table(write, "....ff", "b.csv"), labels) == (2, 0, 0, 6)


def test_a_table_without_annotator_may_not_repeat_a_named_one(write: Write, labels: Path) -> None:
    import_answers(table(write, "fst", "a.csv"), labels, "ann")
    for answers in ("fst", "sss"):
        with pytest.raises(InvalidData, match="the new answers have no annotator"):
            import_answers(table(write, answers, "b.csv"), labels)
    # Tools say who answered, so that their answers are another's.
    import_answers(EXPORTS / "label-studio.json", labels)
    import_answers(EXPORTS / "argilla.flat.json", labels)
    assert len(said(labels)) == 3 + 6 + 5


def test_an_option_names_only_answers_without_annotator(write: Write) -> None:
    rows = [{"id": IDS[0], "label": 1}, {"id": IDS[0], "label": 0, "annotator": "ben"}]
    labels = read_answers(write(rows), "ann").labels
    assert [label.annotator for label in labels] == ["ann", "ben"]


def test_spaces_around_a_name_do_not_count(write: Write, labels: Path) -> None:
    assert done(table(write, "fs", "a.csv", "ann"), labels) == (2, 0, 0, 2)
    assert done(table(write, "fs", "b.csv", " ann "), labels) == (0, 0, 2, 2)
    with pytest.raises(InvalidData, match="no annotator"):
        import_answers(table(write, "ff", "c.csv", "  "), labels)


def test_an_answer_with_an_id_may_get_its_name_later(write: Write, labels: Path) -> None:
    rows = [task(k, result(chosen("tie")) | {"completed_by": None}) for k in range(2)]
    path = write(rows, "answers.jsonl")
    for annotator, n_new in ((None, 2), ("ann", 0), (None, 0)):
        assert done(path, labels, annotator) == (n_new, 0, 2 - n_new, 2)
    assert said(labels) == [(IDS[0], "tie", "ann"), (IDS[1], "tie", "ann")]


def test_a_labels_file_is_not_given_a_name(write: Write, labels: Path) -> None:
    import_answers(table(write, "fs", "a.csv"), labels)
    with pytest.raises(InvalidData, match=r"is the labels file itself.*--labels"):
        import_answers(labels, labels, "ann")


def test_the_command_takes_a_name(here: Cli, write: Write) -> None:
    table(write, "fs", "a.csv")
    table(write, "ff", "b.csv")
    assert "2 labels in labels.jsonl: 2 new" in here("import", "a.csv").stdout
    refused = here("import", "b.csv")
    assert refused.returncode == 1
    assert refused.stderr.startswith("InvalidData: the labels file holds answers to 2 of the")
    out = here("import", "b.csv", "--annotator", "ben").stdout
    assert "2 answers by 1 annotator: 2 first\n4 labels in labels.jsonl: 2 new\n" in out


# -- labels files of version 0.2 and before ------------------------------------------------------


def test_labels_with_the_name_of_a_file_are_merged(write: Write, labels: Path) -> None:
    old = [
        {"id": IDS[k], "label": "first", "annotator": "ann", "source": source}
        for source in ("filled.csv", "Copy of filled.CSV")
        for k in range(3)
    ]
    write(old, "labels.jsonl")
    assert done(table(write, "ffs", "x.csv", "ann"), labels) == (0, 1, 2, 3)
    assert [label for _, label, _ in said(labels)] == ["first", "first", "second"]


def test_tables_of_several_people_in_an_old_file_stay_apart(write: Write, labels: Path) -> None:
    old = [
        {"id": IDS[k], "label": label, "source": source}
        for source, answers in (("a.csv", ["first", "tie"]), ("b.csv", ["tie", "tie"]))
        for k, label in enumerate(answers)
    ]
    write(old, "labels.jsonl")
    assert done(table(write, "ft", "renamed.csv"), labels) == (0, 0, 2, 4)
    assert done(table(write, "tt", "b.csv"), labels) == (0, 0, 2, 4)
    with pytest.raises(InvalidData, match="--annotator"):
        import_answers(table(write, "ts", "b.csv"), labels)
    assert done(labels, labels) == (0, 0, 4, 4)


def test_the_ids_of_tools_tell_answers_apart() -> None:
    def label(answer: str, source: str | None, annotator: str | None = None) -> Label:
        values = {"id": IDS[0], "label": answer, "annotator": annotator, "source": source}
        return Label.model_validate(values)

    assert label("tie", "label-studio 7").answer_id == "label-studio 7"
    assert label("tie", "mine 7").answer_id == "mine 7"
    for source in (None, "argilla", "label-studio", "label-studio None", "my answers.csv"):
        assert label("tie", source).answer_id is None
    old = [label("tie", "label-studio 7"), label("tie", "label-studio 8", "ann")]
    new = [label("first", "label-studio 7"), label("first", "label-studio 9", "ann")]
    merged = merge_labels(old, new)
    assert (merged.new, merged.changed, merged.unchanged) == (1, 1, 0)
    assert [label.label for label in merged.labels] == ["first", "tie", "first"]


# -- agreement -----------------------------------------------------------------------------------


def test_agreement_is_that_of_annotators(write: Write) -> None:
    rows = [
        {"id": IDS[k], "label": label, "annotator": who}
        for who, answers in (("ann", "fstf"), ("ben", "fsts"), ("cy", "ff"))
        for k, label in enumerate({"f": "first", "s": "second", "t": "tie"}[a] for a in answers)
    ]
    # No pair's agreement changes by skips, nor by an annotator's earlier answer.
    rows = [{"id": IDS[0], "label": "tie", "annotator": "ann"}, *rows]
    rows += [{"id": IDS[4], "label": "skip", "annotator": who} for who in ("ann", "ben")]
    agreement = measure_agreement(read_labels(write(rows)))
    assert agreement[:5] == (3, 0, 3, 2, 4)
    # Ordered pairs of different answers: 4 over 2 in the second question, 2 over 1 in the fourth;
    # 10 answers, of which 5, 3 and 2 are first, second and tie.
    assert agreement.alpha == pytest.approx(1 - (4 / 2 + 2) / ((100 - 25 - 9 - 4) / 9))


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (("ft", "fs"), "in all: 2 annotators, 1 tie, 0 skips; agreement on 2 pairs of two or more"),
        (("ft", "..ss"), "; no pair was answered by two annotators"),
        (("ff", "ff"), "; all answers to 2 pairs of two or more annotators are alike"),
    ],
)
def test_the_command_ends_with_annotators_and_agreement(
    here: Cli, write: Write, answers: tuple[str, str], text: str
) -> None:
    for name, filled in zip(["ann", "ben"], answers, strict=True):
        table(write, filled, f"{name}.csv", name)
        out = here("import", f"{name}.csv").stdout
    assert text in out.splitlines()[-1]
    assert here("import", "labels.jsonl").stdout.splitlines()[-1] == out.splitlines()[-1]


# -- inputs that failed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "answers", "n_unclear", "n_warnings"),
    [
        ("argilla2-drafts-discarded.json", ["first", "second", "first"] * 2, 0, 1),
        ("argilla2-flatten.json", ["second"] * 2, 0, 0),
        ("labelstudio-0.x-completions.json", ["first"], 0, 0),
        ("labelstudio-comment-only.json", ["second"], 1, 0),
        ("labelstudio-pairwise-none.json", ["first", "second"], 1, 0),
        ("labelstudio-pairwise-toname-swapped.json", ["second"], 0, 0),
        ("half-with-comma.csv", ["tie"], 0, 0),
        ("renamed.csv", ["first", "second", "tie", "skip", "first", "second"], 0, 0),
    ],
)
def test_inputs_that_failed_are_read(
    write: Write, labels: Path, name: str, answers: list[str], n_unclear: int, n_warnings: int
) -> None:
    if not (CASES / name).exists():
        pytest.skip(f"there is no {CASES / name}")
    read = read_answers(CASES / name)
    assert [label.label for label in read.labels] == answers
    assert (len(read.unclear), len(read.warnings)) == (n_unclear, n_warnings)
    renamed = write((CASES / name).read_text(), f"renamed-{name}")
    n = len(answers)
    assert (done(CASES / name, labels), done(renamed, labels)) == ((n, 0, 0, n), (0, 0, n, n))


def test_two_tables_of_the_same_name_are_two_people(labels: Path) -> None:
    ann, ben = (CASES / "same-name" / name / "filled.csv" for name in ("alice", "bob"))
    if not ann.exists():
        pytest.skip(f"there is no {ann}")
    assert done(ann, labels) == (6, 0, 0, 6)
    with pytest.raises(InvalidData, match="--annotator NAME"):
        import_answers(ben, labels)
    assert done(ben, labels, "bob") == (6, 0, 0, 12)
    assert len(list(csv.DictReader(ben.open()))) == 6
