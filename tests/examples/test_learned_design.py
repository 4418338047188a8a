"""The learnt design trains, is the same again, and plays as any other design does."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from pairbench import InvalidParameter, PairEnv, View, make_design, play
from pairbench.checks.cases import CASES
from pairbench.checks.conformance import run_check
from pairbench.checks.subject import Subject
from pairbench.design.registry import DESIGNS
from pairbench.information import label_information, policy_covariance
from pairbench.spec.loading import from_file

pytest.importorskip("stable_baselines3")

WORLD = "pairbench/LogLinear-v1(prompts=6, held_out_prompts=5, completions=4, dim=3)"
BUDGETS = (4, 7, 12)


@pytest.fixture(scope="module")
def file(root: Path) -> str:
    return str(root / "examples" / "learned_design.py")


@pytest.fixture(scope="module")
def example(file: str) -> Iterator[ModuleType]:
    """The module, as the harness loads it, with one small world to train on."""
    module = sys.modules[from_file(file, DESIGNS.contract).__module__]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("TRAINED_ON", (WORLD,)), ("HELD_OUT", (WORLD,)), ("BUDGETS", BUDGETS)):
            patch.setattr(module, name, value)
        yield module


@pytest.fixture(scope="module")
def trained(example: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy saved after a few hundred steps."""
    path: Path = tmp_path_factory.mktemp("policy") / "learned.zip"
    example.train(300, seed=3)[0].save(path)
    return path


@pytest.fixture
def view() -> View:
    """A view in the second round."""
    env = PairEnv(WORLD, BUDGETS)
    env.reset(seed=1)
    env.step(env.action(make_design("uniform").select(env.view(), env.ledger.labels_left)))
    return env.view()


def spec(file: str, policy: Path) -> str:
    return f"{file}(policy={str(policy)!r})"


# -- what the network is told ---------------------------------------------------------------------


def test_features_are_those_of_a_slow_transcription(example: ModuleType, view: View) -> None:
    shortlist = example.Shortlist(view, 3)
    shortlist.take(4)
    shortlist.take(1)
    pool, theta = view.pool, view.implicit_theta()
    counted = np.concatenate([view.pairs, shortlist.pairs[[4, 1]]])
    inverse = np.linalg.inv(
        view.ridge * np.eye(pool.dim) + label_information(pool, counted, theta=theta)
    )
    covariance = policy_covariance(pool, theta, view.beta)
    policy = np.exp(view.log_policy())
    rows = []
    for prompt, i, j in shortlist.pairs.tolist():
        z = pool.phi[prompt, i] - pool.phi[prompt, j]
        delta, variance = abs(z @ theta), z @ inverse @ z
        slope = 1 / (2 + np.exp(delta) + np.exp(-delta))
        fall = np.trace(covariance @ inverse) - np.trace(
            covariance @ np.linalg.inv(np.linalg.inv(inverse) + slope * np.outer(z, z))
        )
        same = [{a, b} == {i, j} for x, a, b in counted.tolist() if x == prompt]
        share = (policy[prompt, i] + policy[prompt, j]) / (2 / pool.valid[prompt].sum())
        rows.append(
            (slope * variance, fall, variance, z @ z, delta, variance, sum(same), len(same), share)
        )
    table = np.array(rows)
    expected = np.empty((len(rows), 11))
    expected[:, :4] = np.log(table[:, :4] / table[:, :4].mean(axis=0) + 1e-3)
    expected[:, 4] = np.log1p(table[:, 4])
    expected[:, 5] = np.log1p(table[:, 4] / np.sqrt(table[:, 5]))
    expected[:, 6:8] = np.log1p(table[:, 6:8])
    expected[:, 8] = np.log(table[:, 8] + 1e-3)
    expected[:, 9] = len(counted) / BUDGETS[-1]
    expected[:, 10] = np.log1p(len(counted) / pool.dim)
    assert table[:, 6].max() > 0
    np.testing.assert_allclose(shortlist.features(), expected, rtol=1e-5, atol=1e-6)


def test_the_shortlist_is_proposed_and_drawn(example: ModuleType, view: View) -> None:
    shortlist = example.Shortlist(view, 3)
    assert shortlist.pairs.shape == (18, 3)
    assert view.pool.proper(shortlist.pairs).all()
    dealt = {(x, *sorted(pair)) for x, *pair in shortlist.pairs.tolist()}
    # A design that asks nothing of the generator proposes the same here as there.
    proposed = make_design("greedy-d").select(view, 3)
    assert {(x, *sorted(pair)) for x, *pair in proposed.tolist()} <= dealt


def test_features_stay_within_their_bounds_in_odd_rounds(
    example: ModuleType,
) -> None:
    for case in CASES.values():
        features = example.Shortlist(case.view(), case.n).features()
        assert np.isfinite(features).all()
        assert np.abs(features).max() <= 10


# -- the environment ------------------------------------------------------------------------------


def test_gymnasium_finds_nothing_wrong(example: ModuleType) -> None:
    check_env(example.CandidateEnv(PairEnv(WORLD, BUDGETS)), skip_render_check=True)


def test_the_reward_is_the_fall_of_log_gap_when_a_round_is_asked(example: ModuleType) -> None:
    env = example.CandidateEnv(PairEnv(WORLD, BUDGETS))
    env.reset(seed=5)
    same = PairEnv(WORLD, BUDGETS)
    same.reset(seed=5)
    gaps, rewards, done, rng = [same.score().gap], [], False, np.random.default_rng(0)
    while not done:
        picked = rng.integers(env.action_space.n)
        _, reward, done, _, info = env.step(picked)
        rewards.append(reward)
        assert bool(info) == (len(rewards) in BUDGETS)
        assert reward == 0 or len(rewards) in BUDGETS
    questions = env.unwrapped.env.pairs
    assert len(rewards) == len(questions) == BUDGETS[-1]
    for start, end in zip((0, *BUDGETS), BUDGETS, strict=False):
        same.step(same.action(questions[start:end]))
        gaps.append(same.score().gap)
    falls = -np.diff(np.log(np.array(gaps) + 1e-6))
    np.testing.assert_allclose(np.array(rewards)[np.array(BUDGETS) - 1], falls, rtol=1e-9)


