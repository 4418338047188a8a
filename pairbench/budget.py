"""Prices and the ledger: what things cost, and what an episode has bought so far."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter, unknown
from pairbench.pool import Pairs, Pool

UNITS = ("labels", "money")
"""What budgets may count."""


@dataclass(frozen=True)
class Prices:
    """A price list, in units of money.

    Attributes:
        label: for each question that is asked, be it answered or not.
        vote: for each annotator who is asked it.
        token_read: for each token that an annotator reads: both completions of each question, for
            each vote.
        completion: for each completion that is generated.
        reward_call: for each completion that a reward model scores: those of the pool, where it has
            scores, and each that is generated for such a pool.
    """

    label: float = 1.0
    vote: float = 0.0
    token_read: float = 0.0
    completion: float = 0.0
    reward_call: float = 0.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            if not 0 <= (price := getattr(self, entry.name)) < np.inf:
                raise InvalidParameter(
                    f"the price of a {entry.name} must be a finite number, 0 or more, got {price}."
                )


def make_prices(text: str) -> Prices:
    """A price list from its text, such as ``"label=1, token_read=0.002"``; the rest costs nothing.

    Raises:
        InvalidParameter: If it cannot be read, or a price is unknown or cannot be.
    """
    from pairbench.registry import built, parsed

    prices: Prices = built(Prices, "prices", {"label": 0.0} | parsed(f"prices({text})")[1])
    return prices


def check_unit(unit: str) -> None:
    """Refuse a unit that budgets cannot have.

    Raises:
        InvalidParameter: If it is none of :data:`UNITS`.
    """
    if unit not in UNITS:
        raise unknown(InvalidParameter, "unit of budgets", unit, UNITS)


@dataclass(frozen=True)
class Ledger:
    """What was bought, what it took to answer, and what is left.

    Attributes:
        marks: the schedule, cumulative amounts at which a policy is trained and scored.
        round: how many rounds are behind us.
        labels: labels bought.
        tokens_read: tokens that the annotators read.
        completions: completions generated.
        scored: completions that a reward model scored.
        horizon: the amount that designs plan for, the last mark if None; marks beyond it only say
            how a reference goes on.
        unit: what marks and horizon count: ``"labels"`` or ``"money"``.
        prices: what things cost, units of money.
        votes: how many annotators answer each question.
        label_price: what a label costs on average over the pool's pairs, units of money.
    """

    marks: tuple[int, ...]
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
    def rounds_left(self) -> int:
        """Rounds still to be played, this one included."""
        return len(self.marks) - self.round

    @property
    def spent(self) -> float:
        """Units of money that went so far."""
        prices = self.prices
        return (
            (prices.label + prices.vote * self.votes) * self.labels
            + prices.token_read * self.tokens_read
            + prices.completion * self.completions
            + prices.reward_call * self.scored
        )

    @property
    def money_left(self) -> float:
        """Units of money for this round; infinite where budgets count labels."""
        if self.unit == "labels":
            return np.inf if self.rounds_left else 0.0
        return max(0.0, self.marks[self.round] - self.spent) if self.rounds_left else 0.0

    @property
    def left(self) -> int:
        """Labels for this round, what earlier rounds left over included.

        Where budgets are money, as many as it buys at the average price.
        """
        if not self.rounds_left:
            return 0
        if self.unit == "labels":
            return self.marks[self.round] - self.labels
        return reached(self.money_left, self.label_price)

    @property
    def planned(self) -> int:
        """Labels that the episode may buy in all, at the average price where budgets are money."""
        if self.unit == "labels":
            return self._end
        return self.labels + reached(self.money_planned, self.label_price)

    @property
    def money_planned(self) -> float:
        """Units of money for the rest of the episode; infinite where budgets count labels."""
        return np.inf if self.unit == "labels" else max(0.0, self._end - self.spent)

    @property
    def _end(self) -> int:
        return self.marks[-1] if self.horizon is None else self.horizon

    def cost(self, pairs: Pairs, pool: Pool) -> NDArray[np.float64]:
        """What it costs to ask each pair, ``(n,)`` units of money."""
        prices = self.prices
        read = self.votes * _tokens(pairs, pool).astype(np.float64)
        return prices.label + prices.vote * self.votes + prices.token_read * read

    def affordable(self, pairs: Pairs, pool: Pool) -> int:
        """How many of the pairs, from the first on, this round's budget buys."""
        if self.unit == "labels":
            return min(len(pairs), self.left)
        total = np.cumsum(self.cost(pairs, pool))
        return int(np.searchsorted(total, self.money_left * (1 + _ROUNDING), side="right"))

    def charge(self, pairs: Pairs, pool: Pool) -> "Ledger":
        """The ledger after a round in which ``pairs`` were asked."""
        return replace(
            self,
            round=self.round + 1,
            labels=self.labels + len(pairs),
            tokens_read=self.tokens_read + self.votes * int(_tokens(pairs, pool).sum()),
        )

    def generate(self, n: int, pool: Pool) -> "Ledger":
        """The ledger after n completions were generated, which made the pool what it is now."""
        return replace(
            self,
            completions=self.completions + n,
            scored=self.scored + n * (pool.scores is not None),
            label_price=label_price(pool, self.prices, self.votes),
        )

    @property
    def most_generated(self) -> int | None:
        """How many more completions this round's budget buys, None where they cost nothing."""
        each = self.prices.completion + self.prices.reward_call * (self.scored > 0)
        return None if self.unit == "labels" or not each else reached(self.money_left, each)


