import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import chisquare

from pairbench import BradleyTerry

REWARDS = np.random.default_rng(0).normal(size=(4, 5))
ROWS = st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**31))
ASKED = st.lists(ROWS.filter(lambda row: row[1] != row[2]), min_size=1, max_size=30)

# The labels of many questions, written so that another process can give them too.
MANY = """
import hashlib
import numpy as np
from pairbench import BradleyTerry
rng = np.random.default_rng(5)
first = rng.integers(5, size=500)
pairs = np.stack([rng.integers(4, size=500), first, (first + 1 + rng.integers(4, size=500)) % 5], 1)
oracle = BradleyTerry(np.random.default_rng(0).normal(size=(4, 5)), 3)
labels = oracle.label(pairs, rng.integers(9, size=500))
digest = hashlib.sha256(labels.astype("<f8").tobytes()).hexdigest()
"""


def split(asked: list[tuple[int, int, int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = np.array(asked, dtype=np.int64)
    return rows[:, :3], rows[:, 3]


@given(st.integers(0, 2**64), ASKED)
def test_turning_a_question_turns_its_answer(
    seed: int, asked: list[tuple[int, int, int, int]]
) -> None:
    pairs, repeat = split(asked)
    oracle = BradleyTerry(REWARDS, seed)
    turned = oracle.label(pairs[:, [0, 2, 1]], repeat)
    np.testing.assert_array_equal(turned, 1 - oracle.label(pairs, repeat))


@given(st.integers(0, 2**64), ASKED, st.data())
def test_an_answer_is_the_same_in_any_order_and_any_batch(
    seed: int, asked: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    pairs, repeat = split(asked)
    oracle = BradleyTerry(REWARDS, seed)
    labels = oracle.label(pairs, repeat)
    order = np.array(data.draw(st.permutations(range(len(asked)))))
    np.testing.assert_array_equal(oracle.label(pairs[order], repeat[order]), labels[order])
    cut = data.draw(st.integers(0, len(asked)))
    parts = [oracle.label(pairs[:cut], repeat[:cut]), oracle.label(pairs[cut:], repeat[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), labels)


def test_an_answer_is_the_same_in_another_process(root: Path) -> None:
    here: dict[str, str] = {}
    exec(MANY, here)
    there = subprocess.run(
        [sys.executable, "-c", MANY + "print(digest)"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.stdout.strip() == here["digest"]
    assert here["digest"] != hashlib.sha256(np.zeros(500).tobytes()).hexdigest()


def test_asking_again_gives_a_fresh_answer() -> None:
    oracle = BradleyTerry(np.zeros((1, 2)), 0)
    labels = oracle.label(np.tile([0, 0, 1], (4000, 1)), np.arange(4000))
    # Fair coins: runs of equal answers are as long as chance makes them.
    changes = int(np.sum(labels[1:] != labels[:-1]))
    assert abs(changes - 3999 / 2) < 4 * np.sqrt(3999) / 2


def test_two_seeds_give_other_answers() -> None:
    pairs, repeat = np.tile([0, 0, 1], (200, 1)), np.arange(200)
    one, other = (BradleyTerry(np.zeros((1, 2)), seed).label(pairs, repeat) for seed in (0, 1))
    assert 50 < np.sum(one != other) < 150


def test_frequencies_are_those_of_bradley_and_terry() -> None:
    rewards = np.array([[0.0, 0.7, -1.5, 3.0]])
    times = 50_000
    pairs = np.array([[0, i, j] for i in range(4) for j in range(4) if i < j])
    asked = np.repeat(pairs, times, axis=0)
    asked[::2] = asked[::2, [0, 2, 1]]
    labels = BradleyTerry(rewards, 11).label(asked, np.tile(np.arange(times), len(pairs)))
    labels[::2] = 1 - labels[::2]
    wins = labels.reshape(len(pairs), times).sum(axis=1)
    p = expit(rewards[0, pairs[:, 1]] - rewards[0, pairs[:, 2]])
    observed = np.concatenate([wins, times - wins])
    expected = times * np.concatenate([p, 1 - p])
    # Six independent binomials: six degrees of freedom among twelve cells.
    assert chisquare(observed, expected, ddof=5).pvalue > 1e-3


def test_overwhelming_rewards_decide_every_answer() -> None:
    pairs = np.array([[0, 0, 1], [0, 1, 0]])
    labels = BradleyTerry(np.array([[0.0, 1e6]]), 0).label(pairs, np.zeros(2, dtype=np.int64))
    assert labels.tolist() == [0.0, 1.0]
