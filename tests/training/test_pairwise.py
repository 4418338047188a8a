"""Every trainer by a sum over pairs, against its published loss; and what all have in common."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from pairbench import InvalidParameter, LogLinearDPO, Pairs, Pool, make_trainer
from pairbench.errors import TrainingFailed
from pairbench.training.ipo import SquaredLoss
from pairbench.training.log_linear import LogisticLoss
from pairbench.training.minimise import TOLERANCE, lbfgs, newton
from pairbench.training.pairwise import LogLinearTrainer, PairwiseLoss
from pairbench.training.ties import DavidsonLoss, RaoKupperLoss

Array = NDArray[np.float64]
Loss = Callable[[float, float], float]
"""A published loss of one win: of the reward difference winner − loser and of β."""


def log_sigma(x: float) -> float:
    return -float(np.log(1 + np.exp(-x)))


def cdpo(x: float, beta: float, rate: float = 0.2) -> float:
    return -(1 - rate) * log_sigma(x) - rate * log_sigma(-x)


def rdpo(x: float, beta: float, rate: float = 0.2) -> float:
    return ((1 - rate) * -log_sigma(x) - rate * -log_sigma(-x)) / (1 - 2 * rate)


def ipo(x: float, beta: float, tau: float) -> float:
    return float((x / beta - 1 / (2 * tau)) ** 2)


def rao_kupper(x: float, nu: float = 3.0, tie: bool = False) -> float:
    a, b = np.exp(x / 2), np.exp(-x / 2)
    if tie:
        return -float(np.log((nu**2 - 1) * a * b / ((a + nu * b) * (b + nu * a))))
    return -float(np.log(a / (a + nu * b)))


def davidson(x: float, nu: float = 1.0, tie: bool = False) -> float:
    a, b = np.exp(x / 2), np.exp(-x / 2)
    between = 2 * nu * np.sqrt(a * b)
    return -float(np.log((between if tie else a) / (a + b + between)))


# The loss of a win, and of a tie where it is an answer of its own.
PUBLISHED: dict[str, tuple[Loss, Callable[[float], float] | None]] = {
    "dpo": (lambda x, beta: -log_sigma(x), None),
    "cdpo(flip_rate=0.2)": (cdpo, None),
    "rdpo(flip_rate=0.2)": (rdpo, None),
    "ipo": (lambda x, beta: ipo(x, beta, tau=beta), None),
    "ipo(tau=0.3)": (lambda x, beta: ipo(x, beta, tau=0.3), None),
    "rao-kupper": (lambda x, beta: rao_kupper(x), lambda x: rao_kupper(x, tie=True)),
    "rao-kupper(nu=1.5)": (
        lambda x, beta: rao_kupper(x, 1.5),
        lambda x: rao_kupper(x, 1.5, tie=True),
    ),
    "davidson": (lambda x, beta: davidson(x), lambda x: davidson(x, tie=True)),
    "davidson(nu=0.2)": (lambda x, beta: davidson(x, 0.2), lambda x: davidson(x, 0.2, tie=True)),
}


def answer_loss(spec: str, x: float, y: float, beta: float) -> float:
    """The published loss of one answer: a tie, or both wins weighed by a label in between."""
    win, tie = PUBLISHED[spec]
    if tie is not None and y == 0.5:
        return tie(x)
    return y * win(x, beta) + (1 - y) * win(-x, beta)


def published_loss(
    spec: str, pool: Pool, beta: float, pairs: Pairs, labels: Array, ridge: float, theta: Array
) -> float:
    """The published sum, reward differences being β log π/π_ref of the policy itself."""
    total = ridge / 2 * sum(t * t for t in theta)
    for (prompt, first, second), y in zip(pairs.tolist(), labels.tolist(), strict=True):
        weights = np.exp(pool.log_ref[prompt] + pool.phi[prompt] @ theta / beta)
        reward = beta * (np.log(weights / weights.sum()) - pool.log_ref[prompt])
        total += answer_loss(spec, float(reward[first] - reward[second]), y, beta)
    return float(total)


def questions(pool: Pool, seed: int, kinds: tuple[float, ...]) -> tuple[Pairs, Array]:
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(np.argwhere(pool.pair_mask))[:40]
    pairs[::2] = pairs[::2][:, [0, 2, 1]]
    reward = pool.differences(pairs) @ rng.normal(size=pool.dim) + rng.logistic(size=len(pairs))
    return pairs, np.sort(rng.choice(kinds, size=len(pairs)))[np.argsort(np.argsort(reward))]


@pytest.mark.parametrize("beta", [0.5, 2.0])
@pytest.mark.parametrize("spec", PUBLISHED)
def test_the_policy_is_the_minimum_of_the_published_loss(
    make_pool: Callable[..., Pool], spec: str, beta: float
) -> None:
    pool, ridge = make_pool(3, prompts=6), 0.7
    pairs, labels = questions(pool, 0, (0.0, 0.25, 0.5, 1.0))
    found = make_trainer(spec, ridge).fit(pool, beta, pairs, labels)

    def loss(theta: Array) -> float:
        return published_loss(spec, pool, beta, pairs, labels, ridge, theta)

    best = minimize(loss, np.zeros(pool.dim), method="BFGS", options={"gtol": 1e-7}).x
    np.testing.assert_allclose(found.theta, best, atol=3e-6)  # type: ignore[attr-defined]
    assert np.linalg.norm(best) > 0.1
    assert make_trainer(spec, ridge).ridge == ridge


# Each loss, the published one that it is times a factor, and the factor.
LOSSES: list[tuple[Callable[..., PairwiseLoss], str, float]] = [
    (LogisticLoss, "dpo", 1.0),
    (SquaredLoss, "ipo", 0.5),  # with β = τ = 1
    (lambda *a: RaoKupperLoss(*a, nu=3.0), "rao-kupper", 1.0),
    (lambda *a: RaoKupperLoss(*a, nu=1.5), "rao-kupper(nu=1.5)", 1.0),
    (lambda *a: DavidsonLoss(*a, nu=1.0), "davidson", 1.0),
    (lambda *a: DavidsonLoss(*a, nu=0.2), "davidson(nu=0.2)", 1.0),
]
losses = pytest.mark.parametrize(("make", "spec", "factor"), LOSSES)


@losses
@pytest.mark.parametrize("y", [0.0, 0.3, 0.5, 1.0])
def test_a_loss_is_the_published_one_up_to_a_constant(
    make: Callable[..., PairwiseLoss], spec: str, factor: float, y: float
) -> None:
    logits = np.linspace(-6, 6, 25)
    slow = [answer_loss(spec, x, y, 1.0) for x in logits.tolist()]
    fast = make(np.empty((25, 1)), np.full(25, y), 1.0).values(logits)
    constant = fast - factor * np.array(slow)
    np.testing.assert_allclose(constant, constant[0], atol=1e-12)


@losses
def test_slopes_and_curvatures_are_derivatives(
    make: Callable[..., PairwiseLoss], spec: str, factor: float
) -> None:
    logits = np.repeat(np.linspace(-8, 8, 33), 4)
    loss = make(np.empty((132, 1)), np.tile([0.0, 0.3, 0.5, 1.0], 33), 1.0)
    step = 1e-5
    slopes = (loss.values(logits + step) - loss.values(logits - step)) / (2 * step)
    np.testing.assert_allclose(loss.slopes(logits), slopes, atol=1e-9)
    bends = (loss.slopes(logits + step) - loss.slopes(logits - step)) / (2 * step)
    np.testing.assert_allclose(loss.curvatures(logits), bends, atol=1e-9)


@losses
@pytest.mark.parametrize("offset", [0.0, 0.7, "each"])
def test_gradient_hessian_and_torch_agree_with_the_loss(
    make: Callable[..., PairwiseLoss], spec: str, factor: float, offset: float | str
) -> None:
    import torch

    rng = np.random.default_rng(1)
    z, labels = rng.normal(size=(30, 4)), rng.choice([0.0, 0.3, 0.5, 1.0], size=30)
    loss = make(z, labels, 0.7, rng.normal(size=30) if offset == "each" else offset)
    theta, step = rng.normal(size=4), 1e-5
    moves = step * np.eye(4)
    slopes = [(loss.loss(theta + m) - loss.loss(theta - m)) / (2 * step) for m in moves]
    np.testing.assert_allclose(loss.gradient(theta), slopes, atol=1e-7)
    bends = [(loss.gradient(theta + m) - loss.gradient(theta - m)) / (2 * step) for m in moves]
    np.testing.assert_allclose(loss.hessian(theta), bends, atol=1e-7)
    assert loss.hessian(theta).shape == (4, 4)
    point = torch.tensor(theta, requires_grad=True)
    value = loss.torch_loss()(point)
    assert float(value.detach()) * 30 == pytest.approx(loss.loss(theta), rel=1e-13)
    (slope,) = torch.autograd.grad(value, point)
    np.testing.assert_allclose(slope.numpy() * 30, loss.gradient(theta), atol=1e-12)


@losses
@given(
    ends=st.tuples(st.floats(-900, 900), st.floats(-900, 900)),
    share=st.floats(0, 1),
    y=st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)),
)
def test_a_loss_is_convex_and_knows_no_overflow(
    make: Callable[..., PairwiseLoss],
    spec: str,
    factor: float,
    ends: tuple[float, float],
    share: float,
    y: float,
) -> None:
    loss = make(np.empty((3, 1)), np.full(3, y), 1.0)
    logits = np.array([*ends, share * ends[0] + (1 - share) * ends[1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second, between = loss.values(logits)
        slopes, curvatures = loss.slopes(logits), loss.curvatures(logits)
    assert between <= share * first + (1 - share) * second + 1e-9 * max(1, abs(first), abs(second))
    assert np.isfinite(slopes).all()
    assert (curvatures >= 0).all()
    # Slopes grow with the logit, but for the rounding of logits in their hundreds.
    assert (np.diff(slopes[np.argsort(logits)]) >= -1e-12 * (1 + np.abs(slopes).max())).all()


@pytest.mark.parametrize("spec", PUBLISHED)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    dim=st.integers(1, 8),
    decades=st.lists(st.floats(-2, 2), min_size=8, max_size=8),
    log_ridge=st.floats(-3, 3),
    log_beta=st.floats(-1, 1),
    kind=st.sampled_from(["drawn", "separable", "equal", "soft", "ties", "alike"]),
)
def test_every_fit_reaches_the_minimum_without_a_warning(
    spec: str,
    seed: int,
    n: int,
    dim: int,
    decades: list[float],
    log_ridge: float,
    log_beta: float,
    kind: str,
) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, dim)) * 10 ** np.array(decades[:dim])
    x = z @ rng.normal(size=dim)
    labels = (rng.random(n) < expit(x)).astype(np.float64)
    if kind == "separable":
        labels = (x > 0).astype(np.float64)
    elif kind == "equal":
        labels = np.ones(n)
    elif kind == "soft":
        labels = rng.random(n)
    elif kind == "ties":
        labels[rng.random(n) < 0.5] = 0.5
    elif kind == "alike":
        z[:] = z[0]
    trainer, beta = trainer_of(spec, 10**log_ridge), 10**log_beta
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theta = trainer.theta(z, labels, beta)

    np.testing.assert_array_equal(trainer.theta(z, labels, beta), theta)

    def loss(at: Array) -> float:
        total = trainer.ridge / 2 * at @ at
        for x, y in zip((z @ at).tolist(), labels.tolist(), strict=True):
            total += answer_loss(spec, x, y, beta)
        return float(total)

    with np.errstate(all="ignore"):  # the plain formulas overflow far out, and compare as NaN
        least = loss(theta)
        for _ in range(4):
            nearby = loss(theta + 10 ** rng.uniform(-4, 0) * rng.normal(size=dim))
            assert not nearby < least - 1e-9 * abs(least)


def trainer_of(spec: str, ridge: float) -> LogLinearTrainer:
    trainer = make_trainer(spec, ridge)
    assert isinstance(trainer, LogLinearTrainer)
    return trainer


def problem(seed: int, n: int, dim: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, dim)) / np.sqrt(dim)
    labels = (rng.random(n) < expit(z @ rng.normal(size=dim) * 2)).astype(np.float64)
    labels[::5] = 0.5
    return z, labels


@pytest.mark.parametrize("spec", PUBLISHED)
def test_turning_all_pairs_and_labels_changes_nothing(spec: str) -> None:
    z, labels = problem(4, 80, 4)
    labels[1::5] = 0.25
    trainer = trainer_of(spec, 1.0)
    theta = trainer.theta(z, labels, 0.8)
    np.testing.assert_allclose(trainer.theta(-z, 1 - labels, 0.8), theta, atol=1e-8)
    np.testing.assert_allclose(trainer.theta(z[::-1], labels[::-1], 0.8), theta, atol=1e-8)


@pytest.mark.parametrize("spec", PUBLISHED)
def test_ties_alone_leave_the_reference_policy(spec: str) -> None:
    z, _ = problem(0, 40, 3)
    theta = trainer_of(spec, 1.0).theta(z, np.full(40, 0.5), 1.0)
    np.testing.assert_allclose(theta, 0, atol=1e-12)


@pytest.mark.parametrize("spec", PUBLISHED)
def test_unanswered_questions_are_left_out(make_pool: Callable[..., Pool], spec: str) -> None:
    pool, trainer = make_pool(), make_trainer(spec, 0.5)
    pairs, labels = questions(pool, 1, (0.0, 0.5, 1.0))
    labels[::2] = np.nan
    some = trainer.fit(pool, 0.7, pairs, labels)
    answered = trainer.fit(pool, 0.7, pairs[1::2], labels[1::2])
    np.testing.assert_array_equal(some.theta, answered.theta)  # type: ignore[attr-defined]
    for none in (pairs, pairs[:0]):
        policy = trainer.fit(pool, 0.7, none, np.full(len(none), np.nan))
        np.testing.assert_allclose(policy.log_probs(pool), pool.log_ref, atol=1e-14)


@losses
def test_both_optimisers_find_the_same_optimum(
    make: Callable[..., PairwiseLoss], spec: str, factor: float
) -> None:
    z, labels = problem(0, 200, 520)
    loss = make(z, labels, 1.0)
    first, second = newton(loss, np.zeros(520)), lbfgs(loss, np.zeros(520))
    assert np.linalg.norm(loss.gradient(second)) / 200 <= TOLERANCE
    np.testing.assert_allclose(second, first, atol=1e-6)


@pytest.mark.parametrize("spec", ["cdpo", "rdpo", "ipo", "rao-kupper", "davidson"])
def test_many_features_are_fitted_too(spec: str) -> None:
    # Beyond 512 features torch does the work. Features that are not used change nothing.
    z, labels = problem(2, 100, 6)
    wide = np.zeros((100, 600))
    wide[:, ::100] = z
    theta = trainer_of(spec, 0.5).theta(wide, labels, 0.7)
    expected = np.zeros(600)
    expected[::100] = trainer_of(spec, 0.5).theta(z, labels, 0.7)
    np.testing.assert_allclose(theta, expected, atol=1e-6)


@pytest.mark.parametrize("spec", PUBLISHED)
@pytest.mark.parametrize("ridge", [0.0, -1.0, np.nan, np.inf])
def test_a_ridge_that_is_not_positive_is_refused(spec: str, ridge: float) -> None:
    with pytest.raises(InvalidParameter, match="ridge must be positive and finite"):
        make_trainer(spec, ridge)


@pytest.mark.parametrize("spec", PUBLISHED)
def test_a_fit_that_misses_its_promise_says_whose_it_is(spec: str) -> None:
    trainer = trainer_of(spec, 0.25)
    name = "DPO" if type(trainer) is LogLinearDPO else type(trainer).__name__
    with (
        pytest.raises(TrainingFailed, match=rf"the {name} fit .* A larger ridge than 0\.25"),
        np.errstate(all="ignore"),
    ):
        trainer.theta(np.array([[np.nan]]), np.array([1.0]), 1.0)
