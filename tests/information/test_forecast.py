import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from pairbench.information import gaussian_forecast, label_entropy, sampled_forecast
from tests.reference import sigmoid

Array = NDArray[np.float64]
MEANS, DEVIATIONS = (-8.0, -0.7, 0.0, 0.3, 3.0), (1e-6, 0.1, 1.0, 3.0, 10.0, 30.0)


def entropy(p: float) -> float:
    return float(-p * np.log(p) - (1 - p) * np.log1p(-p)) if 0 < p < 1 else 0.0


def integral(mean: float, deviation: float, power: int) -> float:
    """E of σ, h∘σ or σ' under a normal Δ."""

    def integrand(x: float) -> float:
        p = sigmoid(mean + deviation * x)
        value = (p, entropy(p), p * (1 - p))[power]
        return value * float(np.exp(-x * x / 2) / np.sqrt(2 * np.pi))

    middle = min(max(-mean / deviation, -9.0), 9.0)  # where σ bends
    cuts = [middle - 9 / deviation, middle, middle + 9 / deviation]
    cuts = sorted(min(max(cut, -9.0), 9.0) for cut in cuts)
    value = quad(integrand, -10, 10, points=cuts, limit=500, epsabs=1e-11, epsrel=1e-11)[0]
    return float(value)


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("mean", MEANS)
def test_a_normal_forecast_is_the_integral(mean: float, deviation: float) -> None:
    made = gaussian_forecast(np.array([mean]), np.array([deviation**2]))
    p, noise, slope = (integral(mean, deviation, power) for power in range(3))
    assert made.probability[0] == pytest.approx(p, abs=1e-8)
    assert made.noise[0] == pytest.approx(noise, abs=5e-8)
    assert made.slope[0] == pytest.approx(slope, abs=2e-8)
    assert made.mutual_information[0] == pytest.approx(entropy(p) - noise, abs=5e-8)
    assert made.variance[0] == pytest.approx(p * (1 - p) - slope, abs=2e-8)


def test_a_normal_forecast_is_what_many_draws_say() -> None:
    mean, variance = np.array([0.4, -2.0, 6.0]), np.array([0.5, 4.0, 9.0])
    draws = mean + np.sqrt(variance) * np.random.default_rng(0).normal(size=(20_000, 3))
    made, drawn = gaussian_forecast(mean, variance), sampled_forecast(draws)
    np.testing.assert_allclose(made.mutual_information, drawn.mutual_information, atol=5e-3)
    np.testing.assert_allclose(made.variance, drawn.variance, atol=3e-3)


def test_turning_a_pair_round_changes_nothing_but_the_sign() -> None:
    rng = np.random.default_rng(0)
    mean, variance = 3 * rng.normal(size=50), 4 * rng.random(50)
    made, turned = gaussian_forecast(mean, variance), gaussian_forecast(-mean, variance)
    np.testing.assert_allclose(made.probability, 1 - turned.probability, atol=1e-15)
    np.testing.assert_array_equal(made.mutual_information, turned.mutual_information)
    np.testing.assert_array_equal(made.variance, turned.variance)


def test_a_sampled_forecast_is_the_mean_over_draws() -> None:
    draws = 3 * np.random.default_rng(0).normal(size=(7, 5))
    made = sampled_forecast(draws)
    for m in range(5):
        p = [sigmoid(x) for x in draws[:, m]]
        mean = sum(p) / 7
        assert made.probability[m] == pytest.approx(mean)
        information = entropy(mean) - sum(entropy(x) for x in p) / 7
        assert made.mutual_information[m] == pytest.approx(information)
        assert made.variance[m] == pytest.approx(np.var(p))


def test_nothing_overflows_and_nothing_is_negative() -> None:
    far = np.array([0.0, 40.0, -700.0, 1e5])
    for made in (
        gaussian_forecast(far, np.zeros(4)),
        gaussian_forecast(far, np.full(4, 1e12)),
        sampled_forecast(np.stack([far, far])),
        sampled_forecast(np.stack([far, -far])),
    ):
        for values in (made.entropy, made.mutual_information, made.variance):
            assert np.isfinite(values).all()
            assert (values >= 0).all()
    np.testing.assert_allclose(sampled_forecast([far, far]).mutual_information, 0, atol=1e-15)


def test_label_entropy() -> None:
    p = np.array([0.0, 0.1, 0.5, 1.0])
    np.testing.assert_allclose(label_entropy(p), [entropy(x) for x in p])
