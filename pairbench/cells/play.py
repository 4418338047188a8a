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
"""Maps the index of a round, from 0, to a context in which the design is called."""


@dataclass(frozen=True)
class RoundSelection:
    """Pairs that a design chose in one round, and their labels.

    Attributes:
        budget: cumulative budget of this round, labels or units of money.
        generated: the prompts for which completions were generated, ``(m,)``.
        pairs: the pairs, ``(n, 3)`` rows ``(prompt, first, second)``.
        labels: their labels, ``(n,)``: 1 the first is better, 0 the second, ½ a tie, NaN no answer.
        selection: wall time and peak memory of the design.
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
        training: wall time and peak memory of the trainer.
    """

    tokens_read: int
    spent: float
    policy: str
    score: Score
    training: Usage


@dataclass(frozen=True)
class Episode:
    """An episode: a design's play of one environment.

    Attributes:
        start: the score before the first label.
        rounds: the rounds of the schedule.
    """

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
        """Return the wall time and peak memory of each round, as JSON."""
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

    Linear algebra runs on one thread, so that the result does not depend on the number of cores.

    Args:
        environment: id, spec or object, see :func:`pairbench.make_env`.
        design: name, file, spec, function or object, see :func:`pairbench.make_design`.
        seed: seed of the world, of its labels, and of the design's random numbers.
        budgets: cumulative budgets, labels or units of money; by default those of the environment.
        horizon: the budget that the design plans for; by default the last one.
        name: name of the design in messages; by default its text, or the name of its function or
            class.
        guard: maps the index of a round, from 0, to a context in which the design is called.

    Raises:
        InvalidPairs: If the design returns anything but proper pairs within the budget, or requests
            completions that cannot be generated.
    """
    env, agent = PairEnv(environment, budgets, horizon), make_design(design)
    if name is None:
        object_name = getattr(design, "__name__", type(agent).__name__)
        name = design if isinstance(design, str) else object_name
    with threadpool_limits(limits=1):
        # Scored before the rounds, so that what a world computes only once does not count as the
        # design's time.
        start = draw_world(env.environment, seed).initial_score
        rounds = [
            Round(
                **vars(selection),
                tokens_read=env.ledger.tokens_read,
                spent=env.ledger.spent,
                policy=env.policy.fingerprint(),
                score=env.score(),
                training=env.training,
            )
            for selection in play_rounds(env, agent, seed, name, guard)
        ]
    return Episode(start, tuple(rounds))


def play_rounds(
    env: PairEnv, agent: Design, seed: int, name: str, guard: Guard = lambda _: nullcontext()
) -> Iterator[RoundSelection]:
    """Play an episode round by round; a policy is trained only when ``env.policy`` is read.

    Args:
        env: the environment, which is reset.
        agent: the design.
        seed: seed of the world, of its labels, and of the design's random numbers.
        name: name of the design in messages.
        guard: maps the index of a round, from 0, to a context in which the design is called.

    Yields:
        The pairs and labels of each round.

    Raises:
        InvalidPairs: If the design returns anything but proper pairs within the budget, or requests
            completions that cannot be generated.
    """
    env.reset(seed=seed)
    while env.ledger.rounds_left:
        round_, n_earlier = env.ledger.round, len(env.pairs)
        with guard(round_), measure_usage() as selection:
            generated = _generate(agent, name, env)
            pairs = _select(agent, name, env)
        env.buy(env.action(pairs))
        yield RoundSelection(
            env.budgets[round_], generated, env.pairs[n_earlier:], env.labels[n_earlier:], selection
        )


@dataclass(frozen=True)
class ReplayDesign(Design):
    """Design that repeats the recorded choices of another design.

    Attributes:
        rounds: the pairs of each round, ``(n, 3)``.
        generated: the prompts for which it generated completions, ``(m,)``, by round; empty if it
            generated none in any round.
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
    """Replay an episode from its pairs alone, with equal labels, policies and scores.

    Args:
        environment: id, spec or object, see :func:`pairbench.make_env`.
        rounds: the pairs of each round, ``(n, 3)``.
        seed: seed of the episode.
        budgets: schedule of the episode.
        generated: the prompts for which each round generated completions, ``(m,)``; may be empty.
    """
    return play(environment, ReplayDesign(tuple(rounds), tuple(generated)), seed, budgets)


def call_select(agent: Design, view: View, n: int, caller: str) -> object:
    """Call a design's ``select`` and return its result unchecked.

    Args:
        agent: the design.
        view: the design's view of the episode.
        n: the number of labels that the design may buy.
        caller: name of the design in the message.

    Raises:
        ReadOnlyView: If the design tries to write into the view's arrays.
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
    """Generate the completions that the design requests; return their prompts, ``(m,)``."""
    if env.hidden is None:
        return np.empty(0, dtype=np.int64)
    caller = f"design {name!r}"
    with _read_only(caller):
        requested = agent.generate(env.view(agent.control, "generation"))
    prompts = check_prompts(requested, env.hidden, env.ledger.affordable_completions, caller)
    if len(prompts):
        env.buy(env.generation_action(prompts))
    return prompts


# Why: docs/decisions/020-money-budgets-drop-a-random-part.md
def _select(agent: Design, name: str, env: PairEnv) -> Pairs:
    """Let the design select pairs, check them, and drop random ones until the budget buys them."""
    labels_left, caller = env.ledger.labels_left, f"design {name!r}"
    if not labels_left:  # all money was spent on completions
        return np.empty((0, 3), dtype=np.int64)
    chosen = call_select(agent, env.view(agent.control), labels_left, caller)
    pool, ledger = env.current_pool, env.ledger
    limit = labels_left
    if ledger.unit == "money":  # cheap pairs may be more than labels_left, which is an estimate
        limit = max(labels_left, max_labels(ledger, pool))
    # Checked against the environment's pool and budget, because a design could alter its view's.
    pairs = check_pairs(chosen, pool, limit, caller)
    if ledger.affordable(pairs, pool) == len(pairs):
        return pairs
    # Random pairs are dropped rather than the last ones, because designs may sort by prompt.
    order = env.stream("thinning").permutation(len(pairs))
    return pairs[np.sort(order[: ledger.affordable(pairs[order], pool)])]
