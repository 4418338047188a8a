"""Views: all information that a design may use."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool.pool import Pairs, Pool
from pairbench.pool.votes import Votes
from pairbench.training.log_linear import fit_theta
from pairbench.view.budget import Ledger

Array = NDArray[np.float64]


# Why: docs/decisions/007-a-view-tells-the-ridge.md
@dataclass(frozen=True, eq=False)
class View:
    """All information that a design may use; the truth cannot be reached from it.

    Attributes:
        pool: the prompts and completions to choose from.
        beta: β of the training, reward units per nat.
        ridge: λ of the training.
        pairs: the pairs asked so far, ``(m, 3)``, oldest first.
        labels: their labels, ``(m,)``: 1 if the first is preferred, 0 if the second, ½ for a tie,
            NaN without an answer; other values are means of several votes.
        ledger: the purchases so far, the schedule, and the prices.
        rng: the only source of randomness that a design may use.
        hidden: number of completions of each prompt that can still be generated,
            ``(n_prompts,)``; None where the pool is complete.
        votes: the single votes behind the m labels; None where the annotators do not vote.
    """

    pool: Pool
    beta: float
    ridge: float
    pairs: Pairs
    labels: Array
    ledger: Ledger
    rng: np.random.Generator
    hidden: NDArray[np.int64] | None = None
    votes: Votes | None = field(default=None, kw_only=True)

    @property
    def budget_left(self) -> int:
        """Number of labels that this round may buy.

        Where budgets are money, an estimate from the mean price of a label.
        """
        return self.ledger.labels_left

    @property
    def money_left(self) -> float:
        """Money left for this round, infinite where budgets count labels."""
        return self.ledger.money_left

    def cost(self, pairs: Pairs) -> Array:
        """Compute the price of each pair's label, ``(n,)`` units of money."""
        return self.ledger.cost(pairs, self.pool)

    @property
    def horizon(self) -> int:
        """Total number of labels that the episode may buy, in all rounds.

        Where budgets are money, an estimate from the mean price of a label.
        """
        return self.ledger.planned

    @property
    def round(self) -> int:
        """Number of completed rounds, 0 in the first."""
        return self.ledger.round

    @property
    def rounds_left(self) -> int:
        """Number of rounds still to be played up to the horizon, the current one included."""
        ledger = self.ledger
        horizon = ledger.budgets[-1] if ledger.horizon is None else ledger.horizon
        return max(1, sum(budget <= horizon for budget in ledger.budgets) - self.round)

    @property
    def answered(self) -> Pairs:
        """The pairs that were answered, ``(l, 3)``."""
        answered: Pairs = self.pairs[~np.isnan(self.labels)]
        return answered

    def implicit_theta(self) -> Array:
        """Fit θ̂ of DPO to the labels so far, whatever the trainer, ``(d,)``; 0 without labels."""
        answered = ~np.isnan(self.labels)
        z = self.pool.differences(self.pairs[answered])
        return fit_theta(z, self.labels[answered], self.ridge)

    def implicit_rewards(self) -> Array:
        """Compute φᵀθ̂, the implicit rewards of DPO's policy, ``(n_prompts, n_completions)``."""
        return self.pool.project(self.implicit_theta())

    def log_policy(self) -> Array:
        """Compute log π̂ of DPO's policy, ``(n_prompts, n_completions)`` nats."""
        return LogLinearPolicy(self.implicit_theta(), self.beta).log_probs(self.pool)


# Why: docs/decisions/018-controls-get-a-view-of-their-own.md
@dataclass(frozen=True, eq=False)
class ControlView(View):
    """The view of a control, which includes the truth.

    Attributes:
        theta: θ* of the best policy, ``(d,)``.
        covariance: C(θ*) of the held-out prompts, ``(d, d)``.
    """

    theta: Array = field(kw_only=True)
    covariance: Array = field(kw_only=True)
