"""What holds of every neural estimator, and of the tools that they share."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pairbench import Laplace, Members, Pairs, Pool, View, make_estimator
from pairbench.estimators.networks import (
    LEARNING_RATE,
    PRIOR_PRECISION,
    Comparisons,
    NetworkEstimator,
    draw_weights,
    perceptron,
    train,
)
from pairbench.pool.features import centre
from tests.reference import all_pairs, history, sigmoid

Array = NDArray[np.float64]
MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
NAMES = ["dropout", "ensemble", "epistemic"]
RIDGE = 0.25


def fitted(spec: str, view: View) -> Members:
    belief = make_estimator(spec).fit(view)
    assert isinstance(belief, Members)
    return belief


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_variance(view: View) -> float:
    """The mean prior variance of the rewards under r = φᵀθ, θ ~ N(0, I/λ)."""
    squares = (centre(view.pool.phi, view.pool.valid) ** 2).sum(axis=2)
    return float(squares[view.pool.valid].mean() / view.ridge)


@pytest.fixture
def view(make_pool: MakePool, make_view: MakeView) -> View:
    pool = make_pool(3, 8, 5, ragged=True)
    return make_view(pool, *history(pool, 30), ridge=RIDGE)


# Each of them


@pytest.mark.parametrize("name", NAMES)
def test_rewards_are_finite_relative_and_zero_where_nothing_is(name: str, view: View) -> None:
    belief, valid = fitted(name, view), view.pool.valid
    assert not valid.all()
    assert belief.rewards.dtype == np.float64
    assert belief.rewards.shape[1:] == valid.shape
    assert np.isfinite(belief.rewards).all()
    np.testing.assert_array_equal(belief.rewards[:, ~valid], 0)
    np.testing.assert_allclose(belief.rewards.sum(axis=2), 0, atol=1e-9)
    assert (belief.variance[valid] > 0).all()


@pytest.mark.parametrize(
    ("spec", "size"),
    [("dropout(masks=7)", 7), ("ensemble(members=3)", 3), ("epistemic(indices=4)", 4)],
)
def test_a_belief_has_as_many_members_as_asked_for(spec: str, size: int, view: View) -> None:
    assert len(fitted(spec, view).rewards) == size


@pytest.mark.parametrize("name", NAMES)
def test_before_the_first_label_rewards_have_the_linear_models_variance(
    name: str, make_pool: MakePool, make_view: MakeView
) -> None:
    pool, square, mean = make_pool(0, 30, 6, 8, ragged=True), [], []
    for seed in range(5):
        view = make_view(pool, ridge=RIDGE, seed=seed)
        belief = fitted(name, view)
        square.append((belief.rewards[:, pool.valid] ** 2).mean() / linear_variance(view))
        mean.append((belief.mean[pool.valid] ** 2).mean() / linear_variance(view))
    assert np.mean(square) == pytest.approx(1, abs=0.15)
    # Nothing is preferred beyond what so many draws do by chance.
    assert np.mean(mean) < 2 / len(belief.rewards)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("asked", [0, 30])
def test_only_differences_and_their_size_under_the_ridge_matter(
    name: str, asked: int, make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(0, 8, 4)
    other = Pool(4 * (pool.features + np.float32(2)))
    pairs, labels = history(pool, asked)
    one = fitted(name, make_view(pool, pairs, labels, ridge=RIDGE)).rewards
    same = fitted(name, make_view(other, pairs, labels, ridge=16 * RIDGE)).rewards
    # Shifts are exact in float32 up to rounding, which training carries on.
    np.testing.assert_allclose(same, one, atol=0.02 if asked else 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_belief_is_a_function_of_the_seed(name: str, view: View, make_view: MakeView) -> None:
    beliefs = [
        fitted(name, make_view(view.pool, view.pairs, view.labels, ridge=RIDGE, seed=seed))
        for seed in (5, 5, 6)
    ]
    np.testing.assert_array_equal(beliefs[0].rewards, beliefs[1].rewards)
    assert not np.allclose(beliefs[0].rewards, beliefs[2].rewards)


@pytest.mark.parametrize("name", NAMES)
def test_one_number_is_drawn_from_the_views_generator(name: str, view: View) -> None:
    fitted(name, view)
    expected = np.random.default_rng(0)
    expected.integers(2**63)
    assert view.rng.random() == expected.random()


@pytest.mark.parametrize("name", NAMES)
def test_no_global_state_is_read_or_changed(name: str, view: View, make_view: MakeView) -> None:
    same = make_view(view.pool, view.pairs, view.labels, ridge=RIDGE)
    first = fitted(name, view)
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    threads = torch.get_num_threads()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    try:
        second = fitted(name, same)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(first.rewards, second.rewards)
    assert torch.equal(torch.get_rng_state(), torch_state)
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(after, numpy_state, strict=True))
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_fits_run_on_one_thread(view: View) -> None:
    threads = []

    class Probe(NetworkEstimator):
        def rewards(self, comparisons: Comparisons, generator: torch.Generator) -> torch.Tensor:
            threads.append(torch.get_num_threads())
            return torch.zeros(1, len(comparisons.inputs))

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        Probe().fit(view)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1]


@pytest.mark.parametrize("name", NAMES)
def test_unanswered_questions_are_left_out(name: str, view: View, make_view: MakeView) -> None:
    known = ~np.isnan(view.labels)
    assert not known.all()
    answered = make_view(view.pool, view.pairs[known], view.labels[known], ridge=RIDGE)
    np.testing.assert_array_equal(fitted(name, view).rewards, fitted(name, answered).rewards)


@pytest.mark.parametrize("name", NAMES)
def test_turning_pairs_and_labels_changes_nothing(
    name: str, view: View, make_view: MakeView
) -> None:
    turned = make_view(view.pool, view.pairs[:, [0, 2, 1]], 1 - view.labels, ridge=RIDGE)
    found, expected = fitted(name, turned).rewards, fitted(name, view).rewards
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "pool",
    [Pool(np.ones((3, 4, 2))), Pool(np.zeros((2, 2, 1))), Pool([[[0.0, 1.0], [1.0, 0.0]]])],
)
def test_edges_are_believed_something_finite(name: str, pool: Pool, make_view: MakeView) -> None:
    belief = fitted(name, make_view(pool, [[0, 0, 1]] * 3, [1, 1, 0.5]))
    assert np.isfinite(belief.rewards).all()
    if (pool.features == pool.features[:, :1]).all():
        # In float32 a mean of equal numbers is only nearly theirs.
        np.testing.assert_allclose(belief.rewards, 0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_separable_labels_are_learnt(name: str, make_pool: MakePool, make_view: MakeView) -> None:
    pool = make_pool(1, 20, 5, 4)
    pairs = np.random.default_rng(0).permutation(np.argwhere(pool.pair_mask))[:150]
    labels = (pool.differences(pairs) @ np.array([1.0, -2.0, 0.5, 0.0]) > 0).astype(np.float64)
    mean, _ = fitted(name, make_view(pool, pairs, labels, ridge=0.01)).of_pairs(pairs)
    assert ((mean > 0) == (labels == 1)).mean() > 0.97


@pytest.mark.parametrize("name", NAMES)
def test_ties_alone_leave_rewards_about_equal(
    name: str, make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(1, 10, 4, 3)
    pairs = np.repeat(np.array(all_pairs(pool)), 5, axis=0)
    view = make_view(pool, pairs, np.full(len(pairs), 0.5), ridge=RIDGE)
    belief = fitted(name, view)
    assert (belief.mean**2).mean() < 0.1 * linear_variance(view)


def two_kinds(n: int) -> tuple[Pool, Pairs, Array]:
    """Two kinds of prompts with features of their own, and n labels of the first kind alone."""
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(40, 5, 8)) / 2
    phi[:20, :, 4:] = phi[20:, :, :4] = 0
    pool = Pool(phi)
    pairs = rng.permutation(np.argwhere(pool.pair_mask[:20]))
    pairs = np.resize(pairs, (n, 3))
    logit = pool.differences(pairs) @ rng.normal(size=8) * 2
    return pool, pairs, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_uncertainty_falls_where_labels_are(name: str, make_view: MakeView) -> None:
    pool, pairs, labels = two_kinds(400)
    near, far, prior = [], [], []
    for seed in range(3):
        variance = fitted(name, make_view(pool, pairs, labels, ridge=RIDGE, seed=seed)).variance
        near.append(variance[:20].mean())
        far.append(variance[20:].mean())
        prior.append(fitted(name, make_view(pool, ridge=RIDGE, seed=seed)).variance.mean())
    print(
        f"{name}: prior {np.mean(prior):.2f}, labels {np.mean(near):.2f}, none {np.mean(far):.2f}"
    )
    # Dropout's falls little: its rate says how unsure it is.
    share = 0.8 if name == "dropout" else 0.5
    assert np.mean(near) < share * np.mean(prior)
    assert np.mean(near) < share * np.mean(far)


@pytest.mark.parametrize("name", NAMES)
def test_a_reward_that_is_not_linear_is_learnt(name: str, make_view: MakeView) -> None:
    rng = np.random.default_rng(0)
    pool = Pool(rng.normal(size=(150, 6, 3)) / np.sqrt(3))
    reward = 3 * (pool.phi**2).sum(axis=2)
    reward -= reward.mean(axis=1, keepdims=True)
    pairs = rng.permutation(np.argwhere(pool.pair_mask[:100]))[:600]
    x, i, j = pairs.T
    labels = rng.random(600) < 1 / (1 + np.exp(reward[x, j] - reward[x, i]))
    view = make_view(pool, pairs, labels, ridge=RIDGE)

    def correlation(mean: Array) -> float:  # on prompts without labels
        return float(np.corrcoef(mean[100:].ravel(), reward[100:].ravel())[0, 1])

    found = correlation(fitted(name, view).mean)
    print(f"{name}: {found:.2f}, laplace: {correlation(Laplace().fit(view).mean):.2f}")
    assert abs(correlation(Laplace().fit(view).mean)) < 0.3
    assert found > 0.7


def test_members_of_an_ensemble_without_bootstrap_are_surer(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(0, 20, 5, 4)
    pairs, labels = history(pool, 400)
    with_weights, without = (
        fitted(f"ensemble(members=30, bootstrap={flag})", make_view(pool, pairs, labels))
        for flag in (True, False)
    )
    assert without.variance.mean() < 0.9 * with_weights.variance.mean()


# What they share


def test_comparisons_are_those_of_the_view(view: View) -> None:
    comparisons, pool = Comparisons.of(view), view.pool
    rewards = torch.randn(2, pool.valid.size, generator=generator())
    found = comparisons.loss(rewards[:, comparisons.labelled]).numpy()
    table = rewards.numpy().reshape(2, *pool.valid.shape)
    expected = []
    for (x, i, j), label in zip(view.pairs, view.labels, strict=True):
        if not np.isnan(label):
            p = [sigmoid(float(r[x, i] - r[x, j])) for r in table]
            expected.append([-label * np.log(q) - (1 - label) * np.log(1 - q) for q in p])
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-4)
    inputs = comparisons.inputs.numpy().reshape(pool.phi.shape)[pool.valid]
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-6)
    assert np.mean(inputs**2) == pytest.approx(1, rel=1e-5)
    # One factor for all features: no direction is stretched.
    phi = pool.phi[pool.valid]
    ratio = inputs / (phi - phi.mean(axis=0))
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_a_function_of_all_completions_is_put_together_from_blocks(make_view: MakeView) -> None:
    pool = Pool(np.random.default_rng(0).normal(size=(1700, 3, 2)))
    comparisons = Comparisons.of(make_view(pool))
    sizes = []

    def double(inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(len(inputs))
        return 2 * inputs.T

    found = comparisons.evaluate_on_pool(double)
    assert torch.equal(found, 2 * comparisons.inputs.T)
    assert len(sizes) > 1
    assert sum(sizes) == 5100


def test_networks_are_those_of_the_formula() -> None:
    weights = draw_weights(2, (3, 4, 5, 1), generator())
    assert [tuple(w.shape) for w in weights] == [(2, 4, 4), (2, 5, 5), (2, 6, 1)]
    inputs = torch.randn(7, 3, generator=generator(1))
    masks = [torch.rand(2, 1, size, generator=generator(2)) for size in (4, 5)]
    found = perceptron(weights, inputs, masks)
    assert found.shape == (2, 7, 1)
    for e in range(2):
        for row in range(7):
            values = inputs[row].double().numpy()
            for depth, layer in enumerate(w[e].double().numpy() for w in weights):
                if depth:
                    values = np.sqrt(2) * np.maximum(values, 0) * masks[depth - 1][e, 0].numpy()
                values = np.append(values, 1.0) @ layer / np.sqrt(len(layer))
            assert found[e, row, 0].item() == pytest.approx(values[0], abs=1e-5)


def test_outputs_have_variance_one_at_any_width() -> None:
    inputs = torch.randn(50, 6, generator=generator())
    inputs /= inputs.square().mean().sqrt()
    for hidden in (8, 64):
        weights = draw_weights(2000, (6, hidden, hidden, 1), generator(1))
        assert perceptron(weights, inputs).var().item() == pytest.approx(1, abs=0.1)


def test_small_steps_change_differences_as_much_as_the_stiffness_says() -> None:
    ratios = []
    for dim in (4, 32):
        inputs = torch.randn(12, 6, dim, generator=generator())
        for hidden in (16, 64):
            tangent, outputs = [], []
            for seed in range(10):
                weights = draw_weights(1, (dim, hidden, hidden, 1), generator(seed))
                weights = [weight.requires_grad_() for weight in weights]
                values = perceptron(weights, inputs.flatten(0, 1))[0, :, 0].reshape(12, 6)
                outputs.append((values - values.mean(dim=1, keepdim=True)).square().mean().item())
                for difference in (values[:, 0] - values[:, 1:].mean(dim=1)) * (5 / 6):
                    slopes = torch.autograd.grad(difference, weights, retain_graph=True)
                    tangent.append(sum(slope.square().sum().item() for slope in slopes))
            ratios.append(np.mean(tangent) / np.mean(outputs))
    print("small steps over the start:", np.round(ratios, 1))
    assert min(ratios) > 0.7 * PRIOR_PRECISION
    assert max(ratios) < 1.3 * PRIOR_PRECISION


def test_training_is_adam_with_a_falling_rate() -> None:
    start = draw_weights(2, (3, 2), generator())
    target = torch.randn(2, 4, 2, generator=generator(1))

    def loss(weights: list[torch.Tensor]) -> torch.Tensor:
        return (weights[0] - target).square().sum()

    found = train(start, loss, 20, [3.0])
    weight = start[0].clone().requires_grad_()
    adam = torch.optim.Adam([weight], lr=LEARNING_RATE, betas=(0.9, 0.99), eps=1.0)
    fall = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / 20)
    for _ in range(20):
        adam.zero_grad()
        objective = loss([weight]) + 1.5 * (weight - start[0]).square().sum()
        objective.backward()  # type: ignore[no-untyped-call]
        adam.step()
        fall.step()
    torch.testing.assert_close(found[0], weight.detach(), rtol=1e-4, atol=1e-5)
    assert not found[0].requires_grad
    enough = train(start, loss, 500, [3.0])[0]
    torch.testing.assert_close(enough, (2 * target + 3 * start[0]) / 5, rtol=1e-2, atol=1e-3)
