"""The log-linear policy, whose log-probabilities are exact."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from pairbench.pool.pool import Pool


@dataclass(frozen=True, eq=False)
class LogLinearPolicy:
    """The policy π_θ(y|x) ∝ π_ref(y|x) exp(φ(x,y)ᵀθ / β), whose implicit reward is φᵀθ.

    Attributes:
        theta: θ, ``(dim,)``, in reward units per feature unit.
        beta: β, the KL temperature in reward units per nat.
    """

    theta: NDArray[np.float64]
    beta: float

    def log_probs(self, pool: Pool) -> NDArray[np.float64]:
        """Compute log π_θ, ``(n_prompts, n_completions)`` nats, −inf where not valid."""
        log_probs: NDArray[np.float64] = log_softmax(
            pool.log_ref + pool.project(self.theta) / self.beta, axis=1
        )
        return log_probs

    def fingerprint(self) -> str:
        """Return the SHA-256 of θ and β."""
        data = np.append(self.theta, self.beta).astype("<f8").tobytes()
        return hashlib.sha256(data).hexdigest()
