"""Ridge-logistic MAP with a Laplace posterior, in closed form: the belief of a log-linear model."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from pairbench.design import View
from pairbench.errors import InvalidParameter, TrainingFailed
from pairbench.estimators.belief import Belief, Estimator, centred
from pairbench.information.forecast import LabelForecast, gaussian_forecast
from pairbench.information.laplacian import pair_forms
from pairbench.pool import Pairs, Pool, frozen_array
from pairbench.training.log_linear import fit_theta, logistic_slope

Array = NDArray[np.float64]


class LaplaceBelief(Belief):
    """r = prior mean + φᵀθ with θ ~ N(θ̂, A⁻¹).

    Attributes:
        theta: θ̂, ``(d,)``.
        precision: A = λI + Σ w z zᵀ over the labels so far, ``(d, d)``.
    """

    def __init__(self, pool: Pool, theta: Array, precision: Array, prior: Array) -> None:
        """Take the posterior of θ.

        Args:
            pool: the pool.
            theta: θ̂, ``(d,)``.
            precision: A, ``(d, d)``, positive definite.
            prior: prior mean of the rewards, ``(N, K)``.
        """
        self.pool, self.theta, self.precision, self.prior = pool, theta, precision, prior

    @cached_property
    def covariance(self) -> Array:
        """A⁻¹, ``(d, d)``.

        Raises:
            TrainingFailed: If the ridge is lost in rounding, so that A has no inverse.
        """
        covariance: Array = self._root @ self._root.T
        return covariance

    @cached_property
    def _root(self) -> Array:
        """R of A⁻¹ = R Rᵀ, with which no variance comes out below 0."""
        try:
            lower = np.linalg.cholesky(self.precision)
        except np.linalg.LinAlgError as error:
            raise TrainingFailed(
                "the posterior's precision is singular in double precision. A larger ridge, or "
                "features of a common scale, make the problem better conditioned."
            ) from error
        root: Array = solve_triangular(lower, np.eye(len(self.theta)), lower=True).T
        return root

    @cached_property
    def mean(self) -> Array:  # type: ignore[override]
        """See :class:`Belief`."""
        mean = centred(self.pool, self.prior + self.pool.project(self.theta))
        return np.where(self.pool.valid, mean, 0.0)

    @cached_property
    def variance(self) -> Array:  # type: ignore[override]
        """See :class:`Belief`."""
        variance: Array = ((self._phi @ self._root) ** 2).sum(axis=-1)
        return variance

    def difference_variance(self) -> Array:
        """See :meth:`Belief.difference_variance`."""
        return self._difference_variance

    @cached_property
    def _difference_variance(self) -> Array:
        return frozen_array(pair_forms(self.pool.phi, self.covariance))

    @cached_property
    def _phi(self) -> Array:
        return centred_features(self.pool)

    def forecast(self, rng: np.random.Generator, pairs: Pairs | None = None) -> LabelForecast:
        """In closed form."""
        if pairs is not None:
            return gaussian_forecast(*self.of_pairs(pairs))
        mask = self.pool.pair_mask
        return gaussian_forecast(self.differences()[mask], self.difference_variance()[mask])

    def of_pairs(self, pairs: Pairs) -> tuple[Array, Array]:
        """See :meth:`Belief.of_pairs`."""
        z = self.pool.differences(pairs)
        return self._means(pairs, z), ((z @ self._root) ** 2).sum(axis=1)

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """See :meth:`Belief.draws`."""
        noise = self._noise(count, rng) @ self._phi.reshape(-1, self.pool.dim).T
        drawn: Array = self.mean + noise.reshape(count, *self.mean.shape)
        return drawn

    def pair_draws(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """See :meth:`Belief.pair_draws`."""
        z = self.pool.differences(pairs)
        drawn: Array = self._means(pairs, z) + self._noise(count, rng) @ z.T
        return drawn

    def theta_draws(self, count: int, rng: np.random.Generator) -> Array:
        """θ drawn from its posterior, ``(count, d)``."""
        drawn: Array = self.theta + self._noise(count, rng)
        return drawn

    def _means(self, pairs: Pairs, z: Array) -> Array:
        prompt, first, second = pairs.T
        means: Array = z @ self.theta + self.prior[prompt, first] - self.prior[prompt, second]
        return means

    def _noise(self, count: int, rng: np.random.Generator) -> Array:
        """Draws from N(0, A⁻¹), ``(count, d)``."""
        noise: Array = rng.standard_normal((count, len(self.theta))) @ self._root.T
        return noise


@dataclass(frozen=True)
class Laplace(Estimator[LaplaceBelief]):
    """θ̂ of the DPO training itself, with the curvature of its loss as precision.

    For the log-linear policy DPO is ridge-logistic regression, so θ̂ is its implicit reward, and
    N(θ̂, A⁻¹) the Laplace approximation of the posterior under the prior N(0, I/λ) (MacKay 1992).

    Labels correct scores only along the features, so noise in trusted scores stays for good.

    Attributes:
        trust: c, where the pool holds external scores (a reward model's): the prior mean of the
            rewards is c times these. 0 takes no notice of them.
        unexplained: the share of the rewards' prior variance that trusted scores leave open: what
            the labels add has the prior N(0, unexplained · I/λ). At 1, a belief that begins well
            follows the first labels as far as one that begins with nothing.
    """

    trust: float = 0.0
    unexplained: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.isfinite(self.trust):
            raise InvalidParameter(f"trust must be a finite number, got {self.trust}.")
        if not 0 < self.unexplained <= 1:
            raise InvalidParameter(
                f"unexplained must be a share above 0, up to 1, got {self.unexplained}."
            )
        if not self.trust and self.unexplained < 1:
            raise InvalidParameter(
                f"unexplained={self.unexplained} is about trusted scores; set trust, too."
            )

    def believe(self, view: View) -> LaplaceBelief:
        """See :meth:`Estimator.believe`."""
        pool = view.pool
        if not self.trust:
            prior = np.zeros(pool.valid.shape)
        elif pool.scores is None:
            raise InvalidParameter(
                f"laplace(trust={self.trust}) needs external scores, and this pool has none. "
                "Leave trust at 0, or give the pool scores=."
            )
        else:
            prior = self.trust * pool.scores
        known = ~np.isnan(view.labels)
        z = pool.differences(view.pairs[known])
        prompt, first, second = view.pairs[known].T
        offset = prior[prompt, first] - prior[prompt, second]
        ridge = view.ridge / self.unexplained
        theta = fit_theta(z, view.labels[known], ridge, offset)
        slope = logistic_slope(z @ theta + offset)
        precision = ridge * np.eye(pool.dim) + (z * slope[:, None]).T @ z
        return LaplaceBelief(pool, theta, precision, prior)


def centred_features(pool: Pool) -> Array:
    """φ minus its mean over the prompt's valid completions, ``(N, K, d)``; 0 where not valid."""
    phi = pool.phi
    mean = phi.sum(axis=1) / pool.valid.sum(axis=1)[:, None]
    result: Array = np.where(pool.valid[:, :, None], phi - mean[:, None], 0.0)
    return result
