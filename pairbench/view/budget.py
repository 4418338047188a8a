"""Prices and budgets: the price list, the schedule, and the ledger of an episode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_nonnegative
from pairbench._util.deprecation import warn_renamed
from pairbench.errors import InvalidParameter, unknown_name_error
from pairbench.pool.pool import Pairs, Pool
from pairbench.spec.building import build
from pairbench.spec.text import parse_spec

UNITS = ("labels", "money")
"""Units in which budgets can be given."""

_TOLERANCE = 1e-12  # relative; sums that exceed a budget by rounding are within it
_BUDGET_LIMIT = 10**9  # larger budgets are taken for mistakes


@dataclass(frozen=True)
class Prices:
    """A price list, in units of money.

    Attributes:
        label: price of each pair that is asked, answered or not.
        vote: price of each vote, of which each annotator asked about a pair casts one.
        token_read: price of each token that an annotator reads: both completions of each pair, for
            each vote.
        completion: price of each generated completion.
        reward_call: price of each completion scored by a reward model: all completions of the pool,
            where it has scores, and each that is generated for such a pool.
    """

    label: float = 1.0
    vote: float = 0.0
    token_read: float = 0.0
    completion: float = 0.0
    reward_call: float = 0.0

    def __post_init__(self) -> None:
        check_nonnegative(**{f"the price of a {name}": price for name, price in vars(self).items()})


def make_prices(text: str) -> Prices:
    """Parse a price list such as ``"label=1, token_read=0.002"``; prices not in it are 0.

    Raises:
        InvalidParameter: If the text cannot be parsed, a name is unknown, or a price is negative or
            not finite.
    """
    prices: Prices = build(Prices, "prices", {"label": 0.0} | parse_spec(f"prices({text})")[1])
    return prices


def check_unit(unit: str) -> None:
    """Check that a unit of budgets is one of :data:`UNITS`.

    Raises:
        InvalidParameter: If it is not.
    """
    if unit not in UNITS:
        raise unknown_name_error(InvalidParameter, "unit of budgets", unit, UNITS)


def budget_unit(params: Mapping[str, Any]) -> str:
    """Return the unit of an environment's budgets, ``"labels"`` or ``"money"``.

    Args:
        params: parameters of the environment; records from before the parameter count labels.
    """
    return str(params.get("unit", UNITS[0]))


@dataclass(frozen=True)
class Ledger:
    """Purchases of an episode so far, and the budget that remains.

    Attributes:
        budgets: the schedule: cumulative budgets at which a policy is trained and scored.
        round: number of completed rounds.
        labels: number of labels bought.
        tokens_read: number of tokens read by the annotators.
        completions: number of completions generated.
        scored: number of completions scored by a reward model.
        horizon: the budget that designs plan for, the last one if None; budgets beyond it only
            extend the learning curve of a reference design.
        unit: unit of budgets and horizon, ``"labels"`` or ``"money"``.
        prices: the price list, units of money.
        votes: number of annotators who answer each pair.
        label_price: mean price of a label over the pool's pairs, units of money.
    """

    budgets: tuple[int, ...]
    round: int = 0
    labels: int = 0
    tokens_read: int = 0
    completions: int = 0
    scored: int = 0
    horizon: int | None = None
    unit: str = "labels"
    prices: Prices = Prices()
    votes: int = 1
    label_price: float = 1.0

    @property
    def marks(self) -> tuple[int, ...]:
        """Old name of :attr:`budgets`."""
        warn_renamed("Ledger.marks", "Ledger.budgets")
        return self.budgets

    @property
    def rounds_left(self) -> int:
        """Number of rounds still to be played, the current one included."""
        return len(self.budgets) - self.round

    @property
    def spent(self) -> float:
        """Money spent so far."""
        prices = self.prices
        return (
            (prices.label + prices.vote * self.votes) * self.labels
            + prices.token_read * self.tokens_read
            + prices.completion * self.completions
            + prices.reward_call * self.scored
        )

    @property
    def money_left(self) -> float:
        """Money left for this round; infinite where budgets count labels."""
        if self.unit == "labels":
            return np.inf if self.rounds_left else 0.0
        return max(0.0, self.budgets[self.round] - self.spent) if self.rounds_left else 0.0

    @property
    def labels_left(self) -> int:
        """Number of labels left for this round, including what earlier rounds did not use.

        Where budgets are money, an estimate from the mean price of a label.
        """
        if not self.rounds_left:
            return 0
        if self.unit == "labels":
            return self.budgets[self.round] - self.labels
        return _units_bought(self.money_left, self.label_price)

    @property
    def planned(self) -> int:
        """Number of labels that the episode may buy in total.

        Where budgets are money, an estimate from the mean price of a label.
        """
        if self.unit == "labels":
            return self._final_budget
        return self.labels + _units_bought(self.money_planned, self.label_price)

    @property
    def money_planned(self) -> float:
        """Money left up to the horizon; infinite where budgets count labels."""
        return np.inf if self.unit == "labels" else max(0.0, self._final_budget - self.spent)

    @property
    def _final_budget(self) -> int:
        return self.budgets[-1] if self.horizon is None else self.horizon

    def cost(self, pairs: Pairs, pool: Pool) -> NDArray[np.float64]:
        """Compute the price of each pair's label, ``(n,)`` units of money."""
        prices = self.prices
        tokens = self.votes * _tokens_read(pairs, pool).astype(np.float64)
        return prices.label + prices.vote * self.votes + prices.token_read * tokens

    def affordable(self, pairs: Pairs, pool: Pool) -> int:
        """Count the leading pairs that the budget of this round buys."""
        if self.unit == "labels":
            return min(len(pairs), self.labels_left)
        total = np.cumsum(self.cost(pairs, pool))
        return int(np.searchsorted(total, self.money_left * (1 + _TOLERANCE), side="right"))

    def charge(self, pairs: Pairs, pool: Pool) -> "Ledger":
        """Return the ledger after a round in which ``pairs`` were asked."""
        return replace(
            self,
            round=self.round + 1,
            labels=self.labels + len(pairs),
            tokens_read=self.tokens_read + self.votes * int(_tokens_read(pairs, pool).sum()),
        )

    def generate(self, n: int, pool: Pool) -> "Ledger":
        """Return the ledger after n completions were generated.

        Args:
            n: number of generated completions.
            pool: the pool that includes them.
        """
        return replace(
            self,
            completions=self.completions + n,
            scored=self.scored + n * (pool.scores is not None),
            label_price=_mean_label_price(pool, self.prices, self.votes),
        )

    @property
    def affordable_completions(self) -> int | None:
        """Number of completions that the budget of this round buys, None where they are free."""
        price = self.prices.completion + self.prices.reward_call * (self.scored > 0)
        if self.unit == "labels" or not price:
            return None
        return _units_bought(self.money_left, price)


