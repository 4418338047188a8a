"""Scores by draws against the exact ones, on languages that can be enumerated."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp

from pairbench import BradleyTerry, LogLinearDPO, Pool, Truth
from pairbench.errors import InvalidParameter
from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.policy import LanguageModelPolicy
from pairbench.language.rewards import Texts
from pairbench.language.sampling import Sampling
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer
from pairbench.language.tokens import Tokens
from pairbench.oracles.annotators import make_annotator
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.scoring.sampled import log_mean_exp, win_probability
from pairbench.worlds import sampled_language as module
from pairbench.worlds.sampled_language import SampledWorld, draw_cached_texts, draw_completions

Array = NDArray[np.float64]
NAMES = ["a", "b", "c"]
PROMPTS = ("a b", "c", "b b c")
LONGEST = 3


def worth(texts: Texts) -> Array:
    """A reward of the words and of the prompt's first."""
    value = {"a": 1.0, "b": -0.5, "c": 0.3}
    return np.array(
        [sum(value[w] for w in said.split()) * (1 + 0.3 * (x[0] == "a")) for x, said in texts]
    )


def model(folder: Path, seed: int, tokenizer: Any = None) -> Checkpoint:
    tokenizer = tokenizer or word_tokenizer(NAMES, context=16)
    made = tiny_model("gpt2", tokenizer, width=16, seed=seed)
    for weights in made.parameters():
        weights.data *= 8.0 if weights.dim() > 1 else 1.0
    return load_decoder(save_model(folder, made, tokenizer), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return model(tmp_path_factory.mktemp("reference"), 1)


Towards = Callable[[float], LanguageModelPolicy]


@pytest.fixture(scope="module")
def towards(tmp_path_factory: pytest.TempPathFactory, reference: Checkpoint) -> Towards:
    """Policies between the reference and another model."""

    def between(share: float) -> LanguageModelPolicy:
        other = model(tmp_path_factory.mktemp("policy"), 2)
        for mine, theirs in zip(
            other.model.parameters(), reference.model.parameters(), strict=True
        ):
            mine.data = (1 - share) * theirs.data + share * mine.data
        return LanguageModelPolicy(other)

    return between


@pytest.fixture(scope="module")
def policy(towards: Towards) -> LanguageModelPolicy:
    return towards(0.4)


class Exact(NamedTuple):
    """All outcomes of a prompt: their log-probabilities and rewards."""

    log_p: Array
    log_ref: Array
    rewards: Array


@pytest.fixture(scope="module")
def exact(reference: Checkpoint, policy: LanguageModelPolicy) -> list[Exact]:
    """Every sequence of tokens that can be drawn, by prompt: ended, or cut."""
    tokenizer = reference.tokenizer
    end, others = tokenizer.eos_token_id, [t for t in range(len(tokenizer)) if t != 2]
    assert end == 2
    outcomes = [
        [*said, *([end] if length < LONGEST else [])]
        for length in range(LONGEST + 1)
        for said in itertools.product(others, repeat=length)
    ]
    ids = np.full((1, len(outcomes), LONGEST), -1)
    for k, outcome in enumerate(outcomes):
        ids[0, k, : len(outcome)] = outcome
    found = []
    for prompt in PROMPTS:
        head = np.array([tokenizer(prompt)["input_ids"]])
        log_p, log_ref = (
            log_likelihoods(m, Tokens(head, ids))[0]
            for m in (policy.checkpoint.model, reference.model)
        )
        np.testing.assert_allclose([logsumexp(log_p), logsumexp(log_ref)], 0, atol=1e-5)
        texts = [tokenizer.decode(o, skip_special_tokens=True) for o in outcomes]
        found.append(Exact(log_p, log_ref, worth([(prompt, text) for text in texts])))
    return found


Make = Callable[..., SampledWorld]


@pytest.fixture(scope="module")
def make(reference: Checkpoint) -> Make:
    def made(
        seed: int, draws: int = 12, many: int = 60, beta: float = 1.0, **more: Any
    ) -> SampledWorld:
        how = Sampling(LONGEST, seed=seed)
        texts = draw_completions(reference, PROMPTS, range(many), how).texts
        held_out = Pool(np.zeros((len(PROMPTS), many, 1)), prompts=PROMPTS, texts=texts)
        rewards = worth([(x, y) for x, row in zip(PROMPTS, texts, strict=True) for y in row])
        phi = np.random.default_rng(0).normal(size=(2, 4, 3))
        said = [["a", "b", "c a", "b b"]] * 2
        pool = Pool(phi, prompts=["a", "b"], texts=[[f" {t}" for t in row] for row in said])
        own = worth([(x, y) for x, row in zip("ab", said, strict=True) for y in row]).reshape(2, 4)
        return SampledWorld(
            pool=pool,
            held_out=held_out,
            truth=Truth(own, rewards.reshape(len(PROMPTS), many)),
            oracle=BradleyTerry(own, seed),
            trainer=LogLinearDPO(1.0),
            beta=beta,
            reference=reference,
            reward=worth,
            sampling=how,
            draws=draws,
            **more,
        )

    return made


def truth(exact: list[Exact], beta: float = 1.0) -> dict[str, float]:
    rows = []
    for log_p, log_ref, rewards in exact:
        p, q = np.exp(log_p), np.exp(log_ref)
        value = p @ (rewards - beta * (log_p - log_ref))
        best = beta * logsumexp(log_ref + rewards / beta)
        beats = (rewards[:, None] > rewards) + 0.5 * (rewards[:, None] == rewards)
        rows.append(
            {
                "gap": best - value,
                "value": value,
                "best": best,
                "reward": p @ rewards,
                "kl": p @ (log_p - log_ref),
                "win_rate": p @ beats @ q,
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@pytest.mark.slow
def test_intervals_cover_and_estimates_are_not_biased(
    make: Make, policy: LanguageModelPolicy, exact: list[Exact]
) -> None:
    """In 100 repetitions, 95 % intervals hold the enumerated figures 88 to 100 times."""
    expected = truth(exact)
    assert expected["gap"] > 0.1
    assert expected["kl"] > 0.1
    found = [make(seed).sampled(policy) for seed in range(100)]
    for name, true in expected.items():
        intervals = [getattr(each, name) for each in found]
        inside = sum(each.low <= true <= each.high for each in intervals)
        assert 88 <= inside <= 100, name
        values = np.array([each.value for each in intervals])
        assert abs(values.mean() - true) < 4 * values.std() / 10, name


def test_the_reference_has_no_divergence_and_wins_half(make: Make, reference: Checkpoint) -> None:
    world = make(3, draws=40)
    own = world.sampled(LanguageModelPolicy(reference))
    assert own.kl.value == own.kl.high == 0
    assert own.value == own.reward
    assert own.win_rate.low < 0.5 < own.win_rate.high


def test_scores_are_the_same_again_and_drawn_once(
    make: Make, policy: LanguageModelPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(5)
    pairs = np.array([(x, i, j) for x in range(2) for i in range(4) for j in range(i)])
    one = world.score(policy, pairs)
    assert make(5).score(policy, pairs) == one
    assert make(6).score(policy, pairs) != one
    assert one.sampled is not None
    monkeypatch.setattr(module, draw_completions.__name__, None)
    assert world.gap(policy) == one.gap == max(0.0, one.sampled.gap.value)
    assert 0 < one.design_efficiency <= 1.0
    assert one.as_json()["sampled"]["gap"]["low"] == one.sampled.gap.low


@pytest.mark.slow
def test_common_random_numbers_make_differences_sharper(
    make: Make, towards: Towards, reference: Checkpoint
) -> None:
    policies = [towards(0.05), LanguageModelPolicy(reference)]
    worlds = [make(seed, draws=4, many=4) for seed in range(40)]
    one, two = (np.array([w.sampled(p).reward.value for w in worlds]) for p in policies)
    assert not np.array_equal(one, two)
    assert np.var(one - two) < 0.5 * (np.var(one) + np.var(two))


def test_the_pools_own_gap_is_that_over_its_draws(make: Make, policy: LanguageModelPolicy) -> None:
    world = make(0)
    pool, rewards = world.pool, world.truth.rewards
    ratio = policy.log_likelihoods(pool) - LanguageModelPolicy(world.reference).log_likelihoods(
        pool
    )
    total = 0.0
    for x in range(2):
        p, best = np.exp(ratio[x]) / 4, np.exp(rewards[x]) / 4
        p, best = p / p.sum(), best / best.sum()
        total += p @ np.log(p / best) / 2
    assert world.score(policy, np.empty((0, 3), dtype=np.int64)).pool_gap == pytest.approx(total)
    own = world.score(LanguageModelPolicy(world.reference), np.empty((0, 3), dtype=np.int64))
    assert own.pool_gap == pytest.approx(np.mean(np.log(np.exp(rewards).mean(1)) - rewards.mean(1)))


def slow_jackknife(values: Array, beta: float) -> tuple[float, float]:
    def figure(v: Array) -> float:
        return float(beta * np.log(np.mean(np.exp(v / beta))))

    r = len(values)
    left = np.array([figure(np.delete(values, i)) for i in range(r)])
    pseudo = r * figure(values) - (r - 1) * left
    return float(pseudo.mean()), float(pseudo.var(ddof=1) / r)


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
def test_the_jackknife_is_that_of_a_slow_transcription(beta: float) -> None:
    draws = np.random.default_rng(0).normal(size=(4, 9))
    found = log_mean_exp(draws, beta)
    for x, row in enumerate(draws):
        assert (found.values[x], found.variances[x]) == pytest.approx(slow_jackknife(row, beta))
        w = np.exp(row / beta)
        assert found.effective[x] == pytest.approx(w.sum() ** 2 / (w**2).sum())


def test_the_jackknife_takes_the_first_order_of_the_bias_out() -> None:
    draws = np.random.default_rng(0).normal(size=(20_000, 32))
    plain = np.log(np.exp(draws).mean(axis=1)).mean() - 0.5  # log E exp of a standard normal is ½
    corrected = log_mean_exp(draws, 1.0).values.mean() - 0.5
    assert plain < -0.015
    assert abs(corrected) < abs(plain) / 3


def test_a_draw_that_outweighs_all_others_overflows_nothing() -> None:
    draws = np.array([[1000.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    found = log_mean_exp(draws, 0.01)
    assert np.isfinite(found.values).all()
    assert found.effective == pytest.approx([1, 3])
    assert found.values[1] == pytest.approx(5)
    assert found.variances[1] == pytest.approx(0)


def test_wins_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    one, two = (
        rng.integers(4, size=(3, 5)).astype(float),
        rng.integers(4, size=(3, 7)).astype(float),
    )
    for x, value in enumerate(win_probability(one, two).means):
        score = [(a > b) + 0.5 * (a == b) for a in one[x] for b in two[x]]
        assert value == pytest.approx(np.mean(score))


def test_an_evaluator_compares_draws(make: Make, policy: LanguageModelPolicy) -> None:
    world = make(0, draws=12, evaluator=make_annotator("deterministic"), compared=12)
    found = world.sampled(policy)
    _, texts = draw_completions(policy.checkpoint, PROMPTS, range(60, 72), world.sampling)
    score = []
    for prompt, own, other in zip(PROMPTS, texts, world.held_out.texts or (), strict=True):
        for a, b in zip(own, other[:12], strict=True):
            mine, theirs = worth([(prompt, a), (prompt, b)])
            score.append((mine > theirs) + 0.5 * (mine == theirs))
    assert found.judged is not None
    assert found.judged.value == pytest.approx(np.mean(score))
    assert found.judged.low < found.judged.value < found.judged.high
    silent = make(0, evaluator=make_annotator("deterministic | skip(epsilon=1e9)"))
    assert silent.sampled(policy).judged is None


def test_draws_do_not_depend_on_what_else_is_drawn(reference: Checkpoint) -> None:
    how = Sampling(LONGEST, seed=1)
    _, texts = draw_completions(reference, PROMPTS, range(2, 6), how)
    _, alone = draw_completions(reference, PROMPTS[1:2], range(3, 5), how)
    assert alone == [texts[1][1:3]]


def test_what_was_drawn_is_kept_and_what_is_damaged_drawn_again(
    reference: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "_DRAWS_PER_FILE", 10)
    how = Sampling(LONGEST, seed=1)
    texts = draw_cached_texts(reference, PROMPTS, 5, how)
    assert texts == draw_completions(reference, PROMPTS, range(5), how).texts
    files = sorted((tmp_path / "draws").iterdir())
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:-10])
    assert draw_cached_texts(reference, PROMPTS, 5, how) == texts
    monkeypatch.setattr(module, draw_completions.__name__, None)
    assert draw_cached_texts(reference, PROMPTS, 5, how) == texts


def test_what_cannot_be_scored_is_refused(make: Make, reference: Checkpoint) -> None:
    with pytest.raises(InvalidParameter, match="expected a LanguageModelPolicy, got LogLinear"):
        make(0).gap(LogLinearPolicy(np.zeros(3), 1.0))
    with pytest.raises(InvalidParameter, match="more than the 16 that"):
        draw_completions(reference, PROMPTS, range(2), Sampling(13))
    reference.model.generation_config.eos_token_id = [2, 1]
    try:
        with pytest.raises(InvalidParameter, match=r"it has \[1, 2\]"):
            draw_completions(reference, PROMPTS, range(2), Sampling(3))
    finally:
        reference.model.generation_config.eos_token_id = 2
