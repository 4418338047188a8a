import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from pairbench.errors import InvalidData, InvalidPairs
from pairbench.pool.corpus import Corpus, load_pool, read_corpus, read_prompts

Write = Callable[..., Path]
USER, SAME = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Same."}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def found(corpus: Corpus) -> dict[str, list[str]]:
    """The prompts with their completions, as text."""
    return {
        str(prompt.content or prompt.id): [str(c.content) for c in prompt.candidates]
        for prompt in corpus.prompts
    }


# One pool, {"P": [a, b, c], "Q": [a, d]}, in every layout that people have it in.
WIDE = [
    {"prompt": "P", "completions": ["a", "b", "c"]},
    {"prompt": "Q", "completions": ["a", "d"]},
]
LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "wide": WIDE,
    "responses": [{"instruction": r["prompt"], "responses": r["completions"]} for r in WIDE],
    "distilabel": [
        {
            "instruction": r["prompt"],
            "generations": r["completions"],
            "generation_models": ["m"] * len(r["completions"]),
        }
        for r in WIDE
    ],
    "ultrafeedback": [
        {
            "source": "x",
            "instruction": r["prompt"],
            "models": ["m", "n"],
            "completions": [
                {
                    "model": "m",
                    "response": text,
                    "overall_score": 3.0,
                    "annotations": {"helpfulness": 1},
                }
                for text in r["completions"]
            ],
        }
        for r in WIDE
    ],
    "messages": [
        {
            "prompt": [{"role": "user", "content": r["prompt"]}],
            "completions": [[said(text)] for text in r["completions"]],
        }
        for r in WIDE
    ],
    "long": [
        {"prompt": p, "model": m, "output": text}
        for m, p, text in [
            ("m", "P", "a"),
            ("m", "Q", "a"),
            ("n", "P", "b"),
            ("n", "Q", "d"),
            ("o", "P", "c"),
        ]
    ],
    "trl": [
        {"prompt": "P", "chosen": "a", "rejected": "b"},
        {"prompt": "Q", "chosen": "a", "rejected": "d"},
        {"prompt": "P", "chosen": "b", "rejected": "c"},
    ],
    "argilla-binarized": [
        {"instruction": "P", "chosen_response": "a", "rejected_response": "b", "chosen_model": "m"},
        {"instruction": "P", "chosen_response": "c", "rejected_response": "b", "chosen_model": "m"},
        {"instruction": "Q", "chosen_response": "a", "rejected_response": "d", "chosen_model": "m"},
    ],
}


