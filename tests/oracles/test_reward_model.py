"""Reward models as annotators answer by their scores of the pool's texts."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pairbench import Environment, InvalidParameter, Pool, World, play
from pairbench.errors import InvalidPool
from pairbench.language.checkpoints import load_classifier
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer
from pairbench.oracles.annotators import make_annotator
from pairbench.worlds.registry import environment_spec, make_env
from tests.oracles.conftest import Answering, drawn
from tests.oracles.reference import Array, ordered_pairs

WORDS = [*"abcdefgh"]
SHAPE = (8, 5)


def trained(folder: Path, seed: int, labels: int = 1) -> str:
    """A classifier whose scores differ, saved."""
    tokenizer = word_tokenizer(WORDS, context=16)
    model = tiny_model("distilbert", tokenizer, labels=labels, seed=seed)
    for weights in model.parameters():
        weights.data *= 6.0 if weights.dim() > 1 else 1.0
    return save_model(folder, model, tokenizer)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two reward models, and a classifier of two labels."""
    home = tmp_path_factory.mktemp("models")
    return [trained(home / str(seed), seed, 1 + (seed == 2)) for seed in range(3)]


def texts(seed: int = 0) -> tuple[list[str], list[list[str]]]:
    rng = np.random.default_rng(seed)

    def text(size: int) -> str:
        return " ".join(rng.choice(WORDS, size=size))

    n, k = SHAPE
    rows = [[" " + text(int(rng.integers(1, 9))) for _ in range(k)] for _ in range(n)]
    rows[1][1] = rows[1][0]  # of one score, though of two rewards
    return [text(2) for _ in range(n)], rows


def with_texts(seed: int = 1) -> World:
    world, (prompts, rows) = drawn(seed, *SHAPE), texts(seed)
    pool = world.pool
    return replace(
        world,
        pool=Pool(
            pool.features,
            log_ref=np.where(pool.valid, pool.log_ref, 0),
            lengths=pool.lengths,
            valid=pool.valid,
            prompts=prompts,
            texts=rows,
        ),
    )


@pytest.fixture(scope="module")
def world() -> World:
    return with_texts()


@dataclass(frozen=True)
class WithTexts(Environment):
    """A user's own, of texts."""

    def world(self, seed: int) -> World:
        return with_texts(seed)


def slow(world: World, folder: str) -> Array:
    """The scores of valid completions, each read alone; the log-odds of the second of two."""
    import torch

    checkpoint = load_classifier(folder, device="cpu", dtype="float32")
    pool, scores = world.pool, np.zeros(SHAPE)
    assert pool.prompts is not None
    assert pool.texts is not None
    for x, k in np.argwhere(pool.valid).tolist():
        ids = checkpoint.tokenizer(pool.prompts[x] + pool.texts[x][k])["input_ids"]
        with torch.no_grad():
            out = checkpoint.model(torch.tensor([ids])).logits[0].tolist()
        scores[x, k] = out[0] if len(out) == 1 else out[1] - out[0]
    return scores


def differences(world: World, values: Array) -> Array:
    x, i, j = ordered_pairs(world).T
    return np.array(values[x, i] - values[x, j])


def probabilities(delta: Array) -> Array:
    return np.array([1 / (1 + math.exp(-d)) for d in delta])


def close(values: Array, expected: Array) -> None:
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_answers_go_by_the_scores(world: World, answering: Answering, models: list[str]) -> None:
    pairs, delta = ordered_pairs(world), differences(world, slow(world, models[0]))
    assert np.ptp(delta) > 0.1
    for scale in (1.0, -3.0, 0.0):
        oracle = answering(f"reward-model(model={models[0]!r}, scale={scale})", 3, world)
        close(oracle.expected(pairs), probabilities(scale * delta))
    sure = answering(f"reward-model(model={models[0]!r}) | deterministic", 3, world)
    same = (pairs[:, 0] == 1) & (pairs[:, 1:] < 2).all(axis=1)
    assert same.sum() == 2
    assert (np.abs(delta[~same]) > 1e-5).all()
    answers = sure.label(pairs, np.zeros(len(pairs), dtype=np.int64))
    np.testing.assert_array_equal(answers, np.where(same, 0.5, delta > 0))


def test_of_a_classifier_a_label_is_the_reward(
    world: World, answering: Answering, models: list[str]
) -> None:
    pairs, delta = ordered_pairs(world), differences(world, slow(world, models[2]))
    for label, sign in ((1, 1), ("LABEL_1", 1), (0, -1)):
        oracle = answering(f"reward-model(model={models[2]!r}, label={label!r})", 3, world)
        close(oracle.expected(pairs), probabilities(sign * delta))


def test_other_perceptions_add_to_it_in_any_order(
    world: World, answering: Answering, models: list[str]
) -> None:
    pairs, model = ordered_pairs(world), f"reward-model(model={models[0]!r}, scale=2)"
    before = answering(f"{model} | length-bias(weight=2)", 3, world).expected(pairs)
    after = answering(f"length-bias(weight=2) | {model}", 3, world).expected(pairs)
    plain = answering("length-bias(weight=2)", 3, world).expected(pairs)
    np.testing.assert_allclose(before, after, rtol=1e-12)
    logits = np.log(plain / (1 - plain)) - differences(world, world.truth.rewards)
    expected = probabilities(logits + 2 * differences(world, slow(world, models[0])))
    close(before, expected)


