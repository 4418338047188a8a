"""Pairs chosen by a small network that is trained by reinforcement learning to lower the gap.

Each round has candidate pairs, some proposed by other designs, the rest drawn uniformly. A network
scores each candidate from features that do not depend on its label. The candidate of the largest
score is taken, the features of the others are updated as if its label were known, and so on.
Nothing depends on the size of the pool or of its features, so that a network trained in one world
can be used in another.

    python examples/learned_design.py --out runs/learned.zip     # trains, plays, prints Markdown
    pairbench run quickstart --design "examples/learned_design.py(policy='runs/learned.zip')"

Family: decision-theoretic.
Source: Fang, Li, Cohn 2017, Learning how to Active Learn: A Deep Reinforcement Learning Approach,
    arXiv 1708.02383, for the idea; Schulman et al. 2017, Proximal Policy Optimization Algorithms,
    arXiv 1707.06347, for the training.
Assumes: That the world is like those trained on; that a log-linear model describes the reward.
Cost: One DPO fit and the proposals a round; O(m d) for each label, m candidates.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from pairbench import (
    Design,
    InvalidParameter,
    Laplace,
    PairEnv,
    Pairs,
    Report,
    RunSpec,
    View,
    load_report,
    make_design,
    randomize_order,
    run,
    uniform_pairs,
)
from pairbench.information import RankOne, logistic_slope, policy_covariance
from pairbench.pool.pairs import pair_numbers

Array = NDArray[np.float64]
Features = NDArray[np.float32]

SMALL = "prompts=30, held_out_prompts=60, completions=6, dim=8"
TRAINED_ON = (
    f"pairbench/Isotropic-v1({SMALL})",
    f"pairbench/PowerLaw-v1({SMALL})",
    f"pairbench/NearDuplicates-v1({SMALL})",
    f"pairbench/LogLinear-v1({SMALL}, decay=1.0, duplicates=0.5)",
)
HELD_OUT = (
    f"pairbench/StrongReward-v1({SMALL})",
    f"pairbench/SharpReference-v1({SMALL})",
    f"pairbench/SkewedClusters-v1({SMALL})",
    f"pairbench/Misspecified-v1({SMALL})",
    "pairbench/PowerLaw-v1",  # seen, but not at this size
)
BUDGETS = (10, 20, 30, 40, 50, 60, 70, 80)
FLAGSHIP = "greedy-i-robust"


# -- candidates and their features ----------------------------------------------------------------


class Shortlist:
    """Candidate pairs of a round, with their features.

    Attributes:
        pairs: the candidates, ``(m, 3)``, in random order.
        taken: indices of the candidates taken so far, in order; one can be taken repeatedly.
    """

    PROPOSERS = ("greedy-d", "infogain")
    PER_LABEL = 6  # candidates per label to buy: one of each proposer, the rest uniform
    FEATURES = 11  # number of features of a candidate
    BOUND = 10.0  # features are clipped to ±BOUND

    def __init__(self, view: View, n: int, size: int | None = None) -> None:
        """Draw the candidates.

        Args:
            view: the view of the round.
            n: number of labels to buy.
            size: number of candidates m; 6 n if None.
        """
        pool, m = view.pool, self.PER_LABEL * n if size is None else size
        proposals = [make_design(name).select(view, n) for name in self.PROPOSERS]
        proposals.append(uniform_pairs(view, m - sum(map(len, proposals))))
        self.pairs: Pairs = view.rng.permutation(np.concatenate(proposals))
        self.taken: list[int] = []
        belief, z = Laplace().fit(view), pool.differences(self.pairs)
        self._view = view
        self._distance = (z**2).sum(axis=1)
        self._delta = np.abs(z @ belief.theta)
        self._omega = logistic_slope(self._delta)
        covariance = policy_covariance(pool, belief.theta, view.beta)
        self._state = RankOne(z, belief.covariance, covariance)
        prompt, first, second = self.pairs.T
        policy = np.exp(view.log_policy())
        completions = pool.valid.sum(axis=1)[prompt]
        self._likely = (policy[prompt, first] + policy[prompt, second]) * completions / 2
        self._number = pair_numbers(pool, self.pairs)
        self._asked = _counts(pair_numbers(pool, view.pairs), self._number)
        self._asked_of_prompt = _counts(view.pairs[:, 0], prompt)

    def features(self) -> Features:
        """Compute the candidates' features, ``(m, FEATURES)``, clipped to ±BOUND."""
        state, labels = self._state, len(self._view.pairs) + len(self.taken)
        variance = np.maximum(state.leverage, 0)
        columns = [
            _relative(self._omega * variance),  # criterion of greedy-d: information on θ
            _relative(
                np.maximum(state.gains(self._omega), 0)
            ),  # criterion of greedy-i: on the policy
            _relative(variance),  # variance of the reward difference Δ
            _relative(self._distance),
            np.log1p(self._delta),  # |Δ|, reward units
            np.log1p(self._delta / np.sqrt(variance + 1e-12)),  # |Δ| in standard deviations
            np.log1p(self._asked),
            np.log1p(self._asked_of_prompt),
            np.log(self._likely + 1e-3),  # probability under π̂, over the average pair's
            np.full(len(variance), labels / self._view.horizon),
            np.full(len(variance), np.log1p(labels / self._view.pool.dim)),
        ]
        return np.stack(columns, axis=1).clip(-self.BOUND, self.BOUND).astype(np.float32)

    def take(self, candidate: int) -> None:
        """Take a candidate, and update the state as if its label were known."""
        self.taken.append(candidate)
        self._state.take(candidate, float(self._omega[candidate]))
        self._asked += self._number == self._number[candidate]
        self._asked_of_prompt += self.pairs[:, 0] == self.pairs[candidate, 0]

    def chosen(self) -> Pairs:
        """Return the pairs taken, ``(n, 3)``, each in random order."""
        return randomize_order(self._view, self.pairs[np.array(self.taken, dtype=np.int64)])


