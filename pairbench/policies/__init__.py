"""Policies over a pool: anything with ``log_probs(pool)``."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.pool import Pool


class Policy(Protocol):
    """What training ends in and scoring begins with."""

    def log_probs(self, pool: Pool) -> NDArray[np.float64]:
        """log π(y|x) over the pool, ``(n_prompts, n_completions)`` nats, −inf where not valid."""

    def fingerprint(self) -> str:
        """A digest of the parameters, equal only for policies that are equal bit for bit."""
