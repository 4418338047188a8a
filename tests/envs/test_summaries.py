import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter, LogLinearDPO, LogLinearSELM, PairEnv, World, make_env, play
from pairbench.errors import InvalidData, MissingData
from pairbench.pool.features import STYLE_NAMES, style_features
from pairbench.worlds import data

ASPECTS = ("coherence", "consistency", "fluency", "relevance")
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
# Kind of data: id, folder of the source, scores, number type, ready file.
KINDS: dict[str, tuple[str, str, tuple[str, ...], Any, str]] = {
    "summeval": ("pairbench/SummEval16-v1", "SummEval", ASPECTS, np.float64, "summeval16.npz"),
    "realsumm": (
        "pairbench/REALSumm24-v1",
        "REALSumm",
        ("litepyramid_recall",),
        float,
        "realsumm24.npz",
    ),
}
Articles = dict[Any, dict[str, Any]]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def articles(kind: str, n: int = 12, systems: int = 5) -> Articles:
    """Made-up articles in the form that neulab/BARTScore keeps them in; one summary is missing."""
    rng = np.random.default_rng(0)
    _, _, scores, number, _ = KINDS[kind]
    made: Articles = {}
    for k in range(n):
        summaries = {}
        for name in (f"M{s}" for s in rng.permutation(systems)):
            words = " ".join(f"word{w}" for w in rng.integers(120, size=25))
            summaries[name] = {
                "sys_summ": f"{words}, says {name} of {k}.",
                "scores": {score: number(rng.integers(3, 16) / 3) for score in scores}
                | {"other_metric": None},
            }
        made[f"cnn-test-{k}"] = {"src": "Text.", "ref_summs": ["A", "B"], "sys_summs": summaries}
    del made["cnn-test-3"]["sys_summs"]["M2"]
    return made


def written(folder: Path, kind: str, content: object) -> Path:
    """A folder of the form of a clone, with this pickle in it."""
    file = folder / "SUM" / KINDS[kind][1] / "data.pkl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content))
    return folder


@pytest.fixture
def arrays(data_folder: Path, tmp_path: Path, kind: str) -> data.Arrays:
    data.build(kind, written(tmp_path / "clone", kind, articles(kind)))
    return data.load_arrays(kind)


# What is built from a clone.


def test_a_built_file_has_a_row_for_each_article_and_a_column_for_each_system(
    arrays: data.Arrays, kind: str
) -> None:
    assert arrays["models"].tolist() == [f"M{s}" for s in range(5)]
    assert arrays["prompts"].tolist() == [str(k) for k in range(12)]
    assert arrays["style_names"].tolist() == list(STYLE_NAMES)
    assert arrays["style"].shape == (12, 5, 20)
    assert arrays["lsa"].shape == (12, 5, 48)
    expected = np.ones((12, 5), dtype=np.bool_)
    expected[3, 2] = False
    np.testing.assert_array_equal(arrays["mask"], expected)
    for row, article in enumerate(articles(kind).values()):
        for column in np.flatnonzero(expected[row]):
            summary = article["sys_summs"][f"M{column}"]
            for score in KINDS[kind][2]:
                assert arrays[score][row, column] == np.float32(summary["scores"][score])
            assert arrays["n_chars"][row, column] == len(summary["sys_summ"])
            np.testing.assert_allclose(
                arrays["style"][row, column],
                style_features([summary["sys_summ"]])[0],
                atol=2e-3,
                rtol=2e-3,
            )
    for score in KINDS[kind][2]:
        assert np.isnan(arrays[score][3, 2])
    assert "other_metric" not in arrays


def test_what_is_built_can_be_passed_on_and_is_known_by_its_arrays(
    data_folder: Path, tmp_path: Path, alpaca_file: Path
) -> None:
    files = {"alpaca-eval": alpaca_file}
    for kind in KINDS:
        data.build(kind, written(tmp_path / kind, kind, articles(kind)))
        files[kind] = (data_folder / f"{kind}.npz").rename(tmp_path / f"{kind}.npz")
        (data_folder / f"{kind}.json").unlink()
    for kind, file in files.items():
        assert data.add(file).dataset == kind
        assert {path.stem for path in data_folder.iterdir()} == {kind}
        for path in data_folder.iterdir():
            path.unlink()
        for other in files.keys() - {kind}:
            with pytest.raises(InvalidData, match="lacks the arrays"):
                data.add(file, other)


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_a_pickle_with_a_command_in_it_is_refused_and_does_not_run(
    data_folder: Path, tmp_path: Path, kind: str
) -> None:
    content = articles(kind)
    content["cnn-test-1"]["src"] = Evil(f"touch {tmp_path / 'was-here'}")
    with pytest.raises(InvalidData, match=r"data\.pkl asks for .*system to be loaded.* Nothing"):
        data.build(kind, written(tmp_path / "clone", kind, content))
    assert not (tmp_path / "was-here").exists()
    assert not data_folder.exists()


