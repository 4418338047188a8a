"""Tokens are those that TRL trains on, and texts that have none are told."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from pairbench import Pool
from pairbench.errors import InvalidPool
from pairbench.language.tiny import BEGIN, END, PAD, byte_tokenizer, word_tokenizer
from pairbench.language.tokens import Tokens, tokenize_pool

LONG = 10_000


@cache
def merging(*, begins: bool = True) -> Any:
    """A tokenizer of a, b, c and spaces that merges greedily: "ab", "abc", " a", "c c"."""
    from tokenizers import Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    merges = [("a", "b"), ("ab", "c"), (" ", "a"), ("c", " "), ("c ", "c")]
    names = [PAD, BEGIN, END, "a", "b", "c", " ", *("".join(pair) for pair in merges)]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges))
    backend.decoder = decoders.Fuse()
    if begins:
        backend.post_processor = processors.TemplateProcessing(
            f"{BEGIN} $A", special_tokens=[(BEGIN, 1)]
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, pad_token=PAD, bos_token=BEGIN, eos_token=END
    )


def of_texts(prompts: list[str], texts: list[list[str]]) -> Pool:
    return Pool(np.zeros((len(prompts), len(texts[0]), 1)), prompts=prompts, texts=texts)


def lists(tokens: Tokens) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Without what is -1, which must stand on the left of prompts and the right of completions."""
    for row in tokens.prompts.tolist():
        assert -1 not in row[row.count(-1) :]
    for row in tokens.completions.reshape(-1, tokens.completions.shape[2]).tolist():
        assert -1 not in row[: len(row) - row.count(-1)]
    return (
        [[i for i in row if i >= 0] for row in tokens.prompts.tolist()],
        [[[i for i in row if i >= 0] for row in rows] for rows in tokens.completions.tolist()],
    )


def as_trl(tokenizer: Any, prompt: str, chosen: str, rejected: str) -> dict[str, list[int]]:
    """What ``DPOTrainer._prepare_dataset`` of TRL 1.16 makes of texts."""

    def common(ids: list[int], others: list[int]) -> int:
        length = 0
        for token, other in zip(ids, others, strict=False):
            if token != other:
                break
            length += 1
        return length

    if not chosen.endswith(tokenizer.eos_token):
        chosen = chosen + tokenizer.eos_token
    if not rejected.endswith(tokenizer.eos_token):
        rejected = rejected + tokenizer.eos_token
    prompt_ids = tokenizer(text=prompt)["input_ids"]
    chosen_ids = tokenizer(text=prompt + chosen)["input_ids"]
    rejected_ids = tokenizer(text=prompt + rejected)["input_ids"]
    length = min(common(prompt_ids, chosen_ids), common(prompt_ids, rejected_ids))
    return {
        "prompt_ids": prompt_ids[:length],
        "chosen_ids": chosen_ids[length:],
        "rejected_ids": rejected_ids[length:],
    }


text = st.text("abc ", max_size=6)


@settings(max_examples=200)
@given(rows=st.lists(st.tuples(text, text, text), min_size=1, max_size=4), ended=st.booleans())
def test_pairs_are_tokenised_as_trl_does(rows: list[tuple[str, str, str]], ended: bool) -> None:
    end = END if ended else ""
    pool = of_texts([row[0] for row in rows], [[row[1], row[2] + end] for row in rows])
    heads, tails = lists(tokenize_pool(pool, merging(), LONG))
    for row, head, tail in zip(rows, heads, tails, strict=True):
        expected = as_trl(merging(), row[0], row[1], row[2] + end)
        assert {"prompt_ids": head, "chosen_ids": tail[0], "rejected_ids": tail[1]} == expected
        for ids in tail:
            assert ids.count(2) == 1
            assert ids[-1] == 2


def test_tokens_that_merge_across_the_boundary_belong_to_the_completion() -> None:
    heads, tails = lists(
        tokenize_pool(of_texts(["b a", "b a"], [["bc", "c"], ["c", "c c"]]), merging(), LONG)
    )
    names = merging().convert_ids_to_tokens
    # "a" and "bc" make "abc", so that " a" ends none of the first prompt's texts.
    assert [names(head) for head in heads] == [[BEGIN, "b"], [BEGIN, "b", " a"]]
    assert [[names(ids) for ids in rows] for rows in tails] == [
        [[" ", "abc", END], [" a", "c", END]],
        [["c", END], ["c c", END]],
    ]


