"""cDPO and rDPO: what they make of flipped labels."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from pairbench import (
    InvalidParameter,
    LogLinearCDPO,
    LogLinearDPO,
    LogLinearRDPO,
    make_env,
    make_trainer,
)
from pairbench.pool.pairs import count_repeats

Array = NDArray[np.float64]
FLIPPED = pytest.mark.parametrize("trainer", [LogLinearCDPO, LogLinearRDPO])


def mean_labels(reward: float, rate: float, dim: int = 4) -> tuple[Array, Array, Array]:
    """Pairs, the labels that flipped answers have on average, and θ*.

    All losses of this family are linear in the label, so a fit to mean labels is where fits to
    drawn ones tend to.
    """
    rng = np.random.default_rng(0)
    z, theta = rng.normal(size=(5000, dim)), rng.normal(size=dim)
    theta *= reward / np.linalg.norm(theta)
    p = expit(z @ theta)
    return z, (1 - rate) * p + rate * (1 - p), theta


@FLIPPED
def test_without_flips_it_is_dpo_bit_for_bit(
    trainer: type[LogLinearCDPO | LogLinearRDPO],
) -> None:
    rng = np.random.default_rng(0)
    for n, dim in ((0, 3), (1, 2), (60, 5), (40, 600)):
        z, labels = rng.normal(size=(n, dim)), rng.choice([0.0, 0.1, 0.5, 0.7, 1.0], size=n)
        np.testing.assert_array_equal(
            trainer(0.3, flip_rate=0.0).theta(z, labels, 1.0),
            LogLinearDPO(0.3).theta(z, labels, 1.0),
        )


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("reward", [0.5, 3.0])
def test_rdpo_tends_to_the_true_reward(rate: float, reward: float) -> None:
    z, labels, theta = mean_labels(reward, rate)
    found = LogLinearRDPO(1e-6, flip_rate=rate).theta(z, labels, 1.0)
    np.testing.assert_allclose(found, theta, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_dpo_shrinks_small_rewards_once_and_cdpo_twice(rate: float) -> None:
    z, labels, theta = mean_labels(0.1, rate)
    once = LogLinearDPO(1e-6).theta(z, labels, 1.0)
    twice = LogLinearCDPO(1e-6, flip_rate=rate).theta(z, labels, 1.0)
    np.testing.assert_allclose(once, (1 - 2 * rate) * theta, rtol=0.01)
    np.testing.assert_allclose(twice, (1 - 2 * rate) ** 2 * theta, rtol=0.01)


def test_cdpo_and_rdpo_undo_each_other() -> None:
    z, labels, _ = mean_labels(2.0, 0.0)
    smooth = labels + 0.2 * (1 - 2 * labels)
    np.testing.assert_allclose(
        LogLinearRDPO(1.0, flip_rate=0.2).theta(z, smooth, 1.0),
        LogLinearDPO(1.0).theta(z, labels, 1.0),
        atol=1e-8,
    )


def test_no_answer_is_believed_beyond_one_minus_the_flip_rate() -> None:
    z = np.ones((1000, 1))
    theta = LogLinearCDPO(1e-6, flip_rate=0.1).theta(z, np.ones(1000), 1.0)
    assert expit(theta[0]) == pytest.approx(0.9, abs=1e-6)
    # rDPO's pull is without end: the ridge alone holds it, at n ε/(1 − 2ε) over λ.
    theta = LogLinearRDPO(1.0, flip_rate=0.1).theta(z, np.ones(1000), 1.0)
    assert theta[0] == pytest.approx(1000 * 0.1 / 0.8, rel=1e-6)


def test_on_many_flipped_labels_rdpo_beats_dpo_and_cdpo_does_not() -> None:
    """A fifth of the labels flipped: mean errors over ten seeds, over DPO's."""
    env, budgets = make_env("pairbench/Isotropic-v1"), (100, 400, 1600, 6400, 25_600)
    specs = ("dpo", "cdpo(flip_rate=0.2)", "rdpo(flip_rate=0.2)")
    gaps, errors = np.zeros((3, 10, 5)), np.zeros((3, 10, 5))
    for seed in range(10):
        world, rng = env.world(seed), np.random.default_rng(seed)
        every = np.argwhere(world.pool.pair_mask)
        pairs = every[rng.integers(len(every), size=budgets[-1])]
        labels = world.oracle.label(pairs, count_repeats(pairs, pairs[:0]))
        labels = np.where(rng.random(len(labels)) < 0.2, 1 - labels, labels)
        for row, spec in enumerate(specs):
            trainer = make_trainer(spec, world.trainer.ridge)
            for column, n in enumerate(budgets):
                policy = trainer.fit(world.pool, world.beta, pairs[:n], labels[:n])
                score = world.score(policy, pairs[:0])
                gaps[row, seed, column] = score.gap
                errors[row, seed, column] = score.estimation_error
    for figure in (gaps, errors):
        _, conservative, robust = figure.mean(axis=1) / figure[0].mean(axis=0)
        print("\nlabels", budgets, "\ncdpo", conservative.round(2), "\nrdpo", robust.round(2))
        assert robust[-1] < 0.1
        assert (conservative > 1).all()


@FLIPPED
@pytest.mark.parametrize("rate", [-0.1, 0.5, 0.7, 1.0, np.nan, np.inf])
def test_an_impossible_flip_rate_is_refused(
    trainer: type[LogLinearCDPO | LogLinearRDPO], rate: float
) -> None:
    with pytest.raises(InvalidParameter, match=f"flip_rate must be .* below 0.5, got {rate}"):
        trainer(1.0, flip_rate=rate)
