"""XPO and SELM against their papers' sums, other optimisers, and what they are meant to do."""

import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from pairbench import InvalidParameter, LogLinearDPO, LogLinearSELM, LogLinearXPO, Pairs, Pool
from pairbench.errors import TrainingFailed
from pairbench.information import label_information, policy_covariance
from pairbench.training.log_linear import LogisticLoss
from pairbench.training.minimise import TOLERANCE, lbfgs, newton
from pairbench.training.optimistic import OptimisticLoss, select_labelled_prompts

Array = NDArray[np.float64]
MakePool = Callable[..., Pool]
TRAINERS = [LogLinearXPO, LogLinearSELM]


def questions(pool: Pool, seed: int, n: int, soft: bool = False) -> tuple[Pairs, Array]:
    """Pairs drawn with repeats, either way round, and their labels."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(np.argwhere(pool.pair_mask))
    pairs = pairs[rng.integers(len(pairs), size=n)]
    pairs[::2] = pairs[::2][:, [0, 2, 1]]
    truth = pool.differences(pairs) @ rng.normal(size=pool.dim)
    labels = rng.random(n) if soft else (rng.random(n) < expit(truth)).astype(np.float64)
    return pairs, labels


def objective(
    pool: Pool, beta: float, pairs: Pairs, labels: Array, ridge: float, bonus: float
) -> OptimisticLoss:
    data = LogisticLoss(pool.differences(pairs), labels, ridge)
    return OptimisticLoss(data, select_labelled_prompts(pool, pairs), beta, bonus)


def log_policy(pool: Pool, beta: float, theta: Array, prompt: int) -> dict[int, float]:
    """log π_θ of a prompt's valid completions, by the definition."""
    there: list[int] = np.flatnonzero(pool.valid[prompt]).tolist()
    logits = {k: pool.log_ref[prompt, k] + pool.phi[prompt, k] @ theta / beta for k in there}
    total = np.log(sum(np.exp(logit) for logit in logits.values()))
    return {k: float(logit - total) for k, logit in logits.items()}


def slow_loss(
    pool: Pool,
    beta: float,
    pairs: Pairs,
    labels: Array,
    ridge: float,
    alpha: float,
    theta: Array,
) -> float:
    """XPO's algorithm 1, α Σ log π(ỹ) − Σ log σ(β log π/π_ref(y₊) − β log π/π_ref(y₋)).

    The mean over ỹ ~ π_ref is a sum over the completions.
    """
    total = ridge / 2 * sum(x * x for x in theta)
    for (prompt, first, second), y in zip(pairs.tolist(), labels, strict=True):
        log_pi = log_policy(pool, beta, theta, prompt)
        ratio = {k: beta * (log_pi[k] - pool.log_ref[prompt, k]) for k in log_pi}
        margin = ratio[first] - ratio[second]
        total += y * np.log1p(np.exp(-margin)) + (1 - y) * np.log1p(np.exp(margin))
        total += alpha * sum(np.exp(pool.log_ref[prompt, k]) * log_pi[k] for k in log_pi)
    return float(total)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_loss_is_the_papers_sum(make_pool: MakePool, seed: int, beta: float) -> None:
    pool = make_pool(seed, ragged=True, weighted=True)
    pairs, labels = questions(pool, seed, 30, soft=seed == 2)
    rng = np.random.default_rng(seed)
    thetas = rng.normal(size=(4, pool.dim))
    for trainer in (LogLinearXPO(0.7, alpha=0.3), LogLinearSELM(0.7, alpha=0.3)):
        alpha = 0.3 * beta if isinstance(trainer, LogLinearSELM) else 0.3
        assert trainer.bonus(beta) == alpha
        fast = objective(pool, beta, pairs, labels, 0.7, trainer.bonus(beta))
        found = [fast.loss(theta) for theta in thetas]
        slow = [slow_loss(pool, beta, pairs, labels, 0.7, alpha, theta) for theta in thetas]
        # Up to π_ref's entropy, which is no function of θ.
        np.testing.assert_allclose(np.diff(found), np.diff(slow), rtol=1e-10)


def test_derivatives_are_those_of_the_loss(make_pool: MakePool) -> None:
    pool = make_pool(1, ragged=True, constant=True)
    pairs, labels = questions(pool, 1, 25)
    loss = objective(pool, 0.6, pairs, labels, 0.4, 0.2)
    theta = np.random.default_rng(0).normal(size=pool.dim)
    steps = 1e-5 * np.eye(pool.dim)
    slopes = [(loss.loss(theta + s) - loss.loss(theta - s)) / 2e-5 for s in steps]
    np.testing.assert_allclose(loss.gradient(theta), slopes, rtol=1e-7, atol=1e-7)
    curves = [(loss.gradient(theta + s) - loss.gradient(theta - s)) / 2e-5 for s in steps]
    np.testing.assert_allclose(loss.hessian(theta), curves, rtol=1e-6, atol=1e-7)


