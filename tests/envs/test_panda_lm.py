import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from pairbench import InvalidParameter, PairEnv, World, make_env, play
from pairbench.cells.play import replay
from pairbench.errors import InvalidData, MissingData
from pairbench.oracles import VotingOracle
from pairbench.pool.features import style_features
from pairbench.worlds import data
from pairbench.worlds.environment import draw_world

NAME, ID = "pandalm", "pairbench/PandaLM-v1"
REAL = (
    Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "pandalm_human_pairs.jsonl"
).resolve()
with_real_data = pytest.mark.skipif(not REAL.is_file(), reason="the data is not at hand")
TURNED = {0: 0, 1: 2, 2: 1}


def content() -> Any:
    return importlib.import_module(type(make_env(ID)).__module__)


def pairs_of(prompts: int = 12) -> list[dict[str, Any]]:
    """Made-up pairs in the form of PandaLM's test set, of four models' answers."""
    rng = np.random.default_rng(0)
    words = [[f"word{w}" for w in rng.integers(60, size=25)] for _ in range(4 * prompts)]
    made: list[dict[str, Any]] = []
    for x in range(prompts):
        answers = [" ".join(words[4 * x + k]) + f" {k}." for k in range(4)]
        if x == 2:
            answers[3] = answers[0]  # two models say the same
        for i in range(4):
            for j in range(i + 1, 4):
                if answers[i] != answers[j] and (x == 2 or rng.random() < 0.7 or (i, j) == (0, 1)):
                    votes = rng.choice([0, 1, 2], size=3, p=[0.1, 0.5, 0.4])
                    made.append(
                        {
                            "idx": len(made),
                            "motivation_app": "App",
                            "cmp_key": f"{i}_{j}",
                            # The instruction alone does not make the prompt.
                            "instruction": f"Do {x // 2}.",
                            "input": "This." if x % 2 else float("nan"),
                            "response1": answers[i],
                            "response2": answers[j],
                            **{f"annotator{k + 1}": int(v) for k, v in enumerate(votes)},
                        }
                    )
    return made


def written(folder: Path, records: object) -> Path:
    """A folder of the form of a clone, with this test set."""
    file = folder / "data" / "testset-v1.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(records if isinstance(records, str) else json.dumps(records))
    return folder


@pytest.fixture
def arrays(data_folder: Path, tmp_path: Path) -> data.Arrays:
    data.build(NAME, written(tmp_path / "clone", pairs_of()))
    return data.load_arrays(NAME)


# What is built.


def merged() -> tuple[list[list[str]], dict[tuple[int, int, int], list[float]]]:
    """The distinct answers of each prompt and the first votes on each pair, one by one."""
    keys: list[tuple[str, str]] = []
    texts: list[list[str]] = []
    votes: dict[tuple[int, int, int], list[float]] = {}
    for record in pairs_of():
        key = record["instruction"], str(record["input"])
        if key not in keys:
            keys.append(key)
            texts.append([])
        x = keys.index(key)
        for name in ("response1", "response2"):
            if record[name] not in texts[x]:
                texts[x].append(record[name])
        i, j = (texts[x].index(record[name]) for name in ("response1", "response2"))
        given = [record[f"annotator{k}"] for k in (1, 2, 3)]
        if i > j:
            i, j, given = j, i, [TURNED[v] for v in given]
        votes.setdefault((x, i, j), [[0.5, 1.0, 0.0][v] for v in given])
    return texts, votes


def test_equal_answers_are_one_completion_and_first_votes_count(arrays: data.Arrays) -> None:
    texts, votes = merged()
    assert [len(row) for row in texts] == arrays["mask"].sum(axis=1).tolist()
    assert len(texts) == 12
    assert len(texts[2]) == 3
    assert len(votes) < len(pairs_of())
    assert [tuple(pair) for pair in arrays["pairs"].tolist()] == sorted(votes)
    np.testing.assert_array_equal(arrays["votes"], [votes[pair] for pair in sorted(votes)])
    for x, row in enumerate(texts):
        for k, text in enumerate(row):
            assert arrays["n_chars"][x, k] == len(text)
            expected = style_features([text])[0]
            np.testing.assert_allclose(arrays["style"][x, k], expected, atol=2e-3, rtol=2e-3)
    assert arrays["lsa"].shape[2] == 16
    assert not any("word1" in str(array) for array in arrays.values())