def _counts(values: NDArray[np.int64], keys: NDArray[np.int64]) -> Array:
    """Count how often each key occurs among the values."""
    values = np.sort(values)
    left, right = (np.searchsorted(values, keys, side=side) for side in ("left", "right"))
    return (right - left).astype(np.float64)


def _relative(values: Array) -> Array:
    """Compute log(x / mean), which is free of units; bounded below for x = 0."""
    relative: Array = np.log(values / (values.mean() or 1.0) + 1e-3)
    return relative


# -- the training environment ---------------------------------------------------------------------


class CandidateEnv(gymnasium.Env[Features, np.int64]):
    """``PairEnv`` with one pair per step: an action takes one of the round's candidates.

    **Observation.** The candidates' features, ``(m, FEATURES)``. **Action.** ``Discrete(m)``.
    **Reward.** The decrease of log gap at the last step of a round, when the pairs are labelled; 0
    before. **Episode end.** That of ``PairEnv``.
    """

    def __init__(self, env: PairEnv) -> None:
        """Wrap an environment whose budgets count labels."""
        self.env, self.size = env, Shortlist.PER_LABEL * env.batch
        shape, bound = (self.size, Shortlist.FEATURES), Shortlist.BOUND
        self.observation_space = spaces.Box(-bound, bound, shape, np.float32)
        self.action_space = spaces.Discrete(self.size)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Features, dict[str, Any]]:
        """Draw a world and the first round's candidates."""
        super().reset(seed=seed)
        _, info = self.env.reset(seed=seed, options=options)
        self.log_gap = self._log_gap()
        self._draw_candidates()
        return self.shortlist.features(), info

    def step(self, action: np.int64) -> tuple[Features, float, bool, bool, dict[str, Any]]:
        """Take a candidate; label the round's pairs after the last one."""
        self.shortlist.take(int(action))
        if len(self.shortlist.taken) < self.env.ledger.labels_left:
            return self.shortlist.features(), 0.0, False, False, {}
        action_of_all = self.env.action(self.shortlist.chosen())
        _, _, terminated, truncated, info = self.env.step(action_of_all)
        before, self.log_gap = self.log_gap, self._log_gap()
        if not terminated:
            self._draw_candidates()
        return self.shortlist.features(), before - self.log_gap, terminated, truncated, info

    def _draw_candidates(self) -> None:
        self.shortlist = Shortlist(self.env.view(), self.env.ledger.labels_left, self.size)

    def _log_gap(self) -> float:
        # The true gap enters the reward only, as in PairEnv, and no observation.
        return float(np.log(self.env.gap + 1e-6))


