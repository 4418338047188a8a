import csv
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pairbench.annotation.answers import read_answers, read_labels
from pairbench.annotation.exchange import ANSWERS, export_questions, import_answers
from pairbench.annotation.pairs import Question, encode_pairs, read_pairs
from pairbench.errors import InvalidData, UnknownName
from pairbench.pool.content import question_id
from pairbench.pool.labels import LABELS

Write = Callable[..., Path]
Given = tuple[str, str, str | None]  # the question's id, the answer, by whom
IDS = [question_id(f"{k:016x}", f"{k + 1:016x}") for k in range(6)]


def question(k: int, **values: Any) -> Question:
    texts = {"prompt": f"P{k}", "first": f"one {k}", "second": f"two {k}"}
    return Question.model_validate({"id": IDS[k], "rank": k + 1, **texts, **values})


ASKED = [question(k) for k in range(6)]


def said(path: Path) -> list[Given]:
    return [(label.id, label.label, label.annotator) for label in read_answers(path).labels]


# -- what tools make of what they were given -----------------------------------------------------


def label_studio(content: bytes, answers: list[Given], kind: str = "choices") -> bytes:
    """Label Studio's JSON export of a project that these tasks were imported into."""
    tasks = json.loads(content)
    for number, task in enumerate(tasks, start=100):
        task |= {"id": number, "predictions": [], "drafts": [], "total_annotations": 1}
        task["annotations"] = [
            {
                "id": 1000 + i,
                "completed_by": int(by or 1),
                "was_cancelled": answer == "skip" and i % 2 == 0,
                "result": [studio_result(answer, kind)],
                "ground_truth": False,
                "lead_time": 3.2,
            }
            for i, (id_, answer, by) in enumerate(answers)
            if id_ == task["data"]["pair_id"]
        ]
    return json.dumps(tasks).encode()


def studio_result(answer: str, kind: str) -> dict[str, Any]:
    if kind == "pairwise" and answer in ("first", "second"):
        side = {"first": "left", "second": "right"}[answer]
        return {
            "from_name": "pw",
            "to_name": "a,b",
            "type": "pairwise",
            "value": {"selected": side},
        }
    return {
        "from_name": "preferred",
        "to_name": "prompt",
        "type": "choices",
        "value": {"choices": [answer]},
    }


def json_min(content: bytes, answers: list[Given]) -> bytes:
    """Label Studio's JSON-MIN export: a row for each annotation."""
    data = {task["data"]["pair_id"]: task["data"] for task in json.loads(content)}
    rows = [
        {
            **data[id_],
            "id": 7,
            "preferred": answer,
            "annotator": int(by or 1),
            "annotation_id": 1000 + i,
            "lead_time": 2.0,
        }
        for i, (id_, answer, by) in enumerate(answers)
    ]
    return json.dumps(rows).encode()


def argilla(content: bytes, answers: list[Given]) -> bytes:
    """What ``dataset.records.to_json`` of Argilla 2 makes of these records."""
    records = json.loads(content)
    for record in records:
        found = [{"value": a, "user_id": by or "u"} for i, a, by in answers if i == record["id"]]
        record |= {"suggestions": {}, "vectors": {}, "status": "pending", "_server_id": "5"}
        record["responses"] = {"preferred": found} if found else {}
    return json.dumps(records).encode()


def argilla_1(content: bytes, answers: list[Given]) -> bytes:
    """The same by Argilla 1."""
    records = json.loads(content)
    for record in records:
        record["external_id"] = record.pop("id")
        record["responses"] = [
            {
                "user_id": by or "u",
                "status": "submitted",
                "values": {"preferred": {"value": answer}},
            }
            for id_, answer, by in answers
            if id_ == record["external_id"]
        ]
        record["responses"] += [
            {"user_id": status, "status": status, "values": {"preferred": {"value": "tie"}}}
            for status in ("draft", "discarded")
        ]
    return json.dumps(records).encode()