def test_a_prompts_end_is_where_all_of_its_completions_agree() -> None:
    three = of_texts(["b a"], [["c", "bc", "c c"]])
    heads, tails = lists(tokenize_pool(three, merging(), LONG))
    assert merging().convert_ids_to_tokens(heads[0]) == [BEGIN, "b"]
    for said, ids in zip(["c", "bc", "c c"], tails[0], strict=True):
        assert heads[0] + ids == merging()(f"b a{said}{END}")["input_ids"]


def test_other_prompts_and_missing_completions_change_nothing() -> None:
    tokenizer = word_tokenizer("abcdef")
    whole = of_texts(["a", "b c d", "e"], [[" a", " b c"], [" d", " e f a"], [" c", " d"]])
    heads, tails = lists(tokenize_pool(whole, tokenizer, LONG))
    for x in range(3):
        assert lists(tokenize_pool(whole.subset([x]), tokenizer, LONG)) == ([heads[x]], [tails[x]])
    there = np.array([[True, False, True]] * 2)
    texts = [[" a", "", " b c"], [" d e", "", " f"]]
    ragged = Pool(np.zeros((2, 3, 1)), prompts=["a", "b c d"], texts=texts, valid=there)
    tokens = tokenize_pool(ragged, tokenizer, LONG)
    assert (tokens.completions[:, 1] == -1).all()
    assert lists(tokens)[0] == [[3], [4, 5, 6]]
    assert lists(tokens)[1][0] == [[3, 2], [], [4, 5, 2]]


def test_without_ends_nothing_is_appended_and_the_prompt_is_the_same() -> None:
    pool = of_texts(["ab"], [[" b", f"c{END}"]])
    heads, tails = lists(tokenize_pool(pool, merging(), LONG, ends=False))
    names = merging().convert_ids_to_tokens
    assert [names(ids) for ids in tails[0]] == [["ab", " ", "b"], ["abc", END]]
    assert names(heads[0]) == [BEGIN]


def test_tokens_are_kept_for_the_next_model() -> None:
    pool = of_texts(["ab"], [["a", "b"]])
    assert tokenize_pool(pool, merging(), LONG) is tokenize_pool(pool, merging(), LONG)


def test_an_empty_completion_is_its_end_and_nothing_without() -> None:
    pool = of_texts(["a", "b"], [["c", "b"], ["a", ""]])
    assert lists(tokenize_pool(pool, merging(), LONG))[1][1][1] == [2]
    with pytest.raises(InvalidPool, match=r"completion 1 of prompt 1 is empty: .*Leave it out"):
        tokenize_pool(pool, merging(), LONG, ends=False)


def test_a_completion_that_is_too_long_is_named() -> None:
    pool = of_texts(["a", "b c"], [["a", "b"], ["a", "bbbb"]])
    tokenize_pool(pool, merging(), 9)
    with pytest.raises(InvalidPool, match=r"1 of prompt 1 has 9 tokens with .* model reads 8\."):
        tokenize_pool(pool, merging(), 8)


@pytest.mark.parametrize("missing", ["prompts", "texts"])
def test_a_pool_without_texts_is_refused(missing: str) -> None:
    given_texts: dict[str, Any] = {"prompts": ["a"], "texts": [["b", "c"]]}
    del given_texts[missing]
    with pytest.raises(InvalidPool, match=r"does not know those of its (prompts|completions)\."):
        tokenize_pool(Pool(np.zeros((1, 2, 1)), **given_texts), merging(), LONG)


def test_a_prompt_without_a_token_of_its_own_is_refused() -> None:
    with pytest.raises(InvalidPool, match=r"prompt 1 has no token, .* BOS token"):
        tokenize_pool(of_texts(["a", ""], [["b", "c"]] * 2), byte_tokenizer(), LONG)
    # All of "a" merges with "b".
    with pytest.raises(InvalidPool, match="prompt 0 has no token"):
        tokenize_pool(of_texts(["a"], [["b", "c"]]), merging(begins=False), LONG)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    pool = of_texts(["a"], [["b", "c"]])
    with pytest.raises(InvalidPool, match="no EOS token to end a completion with"):
        tokenize_pool(pool, tokenizer, LONG)
    assert lists(tokenize_pool(pool, tokenizer, LONG, ends=False))[1] == [
        [tokenizer("b")["input_ids"], tokenizer("c")["input_ids"]]
    ]