def test_a_folder_that_is_no_clone_is_refused(data_folder: Path, tmp_path: Path, kind: str) -> None:
    message = r"there is no .*data\.pkl\. PATH must be a clone of github\.com/neulab/BARTScore"
    file = tmp_path / "some.txt"
    file.write_text("hello")
    other = next(iter(KINDS.keys() - {kind}))
    for path in (tmp_path, file, written(tmp_path / "clone", other, {})):
        with pytest.raises(InvalidData, match=message):
            data.build(kind, path)


Spoil = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s["scores"].clear(), "cnn-test-4, sys_summs, M1, scores, .*: Field required"),
        (lambda s: s["scores"].update(number=np.nan), "M1, scores, .*: .*finite number"),
        (lambda s: s["scores"].update(number=np.float64(np.inf)), "finite number"),
        (lambda s: s["scores"].update(number="5"), "valid number"),
        (lambda s: s["scores"].update(number=True), "valid number"),
        (lambda s: s["scores"].update(number=None), "valid number"),
        (lambda s: s.pop("scores"), "M1, scores: Field required"),
        (lambda s: s.pop("sys_summ"), "M1, sys_summ: Field required"),
        (lambda s: s.update(sys_summ=None), "M1, sys_summ: .*valid string"),
    ],
)
def test_a_spoilt_summary_is_named(
    data_folder: Path, tmp_path: Path, kind: str, spoil: Spoil, message: str
) -> None:
    content = articles(kind)
    summary = content["cnn-test-4"]["sys_summs"]["M1"]
    spoil(summary)
    if "number" in summary.get("scores", {}):
        summary["scores"][KINDS[kind][2][-1]] = summary["scores"].pop("number")
    with pytest.raises(InvalidData, match=rf"data\.pkl: .*{message}"):
        data.build(kind, written(tmp_path / "clone", kind, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"data\.pkl: .*valid dictionary"),
        ({"a": {"src": "Text."}}, "a, sys_summs: Field required"),
        ({"a": {"sys_summs": ["M0"]}}, "a, sys_summs: .*valid dictionary"),
        ({("a", 1): {"sys_summs": {}}}, "valid string"),
        ({}, "cannot make 48 word features of 0 texts"),
    ],
)
def test_a_pickle_of_another_form_is_refused(
    data_folder: Path, tmp_path: Path, kind: str, content: object, message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        data.build(kind, written(tmp_path / "clone", kind, content))


def test_an_article_with_one_summary_is_refused(
    data_folder: Path, tmp_path: Path, kind: str
) -> None:
    content = articles(kind)
    summaries = content["cnn-test-4"]["sys_summs"]
    content["cnn-test-4"]["sys_summs"] = {"M0": summaries["M0"]}
    with pytest.raises(InvalidData, match="fewer than two completions"):
        data.build(kind, written(tmp_path / "clone", kind, content))


def test_numbers_as_names_are_names(data_folder: Path, tmp_path: Path, kind: str) -> None:
    content = dict(enumerate(articles(kind).values()))
    for article in content.values():
        article["sys_summs"] = {int(k[1:]): s for k, s in article["sys_summs"].items()}
    data.build(kind, written(tmp_path / "clone", kind, content))
    assert data.load_arrays(kind)["models"].tolist() == list("01234")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: np.full_like(a, np.nan), "holds NaN or infinite values where mask is true"),
        (lambda a: a.T, r"has shape \(5, 12\), expected \(12, 5\)"),
        (lambda a: np.full_like(a, 2 / 3), "tells no completion of a prompt from another"),
        (lambda a: np.arange(60.0).reshape(12, 5) // 5, "tells no completion of a prompt"),
        (None, "lacks the arrays"),
    ],
)
def test_a_ready_file_with_wrong_scores_is_refused(
    arrays: data.Arrays, kind: str, tmp_path: Path, change: Any, message: str
) -> None:
    name = KINDS[kind][2][-1]
    changed = dict(arrays)
    score = changed.pop(name)
    if change is not None:
        changed[name] = change(score)
    file = tmp_path / "bad.npz"
    np.savez(file, **changed)  # type: ignore[arg-type]
    for named in (kind, None):
        with pytest.raises(InvalidData, match=rf"{kind}: .*{message}"):
            data.add(file, named)


# The worlds.


