from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, rel_entr

from pairbench import InvalidParameter, World, make_env
from pairbench.errors import TrainingFailed
from pairbench.oracles import ExpectedLabelOracle
from pairbench.worlds.intransitivity import best_bradley_terry
from tests.oracles.conftest import drawn

Array = NDArray[np.float64]


def probabilities(world: World) -> dict[tuple[int, int, int], float]:
    """Return P(first preferred) of every answered pair, in both orders."""
    assert isinstance(world.oracle, ExpectedLabelOracle)
    valid = world.pool.valid
    n, k = valid.shape
    pairs = [
        (x, i, j) for x in range(n) for i in range(k) for j in range(k)
        if i != j and valid[x, i] and valid[x, j]
    ]  # fmt: skip
    answers = world.oracle.expected(np.array(pairs))
    return {pair: p for pair, p in zip(pairs, answers, strict=True) if not np.isnan(p)}


def excess(rewards: Array, p: dict[tuple[int, int, int], float]) -> float:
    """Compute the mean of KL(p ‖ σ(r_i − r_j)), nats."""
    total = 0.0
    for (x, i, j), first in p.items():
        q = 1 / (1 + np.exp(rewards[x, j] - rewards[x, i]))
        total += float(rel_entr(first, q) + rel_entr(1 - first, 1 - q))
    return total / len(p)


ANNOTATORS = [
    "intransitive(strength=1.5)",
    "bradley-terry(temperature=3)",
    "thurstone",
    "position-bias(weight=1)",
    "length-bias | intransitive | mistake(rate=0.2)",
    "skip(epsilon=0.8)",
    "equal(epsilon=0.5)",
    "adversary(fraction=0.5)",
]


@pytest.mark.slow
@pytest.mark.parametrize("annotator", ANNOTATORS)
def test_no_rewards_have_less_excess_loss(annotator: str) -> None:
    world = drawn(3, 4, 5).with_annotator(annotator, 2)
    best, p, valid = best_bradley_terry(world), probabilities(world), world.pool.valid
    assert best.excess == pytest.approx(excess(best.rewards, p), abs=1e-9)
    found = minimize(lambda r: excess(r.reshape(valid.shape), p), np.zeros(valid.size), tol=1e-12)
    assert best.excess <= found.fun + 1e-9
    assert best.excess == pytest.approx(found.fun, abs=1e-6)
    np.testing.assert_array_equal(best.rewards[~valid], 0)
    np.testing.assert_allclose(best.rewards.sum(axis=1), 0, atol=1e-9)
    # The gap of π_ref exp(r̃/β), from its definition: E_x Σ π (log π − log π*).
    gap = 0.0
    for x, weight in enumerate(world.pool.prompt_weights):
        log_ref = world.pool.log_ref[x, valid[x]]
        chosen = log_softmax(log_ref + best.rewards[x, valid[x]] / world.beta)
        optimal = log_softmax(log_ref + world.truth.rewards[x, valid[x]] / world.beta)
        gap += weight * world.beta * float(np.exp(chosen) @ (chosen - optimal))
    assert best.gap == pytest.approx(gap, abs=1e-9)


def test_bradley_and_terrys_answers_have_their_own_rewards() -> None:
    world = make_env("pairbench/Isotropic-v1").world(0)
    for answered in (world, world.with_annotator("bradley-terry", 0)):
        best = best_bradley_terry(answered)
        r = world.truth.rewards
        np.testing.assert_allclose(best.rewards, r - r.mean(axis=1, keepdims=True), atol=1e-6)
        assert best.excess < 1e-12
        assert best.gap < 1e-9


def test_a_circle_of_three_is_all_excess() -> None:
    world = drawn(0, 2, 3, ragged=False)
    zero = replace(world.truth, rewards=np.zeros((2, 3)), steps=None)
    world = replace(world, truth=zero).with_annotator("intransitive(strength=2)", 0)
    best = best_bradley_terry(world)
    np.testing.assert_allclose(best.rewards, 0, atol=1e-9)
    p = 1 / (1 + np.exp(-2))
    assert best.excess == pytest.approx(p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p)))


def test_the_more_circular_the_worse() -> None:
    world = make_env("pairbench/Isotropic-v1").world(0)
    chains = [f"intransitive(strength={strength})" for strength in (0, 1, 2, 4)]
    found = [best_bradley_terry(world.with_annotator(chain, 0)) for chain in chains]
    for figure in ("excess", "gap"):
        values = [getattr(best, figure) for best in found]
        assert values == sorted(values)
        assert values[0] < 1e-8 < 0.02 < values[1]


def test_large_pools_are_taken_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    world = drawn(3, 9, 5).with_annotator("intransitive | skip(epsilon=0.5)", 2)
    whole = best_bradley_terry(world)
    monkeypatch.setattr("pairbench.worlds.intransitivity._PAIRS_PER_BLOCK", 60)
    parts = best_bradley_terry(world)
    np.testing.assert_allclose(parts.rewards, whole.rewards, atol=1e-7)
    assert parts.excess == pytest.approx(whole.excess)


def test_answers_that_are_never_given_say_nothing() -> None:
    world = drawn(3, 4, 5).with_annotator("skip(threshold=1e9)", 2)
    best = best_bradley_terry(world)
    np.testing.assert_array_equal(best.rewards, 0)
    assert best.excess == 0


@pytest.mark.parametrize("annotator", ["deterministic", "deterministic | mistake(rate=1)"])
def test_certain_answers_have_no_best_rewards(annotator: str) -> None:
    world = drawn(3, 4, 5).with_annotator(annotator, 2)
    with pytest.raises(TrainingFailed, match=r"no finite rewards .* some completions win every"):
        best_bradley_terry(world)


def test_certain_circles_have_some() -> None:
    world = drawn(0, 2, 3, ragged=False)
    best = best_bradley_terry(world.with_annotator("intransitive(strength=1e6) | deterministic", 0))
    np.testing.assert_allclose(best.rewards, 0, atol=1e-9)
    assert best.excess == pytest.approx(np.log(2))


def test_strong_rewards_are_found() -> None:
    world = make_env("pairbench/LogLinear-v1", reward_scale=8.0, ridge=1 / 64).world(0)
    best = best_bradley_terry(world)
    r = world.truth.rewards
    assert best.gap < 1e-9
    assert np.abs(best.rewards - (r - r.mean(axis=1, keepdims=True))).max() < 0.01


def test_an_oracle_that_cannot_tell_is_refused() -> None:
    class Silent:
        def label(
            self,
            pairs: NDArray[np.int64],
            repeat: NDArray[np.int64],
            time: NDArray[np.int64] | None = None,
        ) -> Array:
            return np.full(len(pairs), np.nan)

    world = replace(drawn(), oracle=Silent())
    with pytest.raises(
        InvalidParameter, match=r"a Silent, which cannot say .* world.with_annotator"
    ):
        best_bradley_terry(world)