def texts(corpus: Corpus) -> dict[str, set[str]]:
    from pairbench.pool.content import render_content

    return {
        render_content(prompt.content or ""): {render_content(c.content) for c in prompt.candidates}
        for prompt in corpus.prompts
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_says_the_same(write: Write, layout: str) -> None:
    corpus = read_corpus(write(LAYOUTS[layout]))
    assert texts(corpus) == {"P": {"a", "b", "c"}, "Q": {"a", "d"}}
    # The keys are of the content, so labels go from one layout to another.
    assert set(corpus.indices) == set(read_corpus(write(WIDE, "wide.jsonl")).indices)
    assert (corpus.n_duplicates, corpus.n_single_completion, corpus.n_empty) == (0, 0, 0)
    pool = corpus.pool(np.zeros((5, 2), dtype=np.float32))
    assert pool.valid.sum(axis=1).tolist() == [3, 2]
    assert pool.texts is not None
    assert {t for t, ok in zip(pool.texts[1], pool.valid[1], strict=True) if ok} == {"a", "d"}


@pytest.mark.parametrize("layout", ["wide", "ultrafeedback", "messages", "long", "trl"])
def test_parquet_says_the_same_as_jsonl(write: Write, tmp_path: Path, layout: str) -> None:
    pq.write_table(pa.Table.from_pylist(LAYOUTS[layout]), tmp_path / "pool.parquet")
    assert texts(read_corpus(tmp_path / "pool.parquet")) == texts(
        read_corpus(write(LAYOUTS[layout]))
    )


def test_the_long_layout_may_hold_ids_in_place_of_prompts(write: Write) -> None:
    rows = [{"pid": 7, "model": m, "output": f"{m}!"} for m in "ab"]
    (prompt,) = read_corpus(write(rows)).prompts
    assert (prompt.id, prompt.content) == ("7", None)
    assert [(c.id, c.content) for c in prompt.candidates] == [("a", "a!"), ("b", "b!")]


@pytest.mark.parametrize(("given", "name"), [(7, "7"), (7.0, "7"), ("7", "7"), (True, "True")])
def test_an_id_may_be_a_number(write: Write, given: object, name: str) -> None:
    rows = [{"prompt_id": given, "id": given, "completion": text} for text in "ab"]
    corpus = read_corpus(write(rows))
    assert (corpus.prompts[0].id, corpus.candidates[0].id) == (name, name)
    assert corpus.n_without_text == 1


def test_alpacas_input_is_part_of_the_prompt(write: Write) -> None:
    rows = [
        {"instruction": "Add.", "input": given, "output": text}
        for given in ("1 2", "3 4", "")
        for text in ("x", "y")
    ]
    assert list(found(read_corpus(write(rows)))) == ["Add.\n\n1 2", "Add.\n\n3 4", "Add."]


CONVERSATIONS = {
    "explicit": {"prompt": [USER], "chosen": [said("a")], "rejected": [said("b")]},
    "implicit": {"chosen": [USER, said("a")], "rejected": [USER, said("b")]},
    "both": {"prompt": "Hi?", "chosen": [USER, said("a")], "rejected": [USER, said("b")]},
    "repeated": {"prompt": [USER], "chosen": [USER, said("a")], "rejected": [USER, said("b")]},
    "text": {"prompt": "Hi?", "chosen": "a", "rejected": "b"},
    "parts": {
        "prompt": [{"role": "user", "content": [{"type": "text", "text": "Hi?"}]}],
        "chosen": [said("a")],
        "rejected": [said("b")],
    },
}


@pytest.mark.parametrize("form", CONVERSATIONS)
def test_conversations_are_the_same_however_they_are_written(write: Write, form: str) -> None:
    corpus = read_corpus(write([CONVERSATIONS[form]]))
    plain = read_corpus(write([CONVERSATIONS["text"]], "plain.jsonl"))
    assert list(corpus.indices) == list(plain.indices)
    assert corpus.comparisons == plain.comparisons


def test_a_conversation_keeps_all_that_goes_before(write: Write) -> None:
    opening = [{"role": "system", "content": "Be brief."}, USER, SAME, USER]
    row = {"chosen": [*opening, said("a")], "rejected": [*opening, said("b")]}
    (prompt,) = read_corpus(write([row])).prompts
    assert prompt.content == opening
    assert [c.content for c in prompt.candidates] == [[said("a")], [said("b")]]


def test_chosen_over_rejected_is_an_answer(write: Write) -> None:
    rows = [
        {"prompt": "P", "chosen": "a", "rejected": "b"},
        {"prompt": "P", "chosen": "a", "rejected": "b"},
        {"prompt": "P", "chosen": "b", "rejected": "a"},
        {"prompt": "P", "chosen": "a", "rejected": "a"},
    ]
    corpus = read_corpus(write(rows))
    questions = [(answer.first, answer.second) for answer in corpus.comparisons]
    assert corpus.pairs(questions, ["?"] * 3).tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 0]]
    assert {answer.value for answer in corpus.comparisons} == {1.0}
    assert corpus.n_duplicates == 0


def test_a_pool_may_hold_labels(write: Write) -> None:
    labels = [
        {"first": 2, "second": 0, "label": "first"},
        {"first": 0, "second": 1, "label": 0.5},
        {"first": 0, "second": 1, "preferred": None},
    ]
    corpus = read_corpus(write([{"prompt": "P", "completions": ["a", "b", "c"], "labels": labels}]))
    questions = [(answer.first, answer.second) for answer in corpus.comparisons]
    assert corpus.pairs(questions, ["?"] * 3).tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 1]]
    np.testing.assert_equal([answer.value for answer in corpus.comparisons], [1, 0.5, np.nan])


def test_duplicates_are_merged_and_lonely_prompts_left_out(write: Write) -> None:
    rows = [
        {"prompt": "one", "completions": ["a"]},
        {"prompt": "same", "completions": ["a", "a\n", " a"]},
        {"prompt": "P", "completions": ["a", "b", "a", "", "b\r\nc", "b\nc"]},
    ]
    corpus = read_corpus(write(rows))
    assert (corpus.n_single_completion, corpus.n_duplicates, corpus.n_empty) == (2, 4, 1)
    assert corpus.valid.tolist() == [[True, True, False, True, True, False]]
    assert corpus.prompts[0].number == 2  # its place in the file, where there are three
    assert corpus.indices[corpus.candidates[3].digest] == (0, 4)


