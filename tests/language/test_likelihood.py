"""Likelihoods by tree and one by one are those of the model read plainly."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import Pool
from pairbench.errors import TrainingFailed
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import (
    direct_log_likelihoods,
    log_likelihoods,
    tree_log_likelihoods,
)
from pairbench.language.tokens import Tokens, tokenize_pool
from tests.language.conftest import MakeWords


def slow(checkpoint: Checkpoint, tokens: Tokens) -> NDArray[np.float64]:
    """Each completion alone, no padding, no cache."""
    import torch

    result = np.full(tokens.completions.shape[:2], -np.inf)
    for x, k in np.argwhere(tokens.completions[:, :, 0] >= 0).tolist():
        head = tokens.prompts[x][tokens.prompts[x] >= 0].tolist()
        tail = tokens.completions[x, k][tokens.completions[x, k] >= 0].tolist()
        with torch.no_grad():
            logits = checkpoint.model(torch.tensor([head + tail])).logits[0].double()
        said = logits.log_softmax(-1)[len(head) - 1 : -1]
        result[x, k] = sum(float(row[token]) for row, token in zip(said, tail, strict=True))
    return result


def of(checkpoint: Checkpoint, pool: Pool, ends: bool = True) -> Tokens:
    return tokenize_pool(pool, checkpoint.tokenizer, checkpoint.context, ends=ends)


@pytest.mark.parametrize("ends", [True, False])
def test_all_ways_agree_with_plain_reading(
    decoder: Checkpoint, make_words: MakeWords, ends: bool
) -> None:
    tokens = of(decoder, make_words(words=3), ends)
    expected = slow(decoder, tokens)
    for way in (tree_log_likelihoods, direct_log_likelihoods, log_likelihoods):
        np.testing.assert_allclose(way(decoder.model, tokens), expected, rtol=1e-5, atol=1e-5)


def test_all_texts_of_a_vocabulary_sum_to_one(decoder: Checkpoint) -> None:
    ids = np.array([*itertools.product(range(decoder.model.config.vocab_size), repeat=3)])
    tokens = Tokens(np.array([[3, 4], [-1, 5]]), np.broadcast_to(ids, (2, *ids.shape)))
    values = log_likelihoods(decoder.model, tokens)
    assert np.ptp(values[0]) > 1
    np.testing.assert_allclose(np.exp(values).sum(axis=1), 1, atol=1e-5)


def test_the_batch_changes_little(decoder: Checkpoint, make_words: MakeWords) -> None:
    tokens = of(decoder, make_words(prompts=9))
    few = direct_log_likelihoods(decoder.model, tokens, batch=1)
    np.testing.assert_allclose(
        direct_log_likelihoods(decoder.model, tokens, batch=100), few, rtol=1e-5, atol=1e-5
    )


def test_logits_that_are_no_numbers_are_told(decoder: Checkpoint, make_words: MakeWords) -> None:
    import copy

    model = copy.deepcopy(decoder.model)
    next(iter(model.parameters())).data[:] = np.nan
    for way in (tree_log_likelihoods, direct_log_likelihoods):
        with pytest.raises(TrainingFailed, match=r"not numbers \(NaN\)"):
            way(model, of(decoder, make_words()))