def test_json_lines_are_taken_too_and_a_ready_file_is_known(
    arrays: data.Arrays, data_folder: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "pairs.jsonl"
    lines.write_text("\n".join(json.dumps(record) for record in pairs_of()))
    before = data.find_data_file(NAME).sha256
    data.build(NAME, lines)
    ready = data_folder / f"{NAME}.npz"
    again = np.load(ready)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
    assert data.add(ready.rename(tmp_path / "ready.npz")).dataset == NAME
    assert len(before) == 64


def changed(**values: object) -> list[dict[str, Any]]:
    records = pairs_of()
    records[4] |= values
    return records


def without(name: str) -> list[dict[str, Any]]:
    records = pairs_of()
    del records[4][name]
    return records


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ("[]", "is empty"),
        ("[{]", "this is no JSON"),
        ("[1]", "item 1: expected a list of JSON objects, got 1"),
        (changed(annotator2=3), "item 5: field 'annotator2': expected less than or equal to 2"),
        (changed(annotator2=-1), "item 5: field 'annotator2': expected zero or more, got -1"),
        (changed(annotator2="1"), "item 5: field 'annotator2'.*got '1'"),
        (changed(annotator2=None), "item 5: field 'annotator2'"),
        (changed(response1=None), "item 5: field 'response1': expected a text"),
        (changed(response1="A", response2="A"), "item 5: the two responses are the same"),
        (changed(input=7), "item 5: field 'input'"),
        (without("instruction"), "item 5: field 'instruction' is missing"),
        (without("annotator3"), "item 5: field 'annotator3' is missing"),
        (pairs_of(1), "cannot make 16 word features of 4 texts"),
    ],
)
def test_a_spoilt_test_set_is_refused(
    data_folder: Path, tmp_path: Path, records: object, message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        data.build(NAME, written(tmp_path, records))


def test_a_folder_that_is_no_clone_is_refused(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"no .*testset-v1\.json\. PATH must be a clone of"):
        data.build(NAME, tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("votes", lambda a: a + 0.1, "votes must be 1, 0 or ½"),
        ("votes", lambda a: a[:-1], "votes must be 1, 0 or ½, some on each"),
        ("votes", lambda a: a[:, :0], "votes must be 1, 0 or ½, some on each"),
        ("votes", lambda a: a[:, 0], "votes must be"),
        ("votes", lambda a: a.astype(str), "votes must be"),
        ("pairs", lambda a: a.astype(float), "pairs must be whole numbers"),
        ("pairs", lambda a: a[:, :2], r"pairs must be whole numbers \(pairs, 3\)"),
        ("pairs", lambda a: a[:0], "pairs must be whole numbers"),
        ("pairs", lambda a: a - 1, "pairs point to completions that are not there"),
        (
            "pairs",
            lambda a: a + np.array([100, 0, 0]),
            "pairs point to completions that are not there",
        ),
        ("pairs", lambda a: a[:, [0, 2, 1]], "two completions that are there, the lower one"),
        ("pairs", lambda a: np.where(a == 3, 1, a), "pairs"),
        ("pairs", lambda a: a[::-1], "each pair must come once, in ascending order"),
        ("pairs", lambda a: np.concatenate([a[:1], a[:-1]]), "each pair must come once"),
        ("pairs", None, "lacks the arrays pairs"),
        ("votes", None, "lacks the arrays votes"),
        ("style", None, "lacks the arrays style"),
    ],
)
def test_a_ready_file_that_is_wrong_is_refused(
    arrays: data.Arrays, tmp_path: Path, name: str, change: Any, message: str
) -> None:
    wrong = dict(arrays)
    array = wrong.pop(name)
    if change is not None:
        wrong[name] = change(array)
    np.savez(tmp_path / "bad.npz", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidData, match=message):
        data.add(tmp_path / "bad.npz", NAME)


