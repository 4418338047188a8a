"""Recorded votes of people as an annotator."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidData, InvalidParameter
from pairbench.oracles.pair_votes import PairVotes, read_pair_votes
from pairbench.oracles.panels import Panel, PanelOracle, Voters
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext, Array, PerceivedDifference, Step
from pairbench.pool.pool import CompletionIndex, Pool
from pairbench.pool.votes import Votes


@dataclass(frozen=True, eq=False)
class RecordedPanel:
    """Access to the recorded votes on all pairs of a pool, one at a time.

    Attributes:
        records: the votes; their pairs are all pairs of the pool.
        in_turn: whether the label is a single vote, a different one at each repeat; see
            :class:`Recorded`.
    """

    records: PairVotes
    in_turn: bool = False

    @property
    def size(self) -> int:
        """The largest number of votes on a question."""
        return 1 if self.in_turn else self.records.votes.answers.shape[1]

    def answers(self, questions: Questions) -> Array:
        """Look up the vote ``questions.vote``, ``(n,)``; NaN where there are fewer votes."""
        votes, column = self._votes(questions)
        answers: Array = votes.answers[np.arange(len(column)), column]
        return answers

    def voters(self, questions: Questions) -> NDArray[np.int64]:
        """Look up the annotators of the vote ``questions.vote``, ``(n,)``."""
        votes, column = self._votes(questions)
        voters: NDArray[np.int64] = votes.annotators[np.arange(len(column)), column]
        return voters

    def oracle(self, aggregate: str = "majority") -> PanelOracle:
        """Build the oracle of the pool's world.

        Args:
            aggregate: how votes make a label, see :class:`pairbench.oracles.panels.Panel`.
        """
        return PanelOracle(self.answers, self.voters, self.size, aggregate)

    def _votes(self, questions: Questions) -> tuple[Votes, NDArray[np.int64]]:
        """Look up all votes on each question, and the column of the vote in question, ``(n,)``."""
        votes = self.records.votes_on(questions.pairs)
        if not self.in_turn:
            return votes, np.full(len(questions.pairs), questions.vote)
        count = (~np.isnan(votes.answers)).sum(axis=1)
        return votes, questions.repeat % count


@dataclass(frozen=True)
class Recorded(Panel):
    """Recorded votes of people, from a file; only recorded pairs can be labelled.

    The file is JSONL, a pair on each line: ``{"prompt": 0, "first": 3, "second": 1, "votes": [1, 0,
    0.5], "annotators": ["ann", "bo", "cy"]}``. A vote is 1 if the first is better, 0 if the second
    is, 0.5 for a tie; ``annotators`` is optional. Numbers are indices of the environment's own
    pool; where the pool depends on the seed, a file is valid for one seed only.

    The recorded pairs make a new pool: each of its prompts is a clique of the comparisons, a set of
    completions that were all compared with one another, so that a prompt may appear several times,
    with different completions, and no pair appears twice. Replies change single votes; perceptions
    cannot come before it.

    Attributes:
        file: path of the file; required.
        in_turn: whether each label is a single vote, taken in turn from those on the pair.
            Otherwise the label aggregates all votes on the pair and is the same each time that the
            pair is labelled.
    """

    file: str
    in_turn: bool = False
    perceives: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """The largest number of votes on a question."""
        return RecordedPanel(self.records, self.in_turn).size

    @property
    def records(self) -> PairVotes:
        """The votes in the file.

        Raises:
            InvalidData: If it is no file of votes, with the line.
        """
        return read_pair_votes(Path(self.file), self.data_digest())

    def data_digest(self) -> str:
        """Return the SHA-256 of the file.

        Raises:
            InvalidData: If the file cannot be read.
        """
        try:
            return hashlib.sha256(Path(self.file).read_bytes()).hexdigest()
        except (OSError, ValueError) as error:  # ValueError: not a valid path
            why = getattr(error, "strerror", None) or error
            raise InvalidData(f"cannot read the votes in {self.file!r}: {why}.") from error

    def rows(self, pool: Pool) -> CompletionIndex:
        """Return the new pool, in which every pair has votes.

        Args:
            pool: the environment's pool, of which the file has votes.

        Raises:
            InvalidData: If it is no file of votes on this pool, with the line.
        """
        records = self.records
        records.check(pool)
        prompts, completions, share = records.index
        return CompletionIndex(prompts, completions, share * pool.prompt_weights[prompts])

    def on(self, context: AnnotatorContext, perceived: PerceivedDifference) -> Step:
        """Return the step that looks up recorded votes."""
        panel = self._panel(context)
        return lambda questions, _: panel.answers(questions)

    def voters(self, context: AnnotatorContext) -> Voters:
        """Return the function that looks up the annotators of recorded votes."""
        return self._panel(context).voters

    def _panel(self, context: AnnotatorContext) -> RecordedPanel:
        """Regroup the votes for the new pool.

        Raises:
            InvalidParameter: If the world's pool is not the one that :meth:`rows` returns.
        """
        records = self.records.regroup(self.records.index)
        pool = context.pool
        if len(records.pairs) != pool.n_pairs or not pool.proper(records.pairs).all():
            raise InvalidParameter(
                f"the votes in {self.file!r} are on {len(records.pairs)} pairs, and this pool has "
                f"{pool.n_pairs} others. World.with_annotator makes a pool of the recorded ones."
            )
        return RecordedPanel(records, self.in_turn)
