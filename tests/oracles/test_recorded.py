"""Worlds whose answers are a record."""

import hashlib
import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pairbench import Environment, InvalidParameter, PairEnv, make_env, play
from pairbench.cells.play import replay
from pairbench.design.registry import design_names
from pairbench.errors import InvalidData, NotRecorded
from pairbench.oracles.annotators import make_annotator
from pairbench.oracles.recorded import Recorded
from pairbench.oracles.stages import AnnotatorContext
from pairbench.worlds.environment import draw_world
from pairbench.worlds.registry import environment_spec

Given = dict[tuple[int, int, int], list[float]]
SIZE = {"prompts": 6, "completions": 5, "dim": 3, "held_out_prompts": 20}


def written(path: Path, share: float = 0.6, seed: int = 0) -> Given:
    """A file of the votes of 1 to 3 people on some pairs of all prompts but the last."""
    rng = np.random.default_rng(seed)
    votes: Given = {}
    with path.open("w") as file:
        for x in range(SIZE["prompts"] - 1):
            for i, j in combinations(range(SIZE["completions"]), 2):
                if rng.random() < share:
                    given = rng.choice([0, 0.5, 1], size=rng.integers(1, 4)).tolist()
                    votes[x, i, j] = given
                    turned = rng.random() < 0.5
                    line = {
                        "prompt": x,
                        "first": j if turned else i,
                        "second": i if turned else j,
                        "votes": [1 - a if turned else a for a in given],
                        "annotators": ["ann", "bo", "cy"][: len(given)],
                    }
                    file.write(json.dumps(line) + "\n")
    return votes


@pytest.fixture
def votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    monkeypatch.chdir(tmp_path)
    return written(tmp_path / "votes.jsonl")


def recorded(text: str = "recorded(file='votes.jsonl')", **params: int) -> Environment:
    return make_env("LogLinear-v1", **(SIZE | params), annotator=text)


def old_pairs(env: Environment, seed: int = 0) -> list[tuple[int, int, int]]:
    """What each pair of the new pool is in the environment's own."""
    pool, own = draw_world(env, seed).pool, make_env("LogLinear-v1", **SIZE).world(seed).pool
    found = []
    for x, i, j in np.argwhere(pool.pair_mask).tolist():
        # Features tell the completions of these pools apart.
        places = [np.argwhere((own.features == pool.features[x, k]).all(axis=2))[0] for k in (i, j)]
        assert places[0][0] == places[1][0]
        found.append((int(places[0][0]), int(places[0][1]), int(places[1][1])))
    return found


def test_the_pool_is_the_recorded_pairs_and_the_rest_stays(
    votes: Given,
) -> None:
    env, seed = recorded(), 3
    world, own = draw_world(env, seed), make_env("LogLinear-v1", **SIZE).world(seed)
    pairs = old_pairs(env, seed)
    assert sorted(pairs) == sorted(votes)
    assert world.held_out.features.tobytes() == own.held_out.features.tobytes()
    assert world.best_in_class[1] == 0.0
    np.testing.assert_array_equal(world.best_in_class[0], own.best_in_class[0])
    new = np.argwhere(world.pool.pair_mask)
    rewards = [own.truth.rewards[x, i] - own.truth.rewards[x, j] for x, i, j in pairs]
    kept = world.truth.rewards
    np.testing.assert_array_equal(kept[new[:, 0], new[:, 1]] - kept[new[:, 0], new[:, 2]], rewards)
    assert not kept[~world.pool.valid].any()
    # A prompt's share of the recorded weight is what it was.
    weight = np.bincount(
        [x for x, *_ in pairs],
        world.pool.prompt_weights[new[:, 0]] / world.pool.pair_mask.sum(axis=(1, 2))[new[:, 0]],
        minlength=5,
    )
    np.testing.assert_allclose(weight, 1 / 5)


def test_labels_are_the_votes(votes: Given) -> None:
    env = recorded()
    oracle, pool = draw_world(env, 0).oracle, draw_world(env, 0).pool
    given = [votes[pair] for pair in old_pairs(env)]
    mean = np.array([np.mean(v) for v in given])
    majority = np.where(mean == 0.5, 0.5, mean > 0.5)
    pairs = np.argwhere(pool.pair_mask)
    turned = pairs[:, [0, 2, 1]]
    for repeat in (0, 1, 7):
        asked = np.full(len(pairs), repeat)
        np.testing.assert_array_equal(oracle.label(pairs, asked), majority)
        np.testing.assert_array_equal(oracle.label(turned, asked), 1 - majority)
        for how, expected in (("aggregate='soft'", mean), ("in_turn=True", None)):
            other = draw_world(recorded(f"recorded(file='votes.jsonl', {how})"), 0).oracle
            if expected is None:
                expected = np.array([v[repeat % len(v)] for v in given])
            np.testing.assert_allclose(other.label(pairs, asked), expected)
            np.testing.assert_allclose(other.label(turned, asked), 1 - expected)


def test_a_view_shows_who_voted(votes: Given) -> None:
    env = PairEnv(recorded(), (5,))
    env.reset(seed=0)
    pairs = np.argwhere(env.pool.pair_mask)[:5]
    env.step(env.action(pairs))
    seen = env.view().votes
    assert seen is not None
    for row, pair in enumerate(old_pairs(recorded())[:5]):
        given = votes[pair]
        np.testing.assert_array_equal(seen.answers[row], [*given, *[np.nan] * (3 - len(given))])
        assert seen.annotators[row, : len(given)].tolist() == list(range(len(given)))
    in_turn = PairEnv(recorded("recorded(file='votes.jsonl', in_turn=True)"), (5,))
    in_turn.reset(seed=0)
    in_turn.step(in_turn.action(np.repeat(pairs[:1], 4, axis=0)))
    seen = in_turn.view().votes
    assert seen is not None
    count = len(votes[old_pairs(recorded())[0]])
    assert seen.annotators[:, 0].tolist() == [k % count for k in range(4)]
    np.testing.assert_array_equal(seen.answers[:, 0], in_turn.labels)


