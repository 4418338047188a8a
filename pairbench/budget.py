"""The ledger: what an episode has bought so far."""

from dataclasses import dataclass, replace

from pairbench.pool import Pairs, Pool


@dataclass(frozen=True)
class Ledger:
    """What was bought and what it took to answer.

    Attributes:
        marks: the schedule, cumulative numbers of labels at which a policy is trained and scored.
        round: how many rounds are behind us.
        labels: labels bought.
        tokens_read: tokens that the annotators read: both completions of each question.
        horizon: the number of labels that designs plan for, the last mark if None; marks beyond
            it only say how a reference goes on.
    """

    marks: tuple[int, ...]
    round: int = 0
    labels: int = 0
    tokens_read: int = 0
    horizon: int | None = None

    @property
    def rounds_left(self) -> int:
        """Rounds still to be played, this one included."""
        return len(self.marks) - self.round

    @property
    def left(self) -> int:
        """Labels that may be bought in this round, what earlier rounds left over included."""
        return self.marks[self.round] - self.labels if self.rounds_left else 0

    def charge(self, pairs: Pairs, pool: Pool) -> "Ledger":
        """The ledger after a round in which ``pairs`` were asked."""
        prompt, first, second = pairs.T
        read = pool.lengths[prompt, first] + pool.lengths[prompt, second]
        return replace(
            self,
            round=self.round + 1,
            labels=self.labels + len(pairs),
            tokens_read=self.tokens_read + int(read.sum()),
        )