# -- the policy -----------------------------------------------------------------------------------


def scorer() -> nn.Sequential:
    """Build the network that scores a candidate from its features."""
    return nn.Sequential(nn.Linear(Shortlist.FEATURES, 32), nn.Tanh(), nn.Linear(32, 1))


class CandidateNetwork(nn.Module):
    """Actor with one scorer shared by all candidates, and critic of their mean and maximum."""

    def __init__(self, candidates: int) -> None:
        super().__init__()
        self.shape = (candidates, Shortlist.FEATURES)
        self.latent_dim_pi, self.latent_dim_vf = candidates, 32
        self.scorer = scorer()
        self.critic = nn.Sequential(nn.Linear(2 * Shortlist.FEATURES, 32), nn.Tanh())

    def forward(self, flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the latents of the actor and of the critic, as Stable-Baselines3 calls them."""
        return self.forward_actor(flat), self.forward_critic(flat)

    def forward_actor(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the score of each candidate, ``(batch, m)``."""
        scores: torch.Tensor = self.scorer(flat.view(-1, *self.shape)).squeeze(-1)
        return scores

    def forward_critic(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the latents of the critic, ``(batch, 32)``."""
        features = flat.view(-1, *self.shape)
        latent: torch.Tensor = self.critic(torch.cat([features.mean(1), features.amax(1)], 1))
        return latent


class Logits(CategoricalDistribution):
    """Categorical distribution whose logits are the actor's latents, without a further layer.

    The usual linear layer would depend on the order of the candidates.
    """

    def proba_distribution_net(self, latent_dim: int) -> nn.Module:
        """Return the identity."""
        return nn.Identity()


class CandidatePolicy(ActorCriticPolicy):
    """Actor-critic policy that is equivariant to the order of the candidates."""

    def _build_mlp_extractor(self) -> None:
        assert isinstance(self.action_space, spaces.Discrete)
        self.action_dist = Logits(int(self.action_space.n))
        self.mlp_extractor = CandidateNetwork(int(self.action_space.n))  # type: ignore[assignment]


def learning_env(world: str) -> Monitor[Features, np.int64]:
    """Create a training environment that records the return of each episode."""
    return Monitor(CandidateEnv(PairEnv(world, BUDGETS)))


def train(steps: int, seed: int) -> tuple[PPO, NDArray[np.float64]]:
    """Train in all environments at once.

    Args:
        steps: number of pairs to buy.
        seed: seed of all randomness. Each episode draws a new world.

    Returns:
        The model, and the return of each episode, ``(episodes, environments)``.
    """
    envs = DummyVecEnv([partial(learning_env, world) for world in TRAINED_ON])
    model = PPO(
        CandidatePolicy,
        envs,
        n_steps=320,
        batch_size=640,
        n_epochs=6,
        gamma=0.97,
        learning_rate=1e-3,
        policy_kwargs={"ortho_init": False},
        seed=seed,
        device="cpu",
    )
    model.learn(steps)
    return model, np.array(envs.env_method("get_episode_rewards")).T


# -- the design -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LearnedDesign(Design):
    """Design that takes the candidate of the highest score for each label.

    Attributes:
        policy: file of the trained policy; if empty, candidates are taken at random.
        digest: digest of the file's weights, which records them in a run. Computed from the file;
            if specified, the file's digest must equal it.
    """

    policy: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.policy:
            return
        weights = self.scorer.state_dict().values()
        digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest()[:8]
        if self.digest not in ("", digest):
            raise InvalidParameter(
                f"{self.policy} has the digest {digest!r}, not {self.digest!r}: it was trained "
                "again. Leave digest out to use the present weights."
            )
        object.__setattr__(self, "digest", digest)

    @cached_property
    def scorer(self) -> nn.Sequential:
        """The trained network. Only weights are read from the file, no pickled objects."""
        prefix = "mlp_extractor.scorer."
        with torch.device("meta"):  # creates no weights, so that no random numbers are drawn
            network = scorer()
        try:
            _, saved, _ = load_from_zip_file(self.policy, load_data=False, device="cpu")
            policy: Mapping[str, torch.Tensor] = saved["policy"]  # type: ignore[assignment]
            weights = {k[len(prefix) :]: v for k, v in policy.items() if k.startswith(prefix)}
            network.load_state_dict(weights, assign=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InvalidParameter(
                f"policy must be a file that examples/learned_design.py saved, got "
                f"{self.policy!r}: {error}"
            ) from error
        return network

    def select(self, view: View, n: int) -> Pairs:
        """Select pairs among six candidates per label."""
        shortlist = Shortlist(view, n)
        for _ in range(n):
            shortlist.take(self._best(shortlist, view.rng))
        return shortlist.chosen()

    def _best(self, shortlist: Shortlist, rng: np.random.Generator) -> int:
        if not self.policy:
            return int(rng.integers(len(shortlist.pairs)))
        with torch.no_grad():
            return int(self.scorer(torch.from_numpy(shortlist.features())).argmax())


# -- results --------------------------------------------------------------------------------------


def training_curve(returns: Array) -> str:
    """Tabulate the mean decrease of log gap per episode, by tenths of the training."""
    rows = [["episodes", *map(short, TRAINED_ON)]]
    for part in np.array_split(np.arange(len(returns)), min(10, len(returns))):
        means = [f"{mean:.2f}" for mean in returns[part].mean(axis=0)]
        rows.append([f"{part[0] + 1:,} to {part[-1] + 1:,}", *means])
    return table(rows)


def comparison(report: Report) -> str:
    """Tabulate final gaps over the reference's, with 95 % intervals; bold if smaller."""
    designs = sorted({row.design for section in report.sections for row in section.rows})
    designs.remove(report.reference)
    rows = [["world", f"gap of {report.reference}", *designs]]
    for section in report.sections:
        by_design = {row.design: row for row in section.rows}
        rows.append([short(section.environment), f"{by_design[report.reference].gap.value:.4f}"])
        for ratio in (by_design[design].ratio for design in designs):
            assert ratio is not None
            text = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
            rows[-1].append(f"**{text}**" if ratio.high < 1 else text)
    return table(rows)


def short(world: str) -> str:
    """Return an environment's name without its parameters."""
    return world.partition("(")[0].removeprefix("pairbench/")


def table(rows: list[list[str]]) -> str:
    """Format a Markdown table whose first row is the header."""
    return "\n".join(
        f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    )


def main() -> None:
    """Train and save a policy, play it against other designs, and print the results as Markdown."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=200_000, help="labels to buy in training")
    parser.add_argument("--seeds", type=int, default=30, help="worlds of each environment to play")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/learned.zip"), help="file of the policy"
    )
    options = parser.parse_args()
    if min(options.steps, options.seeds, options.jobs) < 1:
        parser.error("--steps, --seeds and --jobs must be 1 or more.")
    saved, folder = options.out.with_suffix(".zip"), options.out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    start = time.process_time()
    model, returns = train(options.steps, seed=2**31)  # far from the seeds that are played
    minutes = (time.process_time() - start) / 60
    model.save(saved)
    parts = [f"{returns.size:,} episodes in {minutes:.1f} CPU minutes:", training_curve(returns)]
    designs = ("uniform", "greedy-d", "greedy-i", __file__, f"{__file__}(policy={str(saved)!r})")
    for title, worlds in (("trained on", TRAINED_ON), ("not trained on", HELD_OUT)):
        spec = RunSpec("learned", worlds, designs, range(options.seeds), FLAGSHIP, BUDGETS)
        run(spec, folder, jobs=options.jobs)
        parts += [f"Worlds {title}, {options.seeds} seeds:", comparison(load_report(folder))]
    sys.stdout.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
