import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench.errors import TrainingFailed
from pairbench.language.supervised import next_token_loss, preference_loss, train
from pairbench.language.tiny import tiny_model, word_tokenizer

TOKENIZER = word_tokenizer("abcd", context=8)


def alternating(rng: np.random.Generator) -> NDArray[np.int64]:
    """Sequences a c a c a c, or b d b d b d."""
    first = rng.integers(3, 5, size=16)
    return np.stack([first, first + 2] * 3, axis=1)


def test_a_decoder_learns_the_next_token_and_the_same_again() -> None:
    import torch

    def learnt() -> tuple[float, list[float]]:
        model = tiny_model("gpt2", TOKENIZER)
        loss = train(
            model, next_token_loss(model, alternating), steps=120, learning_rate=3e-3, seed=0
        )
        with torch.no_grad():
            said = model(torch.tensor([[3, 5, 3]])).logits[0, -1].softmax(-1)
        return loss, said.tolist()

    loss, said = learnt()
    assert loss < 0.2
    assert said[5] > 0.9
    assert learnt() == (loss, said)


def test_a_classifier_learns_what_is_preferred() -> None:
    import torch

    def pairs(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        texts = rng.integers(3, 7, size=(2, 32, 4))
        better = (texts == 3).sum(axis=2)
        first = (better[0] >= better[1])[:, None]
        return np.where(first, texts[0], texts[1]), np.where(first, texts[1], texts[0])

    model = tiny_model("llama-classifier", TOKENIZER)
    train(model, preference_loss(model, pairs), steps=80, learning_rate=3e-3, seed=0)
    with torch.no_grad():
        many, none = model(torch.tensor([[3, 3, 4, 3], [4, 5, 6, 4]])).logits[:, 0].tolist()
    assert many > none + 1


def test_training_that_diverges_is_told() -> None:
    model = tiny_model("gpt2", TOKENIZER)
    with pytest.raises(TrainingFailed, match=r"diverged: .* learning rate below 1e\+30"):
        train(model, next_token_loss(model, alternating), steps=9, learning_rate=1e30, seed=0)