def open_ledger(
    budgets: tuple[int, ...],
    horizon: int | None,
    pool: Pool,
    *,
    unit: str = "labels",
    prices: Prices = Prices(),
    votes: int = 1,
) -> Ledger:
    """Build the ledger of a new episode.

    Args:
        budgets: the schedule.
        horizon: see :class:`Ledger`.
        pool: the pool before the first round.
        unit: ``"labels"`` or ``"money"``.
        prices: the price list.
        votes: number of annotators who answer each pair.

    Raises:
        InvalidParameter: If budgets are money, and labels cost nothing or the first budget does not
            buy one.
    """
    ledger = Ledger(
        budgets,
        scored=int(pool.valid.sum()) if pool.scores is not None else 0,
        horizon=horizon,
        unit=unit,
        prices=prices,
        votes=votes,
        label_price=_mean_label_price(pool, prices, votes),
    )
    if unit == "money":
        _check_buys_labels(ledger, pool)
    return ledger


def _check_buys_labels(ledger: Ledger, pool: Pool) -> None:
    """Raise InvalidParameter unless every label has a price and the first budget buys one."""
    if not min_label_price(pool, ledger.prices, ledger.votes) > 0:
        raise InvalidParameter(
            "where budgets are money, every label must cost something: give a price for "
            "label, vote or token_read, as in prices='label=1'."
        )
    if ledger.labels_left < 1:
        scoring = (
            f", of which {ledger.spent:g} pay for the scores of the pool" if ledger.spent else ""
        )
        raise InvalidParameter(
            f"the first budget is {ledger.budgets[0]:,} units of money{scoring}; that buys no "
            f"label, which costs {ledger.label_price:.4g} on average. Give larger budgets or lower "
            "prices."
        )


def _mean_label_price(pool: Pool, prices: Prices, votes: int) -> float:
    """Compute the mean price of a label over all pairs of the pool, units of money."""
    # A completion of a prompt with k completions is in k − 1 pairs.
    size = pool.valid.sum(axis=1)
    tokens = ((size - 1) * pool.lengths.sum(axis=1)).sum() / (size * (size - 1) / 2).sum()
    return prices.label + votes * (prices.vote + prices.token_read * float(tokens))


def min_label_price(pool: Pool, prices: Prices, votes: int) -> float:
    """Compute the price of the cheapest label of the pool, units of money."""
    lengths = np.where(pool.valid, pool.lengths, np.iinfo(np.int64).max)
    shortest = np.partition(lengths, 1, axis=1)[:, :2].sum(axis=1).min()
    return prices.label + votes * (prices.vote + prices.token_read * float(shortest))


def _units_bought(money: float, price: float) -> int:
    """Count the units of one price that an amount of money buys, up to rounding errors."""
    return int(money / price * (1 + _TOLERANCE))


def _tokens_read(pairs: Pairs, pool: Pool) -> NDArray[np.int64]:
    """Count the tokens of both completions of each pair, ``(n,)``."""
    prompt, first, second = pairs.T
    tokens: NDArray[np.int64] = pool.lengths[prompt, first] + pool.lengths[prompt, second]
    return tokens


def max_labels(ledger: Ledger, pool: Pool) -> int:
    """Compute an upper bound on the labels of an episode, from the price of the cheapest pair."""
    price = ledger.prices.label + ledger.prices.vote * ledger.votes
    price = price or min_label_price(pool, ledger.prices, ledger.votes)
    return _units_bought(ledger.budgets[-1], price)


def check_budgets(budgets: Sequence[int]) -> tuple[int, ...]:
    """Check a schedule and return it as a tuple.

    Raises:
        InvalidParameter: If it is empty, holds anything but integers, or does not increase from 1
            or more.
    """
    marks = tuple(budgets)
    integers = all(isinstance(m, int | np.integer) and not isinstance(m, bool) for m in marks)
    bounds = zip((0, *marks), (*marks, _BUDGET_LIMIT), strict=True)
    if not marks or not integers or not all(low < high for low, high in bounds):
        raise InvalidParameter(
            "budgets must be whole cumulative numbers of labels, or of units of money where the "
            "environment counts money, that grow from 1 or more, "
            f"such as 50,100,200, to less than {_BUDGET_LIMIT:.0e}; got {marks}."
        )
    return tuple(int(mark) for mark in marks)


def quantity_noun(unit: str) -> str:
    """Return "much money" or "many labels", which complete "how …" and "so …" in sentences."""
    return "much money" if unit == "money" else f"many {unit}"