# -- the policy -----------------------------------------------------------------------------------


def test_the_policy_does_not_see_how_candidates_are_numbered(example: ModuleType) -> None:
    import torch

    model, _ = example.train(1, seed=0)
    rng = np.random.default_rng(0)
    features = rng.normal(size=model.observation_space.shape).astype(np.float32)
    order = rng.permutation(len(features))
    observations = torch.from_numpy(np.stack([features, features[order]]))
    logits = model.policy.get_distribution(observations).distribution.logits.detach().numpy()
    values = model.policy.predict_values(observations).detach().numpy()
    assert np.ptp(logits[0]) > 0
    np.testing.assert_allclose(logits[1], logits[0][order], rtol=1e-5)
    np.testing.assert_allclose(values[1], values[0], rtol=1e-5)


@pytest.mark.slow
def test_training_moves_all_weights_and_is_the_same_again(
    example: ModuleType, trained: Path, tmp_path: Path
) -> None:
    def weights(model: Any) -> list[NDArray[np.float32]]:
        return [weight.detach().numpy() for weight in model.policy.parameters()]

    once, returns = example.train(300, seed=3)
    again, more = example.train(300, seed=3)
    longer, _ = example.train(600, seed=3)
    other, _ = example.train(300, seed=4)
    assert returns.shape == (320 // BUDGETS[-1], 1)
    np.testing.assert_array_equal(returns, more)
    for one, two, three, four in zip(*map(weights, (once, again, longer, other)), strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()
        assert (one != four).any()
    again.save(tmp_path / "again.zip")
    digests = {example.LearnedDesign(str(p)).digest for p in (trained, tmp_path / "again.zip")}
    assert len(digests) == 1


# -- the design -----------------------------------------------------------------------------------


def test_the_design_takes_what_the_trained_policy_takes(
    example: ModuleType, trained: Path, view: View
) -> None:
    from stable_baselines3 import PPO

    model = PPO.load(
        trained, device="cpu", custom_objects={"policy_class": example.CandidatePolicy}
    )
    view = replace(view, rng=np.random.default_rng(6))
    n = max(np.diff((0, *BUDGETS)))  # the saved policy has places for so many labels' candidates
    shortlist = example.Shortlist(view, n)
    for _ in range(n):
        action, _ = model.predict(shortlist.features(), deterministic=True)
        shortlist.take(int(action))
    expected = shortlist.chosen()
    view = replace(view, rng=np.random.default_rng(6))
    chosen = example.LearnedDesign(str(trained)).select(view, n)
    np.testing.assert_array_equal(chosen, expected)


def test_it_plays_through_the_harness_and_is_the_same_again(file: str, trained: Path) -> None:
    design = spec(file, trained)
    episode = play(WORLD, design, 2, BUDGETS)
    assert [len(r.pairs) for r in episode.rounds] == list(np.diff((0, *BUDGETS)))
    assert episode.results() == play(WORLD, design, 2, BUDGETS).results()
    assert episode.results() != play(WORLD, file, 2, BUDGETS).results()


@pytest.mark.parametrize("check", ["proper", "deterministic", "random-state", "hard-cases"])
def test_it_conforms(file: str, trained: Path, check: str) -> None:
    for design in (file, spec(file, trained)):
        result = run_check(Subject(design), check)
        assert (result.status, result.message) == ("pass", "")


def test_a_policy_that_was_trained_again_is_another_design(
    example: ModuleType, file: str, trained: Path
) -> None:
    digest = example.LearnedDesign(str(trained)).digest
    assert make_design(f"{file}(policy={str(trained)!r}, digest={digest!r})").digest == digest  # type: ignore[attr-defined]
    with pytest.raises(InvalidParameter, match=f"has the digest '{digest}', not 'beef'"):
        example.LearnedDesign(str(trained), "beef")


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_a_file_that_holds_no_policy_is_refused(
    example: ModuleType, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "other.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidParameter, match="policy must be a file that examples/learned"):
        example.LearnedDesign(str(path))


def test_a_policy_of_another_kind_is_refused(example: ModuleType, tmp_path: Path) -> None:
    from stable_baselines3 import PPO

    env = example.CandidateEnv(PairEnv(WORLD, BUDGETS))
    PPO("MlpPolicy", env, device="cpu").save(tmp_path / "mlp.zip")
    with pytest.raises(InvalidParameter, match="policy must be a file that examples/learned"):
        example.LearnedDesign(str(tmp_path / "mlp.zip"))


@pytest.mark.slow
def test_the_command_trains_plays_and_prints_markdown(
    example: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--steps", "1", "--seeds", "2", "--out", str(tmp_path / "new" / "policy")]
    monkeypatch.setattr(sys, "argv", ["learned_design.py", *arguments])
    example.main()
    out = capsys.readouterr().out
    assert out.startswith("26 episodes in 0.")
    assert out.count("\n| --- |") == 3
    assert out.count("learned_design.py(policy=") == 2
    assert (tmp_path / "new" / "policy.zip").is_file()
    monkeypatch.setattr(sys, "argv", ["learned_design.py", "--steps", "0"])
    with pytest.raises(SystemExit):
        example.main()
    assert "must be 1 or more" in capsys.readouterr().err