def test_torch_has_the_same_loss(make_pool: MakePool) -> None:
    import torch

    pool = make_pool(2, ragged=True)
    pairs, labels = questions(pool, 2, 25)
    loss = objective(pool, 0.6, pairs, labels, 0.4, 0.2)
    theta = torch.tensor(np.random.default_rng(0).normal(size=pool.dim), requires_grad=True)
    value = loss.torch_loss()(theta)
    value.backward()  # type: ignore[no-untyped-call]
    assert theta.grad is not None
    here = theta.detach().numpy()
    assert value.item() * 25 == pytest.approx(loss.loss(here))
    np.testing.assert_allclose(theta.grad.numpy() * 25, loss.gradient(here), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_optimum_is_scipys_from_any_start(
    make_pool: MakePool, seed: int, trainer: type[LogLinearXPO]
) -> None:
    pool, beta, ridge, alpha = make_pool(seed, ragged=True), 0.8, 0.5, 0.05
    pairs, labels = questions(pool, seed, 40)
    theta = trainer(ridge, alpha).fit(pool, beta, pairs, labels).theta
    weight = alpha * beta if trainer is LogLinearSELM else alpha

    def loss(theta: Array) -> float:
        return slow_loss(pool, beta, pairs, labels, ridge, weight, theta)

    rng = np.random.default_rng(seed)
    for start in (np.zeros(pool.dim), *(3 * rng.normal(size=(3, pool.dim)))):
        found = minimize(loss, start, method="BFGS", options={"gtol": 1e-7})
        np.testing.assert_allclose(found.x, theta, atol=1e-5)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_alpha_0_is_dpo_bit_for_bit(make_pool: MakePool, trainer: type[LogLinearXPO]) -> None:
    pool = make_pool(ragged=True)
    pairs, labels = questions(pool, 0, 50)
    dpo = LogLinearDPO(0.3).fit(pool, 0.5, pairs, labels)
    assert trainer(0.3, alpha=0.0).fit(pool, 0.5, pairs, labels).fingerprint() == dpo.fingerprint()


def test_selm_is_xpo_with_alpha_times_beta(make_pool: MakePool) -> None:
    pool = make_pool(3)
    pairs, labels = questions(pool, 3, 40)
    for beta in (0.25, 1.0, 3.0):
        one = LogLinearSELM(0.3, alpha=0.04).fit(pool, beta, pairs, labels)
        other = LogLinearXPO(0.3, alpha=0.04 * beta).fit(pool, beta, pairs, labels)
        assert one.fingerprint() == other.fingerprint()


def kl_from_reference(pool: Pool, log_pi: Array) -> float:
    log_ref = pool.log_ref[pool.valid]
    rho = np.broadcast_to(pool.prompt_weights[:, None], pool.valid.shape)[pool.valid]
    return float(np.sum(rho * np.exp(log_ref) * (log_ref - log_pi[pool.valid])))


@pytest.mark.parametrize("seed", range(3))
def test_the_bonus_moves_probability_away_from_the_reference(
    make_pool: MakePool, seed: int
) -> None:
    pool = make_pool(seed, ragged=True)
    pairs, labels = questions(pool, seed, 60)
    labelled = select_labelled_prompts(pool, pairs)
    kl = [
        kl_from_reference(
            labelled, LogLinearXPO(1.0, alpha).fit(pool, 1.0, pairs, labels).log_probs(labelled)
        )
        for alpha in (0.0, 1e-3, 1e-2, 0.1, 1.0)
    ]
    assert (np.diff(kl) > 0).all()


def test_a_small_bonus_shifts_theta_as_docs_theory_says(make_pool: MakePool) -> None:
    # Labels that are the true probabilities: DPO finds θ*, and the bonus moves it by
    # (α/β) Σ_w⁻¹ E_x[E_π* φ − E_π_ref φ], however many labels there are.
    pool, beta, alpha = make_pool(5, prompts=20), 0.7, 1e-5
    theta = np.random.default_rng(5).normal(size=pool.dim)
    pairs = np.argwhere(pool.pair_mask)
    shifts = []
    for copies in (1, 10):
        asked = np.tile(pairs, (copies, 1))
        labels = expit(pool.differences(asked) @ theta)
        dpo = LogLinearDPO(1e-9).fit(pool, beta, asked, labels)
        np.testing.assert_allclose(dpo.theta, theta, atol=1e-6)
        shifts.append(LogLinearXPO(1e-9, alpha).fit(pool, beta, asked, labels).theta - dpo.theta)
    logits = pool.log_ref + pool.phi @ theta / beta
    moved = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.exp(pool.log_ref)
    gained = np.einsum("nk,nkd->nd", moved, pool.phi).mean(axis=0)
    information = label_information(pool, pairs, theta=theta) / len(pairs)
    expected = alpha / beta * np.linalg.solve(information, gained)
    for shift in shifts:
        np.testing.assert_allclose(shift, expected, rtol=2e-3, atol=1e-8)


def test_unanswered_questions_have_no_bonus(make_pool: MakePool) -> None:
    pool, trainer = make_pool(), LogLinearXPO(0.5, alpha=0.1)
    pairs, labels = questions(pool, 0, 40)
    labels[::2] = np.nan
    some = trainer.fit(pool, 1.0, pairs, labels)
    answered = trainer.fit(pool, 1.0, pairs[1::2], labels[1::2])
    np.testing.assert_array_equal(some.theta, answered.theta)
    for none in (pairs, pairs[:0]):
        policy = trainer.fit(pool, 1.0, none, np.full(len(none), np.nan))
        np.testing.assert_array_equal(policy.theta, 0)


def test_a_prompt_counts_as_often_as_it_was_labelled(make_pool: MakePool) -> None:
    pool = make_pool(0, weighted=True, ragged=True)
    pairs = np.argwhere(pool.pair_mask)
    pairs = pairs[[0, 1, 0, -1]]
    labelled = select_labelled_prompts(pool, pairs)
    last = pool.n_prompts - 1
    np.testing.assert_allclose(labelled.prompt_weights, [0.75, 0.25])
    for name in ("features", "log_ref", "valid"):
        np.testing.assert_allclose(getattr(labelled, name), getattr(pool, name)[[0, last]])


def test_labels_that_cancel_out_do_not_leave_the_fit_on_a_saddle() -> None:
    # Ties alone: θ = 0 has no gradient, and under a large bonus it is a maximum.
    pool = Pool(np.array([[[1.0, 0.0], [-1.0, 0.5], [0.0, -0.3]]]))
    pairs, labels = np.array([[0, 0, 1], [0, 1, 2]]), np.array([0.5, 0.5])
    loss = objective(pool, 1.0, pairs, labels, 0.1, 5.0)
    np.testing.assert_allclose(loss.gradient(np.zeros(2)), 0, atol=1e-14)
    theta = LogLinearXPO(0.1, alpha=5.0).fit(pool, 1.0, pairs, labels).theta
    assert loss.loss(theta) < loss.loss(np.zeros(2)) - 1
    assert np.linalg.eigvalsh(loss.hessian(theta))[0] > 0
    # A small one leaves the optimum where it is.
    np.testing.assert_array_equal(
        LogLinearXPO(0.1, alpha=0.01).fit(pool, 1.0, pairs, labels).theta, 0
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    dim=st.integers(1, 6),
    log_scale=st.floats(-2, 1),
    log_ridge=st.floats(-3, 2),
    log_beta=st.floats(-1, 1),
    log_alpha=st.floats(-6, 2),
    kind=st.sampled_from(["drawn", "separable", "equal", "soft"]),
)
def test_every_fit_is_a_minimum_of_the_promised_gradient(
    seed: int,
    n: int,
    dim: int,
    log_scale: float,
    log_ridge: float,
    log_beta: float,
    log_alpha: float,
    kind: str,
) -> None:
    rng = np.random.default_rng(seed)
    valid = (rng.random((6, 5)) < 0.6) | (np.arange(5) < 2)
    pool = Pool(
        rng.normal(size=(6, 5, dim)) * 10**log_scale, log_ref=rng.normal(size=(6, 5)), valid=valid
    )
    pairs, labels = questions(pool, seed, n, soft=kind == "soft")
    if kind == "separable":
        labels = (pool.differences(pairs) @ rng.normal(size=dim) > 0).astype(np.float64)
    elif kind == "equal":
        labels = np.ones(n)
    beta, ridge, alpha = 10**log_beta, 10**log_ridge, 10**log_alpha
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy = LogLinearXPO(ridge, alpha).fit(pool, beta, pairs, labels)
    loss = objective(pool, beta, pairs, labels, ridge, alpha)
    assert np.linalg.norm(loss.gradient(policy.theta)) <= TOLERANCE * n
    curvature = np.linalg.eigvalsh(loss.hessian(policy.theta))
    assert curvature[0] >= -1e-8 * np.abs(curvature).max()
    # Downhill of DPO's optimum, and so of θ = 0's ridge: the optimum is bounded.
    dpo = LogLinearDPO(ridge).fit(pool, beta, pairs, labels)
    assert loss.loss(policy.theta) <= loss.loss(dpo.theta) + 1e-9 * abs(loss.loss(dpo.theta))
    again = LogLinearXPO(ridge, alpha).fit(pool, beta, pairs, labels)
    assert again.fingerprint() == policy.fingerprint()


def test_the_order_of_labels_prompts_and_completions_does_not_matter(make_pool: MakePool) -> None:
    pool, trainer = make_pool(4, ragged=True), LogLinearXPO(0.5, alpha=0.05)
    pairs, labels = questions(pool, 4, 40)
    theta = trainer.fit(pool, 1.0, pairs, labels).theta
    turned = trainer.fit(pool, 1.0, pairs[::-1, [0, 2, 1]], 1 - labels[::-1]).theta
    np.testing.assert_allclose(turned, theta, atol=1e-7)
    prompts, places = np.random.default_rng(0).permutation(pool.n_prompts), np.array([2, 0, 3, 1])
    other = Pool(
        pool.features[prompts][:, places],
        log_ref=pool.log_ref[prompts][:, places],
        valid=pool.valid[prompts][:, places],
    )
    back, place = np.argsort(prompts), np.argsort(places)
    moved = np.stack([back[pairs[:, 0]], place[pairs[:, 1]], place[pairs[:, 2]]], axis=1)
    np.testing.assert_allclose(trainer.fit(other, 1.0, moved, labels).theta, theta, atol=1e-7)


def test_both_optimisers_find_the_same_minimum() -> None:
    rng = np.random.default_rng(0)
    pool = Pool(rng.normal(size=(20, 4, 520)) / np.sqrt(520), log_ref=rng.normal(size=(20, 4)))
    pairs, labels = questions(pool, 0, 200)
    loss = objective(pool, 1.0, pairs, labels, 1.0, 0.1)
    start = LogLinearDPO(1.0).fit(pool, 1.0, pairs, labels).theta
    policy = LogLinearXPO(1.0, alpha=0.1).fit(pool, 1.0, pairs, labels)
    np.testing.assert_array_equal(policy.theta, lbfgs(loss, start))
    np.testing.assert_allclose(policy.theta, newton(loss, start), atol=1e-6)


@pytest.mark.slow
def test_an_alpha_beyond_all_accuracy_says_so(make_pool: MakePool) -> None:
    # Where exactly accuracy ends is for the processor's rounding to say: a fit that comes back
    # must have reached it, and of many pools some do not.
    messages = []
    for seed in range(12):
        pool = make_pool(seed)
        pairs, labels = questions(pool, seed, 40)
        try:
            policy = LogLinearXPO(1e-6, alpha=1e10).fit(pool, 1.0, pairs, labels)
        except TrainingFailed as error:
            messages.append(str(error))
        else:
            slope = objective(pool, 1.0, pairs, labels, 1e-6, 1e10).gradient(policy.theta)
            assert np.linalg.norm(slope) <= TOLERANCE * len(pairs)
    assert messages
    for message in messages:
        assert re.search(r"LogLinearXPO fit .* A smaller alpha than 1e\+10", message)


def test_one_optimum_is_promised_where_the_ridge_outweighs_the_bonus(make_pool: MakePool) -> None:
    # λ > a n D²/(4 β²): then the Hessian is positive definite everywhere.
    pool, beta, bonus = make_pool(6, ragged=True), 0.8, 0.3
    pairs, labels = questions(pool, 6, 30)
    distance = np.linalg.norm(pool.phi[:, :, None] - pool.phi[:, None], axis=3)
    there = pool.valid[:, :, None] & pool.valid[:, None]
    diameter = distance[there].max()
    ridge = bonus * 30 * diameter**2 / (4 * beta**2)
    loss = objective(pool, beta, pairs, labels, ridge, bonus)
    rng = np.random.default_rng(0)
    for scale in (0.1, 1.0, 10.0):
        for theta in scale * rng.normal(size=(20, pool.dim)):
            assert np.linalg.eigvalsh(loss.hessian(theta))[0] > 0
            worst = np.linalg.eigvalsh(policy_covariance(loss.pool, theta, beta))[-1]
            assert worst <= diameter**2 / 4


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": -1e-9}, "alpha must be a finite number, 0 or more, got -1e-09"),
        ({"alpha": np.nan}, "alpha must be a finite number"),
        ({"alpha": np.inf}, "alpha must be a finite number"),
        ({"ridge": 0.0}, "ridge must be positive and finite, got 0.0"),
    ],
)
def test_bad_parameters_are_refused(
    trainer: type[LogLinearXPO], params: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        trainer(**params)
