"""Answers that people gave, played again."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidData, InvalidParameter
from pairbench.oracles.panels import Panel, PanelOracle, Voters
from pairbench.oracles.questions import Questions
from pairbench.oracles.records import Records, read_records
from pairbench.oracles.stages import Array, Perceived, Scene, Step
from pairbench.pool import Pool, Rows
from pairbench.votes import Votes


@dataclass(frozen=True)
class Recorded(Panel):
    """Votes that people gave, from a file; nothing else can be asked.

    The file is JSONL, a pair on each line: ``{"prompt": 0, "first": 3, "second": 1, "votes": [1, 0,
    0.5], "annotators": ["ann", "bo", "cy"]}``. A vote is 1 if the first is better, 0 if the second
    is, 0.5 for a tie; ``annotators`` may be left out. Numbers are places in the environment's own
    pool; where that is another one with each seed, a file is about one seed.

    The pool is then made of the recorded pairs: each of its prompts is a set of completions that
    were all compared with one another, so that a prompt may come several times, with other
    completions, and no pair comes twice. Replies change single votes; perceptions have no place
    before it.

    Attributes:
        file: its path, which has to be given.
        in_turn: whether a pair's label is one vote: the first time its first, the second time its
            second, and after the last its first again. Otherwise it is what all votes on it come
            to, the same each time that it is asked.
    """

    file: str
    in_turn: bool = False
    perceives: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """See :class:`pairbench.oracles.panels.Panel`."""
        return Replay(self.records, self.in_turn).size

    @property
    def records(self) -> Records:
        """What the file holds.

        Raises:
            InvalidData: If it is no file of votes, with the line.
        """
        return read_records(Path(self.file), self.data_digest())

    def data_digest(self) -> str:
        """See :class:`pairbench.oracles.stages.Stage`."""
        try:
            return hashlib.sha256(Path(self.file).read_bytes()).hexdigest()
        except (OSError, ValueError) as error:  # ValueError: a path that cannot be
            why = getattr(error, "strerror", None) or error
            raise InvalidData(f"cannot read the votes in {self.file!r}: {why}.") from error

    def rows(self, pool: Pool) -> Rows:
        """See :class:`pairbench.oracles.stages.Stage`."""
        records = self.records
        records.check(pool)
        prompts, completions, share = records.rows
        return Rows(prompts, completions, share * pool.prompt_weights[prompts])

    def on(self, scene: Scene, perceived: Perceived) -> Step:
        """See :class:`pairbench.oracles.stages.Choice`."""
        replay = self._replay(scene)
        return lambda asked, _: replay.answers(asked)

    def voters(self, scene: Scene) -> Voters:
        """See :class:`pairbench.oracles.panels.Panel`."""
        return self._replay(scene).voters

    def _replay(self, scene: Scene) -> "Replay":
        records = self.records.over(self.records.rows)
        pool = scene.pool
        if len(records.pairs) != pool.n_pairs or not pool.proper(records.pairs).all():
            raise InvalidParameter(
                f"the votes in {self.file!r} are on {len(records.pairs)} pairs, and this pool has "
                f"{pool.n_pairs} others. World.answered_by makes a pool of the recorded ones."
            )
        return Replay(records, self.in_turn)


@dataclass(frozen=True, eq=False)
class Replay:
    """Votes on all pairs of a pool, to be had one by one.

    Attributes:
        records: the votes, on places of this pool, see :meth:`Records.over`.
        in_turn: see :class:`Recorded`.
    """

    records: Records
    in_turn: bool = False

    @property
    def size(self) -> int:
        """The number of votes on a question, at most."""
        return 1 if self.in_turn else self.records.votes.answers.shape[1]

    def answers(self, asked: Questions) -> Array:
        """The vote ``asked.vote`` on each question, ``(n,)``; NaN where there are fewer."""
        votes, place = self._said(asked)
        answers: Array = votes.answers[np.arange(len(place)), place]
        return answers

    def voters(self, asked: Questions) -> NDArray[np.int64]:
        """Whose it is, ``(n,)``."""
        votes, place = self._said(asked)
        voters: NDArray[np.int64] = votes.annotators[np.arange(len(place)), place]
        return voters

    def oracle(self, aggregate: str = "majority") -> PanelOracle:
        """The oracle of that pool's world.

        Args:
            aggregate: see :class:`pairbench.oracles.panels.Panel`.
        """
        return PanelOracle(self.answers, self.voters, self.size, aggregate)

    def _said(self, asked: Questions) -> tuple[Votes, NDArray[np.int64]]:
        """All votes on each question, and which of them is meant."""
        votes = self.records.votes_on(asked.pairs)
        if not self.in_turn:
            return votes, np.full(len(asked.pairs), asked.vote)
        count = (~np.isnan(votes.answers)).sum(axis=1)
        return votes, asked.repeat % count
