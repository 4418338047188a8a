"""Hidden states and score vectors against the model read plainly, and what projections keep."""

import copy
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import Pool
from pairbench.errors import InvalidParameter, InvalidPool, TrainingFailed
from pairbench.information import label_information, policy_covariance
from pairbench.information.fisher import trace_criterion
from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.embeddings import hidden_features, score_vectors
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer
from pairbench.language.tokens import Tokens, tokenize_pool
from pairbench.pool.features import rescale
from tests.language.conftest import MakeWords

Array = NDArray[np.float64]


def of(checkpoint: Checkpoint, pool: Pool, ends: bool = True) -> Tokens:
    return tokenize_pool(pool, checkpoint.tokenizer, checkpoint.context, ends=ends)


def text(tokens: Tokens, x: int, k: int) -> tuple[list[int], list[int]]:
    head = tokens.prompts[x][tokens.prompts[x] >= 0].tolist()
    return head, tokens.completions[x, k][tokens.completions[x, k] >= 0].tolist()


def places(tokens: Tokens) -> list[tuple[int, int]]:
    return [(x, k) for x, k in np.argwhere(tokens.completions[:, :, 0] >= 0).tolist()]


def plain_scores(checkpoint: Checkpoint, tokens: Tokens) -> dict[str, Array]:
    """∇ log P of each completion, alone, by autograd, ``(N, K, size)`` for each parameter."""
    import torch

    named = {k: v for k, v in checkpoint.model.named_parameters() if v.requires_grad}
    shape = tokens.completions.shape[:2]
    result = {k: np.zeros((*shape, v.numel())) for k, v in named.items()}
    for x, k in places(tokens):
        head, tail = text(tokens, x, k)
        logits = checkpoint.model(torch.tensor([head + tail])).logits[0].double()
        said = logits.log_softmax(-1)[len(head) - 1 : -1]
        total = said[torch.arange(len(tail)), torch.tensor(tail)].sum()
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                result[name][x, k] = gradient.flatten().numpy()
    return result


