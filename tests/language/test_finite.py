"""The finite language: its grammar, its rewards, and the models that are trained on it."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from pairbench.language.checkpoints import load_classifier
from pairbench.language.finite import PROMPT_LENGTH, FiniteLanguage, Grammar, Reward
from pairbench.language.likelihood import log_likelihoods

SMALL = FiniteLanguage(words=4, length=3, steps=150, seed=0)


def test_sequences_follow_the_transitions() -> None:
    grammar, rng = Grammar(3, 0), np.random.default_rng(0)
    np.testing.assert_allclose(grammar.transitions.sum(axis=2), 1)
    sequences = grammar.sample(rng, 20_000, 4)
    for t in (0, 2):
        i, j, k = sequences[:, max(t - 1, 0) :][:, :3].T
        counts = np.zeros((3, 3, 3))
        np.add.at(counts, (i, j, k), 1)
        expected = counts.sum(axis=2, keepdims=True) * grammar.transitions
        p = chisquare(counts.reshape(9, 3), expected.reshape(9, 3), axis=1).pvalue
        assert p.min() > 1e-3


def test_continued_sequences_begin_as_they_are_begun() -> None:
    grammar, rng = Grammar(5, 1), np.random.default_rng(0)
    begun = grammar.sample(rng, 50, 4)
    longer = grammar.extend(rng, begun, 7)
    assert longer.shape == (50, 7)
    np.testing.assert_array_equal(longer[:, :4], begun)


def test_prompts_differ() -> None:
    prompts = Grammar(3, 0).prompts(np.random.default_rng(0), 40)
    assert prompts.shape == (40, PROMPT_LENGTH)
    assert len(np.unique(prompts, axis=0)) == 40


def test_rewards_are_those_of_a_slow_transcription() -> None:
    rng = np.random.default_rng(0)
    reward = Reward.draw(rng, 5)
    prompts = rng.integers(5, size=(3, PROMPT_LENGTH))
    completions = rng.integers(5, size=(3, 4, 6))
    for x in range(3):
        for k in range(4):
            total, last = 0.0, prompts[x, -1]
            for word in completions[x, k]:
                total += reward.word[word] + reward.bigram[last, word]
                total += sum(reward.prompt[other, word] for other in prompts[x])
                last = word
            assert reward.of(prompts, completions)[x, k] == pytest.approx(total)
    shared = reward.of(prompts, completions[:1])
    np.testing.assert_allclose(shared[0], reward.of(prompts, completions)[0])
    np.testing.assert_allclose(shared[2], reward.of(prompts[2:], completions[:1])[0])


def test_half_of_the_rewards_variance_is_of_words_alone() -> None:
    rng, completions = np.random.default_rng(0), SMALL.completions[None]
    shares = []
    for _ in range(300):
        reward = Reward.draw(rng, 4)
        prompts = rng.permutation(4)[None]
        without = Reward(reward.word, 0 * reward.bigram, 0 * reward.prompt)
        shares.append([r.of(prompts, completions).var() for r in (without, reward)])
    alone, total = np.mean(shares, axis=0)
    assert alone / total == pytest.approx(0.5, abs=0.07)


def test_the_reference_has_learnt_the_grammar_and_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path))
    language = FiniteLanguage(words=4, length=3, steps=150, seed=0)
    prompts = language.grammar.sample(np.random.default_rng(0), 6, PROMPT_LENGTH)
    log_ref = language.log_ref(prompts)
    np.testing.assert_allclose(np.exp(log_ref).sum(axis=1), 1)
    transitions, true = language.grammar.transitions, np.zeros_like(log_ref)
    for x, prompt in enumerate(prompts):
        for k, words in enumerate(language.completions):
            sequence = [*prompt[-2:], *words]
            for t in range(3):
                true[x, k] += np.log(transitions[*sequence[t : t + 3]])
    divergence = (np.exp(true) * (true - log_ref)).sum(axis=1)
    flat = (np.exp(true) * (true + np.log(64))).sum(axis=1)
    assert divergence.mean() < 0.85 * flat.mean()
    (kept,) = (path for path in (tmp_path / "models").iterdir() if path.is_dir())
    before = (kept / "model.safetensors").stat().st_mtime_ns
    again = FiniteLanguage(words=4, length=3, steps=150, seed=0)
    np.testing.assert_array_equal(again.log_ref(prompts), log_ref)
    assert (kept / "model.safetensors").stat().st_mtime_ns == before


def test_the_reference_stays_in_the_language() -> None:
    """Little of what it says is no word of the language, which log π_ref leaves out."""
    prompts = SMALL.grammar.sample(np.random.default_rng(0), 6, PROMPT_LENGTH)
    every = np.broadcast_to(SMALL.completions, (6, *SMALL.completions.shape))
    values = log_likelihoods(SMALL.reference.model, SMALL.tokens(prompts, every))
    assert np.exp(values).sum(axis=1).min() > 0.97


@pytest.mark.slow
def test_a_reward_model_learns_the_truth_but_is_not_the_truth() -> None:
    import torch

    rng = np.random.default_rng(0)
    reward = Reward.draw(rng, 4)
    model = load_classifier(SMALL.reward_model(reward, 1.0, seed=3), device="cpu").model
    prompts = SMALL.grammar.sample(rng, 20, PROMPT_LENGTH)
    every = np.concatenate(
        [np.repeat(prompts[:, None], 64, axis=1), np.tile(SMALL.completions, (20, 1, 1))], axis=2
    )
    with torch.no_grad():
        scores = model(torch.from_numpy(SMALL.ids(every).reshape(-1, 7))).logits[:, 0].numpy()
    truth = reward.of(prompts, SMALL.completions[None])
    inside = [np.corrcoef(a, b)[0, 1] for a, b in zip(truth, scores.reshape(20, 64), strict=True)]
    assert 0.7 < np.mean(inside) < 0.999
