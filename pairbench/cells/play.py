"""Episodes: a design plays an environment, round by round."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pairbench._util.metering import Usage, measure_usage
from pairbench.design.design import Design
from pairbench.design.registry import make_design
from pairbench.errors import ReadOnlyView
from pairbench.pool.pairs import check_pairs, check_prompts
from pairbench.pool.pool import Pairs
from pairbench.scoring.score import Score
from pairbench.view.budget import max_labels
from pairbench.view.view import View
from pairbench.worlds.environment import Environment, draw_world
from pairbench.worlds.pair_env import PairEnv

Guard = Callable[[int], AbstractContextManager[Any]]


@dataclass(frozen=True)
class RoundSelection:
    """Pairs that a design chose in one round, and their labels.

    Attributes:
        budget: the schedule's mark that this round bought up to, labels or units of money.
        generated: the prompts that completions were generated for, ``(m,)``.
        pairs: the pairs, ``(n, 3)``.
        labels: their labels, ``(n,)``.
        selection: time and memory of the design.
    """

    budget: int
    generated: NDArray[np.int64]
    pairs: Pairs
    labels: NDArray[np.float64]
    selection: Usage


@dataclass(frozen=True)
class Round(RoundSelection):
    """One round of an episode.

    Attributes:
        tokens_read: tokens that annotators have read so far.
        spent: money spent so far.
        policy: fingerprint of the policy trained on all labels so far.
        score: score of that policy.
        training: time and memory of the trainer.
    """

    tokens_read: int
    spent: float
    policy: str
    score: Score
    training: Usage


@dataclass(frozen=True)
class Episode:
    """Episode: its rounds, and the score before the first label."""

    start: Score
    rounds: tuple[Round, ...]

    def results(self) -> dict[str, Any]:
        """Return the results that replaying the cell must reproduce bit for bit, as JSON."""
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
        """Return the time and memory of each round, as JSON."""
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
        # Before the rounds: one-off computations of a world must not count as the design's time.
        start = draw_world(env.environment, seed).start
        rounds = [
            Round(
                **vars(choice),
                tokens_read=env.ledger.tokens_read,
                spent=env.ledger.spent,
                policy=env.policy.fingerprint(),
                score=env.score(),
                training=env.training,
            )
            for choice in play_rounds(env, agent, seed, name, guard)
        ]
    return Episode(start, tuple(rounds))


def play_rounds(
    env: PairEnv, agent: Design, seed: int, name: str, guard: Guard = lambda _: nullcontext()
) -> Iterator[RoundSelection]:
    """Play an episode round by round; a policy is trained only when it is read.

    Args:
        env: the environment, which is reset.
        agent: the design.
        seed: as for :func:`play`.
        name: what to call the design in messages.
        guard: as for :func:`play`.

    Raises:
        InvalidPairs: As :func:`play` does.
    """
    env.reset(seed=seed)
    while env.ledger.rounds_left:
        round_, asked = env.ledger.round, len(env.pairs)
        with guard(round_), measure_usage() as selection:
            generated = _generate(agent, name, env)
            pairs = _select(agent, name, env)
        env.buy(env.action(pairs))
        yield RoundSelection(
            env.marks[round_], generated, env.pairs[asked:], env.labels[asked:], selection
        )


@dataclass(frozen=True)
class ReplayDesign(Design):
    """Design that repeats the recorded choices of another design.

    Attributes:
        rounds: the pairs of each round, ``(n, 3)``.
        generated: the prompts that it generated completions for, round by round; none if empty.
    """

    rounds: tuple[Pairs, ...]
    generated: tuple[NDArray[np.int64], ...] = ()

    def generate(self, view: View) -> NDArray[np.int64]:
        """Return the recorded prompts of this round."""
        return self.generated[view.round] if self.generated else super().generate(view)

    def select(self, view: View, n: int) -> Pairs:
        """Return the recorded pairs of this round."""
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
    return play(environment, ReplayDesign(tuple(rounds), tuple(generated)), seed, budgets)


def call_select(agent: Design, view: View, n: int, caller: str) -> object:
    """Call a design's ``select`` and return its result unchecked.

    Args:
        agent: the design.
        view: the view that it sees.
        n: number of labels that it may buy.
        caller: its name, for the message.

    Raises:
        ReadOnlyView: If it tries to write into the view's arrays.
    """
    with _read_only(caller):
        return agent.select(view, n)


@contextmanager
def _read_only(caller: str) -> Iterator[None]:
    """Turn numpy's error for a write into a read-only array into :class:`ReadOnlyView`."""
    try:
        yield
    except ValueError as error:
        if "read-only" in str(error):
            raise ReadOnlyView(
                f"{caller} tried to write into its view: {error}. "
                "Arrays of a view are read-only; work on a copy."
            ) from error
        raise


def _generate(agent: Design, name: str, env: PairEnv) -> NDArray[np.int64]:
    """Generate the completions that the design wants; return their prompts, ``(m,)``."""
    if env.hidden is None:
        return np.empty(0, dtype=np.int64)
    caller = f"design {name!r}"
    with _read_only(caller):
        requested = agent.generate(env.view(agent.control, "generation"))
    prompts = check_prompts(requested, env.hidden, env.ledger.affordable_completions, caller)
    if len(prompts):
        env.buy(env.generation_action(prompts))
    return prompts


def _select(agent: Design, name: str, env: PairEnv) -> Pairs:
    """Let the design select pairs, check them, and drop at random those that it cannot afford."""
    left, caller = env.ledger.labels_left, f"design {name!r}"
    if not left:  # all money went into completions
        return np.empty((0, 3), dtype=np.int64)
    chosen = call_select(agent, env.view(agent.control), left, caller)
    pool, ledger = env.current_pool, env.ledger
    most = left if ledger.unit == "labels" else max(left, max_labels(ledger, pool))
    # Check against the environment's pool and budget: the view's could have been tampered with.
    pairs = check_pairs(chosen, pool, most, caller)
    if ledger.affordable(pairs, pool) == len(pairs):
        return pairs
    # Drop at random rather than the last ones: a design may sort its pairs by prompt.
    order = env.stream("thinning").permutation(len(pairs))
    return pairs[np.sort(order[: ledger.affordable(pairs[order], pool)])]
