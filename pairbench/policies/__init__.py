"""Policies: anything with ``log_probs(pool)``."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.pool.pool import Pool


class Policy(Protocol):
    """A conditional distribution over the completions of each prompt, the result of training."""

    def log_probs(self, pool: Pool) -> NDArray[np.float64]:
        """Compute log π(y|x), ``(n_prompts, n_completions)`` nats, −inf where not valid."""

    def fingerprint(self) -> str:
        """Return a digest of the parameters, equal only for policies that are equal bit for bit."""
