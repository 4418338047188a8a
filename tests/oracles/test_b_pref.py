"""The teachers of B-Pref against a plain transcription of how they answer.

Lee, Smith, Dragan and Abbeel 2021, arXiv 2111.03026; ``get_label`` of ``reward_model.py`` in
github.com/rll-research/BPref, one query at a time. Its labels are 1 for the second, 0 for the
first, −1 for equal, None for a query that is skipped.
"""

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import pytest
from scipy.stats import chi2

from pairbench import World
from pairbench.oracles.annotators import make_annotator
from tests.oracles.conftest import Answering, MakeWorld
from tests.oracles.reference import Array, ordered_pairs


@dataclass(frozen=True)
class Teacher:
    beta: float = -1  # 0 or less: perfectly rational
    gamma: float = 1
    eps_mistake: float = 0
    eps_skip: float = 0
    eps_equal: float = 0

    def label(self, r1: list[float], r2: list[float], margin: float, rng: Random) -> int | None:
        """What it says of two segments, whose rewards by step are given.

        ``margin`` is the mean return of the policy, of which the thresholds are shares.
        """
        return_1, return_2 = sum(r1), sum(r2)
        thres_skip, thres_equal = margin * self.eps_skip, margin * self.eps_equal
        if thres_skip > 0 and not max(return_1, return_2) > thres_skip:
            return None
        alike = abs(return_1 - return_2) < thres_equal
        seen_1, seen_2 = list(r1), list(r2)
        for index in range(len(r1) - 1):
            for step in range(index + 1):
                seen_1[step] *= self.gamma
                seen_2[step] *= self.gamma
        label = int(sum(seen_1) < sum(seen_2))
        if self.beta > 0:
            second = 1 / (1 + math.exp(self.beta * (sum(seen_1) - sum(seen_2))))
            label = int(rng.random() < second)
        if rng.random() < self.eps_mistake:
            label = 1 - label
        return -1 if alike else label


def non_negative(world: World) -> tuple[Array, float]:
    """Rewards by step, such that the worst completion of a prompt returns 0, and π_ref's return."""
    assert world.truth.steps is not None
    steps, valid = world.truth.steps.copy(), world.pool.valid
    for x in range(len(steps)):
        steps[x] -= world.truth.rewards[x, valid[x]].min() / steps.shape[2]
    returns = np.where(valid, np.exp(world.pool.log_ref) * steps.sum(axis=2), 0.0).sum(axis=1)
    return steps, float(world.pool.prompt_weights @ returns)


CHAINS = [
    ("b-pref-oracle", Teacher()),
    ("b-pref-stochastic", Teacher(beta=1)),
    ("b-pref-mistake", Teacher(eps_mistake=0.1)),
    ("b-pref-skip", Teacher(eps_skip=0.1)),
    ("b-pref-equal", Teacher(eps_equal=0.1)),
    ("b-pref-myopic", Teacher(gamma=0.9)),
    (
        "bradley-terry | mistake(rate=0.2) | equal(epsilon=0.4) | skip(epsilon=0.9)",
        Teacher(beta=1, eps_mistake=0.2, eps_skip=0.9, eps_equal=0.4),
    ),
    (  # the replies in another order
        "bradley-terry | skip(epsilon=0.9) | equal(epsilon=0.4) | mistake(rate=0.2)",
        Teacher(beta=1, eps_mistake=0.2, eps_skip=0.9, eps_equal=0.4),
    ),
    (
        "myopic(gamma=0.4) | bradley-terry(temperature=0.5) | equal | skip(epsilon=0.9) | mistake",
        Teacher(beta=2, gamma=0.4, eps_mistake=0.1, eps_skip=0.9, eps_equal=0.1),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("annotator", "teacher"), CHAINS, ids=[text for text, _ in CHAINS])
def test_answers_come_as_often_as_b_prefs(
    make_world: MakeWorld, answering: Answering, annotator: str, teacher: Teacher
) -> None:
    world = make_world(4, 4, ragged=False)
    steps, margin = non_negative(world)
    pairs = ordered_pairs(world)
    pairs = pairs[pairs[:, 1] < pairs[:, 2]]
    times, rng = 100_000 // len(pairs), Random(8)
    said = {0: 1.0, 1: 0.0, -1: 0.5, None: -1.0}
    segments = [(steps[x, i].tolist(), steps[x, j].tolist()) for x, i, j in pairs]
    theirs = np.array(
        [[said[teacher.label(*two, margin, rng)] for _ in range(times)] for two in segments]
    )
    asked, repeat = np.repeat(pairs, times, axis=0), np.tile(np.arange(times), len(pairs))
    ours = np.nan_to_num(answering(annotator, 3, world).label(asked, repeat), nan=-1)
    ours = ours.reshape(theirs.shape)
    score, free = 0.0, 0
    for one, other in zip(ours, theirs, strict=True):
        counts = np.array(
            [[np.sum(row == v) for v in (1.0, 0.0, 0.5, -1.0)] for row in (one, other)]
        )
        counts = counts[:, counts.sum(axis=0) > 0]
        # Two samples of one size: (a − b)²/(a + b), summed.
        score += float(np.sum((counts[0] - counts[1]) ** 2 / counts.sum(axis=0)))
        free += counts.shape[1] - 1
    assert chi2(free).sf(score) > 1e-3 if free else score == 0
    if teacher.eps_skip:
        assert (theirs == -1).any()
    if teacher.eps_equal:
        assert (theirs == 0.5).any()


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("b-pref-oracle", "deterministic"),
        ("b-pref-stochastic", "bradley-terry(temperature=1)"),
        ("b-pref-mistake", "deterministic | mistake(rate=0.1)"),
        ("b-pref-skip", "deterministic | skip(epsilon=0.1)"),
        ("b-pref-equal", "deterministic | equal(epsilon=0.1)"),
        ("b-pref-myopic", "myopic(gamma=0.9) | deterministic"),
        ("length-bias | b-pref-skip | mistake", "length-bias | deterministic | skip | mistake"),
    ],
)
def test_a_ready_made_name_is_its_chain(name: str, chain: str) -> None:
    assert make_annotator(name) == make_annotator(chain)