def opened(
    marks: tuple[int, ...],
    horizon: int | None,
    pool: Pool,
    *,
    unit: str = "labels",
    prices: Prices = Prices(),
    votes: int = 1,
) -> Ledger:
    """The ledger before the first round.

    Args:
        marks: the schedule.
        horizon: see :class:`Ledger`.
        pool: what is there from the beginning.
        unit: ``"labels"`` or ``"money"``.
        prices: what things cost.
        votes: how many annotators answer each question.

    Raises:
        InvalidParameter: If budgets are money, and labels cost nothing or the first budget does not
            buy one.
    """
    ledger = Ledger(
        marks,
        scored=int(pool.valid.sum()) if pool.scores is not None else 0,
        horizon=horizon,
        unit=unit,
        prices=prices,
        votes=votes,
        label_price=label_price(pool, prices, votes),
    )
    if unit == "money":
        if not least_price(pool, prices, votes) > 0:
            raise InvalidParameter(
                "where budgets are money, every label must cost something: give a price for "
                "label, vote or token_read, as in prices='label=1'."
            )
        if ledger.left < 1:
            before = (
                f", of which {ledger.spent:g} go before the first label" if ledger.spent else ""
            )
            raise InvalidParameter(
                f"the first budget is {marks[0]:,} units of money{before}; that buys no label, "
                f"which costs {ledger.label_price:.4g} on average. Give larger budgets or lower "
                "prices."
            )
    return ledger


def label_price(pool: Pool, prices: Prices, votes: int) -> float:
    """What a label costs on average over all pairs of the pool, units of money."""
    # In a prompt of k completions each is in k − 1 pairs.
    size = pool.valid.sum(axis=1)
    tokens = ((size - 1) * pool.lengths.sum(axis=1)).sum() / (size * (size - 1) / 2).sum()
    return prices.label + votes * (prices.vote + prices.token_read * float(tokens))


def least_price(pool: Pool, prices: Prices, votes: int) -> float:
    """What the cheapest label costs, units of money."""
    lengths = np.where(pool.valid, pool.lengths, np.iinfo(np.int64).max)
    shortest = np.partition(lengths, 1, axis=1)[:, :2].sum(axis=1).min()
    return prices.label + votes * (prices.vote + prices.token_read * float(shortest))


def reached(money: float, price: float) -> int:
    """How many things of one price an amount buys; sums that fall short by rounding count."""
    return int(money / price * (1 + _ROUNDING))


_ROUNDING = 1e-12


def _tokens(pairs: Pairs, pool: Pool) -> NDArray[np.int64]:
    prompt, first, second = pairs.T
    tokens: NDArray[np.int64] = pool.lengths[prompt, first] + pool.lengths[prompt, second]
    return tokens