def test_an_ensemble_is_the_mean_in_deviations(
    world: World, answering: Answering, models: list[str]
) -> None:
    valid, mean = world.pool.valid, np.zeros(SHAPE)
    for folder in models[:2]:
        scores = slow(world, folder)
        for x in range(len(valid)):
            scores[x, valid[x]] -= scores[x, valid[x]].mean()
        mean += scores / math.sqrt(np.mean(scores[valid] ** 2)) / 2
    oracle = answering(f"reward-model(model={models[:2]!r}, scale=0.7)", 3, world)
    expected = probabilities(0.7 * differences(world, mean))
    np.testing.assert_allclose(oracle.expected(ordered_pairs(world)), expected, rtol=1e-4)
    one, same = (
        answering(f"reward-model(model={model!r})", 3, world).expected(ordered_pairs(world))
        for model in (models[0], models[:1])
    )
    np.testing.assert_array_equal(one, same)


def test_agreement_is_with_the_true_rewards(
    world: World, answering: Answering, models: list[str]
) -> None:
    pairs, model = ordered_pairs(world), f"reward-model(model={models[0]!r})"
    truth = differences(world, world.truth.rewards)
    delta = differences(world, slow(world, models[0]))
    delta[np.abs(delta) < 1e-5] = 0
    most = np.mean((1 + np.sign(truth * delta))[truth != 0] / 2)
    if most < 0.5:
        model, most = model.replace(")", ", scale=-1)"), 1 - most
    target = round((0.5 + most) / 2, 3)
    p = answering(f"{model} | bradley-terry(agreement={target})", 3, world).expected(pairs)
    agreed = np.where(truth > 0, p, 1 - p)[truth != 0].mean()
    assert agreed == pytest.approx(target, abs=1e-8)
    with pytest.raises(InvalidParameter, match=r"cannot be reached .* less than 0\.[56]"):
        answering(f"{model} | bradley-terry(agreement=0.99)", 3, world)


def test_a_crowd_can_judge_by_it(world: World, models: list[str]) -> None:
    pairs, delta = ordered_pairs(world), differences(world, slow(world, models[0]))
    crowd = "crowd(votes=3, reliability=(1.0, 1.0), temperature=1e-9)"
    oracle = world.with_annotator(f"reward-model(model={models[0]!r}) | {crowd}", 3).oracle
    labels = oracle.label(pairs, np.zeros(len(pairs), dtype=np.int64))
    sure = np.abs(delta) > 1e-5
    np.testing.assert_array_equal(labels[sure], delta[sure] > 0)


def test_a_model_that_is_trained_again_makes_new_cells(tmp_path: Path) -> None:
    def source(text: str) -> str | None:
        return environment_spec("LogLinear-v1", annotator=text).source

    mine = trained(tmp_path / "mine", 1, labels=2)
    text = f"reward-model(model={mine!r}, label=1)"
    first = source(text)
    assert first is not None
    assert source(text) == first
    assert source(text.replace("label=1", "label='LABEL_1'")) == first  # which is the same
    others = [source(text.replace("label=1", "label=0"))]
    others += [source(text.replace(")", f", {more})")) for more in ("dtype='float64'",)]
    others += [source(f"reward-model(model=[{mine!r}, {mine!r}], label=1)")]
    trained(tmp_path / "mine", 2, labels=2)
    assert len({first, source(text), *others}) == 5


def test_every_environment_of_texts_can_be_played(models: list[str]) -> None:
    env = WithTexts(annotator=f"reward-model(model={models[0]!r}) | deterministic")
    one, again = (play(env, "uniform", 2, (10, 20)).results() for _ in range(2))
    assert one == again
    plain = play(WithTexts(annotator="deterministic"), "uniform", 2, (10, 20)).results()
    assert one["rounds"][0]["pairs"] == plain["rounds"][0]["pairs"]
    assert one["rounds"][0]["labels"] != plain["rounds"][0]["labels"]


def test_a_pool_without_texts_is_refused(answering: Answering, models: list[str]) -> None:
    with pytest.raises(InvalidParameter, match="'reward-model' reads texts, and this world's pool"):
        answering(f"reward-model(model={models[0]!r})")


def test_an_empty_text_without_prompt_is_told(answering: Answering, models: list[str]) -> None:
    world = drawn(0, 1, 2, ragged=False)
    world = replace(world, pool=Pool(world.pool.features, texts=[["a", ""]]))
    with pytest.raises(InvalidPool, match="completion 1 of prompt 0 is empty"):
        answering(f"reward-model(model={models[0]!r})", 0, world)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reward-model", "needs a value for its parameter 'model'"),
        ("reward-model(model=[])", "model must be a model or several, got an empty list"),
        ("reward-model(model='x', scale=1e999)", "scale must be a finite number, got inf"),
        ("reward-model(model='x', template='chats')", "got 'chats'. Did you mean 'chat'"),
        ("reward-model(model='x', dtype='half')", "dtype must be one of auto, bfloat16"),
        ("reward-model(model=3)", "model.*, got 3"),
        ("reward-model(modl='x')", "has no parameter 'modl'. Did you mean 'model'"),
        (
            "reward-model(model='x') | length-bias | reward-model(model='y')",
            r"each replace the true rewards.* one stage, reward-model\(model=\[…\]\)",
        ),
        ("reward-model(model='x') | recorded(file='y')", 'Leave out "reward-model'),
    ],
)
def test_impossible_chains_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_annotator(text)


def test_a_model_that_is_not_there_is_told(models: list[str]) -> None:
    env = make_env(WithTexts(annotator="reward-model(model='no/where')"))
    with pytest.raises(InvalidParameter, match=r"cannot load the reward model .* 'no/where'"):
        play(env, "uniform", 0, (10,))
    env = WithTexts(annotator=f"reward-model(model={models[2]!r})")
    with pytest.raises(InvalidParameter, match=r"has 2 outputs: 0 'LABEL_0', 1 'LABEL_1'\. Say"):
        play(env, "uniform", 0, (10,))
