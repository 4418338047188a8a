"""The film reviews' worlds, on models that are made here."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from pairbench import InvalidParameter, PairEnv, make_design, make_env, play
from pairbench.errors import InvalidData, MissingData
from pairbench.language.checkpoints import load_classifier, load_decoder
from pairbench.language.generation import GenerationSettings, generate_pool
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.policy import LanguageModelPolicy
from pairbench.language.sampling import Sampling
from pairbench.pool.pairs import pairs_from_numbers
from pairbench.worlds.environment import data_digests, draw_world
from pairbench.worlds.generated_pools import GeneratedPool
from pairbench.worlds.sampled_language import SampledWorld


def environment(more: str = "") -> GeneratedPool:
    made = make_env(f"pairbench/IMDb-v1(tiny=True{more and ', '}{more})")
    assert isinstance(made, GeneratedPool)
    return made


def world(more: str = "", seed: int = 1) -> SampledWorld:
    draw_completions = draw_world(environment(more), seed)
    assert isinstance(draw_completions, SampledWorld)
    return draw_completions


@pytest.mark.slow
def test_it_plays_from_generation_to_score() -> None:
    episode = play(environment(), "uniform", seed=1, budgets=[50, 200])
    scores = [episode.start, *(r.score for r in episode.rounds)]
    start, _, end = (score.sampled for score in scores)
    assert start is not None
    assert end is not None
    assert start.kl.value == 0 < end.kl.low  # the reward rises, at a divergence
    assert start.reward.high < end.reward.low
    assert start.win_rate.low < 0.5 < start.win_rate.high < end.win_rate.value
    assert scores[2].gap < scores[0].gap
    assert scores[2].pool_gap < scores[0].pool_gap
    for score in (start, end):
        assert score.best == start.best
        assert score.gap.value == pytest.approx(score.best.value - score.value.value)
        assert score.effective > 20
    assert "judged" in json.loads(json.dumps(episode.results()))["start"]["sampled"]
    again = play(environment(), "uniform", seed=1, budgets=[50, 200])
    assert again.results() == episode.results()


@pytest.mark.slow
def test_a_world_is_the_same_again_and_others_differ() -> None:
    one, two, other = environment().world(1), environment().world(1), environment().world(2)
    np.testing.assert_array_equal(one.pool.features, two.pool.features)
    np.testing.assert_array_equal(one.truth.held_out, two.truth.held_out)
    assert one.pool.texts == two.pool.texts != other.pool.texts
    assert one.pool.features.shape == other.pool.features.shape == (16, 6, 16)


def test_rewards_are_the_classifiers_log_odds_at_the_temperature_that_was_asked_for() -> None:
    draw_completions = world("agreement=0.7")
    pool, rewards = draw_completions.pool, draw_completions.truth.rewards
    x, i, j = pairs_from_numbers(pool, np.arange(pool.n_pairs)).T
    difference = np.abs(rewards[x, i] - rewards[x, j])
    assert expit(difference[difference > 0]).mean() == pytest.approx(0.7, abs=1e-6)
    import torch

    judge = load_classifier(environment().tiny_version().reward_model)
    assert pool.prompts is not None
    assert pool.texts is not None
    ids = judge.tokenizer(pool.prompts[0] + pool.texts[0][0], return_tensors="pt")
    with torch.no_grad():
        logits = judge.model(**ids).logits[0].double().numpy()
    scale = (logits[1] - logits[0]) / rewards[0, 0]
    other = draw_completions.reward([(pool.prompts[3], pool.texts[3][1])])[0]
    assert other == pytest.approx(rewards[3, 1])
    ids = judge.tokenizer(pool.prompts[3] + pool.texts[3][1], return_tensors="pt")
    with torch.no_grad():
        logits = judge.model(**ids).logits[0].double().numpy()
    assert (logits[1] - logits[0]) / other == pytest.approx(scale, rel=1e-3)


def test_prompts_begin_reviews_and_held_out_ones_are_others() -> None:
    draw_completions, small = world(), environment().tiny_version()
    reviews = [json.loads(line)["text"] for line in Path(small.data).read_text().splitlines()]
    assert draw_completions.pool.prompts is not None
    assert draw_completions.held_out.prompts is not None
    prompts = [*draw_completions.pool.prompts, *draw_completions.held_out.prompts]
    assert len({*prompts}) == 16 + 12
    assert {len(prompt.split()) for prompt in prompts} <= {*range(2, 9)}
    assert all(any(text.startswith(prompt) for text in reviews) for prompt in prompts)


def test_a_text_that_was_drawn_twice_counts_twice() -> None:
    draw_completions = world("max_tokens=2, completions=12")
    pool, reference = draw_completions.pool, draw_completions.reference
    assert (~pool.valid).any()
    assert pool.texts is not None
    weights = np.exp(pool.log_ref) * 12
    assert (weights.max(axis=1) > 1.5).any()
    for row, valid in zip(pool.texts, pool.valid, strict=True):
        texts = [text for text, there in zip(row, valid, strict=True) if there]
        assert max(Counter(texts).values()) == 1
        assert all(text.strip() for text in texts)
    own = LanguageModelPolicy(reference).log_likelihoods(pool)
    assert np.ptp(own[pool.valid]) > 1  # which the weights do not follow


@pytest.mark.parametrize("more", ["features='last'", "features='scores'"])
def test_features_are_centred_and_of_one_scale(more: str) -> None:
    pool = world(more).pool
    mean = (pool.phi * pool.valid[:, :, None]).sum(axis=1)
    np.testing.assert_allclose(mean, 0, atol=1e-4)
    assert (pool.phi[pool.valid] ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-3)


def test_score_vectors_of_adapters_leave_the_reference_as_it_is() -> None:
    small = environment().tiny_version()
    draw_completions = replace(small, features="scores", lora_rank=2).world(1)
    assert isinstance(draw_completions, SampledWorld)
    assert draw_completions.pool.dim == 16
    assert draw_completions.pool.phi.std() > 0.1
    assert not any(
        "lora" in name for name, _ in draw_completions.reference.model.named_parameters()
    )
    full = world("features='scores'").pool.phi
    assert not np.allclose(full, draw_completions.pool.phi)


def test_a_pool_that_was_generated_before_is_taken(tmp_path: Path) -> None:
    small, out = environment().tiny_version(), tmp_path / "pool"
    prompts = [
        f"the {part} was {word}"
        for part in ("plot", "cast", "end", "film", "story")
        for word in ("good", "bad", "dull", "great")
    ]
    what = GenerationSettings(completions=5, sampling=Sampling(10, seed=3), features="none")
    generate_pool(small.policy, prompts, out, what)
    given = replace(small, pool=str(out), prompts=8, held_out_prompts=6, data="nothing")
    one, two = given.world(1), given.world(2)
    assert one.pool.features.shape == two.pool.features.shape == (8, 6, 16)
    assert one.pool.prompts != two.pool.prompts
    assert {*(one.pool.prompts or ()), *(one.held_out.prompts or ())} < {*prompts}
    with pytest.raises(InvalidData, match=r"has 20 prompts; .* ask for 30"):
        replace(given, prompts=24).world(1)
    with pytest.raises(InvalidParameter, match="max_tokens 10 there, 9 here"):
        replace(given, max_tokens=9).world(1)
    (tmp_path / "other").mkdir()
    with pytest.raises(InvalidData, match="is no pool that `pairbench pool generate"):
        replace(given, pool=str(tmp_path / "other")).world(1)


def test_the_digest_is_of_what_a_world_is_made_of(tmp_path: Path) -> None:
    small = environment().tiny_version()
    data = tmp_path / "data.jsonl"
    data.write_bytes(Path(small.data).read_bytes())
    moved = replace(small, data=str(data))
    assert data_digests(environment()) == ()
    assert data_digests(moved) == data_digests(small)
    data.write_bytes(data.read_bytes() + b'{"text": "the end"}\n')
    assert data_digests(moved) != data_digests(small)


def test_log_ratios_are_those_of_what_was_drawn() -> None:
    """A completion that was cut has no end, and its divergence counts none."""
    from pairbench.worlds.sampled_language import draw_completions as draw

    own = world()
    prompts = own.held_out.prompts or ()
    tokens, texts = draw(own.reference, prompts, range(4), Sampling(3))
    ids, end = tokens.completions, own.reference.tokenizer.eos_token_id
    cut = (ids[:, :, 3] < 0) & (ids != end).all(axis=2)
    assert cut.any()
    assert np.isfinite(log_likelihoods(own.reference.model, tokens)).all()
    assert [len(row) for row in texts] == [4] * len(prompts)


def test_gymnasium_takes_it() -> None:
    env = PairEnv(environment(), [20])
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    before = env.score().gap
    pairs = make_design("uniform").select(env.view(), 20)
    _, reward, done, _, _ = env.step(env.action(pairs))
    assert done
    assert reward == pytest.approx(before - env.score().gap)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("prompts=0", "prompts must be 1 or more"),
        ("draws=1", "draws must be 2 or more"),
        ("completions=1", "completions must be 2 or more"),
        ("compared=17", "compared must be at most draws and reference_draws, 16, got 17"),
        ("agreement=0.5", "agreement must be a share between 0.5 and 1"),
        ("beta=0", "beta must be positive and finite"),
        ("features='score'", "Did you mean 'scores'"),
        ("backend='tlr'", "Did you mean 'trl'"),
        ("trainer='dop'", "Did you mean 'dpo'"),
        ("least_tokens=0", "least_tokens must be 1 or more"),
        ("least_tokens=9", "most_tokens no less, got 9 and 8"),
        ("lora_rank=-1", "lora_rank must be 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(more: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_env(f"pairbench/IMDb-v1({more})")


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    small = environment().tiny_version()
    real = make_env("pairbench/IMDb-v1")
    with pytest.raises(InvalidParameter, match="hf download siebert/sentiment-roberta-large-eng"):
        PairEnv(real)
    with pytest.raises(InvalidParameter, match=r"there is no such folder.*hf download"):
        replace(small, policy=str(tmp_path / "none")).world(1)
    with pytest.raises(MissingData, match="hf download --repo-type dataset"):
        replace(small, data="nobody/nothing").world(1)
    with pytest.raises(InvalidParameter, match="has 2 outputs: 0 'NEGATIVE', 1 'POSITIVE'"):
        replace(small, reward_label=None).world(1)
    with pytest.raises(InvalidData, match="max_tokens=31 in the 32 that the model reads; 28 are"):
        replace(small, max_tokens=31).world(1)
    (tmp_path / "other.jsonl").write_text('{"sentence": "a"}\n')
    with pytest.raises(InvalidData, match="line 1: expected a text called 'text' or 'review'"):
        replace(small, data=str(tmp_path / "other.jsonl")).world(1)
    with pytest.raises(InvalidData, match=r"which give .* different prompts that leave"):
        replace(small, prompts=5000).world(1)


def test_reference_draws_are_the_references_own() -> None:
    """Means over held-out draws are what other draws from the reference give, within chance."""
    draw_completions = world("draws=32")
    own = draw_completions.sampled(
        LanguageModelPolicy(load_decoder(environment().tiny_version().policy))
    )
    mean = draw_completions.truth.held_out.mean()
    assert own.reward.low < mean < own.reward.high