def signs(name: str, size: int, dim: int, seed: int) -> NDArray[np.int64]:
    """Those of R that belong to a parameter, ``(size, dim)``, one by one."""
    result = np.empty((size, dim), dtype=np.int64)
    for block in range(-(-size // 2**15)):
        rows = range(block * 2**15, min(size, (block + 1) * 2**15))
        per_byte = 8 * -(-len(rows) // 8)
        stream = np.random.SeedSequence(seed, spawn_key=(block, *name.encode()))
        raw = np.random.PCG64(stream).random_raw(-(-dim // 8) * per_byte // 8)
        octets = b"".join(int(word).to_bytes(8, "little") for word in raw)
        for j in range(dim):
            start = (j // 8) * per_byte
            for row in rows:
                octet = octets[start + row - rows.start]
                result[row, j] = 2 * (octet >> (j % 8) & 1) - 1
    return result


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_hidden_states_are_those_of_plain_reading(
    decoder: Checkpoint, make_words: MakeWords, pooling: str, ends: bool
) -> None:
    import torch

    pool = make_words()
    tokens = of(decoder, pool, ends)
    values = hidden_features(decoder, pool, pooling, ends=ends)
    assert values.shape == (5, 6, 32)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[~pool.valid], 0)
    for x, k in places(tokens):
        head, tail = text(tokens, x, k)
        with torch.no_grad():
            out = decoder.model(torch.tensor([head + tail]), output_hidden_states=True)
        rows = out.hidden_states[-1][0, len(head) :].numpy()
        expected = rows.mean(axis=0) if pooling == "mean" else rows[-1]
        np.testing.assert_allclose(values[x, k], expected, rtol=1e-4, atol=1e-5)


def test_scores_are_projections_of_plain_gradients(
    decoder: Checkpoint, make_words: MakeWords
) -> None:
    pool = make_words(prompts=3, completions=4)
    plain = plain_scores(decoder, of(decoder, pool))
    values = score_vectors(decoder, pool, 11, seed=5)
    assert values.shape == (3, 4, 11)
    assert values.dtype == np.float32
    expected = sum(g @ signs(name, g.shape[2], 11, 5) for name, g in plain.items()) / np.sqrt(11)
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(values[~pool.valid], 0)


def test_a_projection_of_a_smaller_dimension_is_the_beginning(
    decoder: Checkpoint, make_words: MakeWords
) -> None:
    pool = make_words(prompts=2, completions=3)
    large, small = score_vectors(decoder, pool, 40), score_vectors(decoder, pool, 9)
    scale = np.sqrt(40 / 9)
    np.testing.assert_allclose(large[:, :, :9] * scale, small, rtol=1e-4, atol=1e-4)
    assert not np.allclose(small, score_vectors(decoder, pool, 9, seed=1), atol=1e-2)


def test_scores_of_parts_sum_to_those_of_all(decoder: Checkpoint, make_words: MakeWords) -> None:
    pool = make_words(prompts=2, completions=3)
    of_one = score_vectors(decoder, pool, 8, parameters=r"\.0\.")
    others = score_vectors(decoder, pool, 8, parameters=r"^(?!.*\.0\.)")
    assert np.abs(of_one).max() > 1e-3
    np.testing.assert_allclose(
        of_one + others, score_vectors(decoder, pool, 8), rtol=1e-4, atol=1e-4
    )


@pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:`is_gradient_checkpointing`")
def test_a_peft_models_scores_are_its_adapters(decoder: Checkpoint, make_words: MakeWords) -> None:
    import peft

    pool = make_words(prompts=2, completions=3)
    model = peft.get_peft_model(
        copy.deepcopy(decoder.model),
        peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    ).eval()
    lora = Checkpoint(decoder.name, model, decoder.tokenizer, decoder.revision)
    plain = plain_scores(lora, of(lora, pool))
    assert all("lora" in name for name in plain)
    expected = sum(g @ signs(name, g.shape[2], 8, 0) for name, g in plain.items()) / np.sqrt(8)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(
        score_vectors(lora, pool, 8), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )
    # B is 0 as yet, so that A changes nothing, and neither do both.
    np.testing.assert_array_equal(score_vectors(lora, pool, 8, parameters="lora_A"), 0)
    np.testing.assert_allclose(
        hidden_features(lora, pool), hidden_features(decoder, pool), rtol=1e-5, atol=1e-5
    )


def test_neighbours_change_little_and_equal_texts_nothing(
    decoder: Checkpoint, make_words: MakeWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairbench.language import embeddings

    pool = make_words(prompts=4, completions=12, longest=2, words=2)
    hidden, scores = hidden_features(decoder, pool), score_vectors(decoder, pool, 16)
    seen: dict[str, tuple[int, int]] = {}
    for x, k in np.argwhere(pool.valid).tolist():
        assert pool.prompts is not None
        assert pool.texts is not None
        there = seen.setdefault(pool.prompts[x] + pool.texts[x][k], (x, k))
        np.testing.assert_array_equal(hidden[x, k], hidden[there])
        np.testing.assert_array_equal(scores[x, k], scores[there])
    assert len(seen) < pool.valid.sum() / 2
    monkeypatch.setattr(embeddings, "_READ", 1)
    monkeypatch.setattr(embeddings, "_GRADIENTS", 1)
    np.testing.assert_allclose(hidden_features(decoder, pool), hidden, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        score_vectors(decoder, pool, 16), scores, rtol=1e-3, atol=1e-4 * np.abs(scores).max()
    )


def test_expected_scores_are_zero(decoder: Checkpoint) -> None:
    """E_π ∇ log π = 0, over all texts of two tokens."""
    ids = np.array([*itertools.product(range(decoder.model.config.vocab_size), repeat=2)])
    tokens = Tokens(np.array([[3, 4]]), ids[None])
    p = np.exp(log_likelihoods(decoder.model, tokens))
    scores = score_vectors(decoder, tokens, 16)
    mean, spread = np.einsum("nk,nkd->d", p, scores), np.einsum("nk,nkd->d", p, scores**2) ** 0.5
    assert (spread > 0.1).all()
    np.testing.assert_array_less(np.abs(mean), 1e-4 * spread)


def test_what_cannot_be_read_is_told(decoder: Checkpoint, make_words: MakeWords) -> None:
    pool = make_words(prompts=2, completions=2)
    for dim in (0, -1):
        with pytest.raises(InvalidParameter, match=f"dim must be 1 or more, got {dim}"):
            score_vectors(decoder, pool, dim)
    with pytest.raises(InvalidParameter, match="seed must be 0 or more, got -1"):
        score_vectors(decoder, pool, 4, seed=-1)
    with pytest.raises(InvalidParameter, match=r"got 'lora'\. There are .*weight"):
        score_vectors(decoder, pool, 4, parameters="lora")
    with pytest.raises(InvalidParameter, match=r"a regular expression, got '\['"):
        score_vectors(decoder, pool, 4, parameters="[")
    with pytest.raises(InvalidParameter, match=r"got 'men'. Did you mean 'mean'\?"):
        hidden_features(decoder, pool, "men")
    for features in (hidden_features, lambda c, p: score_vectors(c, p, 4)):
        with pytest.raises(InvalidPool, match="does not know those of its prompts"):
            features(decoder, Pool(np.zeros((1, 2, 1))))
    model = copy.deepcopy(decoder.model)
    next(iter(model.parameters())).data[:] = np.nan
    broken = Checkpoint("broken", model, decoder.tokenizer, "broken")
    with pytest.raises(TrainingFailed, match=r"hidden states are not numbers \(NaN\)"):
        hidden_features(broken, pool)
    with pytest.raises(TrainingFailed, match=r"gradients are not numbers \(NaN\)"):
        score_vectors(broken, pool, 4)
    model.requires_grad_(False)
    with pytest.raises(InvalidParameter, match="none: call requires_grad_"):
        score_vectors(broken, pool, 4)


@pytest.fixture(scope="module")
def enumerated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Tokens, Array]:
    """A language of three words out of five, all of it, and its scores, ``(12, 125, P)``."""
    tokenizer = word_tokenizer("abcde", context=16)
    model = tiny_model("gpt2", tokenizer, width=16, layers=1, seed=3)
    for weights in model.parameters():
        weights.data *= 3.0 if weights.dim() > 1 else 1.0
    folder = save_model(tmp_path_factory.mktemp("enumerated"), model, tokenizer)
    checkpoint = load_decoder(folder, device="cpu", dtype="float32")
    ids = np.array([*itertools.product(range(3, 8), repeat=3)])
    prompts = np.random.default_rng(0).integers(3, 8, (12, 3))
    tokens = Tokens(prompts, np.broadcast_to(ids, (12, 125, 3)))
    scores = np.concatenate([*plain_scores(checkpoint, tokens).values()], axis=2)
    return checkpoint, tokens, scores


def some_pairs(log_probs: Array, completions: int, n: int) -> NDArray[np.int64]:
    """Pairs of a few completions of each prompt, drawn from the policy."""
    rng = np.random.default_rng(1)
    drawn = [rng.choice(len(row), completions, replace=False, p=np.exp(row)) for row in log_probs]
    i, j = np.triu_indices(completions, 1)
    every = [np.stack([np.full(len(i), x), row[i], row[j]], 1) for x, row in enumerate(drawn)]
    return rng.permutation(np.concatenate(every))[:n]


def kernel_criterion(features: Array, p: Array, pairs: NDArray[np.int64], ridge: float) -> float:
    """tr(C (Σ + λ)⁻¹) where there are far more parameters than pairs, by Woodbury's identity."""
    z = (features[pairs[:, 0], pairs[:, 1]] - features[pairs[:, 0], pairs[:, 2]]) / 2
    g = features - np.einsum("nk,nkp->np", p, features)[:, None]
    g = (g * np.sqrt(p / len(p))[:, :, None]).reshape(-1, g.shape[2])
    cross = g @ z.T
    known = np.linalg.solve(z @ z.T + ridge * np.eye(len(z)), cross.T)
    return float((g**2).sum() - (cross * known.T).sum()) / ridge


@pytest.mark.slow
def test_projected_scores_have_the_trace_criterion_of_the_scores(
    enumerated: tuple[Checkpoint, Tokens, Array],
) -> None:
    checkpoint, tokens, exact = enumerated
    log_probs = log_likelihoods(checkpoint.model, tokens)
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    mask = np.ones(log_probs.shape, dtype=np.bool_)
    exact = rescale(exact, mask)

    def errors(dim: int) -> Array:
        projected = score_vectors(checkpoint, tokens, dim).astype(np.float64)
        pool = Pool(rescale(projected, mask), log_ref=log_probs)
        covariance, found = policy_covariance(pool), []
        for n, ridge in itertools.product((24, 96, 192), (0.25, 1.0, 4.0)):
            pairs = some_pairs(log_probs, 8, n)
            precision = label_information(pool, pairs) + ridge * np.eye(dim)
            true = kernel_criterion(exact, np.exp(log_probs), pairs, ridge)
            found.append(trace_criterion(covariance, precision) / true - 1)
        return np.array(found)

    assert np.abs(errors(512)).max() < 0.05
    # Where labels determine some twenty dimensions, 64 are too few.
    assert np.abs(errors(64)).max() > 0.1
