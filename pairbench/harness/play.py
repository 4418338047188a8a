"""One episode: a design plays an environment."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pairbench.design import Design, View
from pairbench.env import PairEnv
from pairbench.errors import ReadOnlyView
from pairbench.metering import Usage, metered
from pairbench.pool import Pairs, checked_pairs
from pairbench.registry import make_design
from pairbench.scoring import Score
from pairbench.world import Environment

Guard = Callable[[int], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Round:
    """One round of an episode.

    Attributes:
        budget: the schedule's mark that this round bought up to, labels.
        pairs: the questions, ``(n, 3)``.
        labels: their answers, ``(n,)``.
        tokens_read: what annotators have read so far, tokens.
        policy: fingerprint of the policy trained on all answers so far.
        score: how good that policy is.
        selection: what the design took.
        training: what the trainer took.
    """

    budget: int
    pairs: Pairs
    labels: NDArray[np.float64]
    tokens_read: int
    policy: str
    score: Score
    selection: Usage
    training: Usage


@dataclass(frozen=True)
class Episode:
    """The rounds, and the score before the first label."""

    start: Score
    rounds: tuple[Round, ...]

    def results(self) -> dict[str, Any]:
        """What another play of the same cell must give again, bit for bit, as JSON."""
        return {
            "start": asdict(self.start),
            "rounds": [
                {
                    "budget": r.budget,
                    "pairs": r.pairs.reshape(-1).tolist(),
                    "labels": [None if np.isnan(y) else y for y in r.labels.tolist()],
                    "tokens_read": r.tokens_read,
                    "policy": r.policy,
                    "score": asdict(r.score),
                }
                for r in self.rounds
            ],
        }

    def usage(self) -> list[dict[str, Any]]:
        """What each round took, as JSON."""
        return [
            {"selection": asdict(r.selection), "training": asdict(r.training)} for r in self.rounds
        ]


def play(
    environment: str | Environment,
    design: str | Design | Callable[..., Pairs],
    seed: int = 0,
    budgets: Sequence[int] | None = None,
    *,
    horizon: int | None = None,
    name: str | None = None,
    guard: Guard = lambda _: nullcontext(),
) -> Episode:
    """Let a design play one episode of an environment.

    Linear algebra runs on one thread, so that the result does not depend on the machine's cores.

    Args:
        environment: id, spec or object, see :func:`pairbench.make_env`.
        design: name, file, spec, function or object, see :func:`pairbench.make_design`.
        seed: of the world, its labels, and the design's random numbers.
        budgets: cumulative numbers of labels; the environment's own if not given.
        horizon: the number of labels that the design plans for; the last budget if not given.
        name: what to call the design in messages.
        guard: a context manager that each call of the design runs under, given the round.

    Raises:
        InvalidPairs: If the design returns anything but proper pairs within the budget.
    """
    env, agent = PairEnv(environment, budgets, horizon), make_design(design)
    if name is None:
        plain = getattr(design, "__name__", type(agent).__name__)
        name = design if isinstance(design, str) else plain
    rounds: list[Round] = []
    with threadpool_limits(limits=1):
        env.reset(seed=seed)
        start = env.score()
        while env.ledger.rounds_left:
            round_, asked = env.ledger.round, len(env.pairs)
            with guard(round_), metered() as selection:
                pairs = _asked(agent, name, env)
            env.step(env.action(pairs))
            rounds.append(
                Round(
                    budget=env.marks[round_],
                    pairs=env.pairs[asked:],
                    labels=env.labels[asked:],
                    tokens_read=env.ledger.tokens_read,
                    policy=env.policy.fingerprint(),
                    score=env.score(),
                    selection=selection,
                    training=env.training,
                )
            )
    return Episode(start, tuple(rounds))


@dataclass(frozen=True)
class Replayed(Design):
    """Asks what another design asked.

    Attributes:
        rounds: its pairs, round by round.
    """

    rounds: tuple[Pairs, ...]

    def select(self, view: View, n: int) -> Pairs:
        """The recorded pairs of this round."""
        return self.rounds[view.round]


def replay(
    environment: str | Environment, rounds: Sequence[Pairs], seed: int, budgets: Sequence[int]
) -> Episode:
    """Play an episode again from its pairs alone: same labels, same policies, same scores.

    Args:
        environment: id, spec or object.
        rounds: the pairs of each round, ``(n, 3)``.
        seed: the episode's.
        budgets: the episode's schedule.
    """
    return play(environment, Replayed(tuple(rounds)), seed, budgets)


def answer(agent: Design, view: View, n: int, asker: str) -> object:
    """What a design returns, be it good or not.

    Args:
        agent: the design.
        view: what it may see.
        n: the number of labels that it may buy.
        asker: its name, for the message.

    Raises:
        ReadOnlyView: If it tries to write into the view's arrays.
    """
    try:
        return agent.select(view, n)
    except ValueError as error:
        if "read-only" in str(error):
            raise ReadOnlyView(
                f"{asker} tried to write into its view: {error}. "
                "Arrays of a view are read-only; work on a copy."
            ) from error
        raise


def _asked(agent: Design, name: str, env: PairEnv) -> Pairs:
    left, asker = env.ledger.left, f"design {name!r}"
    given = answer(agent, env.view(agent.control), left, asker)
    # Against the world's own pool and budget: a view's could have been tampered with.
    return checked_pairs(given, env.world.pool, left, asker)