def test_votes_on_some_prompts_alone_are_refused(arrays: data.Arrays, tmp_path: Path) -> None:
    keep = arrays["pairs"][:, 0] != 5
    some = {**arrays, "pairs": arrays["pairs"][keep], "votes": arrays["votes"][keep]}
    np.savez(tmp_path / "bad.npz", **some)
    with pytest.raises(InvalidData, match="there are votes on some prompts alone"):
        data.add(tmp_path / "bad.npz", NAME)


# The worlds.


def slow_rewards(arrays: data.Arrays) -> NDArray[np.float64]:
    """Bradley and Terry's rewards with a ridge of 1, by a general optimiser, prompt by prompt."""
    mask = arrays["mask"]
    rewards = np.zeros(mask.shape)
    for x, there in enumerate(mask):
        k = int(there.sum())
        chosen = [
            (i, j, v)
            for (y, i, j), votes in zip(arrays["pairs"], arrays["votes"], strict=True)
            for v in votes
            if y == x
        ]

        def loss(r: NDArray[np.float64], chosen: list[Any] = chosen) -> float:
            fit = sum(np.logaddexp(0, r[i] - r[j]) - v * (r[i] - r[j]) for i, j, v in chosen)
            return float(fit + r @ r / 2)

        found = minimize(loss, np.zeros(k), method="BFGS", options={"gtol": 1e-8}).x
        rewards[x, there] = found - found.mean()
    scaled: NDArray[np.float64] = rewards / np.sqrt(np.sum(rewards**2) / mask.sum())
    return scaled


