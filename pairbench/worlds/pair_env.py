"""PairEnv, the Gymnasium environment of one episode of buying labels for pairs."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pairbench._util.deprecation import warn_renamed
from pairbench._util.metering import Usage, measure_usage
from pairbench.errors import RunError
from pairbench.oracles import VotingOracle
from pairbench.policies import Policy
from pairbench.pool.pairs import count_repeats
from pairbench.pool.pool import Pairs, Pool
from pairbench.pool.votes import Votes
from pairbench.scoring.score import Score
from pairbench.view.budget import (
    Ledger,
    check_budgets,
    max_labels,
    open_ledger,
)
from pairbench.view.view import ControlView, View
from pairbench.worlds.environment import Environment, draw_world
from pairbench.worlds.registry import make_env
from pairbench.worlds.world import World

Observation = dict[str, NDArray[Any]]

_INFINITY = 1e30  # infinity in spaces, for which Gymnasium's checker requires finite bounds


# Why: docs/decisions/012-pair-env-skips-invalid-rows.md
class PairEnv(gymnasium.Env[Observation, NDArray[np.int64]]):
    """Buy labels for pairs of completions, round by round.

    **Description.** A world is drawn from the seed. In each round the agent selects a batch of
    pairs, the oracle labels them, the trainer fits a policy to all labels so far (by DPO, unless
    the environment names another trainer), and the policy is scored.

    **Action space.** ``MultiDiscrete``, ``(n, 3)`` rows ``(prompt, first, second)``, n being the
    largest batch of the schedule. Of the rows that are a pair of two different valid completions,
    the leading ones that the budget buys are labelled; all other rows buy nothing. To buy fewer
    labels, pad with rows ``(prompt, i, i)`` of a valid completion i. In worlds where completions
    are generated, a row ``(prompt, i, i)`` of a hidden completion i generates the next completion
    of the prompt; a step that only generates does not end the round.

    **Observation space.** ``Dict``: the pool (``features``, ``log_ref``, 0 where not valid,
    ``lengths``, ``valid``, ``prompt_weights``), the pairs so far (``pairs``, padded with −1), their
    labels (``labels``: 1, 0, ½; −1 without an answer), ``labels_left`` in this round (at the mean
    price, where budgets are money), ``money_left`` (1e30 where budgets count labels) and
    ``rounds_left``.

    **Reward.** The decrease of the gap G(π̂) on held-out prompts since the last round, reward units;
    the return is the total decrease from the gap of π_ref.

    **Episode end.** Terminated when the schedule is spent; never truncated.

    **Info.** ``round``, ``labels`` bought so far, money ``spent``, ``skipped`` rows of the last
    action. Never the truth.

    **Arguments.** ``environment``: an id or an :class:`Environment`; ``budgets``: the schedule;
    ``horizon``: what designs plan for, the schedule's end if not given; further keywords are the
    environment's parameters.

    **Version history.** The version is the environment id's.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - typed so by the base class

    def __init__(
        self,
        environment: str | Environment,
        budgets: Sequence[int] | None = None,
        horizon: int | None = None,
        render_mode: None = None,
        **params: Any,
    ) -> None:
        """Build the environment and its spaces; :meth:`reset` draws a world.

        Args:
            environment: an id, a spec such as ``"pairbench/LogLinear-v1(dim=32)"``, or an object.
            budgets: cumulative budgets, whole numbers in the unit of the environment; by default
                its schedule.
            horizon: the budget that designs plan for; by default the last one.
            render_mode: None; nothing can be rendered.
            **params: parameters of the environment, for an id or a spec.

        Raises:
            InvalidParameter: If the budgets do not increase from 1 or more.
        """
        self.environment = make_env(environment, **params)
        self.budgets = check_budgets(self.environment.budgets if budgets is None else budgets)
        self.horizon = horizon
        self.render_mode = render_mode
        self.prices = self.environment.price_list
        # The shapes are those of any seed.
        world = draw_world(self.environment, 0)
        pool, ledger = world.pool, self._open_ledger(world)
        # With cheap pairs, money buys more labels than at the mean price.
        self._max_labels = self.budgets[-1] if ledger.unit == "labels" else max_labels(ledger, pool)
        self.batch = int(np.diff((0, *self.budgets)).max())
        if ledger.unit == "money":
            self.batch = self._max_labels
        if world.initial_mask is not None:
            self.batch += int((pool.valid & ~world.initial_mask).sum())
        n, k = pool.valid.shape
        self.action_space = spaces.MultiDiscrete(np.tile([n, k, k], (self.batch, 1)))
        space = _observation_space(pool, self._max_labels, len(self.budgets))
        self.observation_space = space  # type: ignore[assignment]  # Dict is typed otherwise
        self._latest: _Outcome | None = None

    @property
    def marks(self) -> tuple[int, ...]:
        """Old name of :attr:`budgets`."""
        warn_renamed("PairEnv.marks", "PairEnv.budgets")
        return self.budgets

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw the world of the seed, by default a random one, and start an episode."""
        super().reset(seed=seed)
        self.seed = int(self.np_random.integers(2**32)) if seed is None else seed
        world = draw_world(self.environment, self.seed)
        self._set_pool(world.initial_pool)
        self.pairs: Pairs = np.empty((0, 3), dtype=np.int64)
        self.labels = np.empty(0)
        self.ledger = self._open_ledger(world)
        self._latest = _Outcome(world, self.current_pool, self.pairs, self.labels)
        return self._observation(), self._info(skipped=0)

    def step(
        self, action: NDArray[np.int64]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Generate completions, buy the labels of one round, train, and score."""
        before = self.gap
        skipped = self.buy(action)
        done = not self.ledger.rounds_left
        return self._observation(), before - self.gap, done, False, self._info(skipped)

    # Why: docs/decisions/013-policies-are-trained-when-looked-at.md
    def buy(self, action: NDArray[np.int64]) -> int:
        """Generate completions and buy labels as :meth:`step` does, but train on first use.

        Args:
            action: action as described in the class.

        Returns:
            The number of rows that bought nothing.

        Raises:
            RunError: If the schedule is spent.
        """
        world = self.world
        if not self.ledger.rounds_left:
            raise RunError("the episode is over: the schedule is spent. Call reset() first.")
        rows = np.asarray(action, dtype=np.int64).reshape(-1, 3)
        generated = self._generate(rows)
        pairs = rows[self.current_pool.proper(rows)]
        skipped = len(rows) - generated
        if generated and not len(pairs):
            return skipped
        pairs = pairs[
            : min(
                self.ledger.affordable(pairs, self.current_pool), self._max_labels - len(self.pairs)
            )
        ]
        time = len(self.pairs) + np.arange(len(pairs))
        labels = world.oracle.label(pairs, count_repeats(pairs, self.pairs), time)
        self.pairs = np.concatenate([self.pairs, pairs])
        self.labels = np.concatenate([self.labels, labels])
        self.ledger = self.ledger.charge(pairs, self.current_pool)
        self._latest = _Outcome(world, self.current_pool, self.pairs, self.labels)
        return skipped - len(pairs)

    @property
    def policy(self) -> Policy:
        """The policy trained on all labels so far."""
        return self._outcome.policy_and_usage[0]

    @property
    def training(self) -> Usage:
        """Wall time and peak memory of training the policy."""
        return self._outcome.policy_and_usage[1]

    @property
    def gap(self) -> float:
        """The policy's gap on the held-out prompts, reward units."""
        return self._outcome.gap

    @property
    def hidden(self) -> NDArray[np.int64] | None:
        """Number of completions of each prompt still to be generated, None in a fixed pool."""
        if self.world.initial_mask is None:
            return None
        hidden: NDArray[np.int64] = (self.world.pool.valid & ~self.current_pool.valid).sum(axis=1)
        return hidden

    def _open_ledger(self, world: World) -> Ledger:
        """Build the ledger of a new episode in a world."""
        return open_ledger(
            self.budgets,
            self.horizon,
            world.initial_pool,
            unit=self.environment.unit,
            prices=self.prices,
            votes=world.oracle.size if isinstance(world.oracle, VotingOracle) else 1,
        )

    def _set_pool(self, pool: Pool) -> None:
        """Set the pool from which pairs can be selected."""
        # Agents get a copy, so that none of its attributes leads back to the truth.
        self.current_pool, self.pool = pool, copy.copy(pool)

    # Why: docs/decisions/021-completions-are-generated-before-pairs.md
    def _generate(self, rows: NDArray[np.int64]) -> int:
        """Generate the completions that rows (prompt, i, i) request, as far as the budget allows.

        Returns:
            The number of completions generated.
        """
        hidden, valid = self.hidden, self.world.pool.valid
        if hidden is None:
            return 0
        prompts = self._requested_prompts(rows)
        # The k-th request for a prompt yields its k-th hidden completion, whichever i it names.
        order = np.argsort(prompts, kind="stable")
        rank = np.empty(len(prompts), dtype=np.int64)
        rank[order] = np.arange(len(prompts)) - np.searchsorted(prompts[order], prompts[order])
        prompts = prompts[rank < hidden[prompts]][: self.ledger.affordable_completions]
        if len(prompts):
            counts = np.bincount(prompts, minlength=len(valid))
            candidates = valid & ~self.current_pool.valid
            new = candidates & (candidates.cumsum(axis=1) <= counts[:, None])
            self._set_pool(self.world.pool.restrict(self.current_pool.valid | new))
            self.ledger = self.ledger.generate(len(prompts), self.current_pool)
        return len(prompts)

    def _requested_prompts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Select the prompts of rows (prompt, i, i) whose completion i is hidden, ``(m,)``."""
        n, k = self.current_pool.valid.shape
        inside = np.all((rows >= 0) & (rows < np.array([n, k, k])), axis=1)
        prompt, first, second = np.where(inside[:, None], rows, 0).T
        hidden = self.world.pool.valid & ~self.current_pool.valid
        prompts: NDArray[np.int64] = prompt[inside & (first == second) & hidden[prompt, first]]
        return prompts

    @property
    def world(self) -> World:
        """The world of this episode, including the truth; for the harness, not for agents."""
        return self._outcome.world

    @property
    def _outcome(self) -> "_Outcome":
        if self._latest is None:
            raise RunError("there is no episode yet. Call reset() first.")
        return self._latest

    def stream(self, purpose: str = "design") -> np.random.Generator:
        """Return a generator of random numbers that depends on seed, round and purpose alone.

        Args:
            purpose: use of the random numbers; each use has a separate stream.
        """
        # Seeded by a digest, because a design could read the seed and draw the world.
        name = f"pairbench {purpose} {self.seed} {self.ledger.round}".encode()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()))

    # Why: docs/decisions/018-controls-get-a-view-of-their-own.md
    def view(self, control: bool = False, purpose: str = "design") -> View:
        """Build a design's view of the episode before the next round.

        Args:
            control: whether the design is a control, which gets the truth.
            purpose: purpose of its random numbers, see :meth:`stream`.
        """
        pairs, labels = self.pairs.copy(), self.labels.copy()
        pairs.flags.writeable = labels.flags.writeable = False
        view = View(
            pool=self.pool,
            beta=self.world.beta,
            ridge=self.world.trainer.ridge,
            pairs=pairs,
            labels=labels,
            ledger=copy.copy(self.ledger),
            rng=self.stream(purpose),
            hidden=self.hidden,
            votes=self._votes(),
        )
        if not control:
            return view
        theta, covariance = self.world.best_in_class[0], self.world.best_covariance
        return ControlView(**vars(view), theta=theta, covariance=covariance)

    def action(self, pairs: Pairs) -> NDArray[np.int64]:
        """Build the action that buys labels of pairs, ``(batch, 3)``, padded with invalid pairs."""
        action = np.zeros((max(self.batch, len(pairs)), 3), dtype=np.int64)
        action[:, 1:] = self.current_pool.valid_first[0, 0]
        action[: len(pairs)] = pairs
        return action

    def generation_action(self, prompts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Build the action that generates a completion for each of some prompts, ``(batch, 3)``."""
        hidden = np.argmax((self.world.pool.valid & ~self.current_pool.valid)[prompts], axis=1)
        return self.action(np.stack([prompts, hidden, hidden], axis=1))

    def score(self) -> Score:
        """Compute all figures of merit of the current policy."""
        return self.world.score(self.policy, self.pairs)

    def _observation(self) -> Observation:
        pool, size, n = self.pool, self._max_labels, len(self.pairs)
        pairs = np.full((size, 3), -1, dtype=np.int64)
        pairs[:n] = self.pairs
        labels = np.full(size, -1, dtype=np.float32)
        labels[:n] = np.nan_to_num(self.labels, nan=-1)
        # Copies, because agents store and modify observations.
        return {
            "features": pool.features.copy(),
            "log_ref": np.where(pool.valid, pool.log_ref, 0.0),
            "lengths": pool.lengths.copy(),
            "valid": pool.valid.astype(np.int8),
            "prompt_weights": pool.prompt_weights.copy(),
            "pairs": pairs,
            "labels": labels,
            "labels_left": np.array([min(self.ledger.labels_left, size)], dtype=np.int64),
            "money_left": np.array([min(self.ledger.money_left, _INFINITY)]),
            "rounds_left": np.array([self.ledger.rounds_left], dtype=np.int64),
        }

    def _votes(self) -> Votes | None:
        oracle, pairs = self.world.oracle, self.pairs
        if not isinstance(oracle, VotingOracle):
            return None
        return oracle.votes(pairs, count_repeats(pairs, pairs[:0]), np.arange(len(pairs)))

    def _info(self, skipped: int) -> dict[str, Any]:
        ledger = self.ledger
        return {
            "round": ledger.round,
            "labels": ledger.labels,
            "spent": ledger.spent,
            "skipped": skipped,
        }


