import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter, LogLinearDPO, LogLinearXPO, PairEnv, World, make_env
from pairbench.errors import InvalidData
from pairbench.pool.features import STYLE_NAMES, style_features
from pairbench.worlds import data

ID, NAME = "pairbench/AlpacaEval57-v1", "alpaca-eval"
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "alpacaeval57.npz"
with_real_data = pytest.mark.skipif(
    not REAL.is_file(), reason="../shared/data/alpacaeval57.npz is not there"
)


def content() -> Any:
    """The module behind the id."""
    return importlib.import_module(type(make_env(ID)).__module__)


def outputs(clone: Path, model: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(
        (clone / "results" / model / "model_outputs.json").read_text()
    )
    return records


@pytest.fixture
def arrays(data_folder: Path, alpaca_file: Path) -> data.Arrays:
    data.add(alpaca_file)
    return data.load_arrays(NAME)


# What is built from a clone.


def test_a_built_file_has_a_row_for_each_instruction_and_a_column_for_each_model(
    arrays: data.Arrays,
) -> None:
    models = content().MODELS
    assert len(models) == len(set(models)) == 57
    assert arrays["models"].tolist() == models
    assert arrays["logit"].shape == arrays["mask"].shape == arrays["n_chars"].shape == (12, 57)
    assert arrays["style"].shape == (12, 57, 20)
    assert arrays["lsa"].shape == (12, 57, 64)
    assert arrays["style_names"].tolist() == list(STYLE_NAMES)
    assert arrays["dataset"].tolist() == [f"source {k % 5}" for k in range(12)]


def test_a_logit_is_the_log_odds_of_the_annotators_preference(
    arrays: data.Arrays, alpaca_clone: Path
) -> None:
    for model in ("claude-2", "phi-2"):
        column = content().MODELS.index(model)
        file = alpaca_clone / "results" / model / content().ANNOTATOR / "annotations.json"
        by_instruction: dict[str, list[float]] = {}
        for record in json.loads(file.read_text()):
            by_instruction.setdefault(record["instruction"], []).append(record["preference"])
        for row in range(12):
            # An instruction that comes twice keeps its order.
            p = by_instruction[f"Instruction {min(row, 10)}"][int(row == 11)] - 1
            assert arrays["logit"][row, column] == pytest.approx(np.log(p / (1 - p)), rel=1e-5)


def test_the_baseline_is_level_with_itself(arrays: data.Arrays) -> None:
    column = content().MODELS.index(content().BASELINE)
    np.testing.assert_array_equal(arrays["logit"][:, column], 0)
    assert arrays["mask"][:, column].all()


def test_what_was_not_annotated_is_masked_and_certainty_is_finite(arrays: data.Arrays) -> None:
    expected = np.ones((12, 57), dtype=np.bool_)
    expected[3, 0] = False
    np.testing.assert_array_equal(arrays["mask"], expected)
    assert np.isnan(arrays["logit"][3, 0])
    assert np.isnan(arrays["style"][3, 0]).all()
    assert arrays["logit"][5, 0] == pytest.approx(np.log(1e9), rel=1e-4)


def test_lengths_and_style_are_those_of_the_texts(arrays: data.Arrays, alpaca_clone: Path) -> None:
    model = "vicuna-7b"
    column, texts = content().MODELS.index(model), outputs(alpaca_clone, model)
    for row in (0, 7, 10, 11):
        text = texts[row]["output"]
        assert text.endswith(f"says {model} of {row}.")
        assert arrays["n_chars"][row, column] == len(text)
        np.testing.assert_allclose(
            arrays["style"][row, column], style_features([text])[0], atol=2e-3, rtol=2e-3
        )
    # An output that is missing is an empty one, and other instructions are none of ours.
    assert arrays["n_chars"][4, 0] == 0
    assert arrays["n_chars"][0, 0] == len(outputs(alpaca_clone, content().MODELS[0])[1]["output"])


@pytest.fixture
def clone(alpaca_clone: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(alpaca_clone, tmp_path / "clone"))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("phi-2/model_outputs.json", None, r"no model_outputs.json of 1 of the 57 models: phi-2"),
        ("phi-2/model_outputs.json", "[{", r"cannot read .*phi-2.model_outputs\.json"),
        ("phi-2/model_outputs.json", "{}", r"phi-2.model_outputs\.json is no list of records"),
        ("phi-2/model_outputs.json", '[{"output": "x"}]', "is no list of records with an 'instr"),
        ("phi-2/model_outputs.json", "[1]", "is no list of records"),
        ("phi-2/ANNOTATOR/annotations.json", None, r"cannot read .*annotations\.json"),
        ("phi-2/ANNOTATOR/annotations.json", "\xff", r"cannot read .*annotations\.json"),
        (
            "phi-2/ANNOTATOR/annotations.json",
            '[{"instruction": "Instruction 1", "preference": "much"}]',
            "preference",
        ),
    ],
)
def test_a_spoilt_clone_is_refused_by_file(
    data_folder: Path, clone: Path, file: str, text: str | None, message: str
) -> None:
    path = clone / "results" / file.replace("ANNOTATOR", content().ANNOTATOR)
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidData, match=message):
        data.build(NAME, clone)