def check_world(world: World, arrays: data.Arrays, scale: float) -> None:
    """Pool, held-out pool, rewards and labels, against the file."""
    mask, rewards = arrays["mask"], scale * slow_rewards(arrays)
    # The held-out prompts are whole; their lengths tell which they are.
    tokens = np.where(mask, -(-arrays["n_chars"] // 4), 0)
    held_out = [
        x
        for row in range(world.held_out.n_prompts)
        for x in range(len(mask))
        if (tokens[x] == world.held_out.lengths[row]).all()
        and np.allclose(rewards[x], world.truth.held_out[row], atol=1e-5)
    ]
    assert len(held_out) == world.held_out.n_prompts
    assert held_out == sorted(held_out)
    pairs = np.argwhere(world.pool.pair_mask)
    once = np.zeros(len(pairs), dtype=np.int64)
    oracle = world.oracle
    assert isinstance(oracle, VotingOracle)
    given = oracle.votes(pairs, once)
    # Each pair of the pool, found again by its lengths, reward difference and votes.
    known = {
        tuple(pair): tuple(votes)
        for pair, votes in zip(arrays["pairs"].tolist(), arrays["votes"].tolist(), strict=True)
        if pair[0] not in held_out
    }
    for (row, i, j), votes in zip(pairs.tolist(), given.answers, strict=True):
        delta = world.truth.rewards[row, i] - world.truth.rewards[row, j]
        match = [
            pair
            for pair, recorded in known.items()
            if recorded == tuple(votes)
            and tokens[pair[0], pair[1]] == world.pool.lengths[row, i]
            and tokens[pair[0], pair[2]] == world.pool.lengths[row, j]
            and abs(rewards[pair[0], pair[1]] - rewards[pair[0], pair[2]] - delta) < 1e-5
        ]
        assert match
        del known[match[0]]
    # Of the last prompt some may be left over.
    assert len({pair[0] for pair in known}) <= 1
    np.testing.assert_array_equal(given.annotators, np.tile([0, 1, 2], (len(pairs), 1)))


@pytest.mark.parametrize("scale", [2.0, 0.7])
def test_a_world_is_made_of_the_voted_pairs(arrays: data.Arrays, scale: float) -> None:
    for seed in range(3):
        check_world(make_env(ID, reward_scale=scale).world(seed), arrays, scale)


def test_all_seeds_have_one_shape(arrays: data.Arrays) -> None:
    worlds = [make_env(ID).world(seed) for seed in range(20)]
    assert len({world.pool.features.shape for world in worlds}) == 1
    assert len({world.held_out.n_prompts for world in worlds}) > 1
    assert len({world.pool.n_pairs for world in worlds}) > 1


def test_a_file_of_two_prompts_leaves_one_to_be_scored_on(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content(), "text_arrays", few_words)
    data.build(NAME, written(tmp_path, pairs_of(2)))
    for seed in range(4):
        world = make_env(ID).world(seed)
        assert world.pool.n_prompts >= 1
        assert world.held_out.n_prompts == 1


def few_words(texts: Any, mask: NDArray[np.bool_], dim: int) -> dict[str, Any]:
    shape = (*mask.shape, 2)
    n_chars = np.where(mask, 7, 0)
    style = np.random.default_rng(0).normal(size=(*mask.shape, 20))
    return {"style": style, "lsa": np.ones(shape), "n_chars": n_chars, "mask": mask}


def test_labels_are_majorities_means_or_single_votes(arrays: data.Arrays) -> None:
    env = PairEnv(ID, (20,))
    env.reset(seed=1)
    pairs = np.argwhere(env.pool.pair_mask)[:20]
    env.step(env.action(pairs))
    view = env.view()
    assert view.votes is not None
    np.testing.assert_array_equal(view.votes.majority(), view.labels)
    once = np.zeros(20, dtype=np.int64)
    soft = make_env(ID, aggregate="soft").world(1).oracle.label(pairs, once)
    np.testing.assert_allclose(soft, view.votes.mean())
    in_turn = make_env(ID, in_turn=True).world(1).oracle
    for repeat in range(7):
        np.testing.assert_array_equal(
            in_turn.label(pairs, once + repeat), view.votes.answers[:, repeat % 3]
        )


def test_somebody_else_may_answer(arrays: data.Arrays) -> None:
    world, plain = (draw_world(make_env(ID, annotator=text), 2) for text in ("deterministic", None))
    pairs = np.argwhere(world.pool.pair_mask)
    rewards = world.truth.rewards
    np.testing.assert_array_equal(rewards, plain.truth.rewards)
    delta = rewards[pairs[:, 0], pairs[:, 1]] - rewards[pairs[:, 0], pairs[:, 2]]
    labels = world.oracle.label(pairs, np.zeros(len(pairs), dtype=np.int64))
    np.testing.assert_array_equal(labels, (1 + np.sign(delta)) / 2)


@pytest.mark.parametrize("design", ["uniform", "greedy-i-robust", "oracle-i-optimal"])
def test_an_episode_can_be_played_and_replayed(arrays: data.Arrays, design: str) -> None:
    played = play(ID, design, 1, (5, 15))
    again = replay(ID, [round_.pairs for round_ in played.rounds], 1, (5, 15))
    assert again.results() == played.results()


def test_without_data_it_says_how_to_bring_it(data_folder: Path) -> None:
    with pytest.raises(MissingData, match="pairbench data import pandalm PATH"):
        make_env(ID).world(0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"reward_scale": 0.0}, "reward_scale must be positive and finite, got 0"),
        ({"reward_scale": np.inf}, "reward_scale must be positive and finite, got inf"),
        ({"aggregate": "median"}, "aggregate must be 'majority' or 'soft', got 'median'"),
        ({"beta": -1.0}, "beta must be positive and finite, got -1"),
        ({"ridge": 0.0}, "ridge must be positive and finite"),
    ],
)
def test_a_bad_parameter_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_env(ID, **params)


# The real file, where it is at hand.


@with_real_data
def test_the_real_votes_are_as_the_docs_say(data_folder: Path) -> None:
    data.build(NAME, REAL)
    arrays = data.load_arrays(NAME)
    assert arrays["mask"].shape[0] == 170
    assert arrays["pairs"].shape == (863, 3)
    worlds = [make_env(ID).world(seed) for seed in range(3)]
    for world in worlds:
        assert world.pool.features.shape == (366, 5, 36)
        assert world.held_out.n_completions == 12
        pairs = np.argwhere(world.pool.pair_mask)
        labels = world.oracle.label(pairs, np.zeros(len(pairs), dtype=np.int64))
        rewards = world.truth.rewards
        delta = rewards[pairs[:, 0], pairs[:, 1]] - rewards[pairs[:, 0], pairs[:, 2]]
        agree = np.where(labels == 0.5, 0.5, (delta > 0) == (labels > 0.5))
        assert agree.mean() == pytest.approx(0.96, abs=0.02)