def test_rows_of_one_prompt_are_put_together(write: Write) -> None:
    rows = [{"prompt": "P", "completions": [text]} for text in "aba"]
    corpus = read_corpus(write(rows))
    assert found(corpus) == {"P": ["a", "b", "a"]}
    assert corpus.n_duplicates == 1


def extras(k: int) -> dict[str, Any]:
    return {"embedding": [float(k), 1.0], "log_ref": -float(k), "length": k + 1}


@pytest.mark.parametrize("where", ["inside", "beside", "long", "preference"])
def test_embeddings_and_the_rest_are_read_wherever_they_stand(write: Write, where: str) -> None:
    row: dict[str, Any] = {"prompt": "P"}
    rows = [row]
    if where == "inside":
        row["completions"] = [{"text": t, **extras(k)} for k, t in enumerate("ab")]
    elif where == "beside":
        row |= {"completions": ["a", "b"], "embeddings": [[0, 1], [1, 1]]}
        row |= {"logprobs": [0.0, -1.0], "lengths": [1, 2]}
    elif where == "long":
        rows = [{"prompt": "P", "completion": t, **extras(k)} for k, t in enumerate("ab")]
    else:
        row |= {"chosen": "a", "rejected": "b", "ref_chosen_logps": 0.0, "ref_rejected_logps": -1.0}
        row |= {"chosen_embedding": [0, 1], "rejected_embedding": [1, 1]}
        row |= {"chosen_length": 1, "rejected_length": 2}
    corpus = read_corpus(write(rows))
    vectors = corpus.embeddings()
    assert vectors is not None
    assert vectors.tolist() == [[0, 1], [1, 1]]
    pool = corpus.pool(vectors)
    assert pool.lengths.tolist() == [[1, 2]]
    np.testing.assert_allclose(pool.log_ref[0, 0] - pool.log_ref[0, 1], 1.0)


def test_lengths_are_guessed_where_there_are_none(write: Write) -> None:
    corpus = read_corpus(write([{"prompt": "P", "completions": ["12345", "1234"]}]))
    assert corpus.embeddings() is None
    assert corpus.pool(np.zeros((2, 1), dtype=np.float32)).lengths.tolist() == [[2, 1]]


