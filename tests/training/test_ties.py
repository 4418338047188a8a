"""Rao and Kupper's and Davidson's models: what they recover, and what they take for ties."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from pairbench import InvalidParameter, LogLinearDavidson, LogLinearDPO, LogLinearRaoKupper

Array = NDArray[np.float64]
Trainer = type[LogLinearRaoKupper | LogLinearDavidson]


def chances(trainer: Trainer, x: Array, nu: float) -> tuple[Array, Array]:
    """P(first) and P(tie), by the papers' strengths λ = exp(reward)."""
    first, second = np.exp(x), np.ones_like(x)
    if trainer is LogLinearRaoKupper:
        above, below = first + nu * second, second + nu * first
        return first / above, (nu**2 - 1) * first * second / (above * below)
    between = 2 * nu * np.sqrt(first * second)
    return first / (first + second + between), between / (first + second + between)


def drawn(
    trainer: Trainer, seed: int, n: int, nu: float, reward: float = 1.5
) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    z, theta = rng.normal(size=(n, 4)), rng.normal(size=4)
    theta *= reward / np.linalg.norm(theta)
    wins, ties = chances(trainer, z @ theta, nu)
    u = rng.random(n)
    return z, np.where(u < wins, 1.0, np.where(u < wins + ties, 0.5, 0.0)), theta


BOTH = pytest.mark.parametrize(
    ("trainer", "nu"),
    [
        (LogLinearRaoKupper, 3.0),
        (LogLinearRaoKupper, 6.0),
        (LogLinearDavidson, 1.0),
        (LogLinearDavidson, 0.3),
    ],
)


@BOTH
def test_labels_of_the_model_lead_back_to_its_reward_and_dpo_underrates_it(
    trainer: Trainer, nu: float
) -> None:
    ours, theirs = [], []
    for seed in range(5):
        z, labels, theta = drawn(trainer, seed, 20_000, nu)
        assert 0.1 < (labels == 0.5).mean() < 0.7
        fit, dpo = trainer(0.1, nu).theta(z, labels, 1.0), LogLinearDPO(0.1).theta(z, labels, 1.0)
        ours.append(np.linalg.norm(fit - theta))
        theirs.append(np.linalg.norm(dpo - theta))
        assert theta @ dpo < 0.95 * theta @ theta
    # Of the order of 2/√n for each feature.
    assert np.mean(ours) < 0.08
    assert np.mean(ours) < np.mean(theirs) / 2


def test_the_defaults_tie_equal_completions_every_other_time() -> None:
    for trainer in (LogLinearRaoKupper, LogLinearDavidson):
        _, ties = chances(trainer, np.zeros(1), trainer().nu)
        assert ties[0] == pytest.approx(0.5)


def test_where_ties_are_rare_it_is_dpo() -> None:
    z, labels, _ = drawn(LogLinearDavidson, 0, 200, 1.0)
    decided = np.where(labels == 0.5, 0.2, labels)
    for found in (
        LogLinearRaoKupper(0.5, 1 + 1e-9).theta(z, decided, 1.0),
        LogLinearDavidson(0.5, 1e-9).theta(z, decided, 1.0),
    ):
        np.testing.assert_allclose(found, LogLinearDPO(0.5).theta(z, decided, 1.0), atol=1e-7)
    # To Davidson a tie is half a win of either side even then; to Rao and Kupper a whole one.
    found = LogLinearDavidson(0.5, 1e-9).theta(z, labels, 1.0)
    np.testing.assert_allclose(found, LogLinearDPO(0.5).theta(z, labels, 1.0), atol=1e-7)
    tie = labels == 0.5
    twice = np.concatenate([z, z[tie]]), np.concatenate([labels, labels[tie]])
    found = LogLinearRaoKupper(0.5, 1 + 1e-9).theta(z, labels, 1.0)
    np.testing.assert_allclose(found, LogLinearDPO(0.5).theta(*twice, 1.0), atol=1e-7)


def test_davidsons_default_is_dpo_with_rewards_twice_as_large() -> None:
    z, labels, _ = drawn(LogLinearRaoKupper, 1, 100, 3.0)
    labels[:20] = 0.3
    np.testing.assert_allclose(
        LogLinearDavidson(0.7).theta(z, labels, 1.0),
        2 * LogLinearDPO(1.4).theta(z, labels, 1.0),
        atol=1e-8,
    )


@pytest.mark.parametrize("nu", [1.2, 3.0, 8.0])
def test_labels_without_ties_make_rewards_too_large(nu: float) -> None:
    rng = np.random.default_rng(0)
    z, theta = rng.normal(size=(2000, 3)), 0.03 * rng.normal(size=3)
    labels = expit(z @ theta)  # where Bradley–Terry labels tend to; both losses are linear in them
    found = LogLinearRaoKupper(1e-6, nu).theta(z, labels, 1.0)
    np.testing.assert_allclose(found, (1 + nu) / 2 * theta, rtol=0.02)
    found = LogLinearDavidson(1e-6, nu).theta(z, labels, 1.0)
    np.testing.assert_allclose(found, (1 + nu) * theta, rtol=0.02)


@BOTH
def test_dpo_shrinks_small_rewards_where_there_are_ties(trainer: Trainer, nu: float) -> None:
    rng = np.random.default_rng(0)
    z, theta = rng.normal(size=(2000, 3)), 0.03 * rng.normal(size=3)
    wins, ties = chances(trainer, z @ theta, nu)
    found = LogLinearDPO(1e-6).theta(z, wins + ties / 2, 1.0)
    factor = 4 * nu / (1 + nu) ** 2 if trainer is LogLinearRaoKupper else 1 / (1 + nu)
    np.testing.assert_allclose(found, factor * theta, rtol=0.01)


@pytest.mark.parametrize("trainer", [LogLinearRaoKupper, LogLinearDavidson])
def test_more_ties_pull_the_policy_to_the_reference(trainer: Trainer) -> None:
    z, labels, _ = drawn(trainer, 2, 300, trainer().nu)
    sizes = []
    for share in (0, 100, 200, 300):
        labels[:share] = 0.5
        sizes.append(float(np.linalg.norm(trainer().theta(z, labels, 1.0))))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("trainer", "nu", "message"),
    [
        *((LogLinearRaoKupper, nu, "nu must be more than 1") for nu in (1.0, 0.5, -3, np.nan)),
        (LogLinearRaoKupper, np.inf, "nu must be more than 1 and finite, got inf"),
        *((LogLinearDavidson, nu, "nu must be positive") for nu in (0.0, -1.0, np.nan)),
        (LogLinearDavidson, np.inf, "nu must be positive and finite, got inf"),
    ],
)
def test_an_impossible_nu_is_refused(trainer: Trainer, nu: float, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        trainer(1.0, nu)
