"""One episode: a design plays an environment."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pairbench.design import Design, View
from pairbench.env import PairEnv, most_labels
from pairbench.errors import ReadOnlyView
from pairbench.metering import Usage, metered
from pairbench.pool import Pairs, checked_pairs, checked_prompts
from pairbench.registry import make_design
from pairbench.scoring import Score
from pairbench.world import Environment, drawn_world

Guard = Callable[[int], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Choice:
    """What a design chose in one round.

    Attributes:
        budget: the schedule's mark that this round bought up to, labels or units of money.
        generated: the prompts that completions were generated for, ``(m,)``.
        pairs: the questions, ``(n, 3)``.
        labels: their answers, ``(n,)``.
        selection: what the design took.
    """

    budget: int
    generated: NDArray[np.int64]
    pairs: Pairs
    labels: NDArray[np.float64]
    selection: Usage


@dataclass(frozen=True)
class Round(Choice):
    """One round of an episode.

    Attributes:
        tokens_read: what annotators have read so far, tokens.
        spent: units of money that went so far.
        policy: fingerprint of the policy trained on all answers so far.
        score: how good that policy is.
        training: what the trainer took.
    """

    tokens_read: int
    spent: float
    policy: str
    score: Score
    training: Usage


@dataclass(frozen=True)
class Episode:
    """The rounds, and the score before the first label."""

    start: Score
    rounds: tuple[Round, ...]

    def results(self) -> dict[str, Any]:
        """What another play of the same cell must give again, bit for bit, as JSON."""
        return {
            "start": self.start.as_json(),
            "rounds": [
                {
                    "budget": r.budget,
                    "generated": r.generated.tolist(),
                    "pairs": r.pairs.reshape(-1).tolist(),
                    "labels": [None if np.isnan(y) else y for y in r.labels.tolist()],
                    "tokens_read": r.tokens_read,
                    "spent": r.spent,
                    "policy": r.policy,
                    "score": r.score.as_json(),
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
        budgets: cumulative budgets; the environment's own if not given.
        horizon: the budget that the design plans for; the last one if not given.
        name: what to call the design in messages.
        guard: a context manager that each call of the design runs under, given the round.

    Raises:
        InvalidPairs: If the design returns anything but proper pairs within the budget, or wants
            completions generated that cannot be.
    """
    env, agent = PairEnv(environment, budgets, horizon), make_design(design)
    if name is None:
        plain = getattr(design, "__name__", type(agent).__name__)
        name = design if isinstance(design, str) else plain
    with threadpool_limits(limits=1):
        # First, so that no design is charged for what is found out of a world but once.
        start = drawn_world(env.environment, seed).start
        rounds = [
            Round(
                **vars(choice),
                tokens_read=env.ledger.tokens_read,
                spent=env.ledger.spent,
                policy=env.policy.fingerprint(),
                score=env.score(),
                training=env.training,
            )
            for choice in choices(env, agent, seed, name, guard)
        ]
    return Episode(start, tuple(rounds))


def choices(
    env: PairEnv, agent: Design, seed: int, name: str, guard: Guard = lambda _: nullcontext()
) -> Iterator[Choice]:
    """Let a design choose, round by round; policies are trained where they are looked at.

    Args:
        env: the environment, which an episode is begun of.
        agent: the design.
        seed: see :func:`play`, as what follows.
        name: what to call the design in messages.
        guard: around each of its calls.

    Raises:
        InvalidPairs: As :func:`play` does.
    """
    env.reset(seed=seed)
    while env.ledger.rounds_left:
        round_, asked = env.ledger.round, len(env.pairs)
        with guard(round_), metered() as selection:
            generated = _generated(agent, name, env)
            pairs = _asked(agent, name, env)
        env.buy(env.action(pairs))
        yield Choice(env.marks[round_], generated, env.pairs[asked:], env.labels[asked:], selection)


@dataclass(frozen=True)
class Replayed(Design):
    """Asks what another design asked.

    Attributes:
        rounds: its pairs, round by round.
        drawn: the prompts that it had completions generated for, round by round; none if empty.
    """

    rounds: tuple[Pairs, ...]
    drawn: tuple[NDArray[np.int64], ...] = ()

    def generate(self, view: View) -> NDArray[np.int64]:
        """The recorded prompts of this round."""
        return self.drawn[view.round] if self.drawn else super().generate(view)

    def select(self, view: View, n: int) -> Pairs:
        """The recorded pairs of this round."""
        return self.rounds[view.round]


def replay(
    environment: str | Environment,
    rounds: Sequence[Pairs],
    seed: int,
    budgets: Sequence[int],
    generated: Sequence[NDArray[np.int64]] = (),
) -> Episode:
    """Play an episode again from its pairs alone: same labels, same policies, same scores.

    Args:
        environment: id, spec or object.
        rounds: the pairs of each round, ``(n, 3)``.
        seed: the episode's.
        budgets: the episode's schedule.
        generated: the prompts of each round that completions were generated for, ``(m,)``.
    """
    return play(environment, Replayed(tuple(rounds), tuple(generated)), seed, budgets)


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
    with _read_only(asker):
        return agent.select(view, n)


@contextmanager
def _read_only(asker: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "read-only" in str(error):
            raise ReadOnlyView(
                f"{asker} tried to write into its view: {error}. "
                "Arrays of a view are read-only; work on a copy."
            ) from error
        raise


def _generated(agent: Design, name: str, env: PairEnv) -> NDArray[np.int64]:
    """Let the design have completions generated; the prompts, one for each."""
    none = np.empty(0, dtype=np.int64)
    if env.hidden is None:
        return none
    asker = f"design {name!r}"
    with _read_only(asker):
        given = agent.generate(env.view(agent.control, "generation"))
    prompts = checked_prompts(given, env.hidden, env.ledger.most_generated, asker)
    if len(prompts):
        env.buy(env.drawing(prompts))
    return prompts


def _asked(agent: Design, name: str, env: PairEnv) -> Pairs:
    left, asker = env.ledger.left, f"design {name!r}"
    if not left:  # the money went into completions
        return np.empty((0, 3), dtype=np.int64)
    given = answer(agent, env.view(agent.control), left, asker)
    pool, ledger = env.present, env.ledger
    most = left if ledger.unit == "labels" else max(left, most_labels(ledger, pool))
    # Against the environment's own pool and budget: a view's could have been tampered with.
    pairs = checked_pairs(given, pool, most, asker)
    if ledger.affordable(pairs, pool) == len(pairs):
        return pairs
    # Not the first of them: a design may list them by prompt.
    order = env.stream("thinning").permutation(len(pairs))
    return pairs[np.sort(order[: ledger.affordable(pairs[order], pool)])]