TWO = [{"text": "a", "embedding": [1.0, 2.0]}, {"text": "b", "embedding": [1.0, 2.0]}]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"text": "b", "embedding": [1.0]}, "the embedding has 1 entries, where .* has 2"),
        ({"text": "b"}, "line 1: a completion has no 'embedding', as have 1 of 2"),
        ({"text": "b", "embedding": [1, float("nan")]}, r"completions\[1\].embedding.*entry 1"),
        ({"text": "b", "embedding": "[1, 2]"}, r"embedding': expected a list of numbers, got '\[1"),
        ({"text": "b", "embedding": [[1, 2]]}, "expected a list of numbers"),
        ({"text": "b", "embedding": []}, "expected a list of numbers"),
        ({"text": "b", "embedding": [1, None]}, "expected finite numbers|list of numbers"),
    ],
)
def test_wrong_embeddings_are_named(write: Write, second: dict[str, Any], message: str) -> None:
    path = write([{"prompt": "P", "completions": [TWO[0], second]}])
    with pytest.raises(InvalidData, match=message):
        read_corpus(path).embeddings()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"completions": ["a", "b"]},
            r"line 2: expected a prompt \(prompt, instruction, .*or its id",
        ),
        ({"prompt": 3, "completions": ["a", "b"]}, r"'prompt': expected a text or a list of mess"),
        ({"prompt": "P", "completions": "a"}, "'completions': expected a list"),
        (
            {"prompt": "P", "completions": ["a", 3]},
            r"completions\[1\]': expected a text, a list of",
        ),
        ({"prompt": "P", "completions": ["a", None]}, r"completions\[1\]"),
        ({"prompt": "P", "completions": [{"txt": "a"}]}, r"completions\[0\].completion.* missing"),
        ({"prompt": "P"}, "field 'completions' .or 'responses', .* is missing"),
        ({"prompt": "P", "completions": ["\ud800"]}, "half of a surrogate pair"),
        ({"prompt": "P", "completions": [[{"role": "a"}]]}, "messages with a role and a content"),
        (
            {"prompt": "P", "completions": ["a", "b"], "embeddings": [[1]]},
            "2 completions; there are 1",
        ),
        ({"prompt": "P", "completions": [{"text": "a", "logp": float("inf")}]}, "finite"),
        ({"prompt": "P", "completions": [{"text": "a", "length": -1}]}, "length"),
        ({"prompt": "P", "completions": ["a", "b"], "labels": [[0, 1, 1]]}, r"labels\[0\]"),
        (
            {
                "prompt": "P",
                "completions": ["a", "b"],
                "labels": [{"first": 0, "second": 2, "label": 1}],
            },
            r"labels\[0\]': expected two different numbers of completions, 0 to 1, got 0 and 2",
        ),
        (
            {
                "prompt": "P",
                "completions": ["a", "b"],
                "labels": [{"first": 0, "second": 1, "label": "firts"}],
            },
            r"labels\[0\].label': expected first, second, .* got 'firts'",
        ),
    ],
)
def test_a_malformed_row_is_named_by_line_and_field(
    write: Write, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        read_corpus(write([WIDE[0], row]))
    assert "pool.jsonl, line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"promt": "P", "complitions": ["a"]}, "Did you mean 'prompt'"),
        ({"a": 1}, "the fields are 'a'. Expected 'prompt' with a list of 'completions'"),
        ({"prompt": "P", "chosen": "a"}, "'prompt' with 'chosen' and 'rejected'"),
        ({"chosen": "a", "rejected": "b"}, "a prompt"),
        ({"prompt": "P", "completion": "a"}, "none of which has two different completions"),
    ],
)
def test_a_file_that_is_no_pool_is_told_what_one_is(
    write: Write, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        read_corpus(write([row]))


def test_what_is_given_for_some_only_is_refused(write: Write) -> None:
    for extra in ("log_ref", "length"):
        rows = [{"prompt": "P", "completion": "a", extra: 1}, {"prompt": "P", "completion": "b"}]
        with pytest.raises(InvalidData, match=f"line 2: a completion has no {extra!r}"):
            read_corpus(write(rows)).pool(np.zeros((2, 1), dtype=np.float32))


def test_a_pair_that_is_not_in_the_pool_is_named(write: Write) -> None:
    corpus = read_corpus(write(WIDE))
    (a, b, _), (other, _) = [[c.digest for c in p.candidates] for p in corpus.prompts]
    assert corpus.pairs([(b, a)], ["?"]).tolist() == [[0, 1, 0]]
    for pair in [(a, "0" * 16), (a, other), (a, a)]:
        with pytest.raises(InvalidPairs, match=r"1 of 2 labels answer a pair .* the first at here"):
            corpus.pairs([(a, b), pair], ["there", "here"])


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("PQR"), st.text(max_size=6)), min_size=2, max_size=20),
    st.randoms(use_true_random=False),
)
def test_keys_do_not_depend_on_the_order_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], random: Any
) -> None:
    folder = tmp_path_factory.mktemp("order")
    records = [json.dumps({"prompt": p, "completion": c}) for p, c in rows]
    (folder / "a.jsonl").write_text("\n".join(records))
    random.shuffle(records)
    (folder / "b.jsonl").write_text("\n".join(records))
    try:
        one = read_corpus(folder / "a.jsonl")
    except InvalidData:
        with pytest.raises(InvalidData):
            read_corpus(folder / "b.jsonl")
        return
    other = read_corpus(folder / "b.jsonl")
    assert set(one.indices) == set(other.indices)
    assert one.valid.sum() == other.valid.sum() == len(one.indices)


def test_prompts_are_read_from_any_file(write: Write, tmp_path: Path) -> None:
    write("one\ntwo words \n", "prompts.txt")
    assert read_prompts(tmp_path / "prompts.txt") == ["one", "two words "]
    rows = [{"instruction": "one"}, {"instruction": "two", "input": "words", "output": "x"}]
    assert read_prompts(write(rows)) == ["one", "two\n\nwords"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt_id": "7"}, r"line 1: expected the text of a prompt, got its id only\."),
        (
            {"prompt": [{"role": "user", "content": "Hi"}]},
            r"line 1: .* got a conversation\. .*apply_chat_template",
        ),
        ({"completion": "x"}, r"line 1: expected a prompt \(prompt, instruction"),
    ],
)
def test_rows_without_a_prompts_text_are_told(
    write: Write, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        read_prompts(write([row]))


def test_prompts_of_a_pool_are_known_where_all_have_a_text(write: Write) -> None:
    rows = [{"prompt": x, "completions": ["a", "b"], "embeddings": [[1], [2]]} for x in "xy"]
    assert load_pool(write(rows)).prompts == ("x", "y")
    rows[1] = {"prompt_id": "7", **{k: v for k, v in rows[1].items() if k != "prompt"}}
    assert load_pool(write(rows)).prompts is None
