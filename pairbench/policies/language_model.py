"""A language model as a policy over a pool."""

import hashlib
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.tokens import tokenised
from pairbench.pool import Pool

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LanguageModelPolicy:
    """π_θ(y|x) ∝ P_θ(y|x) over the pool's completions.

    DPO looks at differences of log P_θ between completions of one prompt, which the normalisation
    does not change: what is trained without it is this policy. Where the pool holds all texts of a
    language, π_θ is the model's own distribution, given that it stays in the language.

    Attributes:
        checkpoint: the model.
        ends: whether the EOS token belongs to a completion.
    """

    checkpoint: Checkpoint
    ends: bool = True
    _known: "WeakKeyDictionary[Pool, Array]" = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    def log_likelihoods(self, pool: Pool) -> Array:
        """log P_θ(y|x), ``(n_prompts, n_completions)`` nats, −inf where not valid."""
        checkpoint = self.checkpoint
        tokens = tokenised(pool, checkpoint.tokenizer, checkpoint.context, ends=self.ends)
        return log_likelihoods(checkpoint.model, tokens)

    def log_probs(self, pool: Pool) -> Array:
        """log π_θ, ``(n_prompts, n_completions)`` nats."""
        if pool not in self._known:  # a policy is scored in several ways
            self._known[pool] = log_softmax(self.log_likelihoods(pool), axis=1)
        return self._known[pool]

    def fingerprint(self) -> str:
        """SHA-256 of the weights."""
        import torch

        digest = hashlib.sha256()
        for name, weights in sorted(self.checkpoint.model.state_dict().items()):
            digest.update(name.encode())
            values = weights.detach().cpu().contiguous().view(torch.uint8)
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()
