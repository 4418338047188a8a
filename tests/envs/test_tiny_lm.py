"""The transformer's worlds: what is exact is exact, and labels help."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import Environment, InvalidParameter, PairEnv, make_design, make_env
from pairbench.language.finite import PROMPT_LENGTH
from pairbench.language.policy import LanguageModelPolicy
from pairbench.scoring.exact import objective
from pairbench.worlds.environment import draw_world
from pairbench.worlds.finite_language import LanguageWorld

SMALL = (
    "pairbench/TinyLM-v1(words=4, length=3, prompts=20, held_out_prompts=6, completions=6, dim=16, "
    "pretraining=150{})"
)


def small(more: str = "") -> Environment:
    return make_env(SMALL.format(more and f", {more}"))


def world(more: str = "", seed: int = 3) -> LanguageWorld:
    drawn = draw_world(small(more), seed)
    assert isinstance(drawn, LanguageWorld)
    return drawn


def reference(drawn: LanguageWorld) -> LanguageModelPolicy:
    nothing = np.empty((0, 3), dtype=np.int64)
    policy = drawn.trainer.fit(drawn.pool, drawn.beta, nothing, np.empty(0))
    assert isinstance(policy, LanguageModelPolicy)
    return policy


def slow_log_prob(policy: LanguageModelPolicy, prompt: str, text: str) -> float:
    """log P of one text, read plainly."""
    import torch

    tokenizer, model = policy.checkpoint.tokenizer, policy.checkpoint.model
    head, whole = tokenizer(prompt)["input_ids"], tokenizer(prompt + text)["input_ids"]
    with torch.no_grad():
        said = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return float(sum(said[t - 1, whole[t]] for t in range(len(head), len(whole))))


@pytest.mark.slow
def test_the_gap_of_the_reference_is_that_of_the_definition() -> None:
    drawn = world()
    held_out, rewards, beta = drawn.held_out, drawn.truth.held_out, drawn.beta
    policy = reference(drawn)
    assert held_out.prompts is not None
    assert held_out.texts is not None
    value = 0.0
    for prompt, texts, reward in zip(held_out.prompts, held_out.texts, rewards, strict=True):
        assert len(set(texts)) == 4**3
        log_p = np.array([slow_log_prob(policy, prompt, text) for text in texts])
        p = np.exp(log_p) / np.exp(log_p).sum()
        best = beta * np.log(p @ np.exp(reward / beta))  # J(π*); J(π_ref) = E r
        value += (best - p @ reward) / len(rewards)
    assert drawn.gap(policy) == pytest.approx(value, rel=1e-5)


def test_the_gap_is_the_value_that_is_lost() -> None:
    drawn = world()
    held_out, rewards = drawn.held_out, drawn.truth.held_out
    labels = np.ones(3)
    trained = drawn.trainer.fit(drawn.pool, drawn.beta, np.array([[0, 1, 2]] * 3), labels)
    best = held_out.log_ref + rewards / drawn.beta
    best -= np.log(np.exp(best).sum(axis=1, keepdims=True))
    lost = [
        objective(log_probs, held_out, rewards, drawn.beta)
        for log_probs in (best, trained.log_probs(held_out))
    ]
    assert drawn.gap(trained) == pytest.approx(lost[0] - lost[1], rel=1e-9)


def test_the_pool_is_drawn_from_the_reference() -> None:
    drawn = world()
    policy, pool = reference(drawn), drawn.pool
    np.testing.assert_allclose(policy.log_probs(pool), pool.log_ref, atol=1e-5)
    np.testing.assert_allclose(policy.log_probs(drawn.held_out), drawn.held_out.log_ref, atol=1e-5)
    assert pool.texts is not None
    assert all(len(set(texts)) == 6 for texts in pool.texts)
    assert pool.prompts is not None
    assert drawn.held_out.prompts is not None
    assert len({*pool.prompts, *drawn.held_out.prompts}) == 26
    assert (pool.lengths == 3).all()
    spread = drawn.truth.held_out.var(axis=1, ddof=0)
    assert 1 < spread.mean() < 10  # reward_scale = 2, over the reference's completions


@pytest.mark.parametrize(("features", "dim"), [("scores", 16), ("mean", 64), ("last", 64)])
def test_features_are_centred_and_of_one_scale(features: str, dim: int) -> None:
    phi = world(f"features={features!r}").pool.phi
    assert phi.shape == (20, 6, dim)
    np.testing.assert_allclose(phi.mean(axis=1), 0, atol=1e-6)
    assert (phi**2).sum(axis=2).mean() == pytest.approx(1, rel=1e-3)


def test_a_world_is_the_same_again() -> None:
    one, two = small().world(5), small().world(5)
    np.testing.assert_array_equal(one.pool.features, two.pool.features)
    np.testing.assert_array_equal(one.truth.held_out, two.truth.held_out)
    assert one.pool.texts == two.pool.texts
    other = small().world(6)
    assert other.pool.prompts != one.pool.prompts


def gaps(more: str, budgets: list[int]) -> NDArray[np.float64]:
    """The gap before any label, then at each budget."""
    env, design = PairEnv(small(more), budgets), make_design("uniform")
    env.reset(seed=3)
    found = [env.world.gap(env.policy)]
    for _ in budgets:
        env.step(env.action(design.select(env.view(), env.ledger.labels_left)))
        found.append(env.world.gap(env.policy))
    return np.array(found)


@pytest.mark.slow
def test_the_gap_falls_with_labels_down_to_the_floor() -> None:
    start, few, many = gaps("", [30, 300])
    assert start > few > many
    assert 0 < world().best_in_class[1] < few


def test_training_leaves_the_reference_alone_and_is_the_same_again() -> None:
    drawn = world()
    before = reference(drawn).fingerprint()
    pairs, labels = np.array([[0, 1, 2], [1, 2, 3], [1, 0, 5]]), np.array([1.0, 0.0, 0.5])
    one, two = (drawn.trainer.fit(drawn.pool, drawn.beta, pairs, labels) for _ in range(2))
    assert one.fingerprint() == two.fingerprint() != before
    assert reference(drawn).fingerprint() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    ["trainer='ipo'", "trainer='rdpo'", "trainer='cdpo'", "lora_rank=2", "beta=0.5"],
)
def test_variants_learn(more: str) -> None:
    start, end = gaps(more, [200])
    assert end < start


@pytest.mark.slow
def test_a_reward_model_answers_and_the_truth_scores() -> None:
    truth, learnt = world(), world("labeler='reward-model'")
    np.testing.assert_array_equal(truth.truth.rewards, learnt.truth.rewards)
    pairs = np.array([(x, i, j) for x in range(20) for i in range(6) for j in range(i)])
    zeros = np.zeros(len(pairs), dtype=np.int64)
    one, two = truth.oracle.label(pairs, zeros), learnt.oracle.label(pairs, zeros)
    assert 0.6 < (one == two).mean() < 1  # the same coin
    start, end = gaps("labeler='reward-model'", [200])
    assert end < start


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("words=1", "words must be 2 to 26"),
        ("words=20, length=9", "which are all enumerated, at most 65536"),
        ("words=2, prompts=9", "together at most half of all that there are, 8; got 9 and 6"),
        ("completions=65", "completions must be 2 to 64"),
        ("completions=1", "completions must be 2 to 64"),
        ("beta=0", "beta must be positive"),
        ("features='hidden'", "features must be one of scores, mean, last, got 'hidden'"),
        ("labeler='rewardmodel'", "Did you mean 'reward-model'"),
        ("backend='tlr'", "Did you mean 'trl'"),
        ("trainer='dop'", "dpo"),
        ("flip_rate=0.6, trainer='rdpo'", "flip_rate"),
        ("lora_rank=-1", "lora_rank"),
        ("dim=0", "dim must be 1 or more"),
        ("pretraining=-1", "pretraining must be"),
    ],
)
def test_what_cannot_be_is_refused(more: str, message: str) -> None:
    text = SMALL.format("").removesuffix(")")
    given = {part.split("=")[0].strip() for part in more.split(", ")}
    kept = [p for p in text.split("(")[1].split(", ") if p.split("=")[0] not in given]
    with pytest.raises(InvalidParameter, match=message):
        make_env(f"pairbench/TinyLM-v1({', '.join([*kept, more])})")


def test_prompts_have_four_words() -> None:
    prompts = world().pool.prompts
    assert prompts is not None
    assert all(len(prompt.split()) == PROMPT_LENGTH for prompt in prompts)


@pytest.mark.slow
def test_the_trl_backend_trains_the_same_policy() -> None:
    np.testing.assert_allclose(gaps("backend='trl'", [64])[1], gaps("", [64])[1], rtol=1e-3)
