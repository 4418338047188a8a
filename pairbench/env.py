"""PairEnv: one episode of choosing pairs, as a Gymnasium environment."""

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

from pairbench.budget import Ledger, least_price, make_prices, opened, reached
from pairbench.design import ControlView, View
from pairbench.errors import InvalidParameter, RunError
from pairbench.metering import Usage, metered
from pairbench.oracles import VotingOracle
from pairbench.policies import Policy
from pairbench.pool import Pairs, Pool, repeats
from pairbench.registry import make_env
from pairbench.scoring import Score
from pairbench.votes import Votes
from pairbench.world import Environment, World, drawn_world

Observation = dict[str, NDArray[Any]]

_MOST = 10**9  # labels; beyond it budgets are mistakes
_LARGE = 1e30  # stands for infinity in spaces, where Gymnasium's checker asks for finite bounds


class PairEnv(gymnasium.Env[Observation, NDArray[np.int64]]):
    """Buy labels for pairs of completions, round by round.

    **Description.** A world is drawn from the seed. In each round the agent asks a batch of
    questions, the oracle answers, the trainer fits a policy (by DPO, unless the environment names
    another trainer) to all answers so far, and the policy is scored.

    **Action space.** ``MultiDiscrete``, ``(n, 3)`` rows ``(prompt, first, second)``, n being the
    largest batch of the schedule. Of the rows that are a question (two different valid
    completions) the first are asked, as many as the budget buys; all others buy nothing. To ask
    fewer, fill up with rows ``(prompt, i, i)`` of a completion i that is there. In worlds where
    completions are generated, a row ``(prompt, i, i)`` of one that is not there yet draws the
    prompt's next one; a step that asks nothing but draws does not end the round.

    **Observation space.** ``Dict``: the pool (``features``, ``log_ref``, 0 where not valid,
    ``lengths``, ``valid``, ``prompt_weights``), the questions so far (``pairs``, −1 where not yet
    asked), their answers (``labels``: 1, 0, ½; −1 where there is none), ``labels_left`` in this
    round (at the average price, where budgets are money), ``money_left`` (1e30 where
    budgets count labels) and ``rounds_left``.

    **Reward.** The fall of the gap G(π̂) on held-out prompts since the last round, reward units; the
    return is the total fall from π_ref's gap.

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
        """Make the environment and its spaces; a world is drawn by :meth:`reset`.

        Args:
            environment: an id, a spec such as ``"pairbench/LogLinear-v1(dim=32)"``, or an object.
            budgets: cumulative budgets, whole labels or units of money as the environment has it;
                the environment's own if not given.
            horizon: the budget that designs are told to plan for; the last one if not given.
            render_mode: only None, there is nothing to render.
            **params: parameters of the environment, where an id is given.

        Raises:
            InvalidParameter: If the budgets do not grow from 1 or more.
        """
        self.environment = make_env(environment, **params)
        self.marks = checked_budgets(self.environment.budgets if budgets is None else budgets)
        self.horizon = horizon
        self.render_mode = render_mode
        self.prices = make_prices(self.environment.prices)
        # Shapes are the same for all seeds.
        world = drawn_world(self.environment, 0)
        pool, first = world.pool, self._opened(world)
        # A round may buy more labels than at the average price, if it asks the cheapest pairs.
        self._most = self.marks[-1] if first.unit == "labels" else most_labels(first, pool)
        n, k, total = pool.n_prompts, pool.n_completions, self._most
        self.batch = int(np.diff((0, *self.marks)).max())
        if first.unit == "money":
            self.batch = total
        if world.given is not None:
            self.batch += int((pool.valid & ~world.given).sum())
        self.action_space = spaces.MultiDiscrete(np.tile([n, k, k], (self.batch, 1)))
        self.observation_space = spaces.Dict(  # type: ignore[assignment]  # Dict's own typing
            {
                "features": spaces.Box(-_LARGE, _LARGE, (n, k, pool.dim), np.float32),
                "log_ref": spaces.Box(-_LARGE, 0, (n, k), np.float64),
                "lengths": spaces.Box(0, 2**62, (n, k), np.int64),
                "valid": spaces.MultiBinary((n, k)),
                "prompt_weights": spaces.Box(0, 1, (n,), np.float64),
                "pairs": spaces.Box(-1, max(n, k), (total, 3), np.int64),
                "labels": spaces.Box(-1, 1, (total,), np.float32),
                "labels_left": spaces.Box(0, total, (1,), np.int64),
                "money_left": spaces.Box(0, _LARGE, (1,), np.float64),
                "rounds_left": spaces.Box(0, len(self.marks), (1,), np.int64),
            }
        )
        self._latest: _Outcome | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw a world, that of the seed where one is given, and begin an episode."""
        super().reset(seed=seed)
        self.seed = int(self.np_random.integers(2**32)) if seed is None else seed
        world = drawn_world(self.environment, self.seed)
        self._show(world.shown)
        self.pairs: Pairs = np.empty((0, 3), dtype=np.int64)
        self.labels = np.empty(0)
        self.ledger = self._opened(world)
        self._latest = _Outcome(world, self.present, self.pairs, self.labels)
        return self._observation(), self._info(skipped=0)

    def step(
        self, action: NDArray[np.int64]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Generate what is asked for, ask the questions of one round, train, and score."""
        before = self.gap
        skipped = self.buy(action)
        done = not self.ledger.rounds_left
        return self._observation(), before - self.gap, done, False, self._info(skipped)

    def buy(self, action: NDArray[np.int64]) -> int:
        """What :meth:`step` does without training, which waits until the policy is looked at.

        Args:
            action: see the class.

        Returns:
            How many rows bought nothing.

        Raises:
            RunError: If the schedule is spent.
        """
        world = self.world
        if not self.ledger.rounds_left:
            raise RunError("the episode is over: the schedule is spent. Call reset() first.")
        rows = np.asarray(action, dtype=np.int64).reshape(-1, 3)
        generated = self._generate(rows)
        pairs = rows[self.present.proper(rows)]
        skipped = len(rows) - generated
        if generated and not len(pairs):
            return skipped
        pairs = pairs[
            : min(self.ledger.affordable(pairs, self.present), self._most - len(self.pairs))
        ]
        time = len(self.pairs) + np.arange(len(pairs))
        answers = world.oracle.label(pairs, repeats(pairs, self.pairs), time)
        self.pairs = np.concatenate([self.pairs, pairs])
        self.labels = np.concatenate([self.labels, answers])
        self.ledger = self.ledger.charge(pairs, self.present)
        self._latest = _Outcome(world, self.present, self.pairs, self.labels)
        return skipped - len(pairs)

    @property
    def policy(self) -> Policy:
        """What is trained on all answers so far."""
        return self._outcome.trained[0]

    @property
    def training(self) -> Usage:
        """What training the policy took."""
        return self._outcome.trained[1]

    @property
    def gap(self) -> float:
        """The policy's gap on the held-out prompts, reward units."""
        return self._outcome.gap

    @property
    def hidden(self) -> NDArray[np.int64] | None:
        """How many completions of each prompt can still be generated, None where none ever can."""
        if self.world.given is None:
            return None
        hidden: NDArray[np.int64] = (self.world.pool.valid & ~self.present.valid).sum(axis=1)
        return hidden

    def _opened(self, world: World) -> Ledger:
        """The ledger of a new episode."""
        return opened(
            self.marks,
            self.horizon,
            world.shown,
            unit=self.environment.unit,
            prices=self.prices,
            votes=world.oracle.size if isinstance(world.oracle, VotingOracle) else 1,
        )

    def _show(self, pool: Pool) -> None:
        """Make this the pool that questions can be asked of."""
        # Agents get a copy, so that not even its attributes lead back to what is scored.
        self.present, self.pool = pool, copy.copy(pool)

    def _generate(self, rows: NDArray[np.int64]) -> int:
        """Draw the completions that rows (prompt, i, i) ask for, as far as the money goes."""
        hidden, valid = self.hidden, self.world.pool.valid
        if hidden is None:
            return 0
        n, k = valid.shape
        inside = np.all((rows >= 0) & (rows < np.array([n, k, k])), axis=1)
        prompt, first, second = np.where(inside[:, None], rows, 0).T
        asks = (
            inside & (first == second) & valid[prompt, first] & ~self.present.valid[prompt, first]
        )
        prompts = prompt[asks]
        # The k-th asking for a prompt draws its k-th hidden completion, whichever i it named.
        order = np.argsort(prompts, kind="stable")
        turn = np.empty(len(prompts), dtype=np.int64)
        turn[order] = np.arange(len(prompts)) - np.searchsorted(prompts[order], prompts[order])
        prompts = prompts[turn < hidden[prompts]][: self.ledger.most_generated]
        wanted = np.bincount(prompts, minlength=len(valid))
        new = valid & ~self.present.valid
        if len(prompts):
            there = self.present.valid | (new & (new.cumsum(axis=1) <= wanted[:, None]))
            self._show(self.world.pool.only(there))
            self.ledger = self.ledger.generate(len(prompts), self.present)
        return len(prompts)

    @property
    def world(self) -> World:
        """The world of this episode, truth and all: for the harness, not for agents."""
        return self._outcome.world

    @property
    def _outcome(self) -> "_Outcome":
        if self._latest is None:
            raise RunError("there is no episode yet. Call reset() first.")
        return self._latest

    def stream(self, purpose: str = "design") -> np.random.Generator:
        """The random numbers of this round, the same whatever was played before.

        Args:
            purpose: what they are for; each has its own.
        """
        # A digest, because whoever can read the seed off the generator can draw the world.
        name = f"pairbench {purpose} {self.seed} {self.ledger.round}".encode()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()))

    def view(self, control: bool = False, purpose: str = "design") -> View:
        """What a design may see before the next round; the same whatever was played before.

        Args:
            control: whether it is for a control, which is shown the truth.
            purpose: of its random numbers, see :meth:`stream`.
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
        theta, covariance = self.world.best[0], self.world.best_covariance
        return ControlView(**vars(view), theta=theta, covariance=covariance)

    def action(self, pairs: Pairs) -> NDArray[np.int64]:
        """The action that asks these pairs, ``(batch, 3)``: the other rows buy nothing."""
        action = np.zeros((max(self.batch, len(pairs)), 3), dtype=np.int64)
        action[:, 1:] = self.present.valid_first[0, 0]
        action[: len(pairs)] = pairs
        return action

    def drawing(self, prompts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The action that draws a completion for each of these prompts, ``(batch, 3)``."""
        last = np.argmax((self.world.pool.valid & ~self.present.valid)[prompts], axis=1)
        return self.action(np.stack([prompts, last, last], axis=1))

    def score(self) -> Score:
        """All figures of merit of the current policy."""
        return self.world.score(self.policy, self.pairs)

    def _observation(self) -> Observation:
        pool, total, bought = self.pool, self._most, len(self.pairs)
        pairs = np.full((total, 3), -1, dtype=np.int64)
        pairs[:bought] = self.pairs
        labels = np.full(total, -1, dtype=np.float32)
        labels[:bought] = np.nan_to_num(self.labels, nan=-1)
        # Copies, because agents keep and change what they are given.
        return {
            "features": pool.features.copy(),
            "log_ref": np.where(pool.valid, pool.log_ref, 0.0),
            "lengths": pool.lengths.copy(),
            "valid": pool.valid.astype(np.int8),
            "prompt_weights": pool.prompt_weights.copy(),
            "pairs": pairs,
            "labels": labels,
            "labels_left": np.array([min(self.ledger.left, total)], dtype=np.int64),
            "money_left": np.array([min(self.ledger.money_left, _LARGE)]),
            "rounds_left": np.array([self.ledger.rounds_left], dtype=np.int64),
        }

    def _votes(self) -> Votes | None:
        oracle, pairs = self.world.oracle, self.pairs
        if not isinstance(oracle, VotingOracle):
            return None
        return oracle.votes(pairs, repeats(pairs, pairs[:0]), np.arange(len(pairs)))

    def _info(self, skipped: int) -> dict[str, Any]:
        ledger = self.ledger
        return {
            "round": ledger.round,
            "labels": ledger.labels,
            "spent": ledger.spent,
            "skipped": skipped,
        }


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What comes of the answers so far; it is found out when it is looked at.

    Attributes:
        world: the episode's.
        pool: what could be asked when the last of them was.
        pairs: the questions, ``(n, 3)``.
        labels: the answers, ``(n,)``.
    """

    world: World
    pool: Pool
    pairs: Pairs
    labels: NDArray[np.float64]

    @cached_property
    def trained(self) -> tuple[Policy, Usage]:
        """The policy, and what training it took."""
        world = self.world
        with metered() as training:
            policy = world.trainer.fit(self.pool, world.beta, self.pairs, self.labels)
        return policy, training

    @cached_property
    def gap(self) -> float:
        """The policy's gap on the held-out prompts, reward units."""
        return self.world.gap(self.trained[0])


def most_labels(ledger: Ledger, pool: Pool) -> int:
    """The most labels that an episode can buy: as many as the cheapest pair's price allows."""
    least = ledger.prices.label + ledger.prices.vote * ledger.votes
    least = least or least_price(pool, ledger.prices, ledger.votes)
    return reached(ledger.marks[-1], least)


def checked_budgets(budgets: Sequence[int]) -> tuple[int, ...]:
    """The schedule as a tuple.

    Raises:
        InvalidParameter: If it is empty, holds anything but whole numbers, or does not grow.
    """
    marks = tuple(budgets)
    whole = all(isinstance(m, int | np.integer) and not isinstance(m, bool) for m in marks)
    grow = whole and all(a < b for a, b in zip((0, *marks), (*marks, _MOST), strict=True))
    if not marks or not grow:
        raise InvalidParameter(
            "budgets must be whole cumulative numbers of labels, or of units of money where the "
            "environment counts money, that grow from 1 or more, "
            f"such as 50,100,200, to less than {_MOST:.0e}; got {marks}."
        )
    return tuple(int(mark) for mark in marks)
