from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench.annotation.embedding import encode_texts, pool_features
from pairbench.errors import InvalidData, InvalidParameter
from pairbench.pool.corpus import Corpus, read_corpus

Write = Callable[..., Path]
MadeUp = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def corpus(write: Write, made_up: MadeUp) -> Corpus:
    rows = made_up(completions=4)
    rows[3]["completions"].append(rows[3]["completions"][0])  # a duplicate
    return read_corpus(write(rows))


def with_embeddings(write: Write, vectors: NDArray[np.float64]) -> Corpus:
    rows = [
        {"prompt": f"{x}", "completions": [f"{y}" for y in range(len(row))], "embeddings": row}
        for x, row in enumerate(vectors.tolist())
    ]
    return read_corpus(write(rows))


def checked(corpus: Corpus, values: NDArray[np.float32]) -> None:
    """Centred within prompts, and of unit mean square."""
    assert np.isfinite(values).all()
    grid = corpus.spread(values.astype(np.float64))
    np.testing.assert_allclose(grid.sum(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose((values.astype(np.float64) ** 2).sum(axis=1).mean(), 1, rtol=1e-5)


def test_without_embeddings_features_are_of_style_and_words(corpus: Corpus) -> None:
    features = pool_features(corpus)
    checked(corpus, features.values)
    assert features.source == "style and words"
    # 40 words stand in five texts; style features that never vary, such as code fences, are out.
    assert 40 < features.values.shape[1] < 60
    np.testing.assert_array_equal(features.values, pool_features(corpus).values)
    assert pool_features(corpus, dim=3).values.shape[1] == features.values.shape[1] - 37


def test_two_short_texts_are_enough(write: Write) -> None:
    corpus = read_corpus(write([{"prompt": "P", "completions": ["Yes.", "No, not at all!"]}]))
    features = pool_features(corpus)
    checked(corpus, features.values)
    assert 1 < features.values.shape[1] < 20


def test_the_files_embeddings_are_taken(write: Write) -> None:
    rng = np.random.default_rng(0)
    # Very different scales, a column that never varies, and one that varies by prompt only.
    vectors = rng.normal(size=(9, 4, 6)) * 10.0 ** np.arange(-2, 4) + 5
    vectors[:, :, 1] = 0.3
    vectors[:, :, 4] = rng.normal(size=(9, 1))
    corpus = with_embeddings(write, vectors)
    features = pool_features(corpus)
    checked(corpus, features.values)
    assert features.values.shape == (36, 4)
    np.testing.assert_allclose(features.values.std(axis=0), 0.5, rtol=1e-4)
    assert features.source == "the file's embeddings, 6 dimensions"


def test_wide_embeddings_are_reduced_to_their_principal_components(write: Write) -> None:
    rng = np.random.default_rng(0)
    few = rng.normal(size=(20, 5, 3))
    corpus = with_embeddings(write, few @ rng.normal(size=(3, 50)))
    features = pool_features(corpus, dim=8)
    checked(corpus, features.values)
    assert features.values.shape == (100, 8)
    assert features.source.endswith("reduced to 8 which hold 100% of their variance within prompts")


def test_embeddings_that_tell_nothing_apart_are_refused(write: Write) -> None:
    corpus = with_embeddings(write, np.tile(np.arange(6.0).reshape(3, 1, 2), (1, 4, 1)))
    with pytest.raises(InvalidData, match=r"from another of its prompt: .*\(--embed\)"):
        pool_features(corpus)


def test_a_dimension_below_one_is_refused(corpus: Corpus) -> None:
    with pytest.raises(InvalidParameter, match="dim must be 1 or more, got 0"):
        pool_features(corpus, dim=0)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT of random weights, with a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

    folder = str(tmp_path_factory.mktemp("encoder"))
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"word{w}" for w in range(40))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    ).save_pretrained(folder)
    set_seed(0)
    config = BertConfig(
        vocab_size=len(names),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def decoder(tmp_path: Path, encoder: str) -> str:
    """A tiny GPT-2, whose tokenizer adds nothing to a text and cannot pad."""
    from tokenizers import processors
    from transformers import AutoTokenizer, GPT2Config, GPT2Model, PreTrainedTokenizerFast

    inner = AutoTokenizer.from_pretrained(encoder).backend_tokenizer
    inner.post_processor = processors.Sequence([])
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, eos_token="[SEP]"
    )
    tokenizer.save_pretrained(tmp_path / "decoder")
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=1, n_positions=24)
    GPT2Model(config).save_pretrained(tmp_path / "decoder")
    return str(tmp_path / "decoder")


@pytest.mark.slow
def test_an_encoders_features_do_not_depend_on_the_batch(encoder: str) -> None:
    texts = [f"word{k} " * (k + 1) for k in range(29)] + ["", "word1", "and others"] * 3
    values, source = encode_texts(texts, encoder)
    assert values.shape == (38, 16)
    assert source == f"embeddings by {encoder}, 16 dimensions"
    for k in (0, 7, 28, 29, 30):
        np.testing.assert_allclose(encode_texts([texts[k]], encoder)[0][0], values[k], atol=1e-5)
    np.testing.assert_array_equal(values[30], values[33])


def test_the_mean_is_over_the_tokens_that_are_there(encoder: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(encoder)("word1 word2", return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(encoder)(**tokens).last_hidden_state[0]
    values, _ = encode_texts(["word1 word2", "word3 " * 20], encoder)
    np.testing.assert_allclose(values[0], hidden.mean(dim=0).numpy(), atol=1e-5)


def test_texts_that_are_cut_are_counted(encoder: str) -> None:
    _, source = encode_texts(["word1 " * 100, "word1"], encoder)
    assert source.endswith("(1 texts read up to their first 32 tokens)")


def test_a_decoder_does_too_and_empty_texts_are_zero(decoder: str) -> None:
    values, source = encode_texts(["word1 word2", "", "word3", "word1 " * 50], decoder)
    assert values.shape == (4, 8)
    np.testing.assert_array_equal(values[1], 0)
    assert "first 24 tokens" in source
    np.testing.assert_array_equal(encode_texts(["", ""], decoder)[0], 0)


def test_an_encoder_takes_the_place_of_everything_else(corpus: Corpus, encoder: str) -> None:
    features = pool_features(corpus, encoder=encoder, dim=5)
    checked(corpus, features.values)
    assert features.values.shape == (48, 5)
    assert "embeddings by" in features.source
    assert "reduced to 5" in features.source


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"cannot load the encoder '.*nothing': .* folder"):
        encode_texts(["a"], str(tmp_path / "nothing"))