def rewards(world: World) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of all articles, training ones first, and where there are summaries."""
    return (
        np.concatenate([world.truth.rewards, world.truth.held_out]),
        np.concatenate([world.pool.valid, world.held_out.valid]),
    )


def check_world(world: World, arrays: data.Arrays, scores: tuple[str, ...], scale: float) -> None:
    """Split, features, rewards and lengths, against the file."""
    n, mask = len(arrays["mask"]), arrays["mask"]
    assert (world.pool.n_prompts, world.held_out.n_prompts) == (
        round(0.75 * n),
        n - round(0.75 * n),
    )
    dim = 20 + arrays["lsa"].shape[2]
    for part in (world.pool, world.held_out):
        total = np.where(part.valid[:, :, None], part.phi, 0).sum(axis=1)
        np.testing.assert_allclose(total, 0, atol=2e-5)
    spread = world.pool.phi[world.pool.valid].std(axis=0)
    np.testing.assert_allclose(spread[spread > 0], 1 / np.sqrt(dim), rtol=1e-4)
    # The mean of the scores, less each article's mean, over what makes its spread the scale.
    score = np.mean([arrays[name].astype(np.float64) for name in scores], axis=0)
    expected = np.zeros(mask.shape)
    for row, there in enumerate(mask):
        expected[row, there] = score[row, there] - score[row, there].mean()
    expected *= scale / np.sqrt(np.sum(expected**2) / mask.sum())
    found, valid = rewards(world)
    places = [int(np.abs(expected - row).sum(axis=1).argmin()) for row in found]
    assert sorted(places) == list(range(n))
    assert places[: world.pool.n_prompts] == sorted(places[: world.pool.n_prompts])
    np.testing.assert_allclose(found, expected[places], atol=1e-12)
    np.testing.assert_array_equal(valid, mask[places])
    tokens = np.concatenate([world.pool.lengths, world.held_out.lengths])
    np.testing.assert_array_equal(tokens, np.where(valid, -(-arrays["n_chars"][places] // 4), 0))


@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_a_world_splits_scales_and_standardises(
    arrays: data.Arrays, kind: str, scale: float
) -> None:
    id_, _, scores, *_ = KINDS[kind]
    world = make_env(id_, reward_scale=scale).world(0)
    check_world(world, arrays, scores, scale)
    assert world.truth.theta is None
    assert world.beta == 1.0
    assert world.trainer == LogLinearDPO(4.0)


@pytest.mark.parametrize("kind", ["summeval"])
@pytest.mark.parametrize("aspect", ASPECTS)
def test_one_aspect_can_be_the_reward(arrays: data.Arrays, aspect: str) -> None:
    world = make_env("SummEval16-v1", aspect=aspect).world(1)
    check_world(world, arrays, (aspect,), 2.0)


def test_the_unit_of_the_reward_is_that_of_every_seed(arrays: data.Arrays, kind: str) -> None:
    first, *others = (rewards(make_env(KINDS[kind][0]).world(s))[0] for s in range(4))
    assert first.std() > 0
    for other in others:
        np.testing.assert_allclose(np.sort(other, axis=None), np.sort(first, axis=None), atol=1e-12)
    assert any((other != first).any() for other in others)


def test_a_world_is_a_function_of_its_seed_and_the_file(arrays: data.Arrays, kind: str) -> None:
    env = make_env(KINDS[kind][0])
    one, same = env.world(3), env.world(3)
    np.testing.assert_array_equal(one.pool.features, same.pool.features)
    np.testing.assert_array_equal(one.truth.rewards, same.truth.rewards)
    assert env.data_digest() == data.find_data_file(kind).sha256


def test_the_trainer_is_a_parameter(arrays: data.Arrays, kind: str) -> None:
    env = make_env(KINDS[kind][0], trainer="selm", ridge=2.0)
    assert env.world(0).trainer == LogLinearSELM(2.0)


def test_an_episode_can_be_played_on_it(arrays: data.Arrays, kind: str) -> None:
    env = PairEnv(KINDS[kind][0], budgets=(10, 30))
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    start, pairs = env.world.gap(env.policy), np.argwhere(env.pool.pair_mask)
    total = 0.0
    for part in (pairs[:10], pairs[-20:]):
        observation, reward, *_ = env.step(env.action(part))
        total += reward
    assert observation in env.observation_space
    assert total == pytest.approx(start - env.world.gap(env.policy))
    assert set(env.labels.tolist()) == {0.0, 1.0}


def test_missing_data_names_the_commands_that_bring_it(data_folder: Path, kind: str) -> None:
    with pytest.raises(MissingData, match=rf"`pairbench data import {kind} PATH`"):
        make_env(KINDS[kind][0]).world(0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"reward_scale": 0}, "reward_scale must be positive and finite, got 0"),
        ({"reward_scale": np.inf}, "reward_scale must be positive and finite"),
        ({"reward_scale": -1}, "reward_scale must be positive and finite"),
        ({"beta": np.nan}, "beta must be positive and finite"),
        ({"ridge": 0}, "ridge must be positive and finite"),
        ({"trainer": "xpo(alhpa=1)"}, "no parameter 'alhpa'. Did you mean 'alpha'"),
        ({"scale": 1}, "no parameter 'scale'"),
    ],
)
def test_a_bad_parameter_is_refused(kind: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_env(KINDS[kind][0], **params)


def test_an_aspect_that_nobody_scored_is_refused_with_the_nearest() -> None:
    message = r"aspect must be one of mean, .*, got 'coherense'\. Did you mean 'coherence'\?"
    with pytest.raises(InvalidParameter, match=message):
        make_env("SummEval16-v1", aspect="coherense")
    with pytest.raises(InvalidParameter, match="no parameter 'aspect'"):
        make_env("REALSumm24-v1", aspect="mean")


# The real files, where they are at hand.


@pytest.fixture
def real(data_folder: Path, kind: str) -> data.Arrays:
    file = SHARED / KINDS[kind][4]
    if not file.is_file():
        pytest.skip(f"../shared/data/{file.name} is not there")
    assert data.add(file).dataset == kind
    return data.load_arrays(kind)


def test_a_real_world_is_as_its_documentation_says(real: data.Arrays, kind: str) -> None:
    id_, _, scores, *_ = KINDS[kind]
    n_models = {"summeval": 16, "realsumm": 24}[kind]
    assert real["mask"].shape == (100, n_models)
    world = make_env(id_).world(0)
    check_world(world, real, scores, 2.0)
    start = world.gap(world.trainer.fit(world.pool, 1.0, np.empty((0, 3), np.int64), np.empty(0)))
    floor = world.best_in_class[1]
    expected = {"summeval": (0.908, 0.433), "realsumm": (1.814, 0.869)}[kind]
    assert (start, floor) == pytest.approx(expected, abs=0.005)


def test_two_labels_of_a_pair_agree_as_often_as_people_do(real: data.Arrays, kind: str) -> None:
    reward, _ = rewards(make_env(KINDS[kind][0]).world(0))
    first, second = np.triu_indices(reward.shape[1], 1)
    p = 1 / (1 + np.exp(reward[:, first] - reward[:, second]))
    expected = {"summeval": 0.73, "realsumm": 0.74}[kind]
    assert np.mean(p**2 + (1 - p) ** 2) == pytest.approx(expected, abs=0.005)
    level = {}
    for name in KINDS[kind][2]:
        level[name] = np.mean(real[name][:, first] == real[name][:, second])
    if kind == "summeval":
        assert level["consistency"] == pytest.approx(2 / 3, abs=0.02)
        assert 0.5 < level["fluency"] < 0.6
    else:
        assert level["litepyramid_recall"] == pytest.approx(0.2, abs=0.02)


def test_style_explains_a_part_of_the_reward_and_words_do_not(real: data.Arrays, kind: str) -> None:
    explained = {"style": 0.0, "words": 0.0}
    for seed in range(8):
        world = make_env(KINDS[kind][0]).world(seed)
        for name, part in (("style", slice(20)), ("words", slice(20, None))):
            x, y = world.pool.phi[:, :, part].reshape(-1, len(range(68)[part])), world.truth
            gram = x.T @ x + 10 * np.eye(x.shape[1])
            theta = np.linalg.solve(gram, x.T @ y.rewards.ravel())
            miss = y.held_out - world.held_out.phi[:, :, part] @ theta
            explained[name] += (1 - np.sum(miss**2) / np.sum(y.held_out**2)) / 8
    print(kind, explained)
    assert explained["style"] > 0.1
    assert explained["words"] < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["summeval"])
def test_the_default_ridge_is_one_with_which_labels_help(real: data.Arrays, kind: str) -> None:
    gain = {}
    for ridge in (1.0, 4.0):
        env = make_env(KINDS[kind][0], ridge=ridge)
        episodes = [play(env, "uniform", seed, (50, 100, 200, 400)) for seed in range(6)]
        gaps = [[round_.score.gap for round_ in episode.rounds] for episode in episodes]
        gain[ridge] = np.mean([episode.start.gap for episode in episodes]) - np.mean(gaps, axis=0)
    assert (gain[1.0] < 0).all()
    assert (gain[4.0] > 0).all()