def test_replies_change_single_votes(votes: Given) -> None:
    env = recorded("recorded(file='votes.jsonl', aggregate='soft') | mistake(rate=1)")
    world, plain = draw_world(env, 0), draw_world(recorded(), 0)
    pairs = np.argwhere(world.pool.pair_mask)
    mean = np.array([np.mean(votes[pair]) for pair in old_pairs(env)])
    once = np.zeros(len(pairs), dtype=np.int64)
    np.testing.assert_allclose(world.oracle.label(pairs, once), 1 - mean)
    assert world.pool.n_pairs == plain.pool.n_pairs


@pytest.mark.slow
@pytest.mark.parametrize("design", design_names())
def test_every_design_plays_a_record(design: str, votes: Given) -> None:
    env = recorded()
    played = play(env, design, 1, (4, 9))
    again = replay(env, [round_.pairs for round_ in played.rounds], 1, (4, 9))
    assert again.results() == played.results()


def test_a_file_that_changes_is_another_environment(votes: Given, tmp_path: Path) -> None:
    text = "recorded(file='votes.jsonl')"
    before = environment_spec("LogLinear-v1", annotator=text)
    assert before.source == hashlib.sha256((tmp_path / "votes.jsonl").read_bytes()).hexdigest()
    world = draw_world(recorded(), 0)
    written(tmp_path / "votes.jsonl", seed=1)
    after = environment_spec("LogLinear-v1", annotator=text)
    assert before.identity() != after.identity()
    assert draw_world(recorded(), 0).pool.n_pairs != world.pool.n_pairs
    assert environment_spec("LogLinear-v1").source is None


def test_a_pair_that_is_not_recorded_has_no_answer(
    votes: Given,
) -> None:
    world = draw_world(recorded(), 0)
    missing = np.argwhere(~world.pool.valid)[0]
    pair = np.array([[missing[0], 0, missing[1]]])
    with pytest.raises(NotRecorded, match="nobody compared completions 0 and"):
        world.oracle.label(pair, np.zeros(1, dtype=np.int64))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("recorded", InvalidParameter, "'recorded' needs a value for its parameter 'file'"),
        ("recorded(file='votes.jsonl', aggregate='x')", InvalidParameter, "'majority' or 'soft'"),
        ("recorded(file='votes.jsonl', in_turn='x')", InvalidParameter, "in_turn"),
        ("recorded(file=3)", InvalidParameter, "file"),
        ("mistake | recorded(file='votes.jsonl')", InvalidParameter, "order in which"),
        ("recorded(file='votes.jsonl') | bradley-terry", InvalidParameter, "2 choices"),
        (
            "drift | recorded(file='votes.jsonl') | mistake",
            InvalidParameter,
            r"answers of \"recorded.*\" do not depend on what is perceived. Leave out 'drift'",
        ),
    ],
)
def test_an_annotator_that_cannot_be_is_refused(
    votes: Given,
    text: str,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        recorded(text)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none.jsonl", r"cannot read the votes in 'none\.jsonl': No such file"),
        (".", r"cannot read the votes in '\.': Is a directory"),
        ("a\\0b", "cannot read the votes in"),
    ],
)
def test_a_file_that_is_not_there_is_said_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"recorded(file='{file}')"
    for use in (
        lambda: environment_spec("LogLinear-v1", annotator=text),
        lambda: PairEnv("LogLinear-v1", annotator=text),
    ):
        with pytest.raises(InvalidData, match=message):
            use()


def test_votes_on_what_the_pool_does_not_have_are_refused(
    votes: Given,
) -> None:
    with pytest.raises(InvalidData, match=r"votes\.jsonl, line \d+: prompt 3 is outside the pool"):
        draw_world(recorded(prompts=3), 0)
    # Which completions there are is another matter with each seed.
    with pytest.raises(InvalidData, match=r"line \d+: completion \d of prompt \d is not valid"):
        draw_world(
            make_env("LogLinear-v1", **SIZE, missing=0.9, annotator="recorded(file='votes.jsonl')"),
            0,
        )


def test_a_pool_that_is_not_made_of_the_record_is_refused(
    votes: Given,
) -> None:
    world = make_env("LogLinear-v1", **SIZE).world(0)
    context = AnnotatorContext(world.pool, world.truth.rewards, None, 0)
    with pytest.raises(InvalidParameter, match=r"on \d+ pairs, and this pool has 60 others"):
        make_annotator("recorded(file='votes.jsonl')").oracle(context)


def test_a_copy_elsewhere_says_the_same(votes: Given, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "votes.jsonl", tmp_path / "copy" / "a | b.jsonl")
    other = draw_world(recorded("recorded(file='copy/a | b.jsonl')"), 0)
    pairs = np.argwhere(other.pool.pair_mask)
    once = np.zeros(len(pairs), dtype=np.int64)
    same = draw_world(recorded(), 0).oracle.label(pairs, once)
    np.testing.assert_array_equal(other.oracle.label(pairs, once), same)
    assert Recorded(file="votes.jsonl").size == 3


def test_a_pool_that_has_to_be_generated_has_no_records(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_text('{"prompt": 0, "first": 0, "second": 1, "votes": [1]}\n')
    spec = f"GenerateThenLabel-v1(prompts=3, annotator=\"recorded(file='{file}')\")"
    with pytest.raises(InvalidParameter, match="this environment generates them"):
        play(spec, "uniform", 0, (5,))
