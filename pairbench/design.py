"""Design and View: the whole contract of a design agent."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.budget import Ledger
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool import Pairs, Pool
from pairbench.training.log_linear import fit_theta
from pairbench.votes import Votes

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    """Everything that a design may know, and nothing from which the truth can be reached.

    Attributes:
        pool: the prompts and completions to choose from.
        beta: β of the training to come, reward units per nat.
        ridge: λ of the training to come.
        pairs: the questions asked so far, ``(m, 3)``, oldest first.
        labels: their answers, ``(m,)``: 1 the first is better, 0 the second, ½ a tie, NaN none;
            what lies between is the mean of several votes.
        ledger: what has been bought, the schedule, and the prices.
        rng: the only source of randomness that a design may use.
        hidden: how many more completions of each prompt can be generated, ``(n_prompts,)``; None
            where the pool is all there is.
        votes: the single votes that the labels were made of, n being m; None where the annotators
            give none.
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
        """Labels that may be bought in this round; at the average price where budgets are money."""
        return self.ledger.left

    @property
    def money_left(self) -> float:
        """Units of money that may be spent in this round, infinite where budgets count labels."""
        return self.ledger.money_left

    def cost(self, pairs: Pairs) -> Array:
        """What it costs to ask each pair, ``(n,)`` units of money."""
        return self.ledger.cost(pairs, self.pool)

    @property
    def horizon(self) -> int:
        """Labels that the episode may buy in all; at the average price where budgets are money."""
        return self.ledger.planned

    @property
    def round(self) -> int:
        """Rounds behind us; 0 in the first."""
        return self.ledger.round

    @property
    def rounds_left(self) -> int:
        """Rounds still to be played up to the horizon, this one included."""
        ledger = self.ledger
        horizon = ledger.marks[-1] if ledger.horizon is None else ledger.horizon
        return max(1, sum(mark <= horizon for mark in ledger.marks) - self.round)

    @property
    def answered(self) -> Pairs:
        """The questions that were answered, ``(l, 3)``."""
        answered: Pairs = self.pairs[~np.isnan(self.labels)]
        return answered

    def implicit_theta(self) -> Array:
        """θ̂ of DPO on the labels so far, whatever the trainer, ``(d,)``; 0 before the first."""
        known = ~np.isnan(self.labels)
        z = self.pool.differences(self.pairs[known])
        return fit_theta(z, self.labels[known], self.ridge)

    def implicit_rewards(self) -> Array:
        """φᵀθ̂, the implicit rewards of DPO's policy, ``(n_prompts, n_completions)``."""
        return self.pool.project(self.implicit_theta())

    def log_policy(self) -> Array:
        """log π̂ of DPO's policy, ``(n_prompts, n_completions)`` nats."""
        return LogLinearPolicy(self.implicit_theta(), self.beta).log_probs(self.pool)


@dataclass(frozen=True, eq=False)
class ControlView(View):
    """What a control may see: the answer.

    Attributes:
        theta: θ* of the best policy, ``(d,)``.
        covariance: C(θ*) of the held-out prompts, ``(d, d)``.
    """

    theta: Array = field(kw_only=True)
    covariance: Array = field(kw_only=True)


@dataclass(frozen=True)
class Design(ABC):
    """A way of choosing pairs: a frozen dataclass whose fields are its parameters.

    State, if there is any, is derived from the view, so that an episode can be taken up anywhere.
    A plain function ``select(view, n)`` in a file is a design too.
    """

    control: ClassVar[bool] = False
    """A control is shown the truth (its views are a :class:`ControlView`), says how good a design
    could be, and is never ranked."""

    ordered: ClassVar[bool] = False
    """Whether the order of a prompt's completions means something to it. If not, it must choose
    alike however they are numbered, ties broken by ``view.rng``; prompts never have an order."""

    @abstractmethod
    def select(self, view: View, n: int) -> Pairs:
        """Choose the questions of a round.

        Args:
            view: all that may be known.
            n: how many labels to buy; fewer is allowed, more is not.

        Returns:
            ``(n, 3)`` integer rows ``(prompt, first, second)``, with ``first != second`` and both
            valid. A question may be asked again; it then gets a fresh answer. Where budgets are
            money, more than n are allowed if ``view.money_left`` pays for them; of pairs that cost
            more than is left, a random part is asked.
        """

    def generate(self, view: View) -> NDArray[np.int64]:
        """Choose completions to be generated, before the questions of a round are chosen.

        Only asked in worlds where completions can be generated.

        Args:
            view: all that may be known.

        Returns:
            ``(m,)`` prompts, one completion being drawn from π_ref for each time that a prompt
            stands here; by default none.
        """
        return np.empty(0, dtype=np.int64)


class FunctionDesign(Design):
    """A design that is a function of the view, the number of labels, and its parameters."""

    def __init__(self, function: Callable[..., Any], **params: Any) -> None:
        """Bind the parameters.

        Args:
            function: called as ``function(view, n, **params)``.
            **params: its keyword arguments.
        """
        self.function = function
        self.params = params

    def select(self, view: View, n: int) -> Pairs:
        """Call the function."""
        pairs: Pairs = self.function(view, n, **self.params)
        return pairs