def _observation_space(pool: Pool, max_labels: int, rounds: int) -> spaces.Dict:
    """Build the observation space of an episode; see :class:`PairEnv`."""
    n, k = pool.valid.shape
    return spaces.Dict(
        {
            "features": spaces.Box(-_INFINITY, _INFINITY, (n, k, pool.dim), np.float32),
            "log_ref": spaces.Box(-_INFINITY, 0, (n, k), np.float64),
            "lengths": spaces.Box(0, 2**62, (n, k), np.int64),
            "valid": spaces.MultiBinary((n, k)),
            "prompt_weights": spaces.Box(0, 1, (n,), np.float64),
            "pairs": spaces.Box(-1, max(n, k), (max_labels, 3), np.int64),
            "labels": spaces.Box(-1, 1, (max_labels,), np.float32),
            "labels_left": spaces.Box(0, max_labels, (1,), np.int64),
            "money_left": spaces.Box(0, _INFINITY, (1,), np.float64),
            "rounds_left": spaces.Box(0, rounds, (1,), np.int64),
        }
    )


@dataclass(frozen=True, eq=False)
class _Outcome:
    """The labels so far, and the policy and gap that follow from them, computed on first use.

    Attributes:
        world: world of the episode.
        pool: the pool from which the last pairs were selected.
        pairs: the pairs, ``(n, 3)``.
        labels: their labels, ``(n,)``.
    """

    world: World
    pool: Pool
    pairs: Pairs
    labels: NDArray[np.float64]

    @cached_property
    def policy_and_usage(self) -> tuple[Policy, Usage]:
        """The trained policy, and the wall time and peak memory of training it."""
        world = self.world
        with measure_usage() as training:
            policy = world.trainer.fit(self.pool, world.beta, self.pairs, self.labels)
        return policy, training

    @cached_property
    def gap(self) -> float:
        """The policy's gap on the held-out prompts, reward units."""
        return self.world.gap(self.policy_and_usage[0])