def spreadsheet(content: bytes, answers: list[Given]) -> bytes:
    """A CSV that was opened, filled in, and saved with other line ends and delimiters."""
    rows = {r["pair_id"]: r for r in csv.DictReader(io.StringIO(content.decode("utf-8-sig")))}
    out = io.StringIO()
    writer = csv.DictWriter(out, list(next(iter(rows.values()))), delimiter=";")
    writer.writeheader()
    for id_, answer, by in answers:
        writer.writerow(rows[id_] | {"preferred": answer, "annotator": by})
    return out.getvalue().encode()


TOOLS: dict[str, tuple[str, str, Callable[[bytes, list[Given]], bytes]]] = {
    "label-studio": ("label-studio", ".label-studio.json", label_studio),
    "pairwise": ("label-studio", ".label-studio.json", lambda c, a: label_studio(c, a, "pairwise")),
    "json-min": ("label-studio", ".label-studio.json", json_min),
    "argilla": ("argilla", ".argilla.json", argilla),
    "argilla-1": ("argilla", ".argilla.json", argilla_1),
    "csv": ("csv", ".csv", spreadsheet),
}
given_answers = st.lists(
    st.tuples(st.sampled_from(IDS), st.sampled_from(list(LABELS)), st.sampled_from(["1", "2"])),
    min_size=1,
    max_size=12,
    unique_by=lambda answer: (answer[0], answer[2]),
)


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=25)
@given(answers=given_answers)
def test_answers_come_back_from_every_tool(
    tmp_path_factory: pytest.TempPathFactory, tool: str, answers: list[Given]
) -> None:
    to, ending, annotate = TOOLS[tool]
    folder = tmp_path_factory.mktemp("tool")
    path = folder / f"answers{ending}"
    path.write_bytes(annotate(export_questions(ASKED, to).files[ending], answers))
    assert sorted(said(path)) == sorted(answers)
    # A tool's export holds all that was ever answered, so it comes again and again.
    labels = folder / "labels.jsonl"
    first, again = import_answers(path, labels), import_answers(path, labels)
    assert (first.merge.new, again.merge.new) == (len(answers), 0)
    assert sorted(said(labels)) == sorted(answers)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        *[(word, word) for word in LABELS],
        *[(1, "first"), (0, "second"), (0.5, "tie"), (None, "skip"), (1.0, "first")],
        *[(" First ", "first"), ("0.5", "tie"), ("left", "first"), ("right", "second")],
        *[("0,5", "tie"), (",50", "tie"), ("1,0", "first"), ("1.0", "first"), ("0,00", "second")],
    ],
)
@pytest.mark.parametrize("name", ["label", "preferred"])
def test_our_own_form_takes_words_and_numbers(
    write: Write, value: object, label: str, name: str
) -> None:
    assert said(write([{"id": IDS[0], name: value}])) == [(IDS[0], label, None)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": IDS[0], "label": "frist"}, "field 'label': expected first, second, tie or skip"),
        ({"id": IDS[0], "label": 2}, r"0 \(the second\), 0.5 or null, got 2"),
        ({"id": IDS[0], "label": True}, "got True"),
        ({"id": IDS[0], "label": "0,6"}, "got '0,6'"),
        ({"id": IDS[0], "label": "0,5,0"}, "got '0,5,0'"),
        ({"id": "12", "label": 1}, "field 'id': expected a pair's id as `pairbench select` writes"),
        ({"label": 1}, r"field 'pair_id' \(or 'id'\) is missing"),
        ({"a": 1, "b": 2}, "the fields are 'a', 'b'. Expected a pair's id"),
    ],
)
def test_what_is_no_answer_is_named_with_its_place(
    write: Write, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        read_answers(write([row]))
    assert "pool.jsonl, line 1" in str(caught.value)


def test_rows_without_an_answer_are_counted(write: Write) -> None:
    content = export_questions(ASKED, "csv").files[".csv"]
    tasks = export_questions(ASKED, "label-studio").files[".label-studio.json"]
    for path in (write(content, "a.csv"), write(tasks, "a.json"), write(encode_pairs(ASKED))):
        answers = read_answers(path)
        assert (answers.labels, answers.unanswered, answers.unclear) == ([], 6, ())


def test_a_file_without_any_answer_is_refused(write: Write, tmp_path: Path) -> None:
    rows = [{"id": IDS[0], "lable": "first"}]
    for read in (read_labels, lambda path: import_answers(path, tmp_path / "labels.jsonl")):
        with pytest.raises(InvalidData, match=r"holds 1 questions and no answer\. Expected a 'lab"):
            read(write(rows))
    assert not (tmp_path / "labels.jsonl").exists()


def test_a_cancelled_annotation_is_a_skip(write: Write) -> None:
    row = {
        "data": {"pair_id": IDS[0]},
        "annotations": [{"id": 3, "result": [], "was_cancelled": True}],
    }
    assert said(write([row])) == [(IDS[0], "skip", None)]


def test_label_studio_may_say_who_annotated_by_an_object(write: Write) -> None:
    by = {"id": 4, "email": "ann@example.org"}
    row = {
        "data": {"pair_id": IDS[0]},
        "annotations": [{"id": 3, "completed_by": by, "result": [studio_result("tie", "")]}],
    }
    assert said(write([row])) == [(IDS[0], "tie", "ann@example.org")]


def test_answers_that_changed_replace_the_old_ones(write: Write, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    import_answers(write([{"id": i, "label": 1, "annotator": "a"} for i in IDS[:3]]), labels)
    rows = [{"id": IDS[0], "label": 0, "annotator": "a"}, {"id": IDS[3], "label": "tie"}]
    merged = import_answers(write(rows), labels).merge
    assert (merged.new, merged.changed, merged.unchanged) == (1, 1, 0)
    assert [label for _, label, _ in said(labels)] == ["second", "first", "first", "tie"]


def test_nameless_answers_to_one_pair_are_several(write: Write, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    rows = [{"id": IDS[0], "label": 1}] * 2
    assert import_answers(write(rows, "ann.jsonl"), labels).merge.new == 2
    assert import_answers(write(rows, "ann.jsonl"), labels).merge.new == 0
    assert import_answers(write(rows, "copy.jsonl"), labels).merge.new == 0
    assert len(said(labels)) == 2


def test_a_labels_file_brought_into_itself_stays_as_it_is(write: Write) -> None:
    path = write([{"id": IDS[0], "label": 1}, {"id": IDS[0], "label": 1}], "labels.jsonl")
    before = path.read_bytes()
    done = import_answers(path, path)
    assert not done.written
    assert len(done.merge.labels) == 2
    assert path.read_bytes() == before


def test_a_labels_file_that_is_none_is_not_touched(write: Write) -> None:
    answers = write([{"id": IDS[0], "label": 1}])
    labels = write("precious\n", "labels.jsonl")
    with pytest.raises(InvalidData, match=r"labels\.jsonl, line 1"):
        import_answers(answers, labels)
    assert labels.read_text() == "precious\n"


# -- out -----------------------------------------------------------------------------------------


def test_tools_get_texts_that_are_not_empty_in_the_order_of_the_pairs() -> None:
    chat = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes?"}]
    asked = [question(0, prompt=chat, first=" ", second=[chat[1]]), question(1, prompt=None)]
    asked[1].prompt_id = "7"
    for tool, texts in (
        (
            "label-studio",
            [
                t["data"]
                for t in json.loads(
                    export_questions(asked, "label-studio").files[".label-studio.json"]
                )
            ],
        ),
        (
            "argilla",
            [
                r["fields"]
                for r in json.loads(export_questions(asked, "argilla").files[".argilla.json"])
            ],
        ),
    ):
        assert texts[0]["prompt"] == "user: Hi?\n\nassistant: Yes?", tool
        assert (texts[0]["first"], texts[0]["second"]) == ("(empty)", "Yes?")
        assert texts[1]["prompt"] == "(prompt 7)"


def test_the_labelling_configuration_is_xml_whose_names_are_those_of_the_tasks() -> None:
    files = export_questions(ASKED, "label-studio").files
    tree = ET.fromstring(files[".label-studio.xml"].decode())
    shown = {node.get("value", "")[1:] for node in tree.iter("Text")}
    assert shown < set(json.loads(files[".label-studio.json"])[0]["data"])
    (choices,) = tree.iter("Choices")
    assert choices.get("name") == "preferred"
    assert [choice.get("value") for choice in choices] == list(ANSWERS) == list(LABELS)


def test_no_cell_is_a_formula() -> None:
    asked = [question(0, first="=1+1", second="- a list"), question(1, first="@x", second="fine")]
    content = export_questions(asked, "csv").files[".csv"]
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [r["first"][0] + r["second"][0] for r in rows] == ["''", "'f"]


def test_trl_gets_what_was_preferred(write: Write) -> None:
    labels = [(0, "first"), (0, "second"), (1, "second"), (2, "tie"), (3, "skip")]
    path = write([{"id": IDS[k], "label": label} for k, label in labels])
    made = export_questions(ASKED[:5], "trl", read_answers(path).labels)
    rows = [json.loads(line) for line in made.files[".trl.jsonl"].decode().splitlines()]
    assert rows == [
        {"prompt": "P0", "chosen": "one 0", "rejected": "two 0"},
        {"prompt": "P0", "chosen": "two 0", "rejected": "one 0"},
        {"prompt": "P1", "chosen": "two 1", "rejected": "one 1"},
    ]
    assert made.omitted == {
        "ties": 1,
        "skips": 1,
        "pairs without a label": 1,
        "labels of other pairs": 0,
    }


def test_trl_gets_conversations_if_any_is_one(write: Write) -> None:
    turns = [{"role": "assistant", "content": "one"}]
    asked = [question(0, first=turns, second=turns, label="first"), question(1, label=0)]
    rows = export_questions(asked, "trl").files[".trl.jsonl"].decode().splitlines()
    assert json.loads(rows[1]) == {
        "prompt": [{"role": "user", "content": "P1"}],
        "chosen": [{"role": "assistant", "content": "two 1"}],
        "rejected": [{"role": "assistant", "content": "one 1"}],
    }


def test_trl_needs_labels_and_prompts() -> None:
    with pytest.raises(InvalidData, match="nothing to train on: of 6 pairs, none has a label"):
        export_questions(ASKED, "trl")
    with pytest.raises(InvalidData, match=r"has the id of its prompt \(7\) and no text"):
        export_questions([question(0, prompt=None, prompt_id=7, label=1)], "trl")


def test_an_unknown_format_is_named_with_the_nearest() -> None:
    with pytest.raises(
        UnknownName, match=r"no format 'label_studio'\. Did you mean 'label-studio'"
    ):
        export_questions(ASKED, "label_studio")


def test_pairs_are_read_as_they_were_written(write: Write) -> None:
    chat = [{"role": "user", "content": "Hi?"}]
    asked = [question(0, prompt=chat, index=(1, 2, 3), first_id="m"), question(1, prompt_id=3)]
    path = write(encode_pairs(asked))
    assert read_pairs([path, path]) == asked
    with pytest.raises(InvalidData, match="line 1: this is a label, not a pair"):
        read_pairs([write([{"id": IDS[0], "label": 1}], "labels.jsonl")])
    with pytest.raises(InvalidData, match="line 1: field 'second' is missing"):
        read_pairs([write([{"id": IDS[0], "rank": 1, "first": "a"}])])
