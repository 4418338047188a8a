"""Predictive distribution of a pair's label, given a distribution of its reward difference Δ.

A label y ~ Bernoulli(σ(Δ)) is uncertain because labels are noisy (aleatoric uncertainty), and
because Δ is unknown (epistemic uncertainty). E h(σ(Δ)) and E σ'(Δ), with h(p) = −p log p −
(1−p) log(1−p), separate the two.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, ndtr

Array = NDArray[np.float64]

# σ(x) = Σ a Φ(x/c) to 2·10⁻⁹ (Monahan and Stefanski 1992, Normal scale mixture approximations to
# F*(z) and computation of the logistic-normal integral, Handbook of the Logistic Distribution).
_MIXTURE_WEIGHTS = (
    0.003246343272134, 0.051517477033972, 0.195077912673858, 0.315569823632818,
    0.274149576158423, 0.131076880695470, 0.027912418727972, 0.001449567805354,
)  # fmt: skip
_INVERSE_SCALES = (
    1.365340806296348, 1.059523971016916, 0.830791313765644, 0.650732166639391,
    0.508135425366489, 0.396313345166341, 0.308904252267995, 0.238212616409306,
)  # fmt: skip
"""Weights a of the normal mixture, and reciprocals of its scales c."""


@dataclass(frozen=True, eq=False)
class LabelForecast:
    """Marginal predictive distributions of the labels of some pairs.

    Attributes:
        probability: p̄ = E σ(Δ), the probability that the first is preferred.
        noise: E h(σ(Δ)), the expected entropy of the label given Δ, nats.
        slope: E σ'(Δ) = E σ(Δ) σ(−Δ), the expected variance of the label given Δ.
    """

    probability: Array
    noise: Array
    slope: Array

    @property
    def entropy(self) -> Array:
        """Entropy of the label, h(p̄), nats."""
        return label_entropy(self.probability)

    @property
    def mutual_information(self) -> Array:
        """Mutual information of a label and the reward difference Δ of its pair, nats.

        The binary entropy of the mean preference probability, less the mean binary entropy of σ(Δ).
        """
        return np.maximum(self.entropy - self.noise, 0.0)

    @property
    def variance(self) -> Array:
        """Variance of the label's probability, Var σ(Δ) = p̄ (1 − p̄) − E σ'(Δ)."""
        return np.maximum(self.probability * (1 - self.probability) - self.slope, 0.0)


def gaussian_forecast(mean: Array, variance: Array) -> LabelForecast:
    """Compute the forecast where Δ is normal, in closed form, to 2·10⁻⁸ at any variance.

    The logistic is approximated by a mixture of eight normals of scales c. Then σ' is a mixture of
    normal densities, h(σ(x)) = ∫_|x|^∞ t σ'(t) dt is that mixture with c² as further weights, and
    the convolution of normals is normal. Quadrature in Δ would need ever more nodes as its
    deviation grows: Gauss–Hermite with 32 nodes is 0.03 off at a deviation of 10.

    Args:
        mean: of Δ, any shape.
        variance: of Δ, the same shape.
    """
    size = np.abs(mean)  # so that results for Δ and −Δ are symmetric to the last bit
    probability, noise, slope = (np.zeros(size.shape) for _ in range(3))
    for weight, inverse_scale in zip(_MIXTURE_WEIGHTS, _INVERSE_SCALES, strict=True):
        component_variance = inverse_scale**-2
        inverse = 1 / np.sqrt(component_variance + variance)
        z = size * inverse
        density = weight / np.sqrt(2 * np.pi) * inverse * np.exp(-z * z / 2)
        probability += weight * ndtr(z)
        slope += density
        noise += component_variance * density
    probability = np.minimum(probability, 1.0)  # the weights sum to 1 plus a rounding error
    return LabelForecast(np.where(mean < 0, 1 - probability, probability), noise, slope)


def sampled_forecast(differences: Iterable[Array]) -> LabelForecast:
    """Estimate the forecast from draws of Δ.

    Args:
        differences: one array of Δ for each draw, all of one shape, such as an array ``(E, m)``.
    """
    count = 0
    probability = noise = slope = np.zeros(())
    for delta in differences:
        count += 1
        size = np.abs(delta)
        odds = np.exp(-size)  # of the less likely label
        larger = 1 / (1 + odds)
        smaller = odds * larger
        probability = probability + np.where(delta < 0, smaller, larger)
        noise = noise + np.log1p(odds) + size * smaller
        slope = slope + smaller * larger
    return LabelForecast(probability / count, noise / count, slope / count)


def label_entropy(probability: Array) -> Array:
    """Compute the binary entropy h(p) = −p log p − (1−p) log(1−p), nats."""
    entropy: Array = entr(probability) + entr(1 - probability)
    return entropy