def test_a_folder_that_is_no_clone_is_refused(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"57 of the 57 models: .*, …\. PATH must be a clone of"):
        data.build(NAME, tmp_path)


# The worlds.


def check_world(drawn: World, arrays: data.Arrays, temperature: float) -> NDArray[np.int64]:
    """Features, split and rewards of a world; its training prompts."""
    pool, held_out = drawn.pool, drawn.held_out
    dim = 20 + arrays["lsa"].shape[2]
    assert pool.dim == held_out.dim == dim
    for part in (pool, held_out):
        # Centred in each prompt, over the completions that are there.
        total = np.where(part.valid[:, :, None], part.phi, 0).sum(axis=1)
        np.testing.assert_allclose(total, 0, atol=2e-5)
        uniform = np.where(part.valid, -np.log(part.valid.sum(axis=1))[:, None], -np.inf)
        np.testing.assert_allclose(part.log_ref, uniform)
    # Every feature that varies at all has the same variance on the training prompts.
    spread = pool.phi[pool.valid].std(axis=0)
    varies = spread > 0
    np.testing.assert_allclose(spread[varies], 1 / np.sqrt(dim), rtol=1e-4)
    norm = np.mean(np.sum(pool.phi[pool.valid] ** 2, axis=1))
    assert norm == pytest.approx(varies.mean(), rel=1e-4)
    # Which prompts they are, by their rewards.
    logit = np.where(arrays["mask"], arrays["logit"], 0).astype(np.float64) / temperature
    rewards = np.concatenate([drawn.truth.rewards, drawn.truth.held_out])
    key = {row.tobytes(): k for k, row in enumerate(logit)}
    assert len(key) == len(logit)
    places = np.array([key[row.tobytes()] for row in rewards])
    assert sorted(places.tolist()) == list(range(len(logit)))
    order = np.concatenate([pool.valid, held_out.valid])
    np.testing.assert_array_equal(order, arrays["mask"][places])
    tokens = np.concatenate([pool.lengths, held_out.lengths])
    expected = np.where(order, -(-arrays["n_chars"][places] // 4), 0)
    np.testing.assert_array_equal(tokens, expected)
    return places[: pool.n_prompts]


def test_a_world_splits_scales_and_centres(arrays: data.Arrays) -> None:
    drawn = make_env(ID).world(0)
    train = check_world(drawn, arrays, 4.0)
    assert len(train) == round(12 * 600 / 805) == 9
    _, counts = np.unique(arrays["dataset"][train], return_counts=True)
    np.testing.assert_array_equal(np.sort(counts), [1, 2, 2, 2, 2])
    assert drawn.truth.theta is None
    assert not drawn.truth.rewards.flags.writeable


def test_a_world_is_a_function_of_its_seed_and_the_file(arrays: data.Arrays) -> None:
    one, same, *others = (make_env(ID).world(seed) for seed in (3, 3, 4, 5, 6))
    np.testing.assert_array_equal(one.pool.features, same.pool.features)
    np.testing.assert_array_equal(one.truth.rewards, same.truth.rewards)
    assert any((other.truth.rewards != one.truth.rewards).any() for other in others)


def test_the_temperature_divides_the_reward(arrays: data.Arrays) -> None:
    hot, cold = (make_env(ID, temperature=t).world(0) for t in (8.0, 2.0))
    np.testing.assert_allclose(4 * hot.truth.rewards, cold.truth.rewards)


def test_the_residual_reward_owes_nothing_to_length(arrays: data.Arrays) -> None:
    drawn = make_env(ID, residual=True).world(0)
    plain = make_env(ID).world(0)
    np.testing.assert_array_equal(drawn.pool.features, plain.pool.features)
    key = {row.tobytes(): k for k, row in enumerate(plain.truth.rewards)}
    assert len(key) == plain.pool.n_prompts
    # Lengths in characters, found again through the plain reward.
    logit = np.where(arrays["mask"], arrays["logit"], 0).astype(np.float64) / 4.0
    train = [int(np.flatnonzero((logit == row).all(axis=1))[0]) for row in plain.truth.rewards]
    valid = drawn.pool.valid
    length = np.log1p(arrays["n_chars"][train].astype(np.float64))
    count = valid.sum(axis=1, keepdims=True)
    length = np.where(valid, length - (length * valid).sum(axis=1, keepdims=True) / count, 0)
    before, after = (np.sum(length * w.truth.rewards) for w in (plain, drawn))
    assert abs(after) < 1e-9 * np.sum(length**2) < abs(before)


def test_the_trainer_is_a_parameter(arrays: data.Arrays) -> None:
    assert make_env(ID).world(0).trainer == LogLinearDPO(1.0)
    assert make_env(ID, trainer="xpo", ridge=2.0).world(0).trainer == LogLinearXPO(2.0)


def test_an_episode_can_be_played_on_it(arrays: data.Arrays) -> None:
    env = PairEnv(ID, budgets=(10, 30))
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


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": 0}, "temperature must be positive and finite, got 0"),
        ({"temperature": -1}, "temperature must be positive and finite"),
        ({"temperature": np.nan}, "temperature must be positive and finite"),
        ({"beta": 0}, "beta must be positive and finite"),
        ({"beta": np.inf}, "beta must be positive and finite"),
        ({"ridge": 0}, "ridge must be positive and finite"),
        ({"trainer": "xpo(alhpa=1)"}, "no parameter 'alhpa'. Did you mean 'alpha'"),
        ({"residual": "perhaps"}, "residual: .* got 'perhaps'"),
        ({"temprature": 1}, "no parameter 'temprature'. Did you mean 'temperature'"),
    ],
)
def test_a_bad_parameter_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_env(ID, **params)


# The real file, where it is at hand.


@with_real_data
def test_the_real_file_splits_in_proportion_centred_and_scaled(data_folder: Path) -> None:
    # Taken as it is: styles and words are in the file, nothing is computed from texts.
    data.add(REAL)
    arrays = data.load_arrays(NAME)
    assert arrays["models"].tolist() == content().MODELS
    assert arrays["style_names"].tolist() == list(STYLE_NAMES)
    drawn = make_env(ID).world(0)
    assert (drawn.pool.n_prompts, drawn.held_out.n_prompts) == (600, 205)
    assert (~drawn.pool.valid).sum() + (~drawn.held_out.valid).sum() == 10
    train = check_world(drawn, arrays, 4.0)
    names, total = np.unique(arrays["dataset"], return_counts=True)
    assert len(names) == 5
    taken = np.array([(arrays["dataset"][train] == name).sum() for name in names])
    assert (np.abs(taken - total * 600 / 805) < 1).all()
