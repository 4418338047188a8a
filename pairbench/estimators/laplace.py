"""Laplace posterior of ridge-logistic regression: the linear model's belief, in closed form."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from pairbench._util.checks import check_finite
from pairbench._util.numerics import logistic_slope
from pairbench.errors import InvalidParameter, TrainingFailed
from pairbench.estimators.belief import Belief, Estimator, centre_rewards
from pairbench.information.forecast import LabelForecast, gaussian_forecast
from pairbench.information.laplacian import pair_forms
from pairbench.pool import features
from pairbench.pool.pool import Pairs, Pool, freeze_array
from pairbench.training.log_linear import fit_theta
from pairbench.view.view import View

Array = NDArray[np.float64]


class LaplaceBelief(Belief):
    """The posterior r = prior mean + φᵀθ with θ ~ N(θ̂, A⁻¹).

    Attributes:
        theta: θ̂, ``(d,)``.
        precision: A = λI + Σ w z zᵀ over the labels so far, ``(d, d)``.
        prior: prior mean of the rewards, ``(N, K)`` reward units.
    """

    def __init__(self, pool: Pool, theta: Array, precision: Array, prior: Array) -> None:
        """Set the posterior of θ.

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
            TrainingFailed: If A is singular in double precision, because its ridge is too small.
        """
        covariance: Array = self._root @ self._root.T
        return covariance

    @cached_property
    def _root(self) -> Array:
        """Root R of A⁻¹ = R Rᵀ, ``(d, d)``, with which no variance is computed to be below 0."""
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
        """Posterior mean μ, ``(N, K)`` reward units."""
        mean = centre_rewards(self.pool, self.prior + self.pool.project(self.theta))
        return np.where(self.pool.valid, mean, 0.0)

    @cached_property
    def variance(self) -> Array:  # type: ignore[override]
        """Posterior variance s², ``(N, K)`` squared reward units."""
        variance: Array = ((self._phi @ self._root) ** 2).sum(axis=-1)
        return variance

    def difference_variance(self) -> Array:
        """Return s_ij² of all pairs, ``(N, K, K)``, symmetric and read-only; computed once."""
        return self._difference_variance

    @cached_property
    def _difference_variance(self) -> Array:
        return freeze_array(pair_forms(self.pool.phi, self.covariance))

    @cached_property
    def _phi(self) -> Array:
        """Features centred within prompts, ``(N, K, d)``."""
        return features.centre(self.pool.phi, self.pool.valid)

    def forecast(self, rng: np.random.Generator, pairs: Pairs | None = None) -> LabelForecast:
        """Compute label probabilities of pairs in closed form; see :meth:`Belief.forecast`."""
        if pairs is not None:
            return gaussian_forecast(*self.of_pairs(pairs))
        mask = self.pool.pair_mask
        return gaussian_forecast(self.differences()[mask], self.difference_variance()[mask])

    def of_pairs(self, pairs: Pairs) -> tuple[Array, Array]:
        """Return μ_ij and s_ij² of some pairs, ``(m,)`` each."""
        z = self.pool.differences(pairs)
        return self._means(pairs, z), ((z @ self._root) ** 2).sum(axis=1)

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """Draw rewards from the posterior, ``(count, N, K)``."""
        noise = self._noise(count, rng) @ self._phi.reshape(-1, self.pool.dim).T
        draws: Array = self.mean + noise.reshape(count, *self.mean.shape)
        return draws

    def pair_draws(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """Draw reward differences of some pairs jointly from the posterior, ``(count, m)``."""
        z = self.pool.differences(pairs)
        draws: Array = self._means(pairs, z) + self._noise(count, rng) @ z.T
        return draws

    def theta_draws(self, count: int, rng: np.random.Generator) -> Array:
        """Draw θ from its posterior, ``(count, d)``."""
        draws: Array = self.theta + self._noise(count, rng)
        return draws

    def _means(self, pairs: Pairs, z: Array) -> Array:
        """Compute μ_ij of pairs, ``(m,)``, of feature differences z, ``(m, d)``."""
        prompt, first, second = pairs.T
        means: Array = z @ self.theta + self.prior[prompt, first] - self.prior[prompt, second]
        return means

    def _noise(self, count: int, rng: np.random.Generator) -> Array:
        """Draw from N(0, A⁻¹), ``(count, d)``."""
        noise: Array = rng.standard_normal((count, len(self.theta))) @ self._root.T
        return noise


@dataclass(frozen=True)
class Laplace(Estimator[LaplaceBelief]):
    """Laplace approximation: θ̂ of the DPO training, and the curvature of its loss as precision.

    For the log-linear policy DPO is ridge-logistic regression, so θ̂ is its implicit reward, and
    N(θ̂, A⁻¹) the Laplace approximation of the posterior under the prior N(0, I/λ) (MacKay 1992).

    Labels correct external scores only along the features, so that noise in the scores remains.

    Attributes:
        trust: c: the prior mean of the rewards is c times the pool's external scores, such as a
            reward model's. 0 ignores them.
        unexplained: the share of the rewards' prior variance that the scores do not explain: the
            prior of θ is N(0, unexplained · I/λ). At 1, the first labels move the belief as much
            as without scores.
    """

    trust: float = 0.0
    unexplained: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(trust=self.trust)
        if not 0 < self.unexplained <= 1:
            raise InvalidParameter(
                f"unexplained must be a share above 0, up to 1, got {self.unexplained}."
            )
        if not self.trust and self.unexplained < 1:
            raise InvalidParameter(
                f"unexplained={self.unexplained} is about external scores; set trust, too."
            )

    def believe(self, view: View) -> LaplaceBelief:
        """Fit the posterior to ``view.labels``; missing labels (NaN) are ignored.

        Raises:
            InvalidParameter: If ``trust`` is set, and the pool has no external scores.
        """
        pool = view.pool
        prior = self._prior_mean(pool)
        answered = ~np.isnan(view.labels)
        z = pool.differences(view.pairs[answered])
        prompt, first, second = view.pairs[answered].T
        offset = prior[prompt, first] - prior[prompt, second]
        ridge = view.ridge / self.unexplained
        theta = fit_theta(z, view.labels[answered], ridge, offset)
        slope = logistic_slope(z @ theta + offset)
        precision = ridge * np.eye(pool.dim) + (z * slope[:, None]).T @ z
        return LaplaceBelief(pool, theta, precision, prior)

    def _prior_mean(self, pool: Pool) -> Array:
        """Return the prior mean of the rewards, ``(N, K)``."""
        if not self.trust:
            return np.zeros(pool.valid.shape)
        if pool.scores is None:
            raise InvalidParameter(
                f"laplace(trust={self.trust}) needs external scores, and this pool has none. "
                "Leave trust at 0, or build the pool with scores=."
            )
        return self.trust * pool.scores
