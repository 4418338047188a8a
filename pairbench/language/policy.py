"""A language model as a policy over a pool."""

import hashlib
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.tokens import tokenize_pool
from pairbench.pool.pool import Pool

Array = NDArray[np.float64]


# Why: docs/decisions/027-language-model-policies-are-normalised.md
@dataclass(frozen=True, eq=False)
class LanguageModelPolicy:
    """π_θ(y|x) ∝ P_θ(y|x) over the pool's completions.

    DPO's loss has only differences of log P_θ between completions of one prompt, which the
    normalisation does not change: training without it trains this policy. Where the pool holds all
    texts of a language, π_θ is the model's own distribution, conditioned on texts of the language.

    Attributes:
        checkpoint: the model.
        ends: whether the EOS token belongs to a completion.
    """

    checkpoint: Checkpoint
    ends: bool = True
    _log_probs: "WeakKeyDictionary[Pool, Array]" = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    def log_likelihoods(self, pool: Pool) -> Array:
        """Compute log P_θ(y|x), ``(n_prompts, n_completions)`` nats, −inf where not valid."""
        checkpoint = self.checkpoint
        tokens = tokenize_pool(pool, checkpoint.tokenizer, checkpoint.context, ends=self.ends)
        return log_likelihoods(checkpoint.model, tokens)

    def log_probs(self, pool: Pool) -> Array:
        """Compute log π_θ, ``(n_prompts, n_completions)`` nats."""
        if pool not in self._log_probs:  # cached, since several scores use them
            self._log_probs[pool] = log_softmax(self.log_likelihoods(pool), axis=1)
        return self._log_probs[pool]

    def fingerprint(self) -> str:
        """Compute the SHA-256 of the weights."""
        import torch

        digest = hashlib.sha256()
        for name, weights in sorted(self.checkpoint.model.state_dict().items()):
            digest.update(name.encode())
            values = weights.detach().cpu().contiguous().view(torch.uint8)
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()
