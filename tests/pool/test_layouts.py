"""Layouts: every field of a row is used, or reported as unused."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from pairbench.annotation.exchange import export_questions
from pairbench.annotation.pairs import make_questions
from pairbench.errors import InvalidData
from pairbench.pool.content import Message, render_content
from pairbench.pool.corpus import Corpus, read_corpus
from pairbench.pool.labels import Label

Write = Callable[..., Path]
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: object, **others: Any) -> Message:
    return {"role": "assistant", "content": text, **others}


def values(corpus: Corpus) -> list[float]:
    return [comparison.value for comparison in corpus.comparisons]


def prompts(corpus: Corpus) -> list[str]:
    return [prompt.text for prompt in corpus.prompts]


def trl_rows(corpus: Corpus) -> list[dict[str, Any]]:
    """Export the first two completions of each prompt, the first one chosen, for TRL."""
    pairs = np.array([(number, 0, 1) for number in range(len(corpus.prompts))])
    questions = make_questions(corpus, pairs, pairs[:0])
    labels = [Label.model_validate({"id": q.id, "label": "first"}) for q in questions]
    (content,) = export_questions(questions, "trl", labels).files.values()
    return [json.loads(line) for line in content.splitlines()]


def calls(name: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "arguments": "{}"}}]


PAIR = {"chosen": "yes", "rejected": "no"}


@pytest.mark.parametrize("name", ["system", "system_prompt", "custom_system_prompt"])
def test_a_system_prompt_is_the_first_message_of_the_prompt(write: Write, name: str) -> None:
    rows = [{"prompt": "Q", name: system, **PAIR} for system in ("Be brief.", "Be long.", "")]
    corpus = read_corpus(write(rows))
    assert [prompt.content for prompt in corpus.prompts] == [
        [{"role": "system", "content": "Be brief."}, user("Q")],
        [{"role": "system", "content": "Be long."}, user("Q")],
        "Q",
    ]
    assert corpus.unused == {}
    first, second, third = trl_rows(corpus)
    assert first["prompt"] == [{"role": "system", "content": "Be brief."}, user("Q")]
    assert (first["chosen"], third["prompt"]) == ([assistant("yes")], [user("Q")])
    assert second["prompt"] != first["prompt"]


def test_a_system_prompt_that_the_conversation_has_is_not_repeated(write: Write) -> None:
    system = {"role": "system", "content": "S"}
    corpus = read_corpus(write([{"system": "S", "prompt": [system, user("Q")], **PAIR}]))
    assert corpus.prompts[0].content == [system, user("Q")]


@pytest.mark.parametrize(
    "history", [[["a", "b"]], [user("a"), assistant("b")]], ids=["pairs", "messages"]
)
def test_earlier_turns_come_before_the_prompt(write: Write, history: list[Any]) -> None:
    corpus = read_corpus(write([{"prompt": "Q", "system": "S", "history": history, **PAIR}]))
    turns = [{"role": "system", "content": "S"}, user("a"), assistant("b"), user("Q")]
    assert corpus.prompts[0].content == turns


def test_a_system_prompt_that_is_no_text_is_refused(write: Write) -> None:
    with pytest.raises(InvalidData, match=r"expected a text in 'system', got 3"):
        read_corpus(write([{"prompt": "Q", "system": 3, **PAIR}]))


@pytest.mark.parametrize("history", ["a", [{"content": "a"}], [["a"]], [["a", 1]]])
def test_a_history_that_is_no_conversation_is_refused(write: Write, history: object) -> None:
    with pytest.raises(InvalidData, match=r"line 1: the prompt's context: expected "):
        read_corpus(write([{"prompt": "Q", "history": history, **PAIR}]))


def test_context_of_a_prompt_that_has_only_an_id_is_beside_it(write: Write) -> None:
    rows = [{"prompt_id": 1, "system": system, "completions": ["a", "b"]} for system in "ST"]
    corpus = read_corpus(write(rows))
    assert [prompt.attachments for prompt in corpus.prompts] == [{"system": "S"}, {"system": "T"}]


def test_documents_come_before_the_question(write: Write) -> None:
    corpus = read_corpus(
        write(
            [
                {"prompt": "Q", "context": "C", **PAIR},
                {"prompt": "Q", "documents": ["D", {"title": "E"}], **PAIR},
                {"prompt": [user("Q")], "context": "C", **PAIR},
            ]
        )
    )
    assert [prompt.content for prompt in corpus.prompts] == [
        "C\n\nQ",
        'D\n\n{"title": "E"}\n\nQ',
        [{"role": "system", "content": "C"}, user("Q")],
    ]


def test_images_and_tools_tell_prompts_apart_and_are_exported(write: Write) -> None:
    rows = [
        {"prompt": "Q", "images": ["x.png"], **PAIR},
        {"prompt": "Q", "images": ["y.png"], **PAIR},
        {"prompt": "Q", "tools": calls("f"), **PAIR},
        {"prompt": "Q", **PAIR},
    ]
    corpus = read_corpus(write(rows))
    assert prompts(corpus)[0] == 'Q\n\n(images) ["x.png"]'
    assert trl_rows(corpus) == rows
    assert len({prompt.candidates[0].digest for prompt in corpus.prompts}) == 4


def test_prompts_of_one_text_stay_apart_where_their_ids_differ(write: Write) -> None:
    path = write(
        [
            {"prompt_id": "fr", "prompt": "hi", "completions": ["salut", "bonjour"]},
            {"prompt_id": "de", "prompt": "hi", "completions": ["hallo", "moin"]},
            {"prompt_id": "de", "prompt": "hi", "completions": ["servus", "moin"]},
        ]
    )
    corpus = read_corpus(path)
    assert [(prompt.id, len(prompt.candidates)) for prompt in corpus.prompts] == [
        ("fr", 2),
        ("de", 4),
    ]
    (merged,) = read_corpus(path, merge_prompts=True).prompts
    assert len(merged.candidates) == 6


def test_keys_do_not_depend_on_ids_where_texts_tell_prompts_apart(write: Write) -> None:
    rows = [{"prompt": p, "completions": ["a", "b"]} for p in "PQ"]
    with_ids = [{"prompt_id": i, **row} for i, row in enumerate(rows)]
    plain = read_corpus(write(rows, "plain.jsonl"))
    assert set(plain.indices) == set(read_corpus(write(with_ids)).indices)


def test_messages_keep_all_they_have(write: Write) -> None:
    completions = [
        [assistant("42", reasoning_content="A")],
        [assistant("42", reasoning_content="B")],
        [assistant("42")],
        [assistant(None, tool_calls=calls("f"))],
        [assistant(None, tool_calls=calls("g"))],
        [assistant([{"type": "text", "text": "42"}, {"type": "image", "image": "x.png"}])],
        [assistant([{"type": "text", "text": "4"}, {"type": "text", "text": "2"}])],
    ]
    corpus = read_corpus(write([{"prompt": [user("Q")], "completions": completions}]))
    (prompt,) = corpus.prompts
    assert [c.content for c in prompt.candidates] == completions
    # The last has the text of the third.
    assert [c.duplicate for c in prompt.candidates] == [False] * 6 + [True]
    assert trl_rows(corpus)[0]["chosen"] == completions[0]
    assert render_content(completions[0]) == "(reasoning_content) A\n\n42"


@pytest.mark.parametrize("turn", [assistant(None), {"role": "assistant"}, assistant("a\ud800")])
def test_messages_without_content_are_refused(write: Write, turn: Message) -> None:
    path = write(json.dumps({"prompt": "Q", "completions": [[turn], "b"]}), "pool.jsonl")
    with pytest.raises(InvalidData, match=r"completions\[0\]"):
        read_corpus(path)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "chosen": "a", "rejected": "b"},
        {"query": "Q", "response": "a", "rejected_response": "b"},
        {"messages": [user("Q"), assistant("a")], "rejected_response": "b"},
        {"prompt": "Q", "chosen_response": "a", "rejected_response": "b"},
        {"prompt": "Q", "completions": ["b", "a"], "chosen": "a", "rejected": "b"},
        {
            "prompt": "Q",
            "generations": ["b", "a"],
            "chosen": [user("Q"), assistant("a")],
            "rejected": [user("Q"), assistant("b")],
        },
    ],
)
def test_preferences_are_read_in_every_form(write: Write, row: dict[str, Any]) -> None:
    corpus = read_corpus(write([row]))
    (comparison,) = corpus.comparisons
    keys = {render_content(c.content): c.digest for c in corpus.candidates}
    assert comparison == (keys["a"], keys["b"], 1.0)
    assert corpus.unused == {}


@pytest.mark.parametrize(
    "scores",
    [
        {"score_chosen": 7.0, "score_rejected": 7.0},
        {"chosen_score": 7, "rejected_score": 7},
        {"chosen-rating": "4", "rejected-rating": "4"},
    ],
)
def test_equal_scores_of_both_sides_are_a_tie(write: Write, scores: dict[str, Any]) -> None:
    row = {"prompt": "Q", "chosen": "a", "rejected": "b"}
    corpus = read_corpus(write([row | scores]))
    assert (values(corpus), corpus.unused) == ([0.5], {})
    name = next(iter(scores))
    assert values(read_corpus(write([row | scores | {name: 9}]))) == [1.0]


def test_equal_ratings_in_a_list_are_a_tie(write: Write) -> None:
    row = {"prompt": "Q", "generations": ["a", "b"], "chosen": "a", "rejected": "b"}
    assert values(read_corpus(write([row | {"ratings": [9, 9]}]))) == [0.5]
    assert values(read_corpus(write([row | {"ratings": [9, 1]}]))) == [1.0]


def test_comparisons_of_a_completion_with_itself_are_counted(write: Write) -> None:
    rows = [{"prompt": "Q", "chosen": c, "rejected": r} for c, r in ("ab", "aa")]
    corpus = read_corpus(write(rows))
    assert (corpus.n_identical, values(corpus)) == (1, [1.0])


def test_the_prompt_is_what_both_texts_begin_with(write: Write) -> None:
    dialogue = "\n\nHuman: Hi?\n\nAssistant: Yes.\n\nHuman: Why?\n\nAssistant:"
    rows = [
        {"chosen": f"{dialogue} It is so.", "rejected": f"{dialogue} It is not."},
        {"chosen": "Q: 1+1? A: 2", "rejected": "Q: 1+1? A: 3"},
    ]
    corpus = read_corpus(write(rows))
    assert prompts(corpus) == [dialogue, "Q: 1+1? A:"]
    assert corpus.texts == [" It is so.", " It is not.", " 2", " 3"]
    with pytest.raises(InvalidData, match="expected a prompt"):
        read_corpus(write([{"chosen": "a", "rejected": "b"}]))


def test_every_field_that_is_not_used_is_counted(write: Write) -> None:
    corpus = read_corpus(
        write(
            [
                {
                    "prompt": "Q",
                    "question": "other",
                    "note": "n",
                    "nothing": [],
                    "answers": [
                        {"answer": "a", "rank": 1, "model": "m"},
                        {"answer": "b", "rank": 2},
                    ],
                },
                {"prompt": "R", "answers": ["a", "b"], "note": "n"},
            ]
        )
    )
    assert corpus.unused == {"question": 1, "note": 2, "answers.rank": 1}
    long = read_corpus(write([{"prompt": "Q", "output": t, "rank": 1} for t in "ab"]))
    assert long.unused == {"rank": 2}
    assert read_corpus(write([{"prompt": "Q", **PAIR, "split": "train"}])).unused == {"split": 1}


@pytest.mark.parametrize("cell", [json.dumps(["a", "b"]), repr(["a", "b"])], ids=["JSON", "Python"])
def test_a_list_in_a_cell_of_a_table_is_read(write: Write, cell: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["prompt", "completions"], ["Q", cell]])
    assert read_corpus(write(buffer.getvalue(), "pool.csv")).texts == ["a", "b"]


@pytest.mark.parametrize("order", ["empty first", "empty later"])
def test_an_empty_cell_is_an_empty_completion(write: Write, order: str) -> None:
    rows = ["Q,", "Q,b", "Q,c"] if order == "empty first" else ["Q,b", "Q,c", "Q,"]
    corpus = read_corpus(write("\n".join(["prompt,completion", *rows]), "pool.csv"))
    assert sorted(corpus.texts) == ["", "b", "c"]
    assert corpus.n_empty == 1
    pair = read_corpus(write("prompt,chosen,rejected\nQ,,b\n", "pairs.csv"))
    assert pair.texts == ["", "b"]


def test_lists_of_objects_are_read_as_datasets_writes_them(tmp_path: Path) -> None:
    feature = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            # Stored as a struct of lists.
            "completions": datasets.Sequence(
                {"text": datasets.Value("string"), "model": datasets.Value("string")}
            ),
        }
    )
    row = {"prompt": "Q", "completions": {"text": ["a", "b"], "model": ["m", "n"]}}
    data = datasets.Dataset.from_list([row], features=feature)
    data.to_parquet(tmp_path / "pool.parquet")
    data.save_to_disk(tmp_path / "saved")
    for path in (tmp_path / "pool.parquet", tmp_path / "saved"):
        corpus = read_corpus(path)
        assert [(c.content, c.id) for c in corpus.candidates] == [("a", "m"), ("b", "n")]


def test_reading_takes_time_in_proportion_to_the_completions(write: Write) -> None:
    rows = [{"prompt": "Q", "completion": str(i % 20_000)} for i in range(30_000)]
    corpus = read_corpus(write(rows))
    assert (len(corpus.candidates), corpus.n_duplicates) == (20_000, 10_000)


@pytest.mark.skipif(not CASES.is_dir(), reason="the folder of reported cases is not here")
@pytest.mark.parametrize(
    ("name", "sizes", "labels"),
    [
        ("completions-as-json-cell.csv", [2], []),
        ("distilabel-generations-chosen.jsonl", [2, 2], [1.0, 0.5]),
        ("empty-completion.csv", [3], []),
        ("first-row-empty-completion.csv", [3], []),
        ("hh-rlhf-raw.jsonl", [2, 2, 2], [1.0, 1.0, 1.0]),
        ("images-column.jsonl", [2, 2], [1.0, 1.0]),
        ("msswift-rejected-response.jsonl", [4, 2], [1.0, 1.0, 1.0]),
        ("nectar-ranks.jsonl", [3], []),
        ("orca-system.jsonl", [2, 2, 2], [1.0, 1.0, 1.0]),
        ("prompt-id-distinct.jsonl", [2, 2], []),
        ("reasoning-content.jsonl", [3], []),
        ("save_to_disk", [2], []),
        ("system-prompt-column.jsonl", [2, 2], []),
        ("tool-calls-empty-content.jsonl", [2, 2], [1.0, 1.0]),
        ("ultrafeedback-equal-scores.jsonl", [2, 2], [1.0, 0.5]),
    ],
)
def test_reported_cases_are_read_as_expected(
    name: str, sizes: list[int], labels: list[float]
) -> None:
    corpus = read_corpus(CASES / name)
    assert [len(prompt.candidates) for prompt in corpus.prompts] == sizes
    assert values(corpus) == labels
