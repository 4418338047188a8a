import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray

import pairbench
from pairbench import InvalidParameter, PairEnv
from pairbench.errors import RunError
from pairbench.view.budget import check_budgets

ID = "pairbench/LogLinear-v1"
SMALL: dict[str, Any] = {
    "prompts": 6,
    "held_out_prompts": 8,
    "completions": 4,
    "dim": 3,
    "missing": 0.3,
    "budgets": (4, 9, 15),
}


@pytest.fixture
def env() -> PairEnv:
    made = gymnasium.make(ID, **SMALL).unwrapped
    assert isinstance(made, PairEnv)
    return made


def proper_action(env: PairEnv, seed: int = 0) -> NDArray[np.int64]:
    pairs = np.argwhere(env.pool.pair_mask)
    chosen = np.random.default_rng(seed).permutation(pairs)[: env.ledger.labels_left]
    return env.action(chosen)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["pairbench, gymnasium", "gymnasium, pairbench"])
def test_gymnasium_knows_every_id_in_either_import_order(root: Path, order: str) -> None:
    code = f"""
import {order}
from pairbench.worlds.registry import environment_ids
assert environment_ids()
assert not [name for name in environment_ids() if name not in gymnasium.registry]
env = gymnasium.make("{ID}", prompts=3, dim=2)
print(env.unwrapped.environment.prompts, env.spec.id)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["3", ID]


def test_importing_pairbench_does_not_import_gymnasium(root: Path) -> None:
    code = "import sys, pairbench; assert 'gymnasium' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr


def test_gymnasiums_checker_has_no_complaint(env: PairEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_episodes_run_in_parallel(mode: str) -> None:
    envs = gymnasium.make_vec(ID, 2, mode, **SMALL)
    try:
        observation, _ = envs.reset(seed=[3, 4])  # type: ignore[arg-type]
        alone = gymnasium.make(ID, **SMALL)
        for k, seed in enumerate((3, 4)):
            expected, _ = alone.reset(seed=seed)
            for name, array in expected.items():
                np.testing.assert_array_equal(observation[name][k], array)
        envs.action_space.seed(0)
        rewards, done = np.zeros(2), np.zeros(2, dtype=np.bool_)
        for _ in range(3):
            _, reward, done, truncated, _ = envs.step(envs.action_space.sample())
            rewards += reward
            assert not truncated.any()
        assert done.all()
        assert np.isfinite(rewards).all()
    finally:
        envs.close()


def test_a_random_agent_plays_to_the_end_and_the_return_is_the_fall_of_the_gap(
    env: PairEnv,
) -> None:
    observation, info = env.reset(seed=1)
    start = env.score().gap
    env.action_space.seed(1)
    total, ended = 0.0, []
    for round_ in range(3):
        assert observation in env.observation_space
        assert observation["rounds_left"].tolist() == [3 - round_]
        assert observation["labels_left"].tolist() == [env.budgets[round_] - info["labels"]]
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total += reward
        ended.append(terminated)
        assert not truncated
    assert observation in env.observation_space
    assert ended == [False, False, True]
    assert total == pytest.approx(start - env.score().gap, abs=1e-12)
    assert info["round"] == 3
    assert observation["labels_left"].tolist() == observation["rounds_left"].tolist() == [0]


def test_the_gap_before_the_first_label_is_the_reference_policys(env: PairEnv) -> None:
    env.reset(seed=2)
    score = env.score()
    assert score.win_rate == pytest.approx(0.5)
    assert score.design_efficiency == 0
    np.testing.assert_allclose(env.policy.log_probs(env.pool), env.pool.log_ref)


def test_the_observation_shows_what_was_asked_and_answered(env: PairEnv) -> None:
    env.reset(seed=2)
    action = proper_action(env)
    observation, _, _, _, info = env.step(action)
    assert info == {"round": 1, "labels": 4, "spent": 4.0, "skipped": len(action) - 4}
    np.testing.assert_array_equal(observation["pairs"][:4], action[:4])
    np.testing.assert_array_equal(observation["pairs"][4:], -1)
    world = env.world
    labels = world.oracle.label(action[:4], np.zeros(4, dtype=np.int64))
    np.testing.assert_array_equal(observation["labels"][:4], labels)
    np.testing.assert_array_equal(observation["labels"][4:], -1)
    assert env.ledger.tokens_read == sum(
        env.pool.lengths[x, i] + env.pool.lengths[x, j] for x, i, j in action[:4]
    )


def test_a_question_asked_again_gets_a_fresh_answer() -> None:
    env = PairEnv(ID, (40, 80), prompts=1, completions=2, dim=1, reward_scale=0.0)
    env.reset(seed=0)
    action = np.tile([0, 0, 1], (40, 1))
    env.step(action)
    env.step(action)
    assert 20 < env.labels.sum() < 60
    assert (env.labels[:40] != env.labels[40:]).any()
    # As if all had been asked at once.
    at_once = PairEnv(ID, (80,), prompts=1, completions=2, dim=1, reward_scale=0.0)
    at_once.reset(seed=0)
    at_once.step(np.tile([0, 0, 1], (80, 1)))
    np.testing.assert_array_equal(env.labels, at_once.labels)


def test_improper_rows_buy_nothing(env: PairEnv) -> None:
    env.reset(seed=0)
    x, i, j = (int(v) for v in np.argwhere(env.pool.pair_mask)[0])
    prompt, gone = (int(v) for v in np.argwhere(~env.pool.valid)[0])
    bad = [[x, i, i], [prompt, gone, 0], [prompt, 1, gone], [99, 0, 1], [0, -1, 1], [0, 0, 99]]
    action = env.action(np.array([*bad[:3], [x, i, j], *bad[3:]]))
    observation, _, _, _, info = env.step(action)
    assert info["labels"] == 1
    assert info["skipped"] == len(action) - 1
    np.testing.assert_array_equal(observation["pairs"][0], [x, i, j])
    # What was not bought is there in the next round.
    assert observation["labels_left"].tolist() == [8]


def test_a_round_in_which_nothing_is_asked_changes_nothing_but_the_round(env: PairEnv) -> None:
    env.reset(seed=0)
    before = env.score()
    observation, reward, terminated, _, info = env.step(env.action(np.empty((0, 3), np.int64)))
    assert (reward, terminated) == (0.0, False)
    assert info["labels"] == 0
    assert env.score() == before
    assert observation["labels_left"].tolist() == [9]


def test_rows_beyond_the_budget_buy_nothing(env: PairEnv) -> None:
    env.reset(seed=0)
    pairs = np.argwhere(env.pool.pair_mask)[: env.batch]
    assert len(pairs) > 4
    _, _, _, _, info = env.step(env.action(pairs))
    assert info == {"round": 1, "labels": 4, "spent": 4.0, "skipped": env.batch - 4}
    np.testing.assert_array_equal(env.pairs, pairs[:4])


def test_what_is_bought_without_a_look_at_the_policy_trains_it_once(
    env: PairEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.reset(seed=4)
    seen, fit = [], type(env.world.trainer).fit

    def counted(*given: Any) -> Any:
        seen.append(len(given[-1]))
        return fit(*given)

    monkeypatch.setattr(type(env.world.trainer), "fit", counted)
    actions = []
    while env.ledger.rounds_left:
        actions.append(proper_action(env))
        assert env.buy(actions[-1]) == env.batch - np.diff((0, *env.budgets))[len(actions) - 1]
    assert seen == []
    late = env.policy.fingerprint()
    assert env.score().gap == env.gap
    assert seen == [15]
    with pytest.raises(RunError, match="spent"):
        env.buy(actions[-1])
    env.reset(seed=4)
    for action in actions:
        env.step(action)
    assert env.policy.fingerprint() == late
    assert seen == [15, 0, 4, 9, 15]


def test_the_same_seed_gives_the_same_episode(env: PairEnv) -> None:
    def played(env: PairEnv) -> list[Any]:
        trace: list[Any] = [env.reset(seed=9)[0]]
        while env.ledger.rounds_left:
            observation, reward, *_ = env.step(proper_action(env))
            trace += [observation, reward, env.policy.fingerprint(), env.view().rng.random()]
        return trace

    other = gymnasium.make(ID, **SMALL).unwrapped
    assert isinstance(other, PairEnv)
    np.testing.assert_equal(played(env), played(env))
    np.testing.assert_equal(played(env), played(other))


def test_without_a_seed_every_episode_is_another(env: PairEnv) -> None:
    env.reset(seed=9)
    first, second = (env.reset()[0]["features"] for _ in range(2))
    assert (first != second).any()
    # But which ones they are follows from the last seed that was given.
    env.reset(seed=9)
    np.testing.assert_array_equal(env.reset()[0]["features"], first)


def test_an_observation_is_a_copy(env: PairEnv) -> None:
    observation, _ = env.reset(seed=0)
    kept = {name: array.copy() for name, array in observation.items()}
    for array in observation.values():
        array[...] = 0
    action = proper_action(env)
    later, *_ = env.step(action)
    for name in ("features", "log_ref", "lengths", "valid", "prompt_weights"):
        np.testing.assert_array_equal(later[name], kept[name])
    later["pairs"][...] = 0
    later["labels"][...] = 0.5
    np.testing.assert_array_equal(env.pairs, action[:4])
    assert set(env.labels.tolist()) <= {0.0, 1.0}


def reachable(thing: object) -> list[object]:
    """Everything that lies below an object's attributes, items and closures."""
    found: list[object] = []
    todo, known = [thing], set()
    while todo:
        one = todo.pop()
        if (
            id(one) in known
            or isinstance(one, type)
            or (type(one).__module__ == "builtins" and not isinstance(one, dict | list | tuple))
        ):
            continue
        known.add(id(one))
        found.append(one)
        if isinstance(one, dict):
            todo += list(one.values())
        elif isinstance(one, list | tuple):
            todo += list(one)
        else:
            todo += list(getattr(one, "__dict__", {}).values())
        if isinstance(one, np.ndarray) and one.base is not None:
            todo.append(one.base)
    return found


def test_neither_view_nor_observation_nor_info_leads_to_the_truth(env: PairEnv) -> None:
    observation, info = env.reset(seed=0)
    later, _, _, _, info_later = env.step(proper_action(env))
    truth = env.world.truth
    assert truth.theta is not None
    secrets: list[NDArray[Any]] = [
        truth.rewards,
        truth.held_out,
        truth.theta,
        env.world.held_out.features,
    ]
    things = reachable([observation, info, later, info_later, env.view()])
    assert any(one is env.pool.features for one in things), "the search finds what is there"
    for one in things:
        assert not isinstance(one, pairbench.World | pairbench.Truth | pairbench.BradleyTerry)
        if isinstance(one, np.ndarray):
            for secret in secrets:
                assert not np.shares_memory(one, secret)
                assert one.shape != secret.shape or not np.allclose(one, secret, equal_nan=True)


def test_a_designs_random_numbers_do_not_give_the_worlds_seed_away(env: PairEnv) -> None:
    # Whoever has the seed has the world: make_env(...).world(seed).truth.
    env.reset(seed=123_456_789)
    sequence = env.view().rng.bit_generator.seed_seq
    assert "123456789" not in repr(sequence)
    assert getattr(sequence, "entropy", None) != 123_456_789


def test_a_view_can_be_read_but_not_written(env: PairEnv) -> None:
    env.reset(seed=0)
    env.step(proper_action(env))
    view = env.view()
    np.testing.assert_array_equal(view.pairs, env.pairs)
    for array in (view.pairs, view.labels, view.pool.features, view.pool.log_ref):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    for array in (view.pairs, view.labels):
        assert not np.shares_memory(array, env.pairs)
        assert not np.shares_memory(array, env.labels)


def test_a_views_random_numbers_depend_on_seed_and_round_alone(env: PairEnv) -> None:
    env.reset(seed=0)
    first = env.view().rng.random()
    assert env.view().rng.random() == first
    env.step(proper_action(env))
    second = env.view().rng.random()
    env.reset(seed=0)
    env.step(env.action(np.empty((0, 3), dtype=np.int64)))
    assert env.view().rng.random() == second != first
    env.reset(seed=1)
    assert env.view().rng.random() != first


def test_after_the_last_round_a_step_is_an_error(env: PairEnv) -> None:
    env.reset(seed=0)
    for _ in range(3):
        env.step(proper_action(env))
    with pytest.raises(RunError, match=r"the schedule is spent. Call reset\(\) first"):
        env.step(proper_action(env))
    env.reset(seed=0)
    env.step(proper_action(env))


def test_before_reset_there_is_no_episode() -> None:
    env = PairEnv(ID, **SMALL)
    with pytest.raises(RunError, match=r"no episode yet. Call reset\(\) first"):
        env.step(np.zeros((7, 3), dtype=np.int64))


@pytest.mark.parametrize(
    "budgets",
    [
        (),
        (0,),
        (-5, 10),
        (10, 10),
        (10, 5),
        (10.0,),
        (1.5, 3),
        ("10",),
        (None,),
        (np.nan,),
    ],
)
def test_a_bad_schedule_is_refused(budgets: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidParameter, match="budgets must be whole cumulative numbers"):
        check_budgets(budgets)
    with pytest.raises(InvalidParameter, match="budgets must be whole cumulative numbers"):
        PairEnv(ID, budgets, prompts=2, dim=2)


def test_a_schedule_of_numpy_integers_is_a_schedule() -> None:
    budgets = check_budgets(list(np.array([10, 20])))
    assert budgets == (10, 20)
    assert all(type(budget) is int for budget in budgets)


def test_the_environments_own_schedule_is_the_default() -> None:
    env = PairEnv(ID, prompts=2, dim=2)
    assert env.budgets == pairbench.make_env(ID).budgets
    assert env.batch == max(np.diff((0, *env.budgets)))
    assert env.action_space.shape == (env.batch, 3)


GROWING: dict[str, Any] = {
    "prompts": 5,
    "held_out_prompts": 4,
    "completions": 6,
    "dim": 3,
    "missing": 0.3,
    "prices": "label=1, token_read=0.01, completion=0.4",
    "budgets": (12, 30),
}


@pytest.fixture
def growing() -> PairEnv:
    made = gymnasium.make("pairbench/GenerateThenLabel-v1", **GROWING).unwrapped
    assert isinstance(made, PairEnv)
    return made


def draw(env: PairEnv, *prompts: int) -> NDArray[np.int64]:
    return env.generation_action(np.array(prompts))


def test_a_policy_is_trained_on_the_pool_that_its_labels_were_bought_from() -> None:
    """An optimistic trainer looks at completions that were never asked about, too."""
    found = []
    for looks in (True, False):
        env = PairEnv("pairbench/GenerateThenLabel-v1", **GROWING, trainer="xpo(alpha=0.1)")
        env.reset(seed=1)
        env.buy(proper_action(env))
        if looks:
            assert env.training.seconds > 0
        asked = np.unique(env.pairs[:, 0])
        assert env.hidden is not None
        grows = asked[env.hidden[asked] > 0]
        assert len(grows)
        before = env.current_pool.valid.sum()
        env.buy(env.generation_action(grows))
        assert env.current_pool.valid.sum() == before + len(grows)
        found.append(env.policy.fingerprint())
    assert found[0] == found[1]


def test_an_environment_that_grows_is_a_gymnasium_environment(growing: PairEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(growing, skip_render_check=True)


def test_what_is_not_generated_is_not_shown(growing: PairEnv) -> None:
    observation, _ = growing.reset(seed=1)
    there = observation["valid"].astype(bool)
    np.testing.assert_array_equal(there.sum(axis=1), 2)
    hidden = growing.world.pool.valid & ~there
    assert hidden.any()
    for name in ("features", "log_ref", "lengths"):
        assert not observation[name][hidden].any()
    np.testing.assert_allclose(np.exp(growing.pool.log_ref).sum(axis=1), 1)


def test_completions_come_in_their_order_and_leave_the_round_open(growing: PairEnv) -> None:
    growing.reset(seed=1)
    hidden = growing.hidden
    assert hidden is not None
    x = int(hidden.argmax())
    places = np.flatnonzero(growing.world.pool.valid[x])
    observation, reward, done, _, info = growing.step(draw(growing, x, x))
    assert (reward, done, info["round"], info["labels"]) == (0.0, False, 0, 0)
    assert info["spent"] == pytest.approx(0.8)
    assert info["skipped"] == growing.batch - 2
    np.testing.assert_array_equal(np.flatnonzero(observation["valid"][x]), places[:4])
    np.testing.assert_array_equal(growing.hidden, hidden - 2 * (np.arange(5) == x))
    assert observation["money_left"].item() == pytest.approx(12 - 0.8)


def test_rows_that_draw_and_rows_that_ask_may_come_in_one_step(growing: PairEnv) -> None:
    growing.reset(seed=1)
    hidden = growing.hidden
    assert hidden is not None
    x = int(hidden.argmax())
    third = np.flatnonzero(growing.world.pool.valid[x])[2]
    rows = np.concatenate([draw(growing, x)[:1], [[x, 0, third]]])
    _, _, _, _, info = growing.step(growing.action(rows))
    assert (info["round"], info["labels"]) == (1, 1)
    tokens = growing.world.pool.lengths[x, [0, third]].sum()
    assert info["spent"] == pytest.approx(1 + 0.01 * tokens + 0.4)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_no_actions_spend_more_than_there_is(growing: PairEnv, seed: int) -> None:
    rng = np.random.default_rng(seed)
    growing.reset(seed=seed % 3)
    shape = growing.action_space.shape
    assert shape is not None
    while growing.ledger.rounds_left:
        budget, before = growing.budgets[growing.ledger.round], growing.ledger.spent
        action = rng.integers(0, [5, 6, 6], size=shape)
        observation, _, _, _, info = growing.step(action)
        assert before <= info["spent"] <= budget + 1e-9
        assert growing.observation_space.contains(observation)
    prompt, first, second = growing.pairs.T
    tokens = (growing.pool.lengths[prompt, first] + growing.pool.lengths[prompt, second]).sum()
    drawn = int(growing.pool.valid.sum()) - 10
    assert growing.ledger.spent == pytest.approx(len(prompt) + 0.01 * tokens + 0.4 * drawn)


def test_where_nothing_can_be_generated_rows_of_one_completion_buy_nothing(env: PairEnv) -> None:
    env.reset(seed=0)
    assert env.hidden is None
    _, _, _, _, info = env.step(np.array([[0, 1, 1], [1, 0, 0]]))
    assert (info["round"], info["labels"], info["spent"]) == (1, 0, 0.0)


def test_a_budget_of_money_that_buys_no_label_is_refused_at_once() -> None:
    with pytest.raises(InvalidParameter, match="buys no label"):
        PairEnv(ID, budgets=(1, 9), unit="money", prices="label=2")


def test_a_price_list_or_unit_that_cannot_be_is_refused_when_the_environment_is_made() -> None:
    with pytest.raises(InvalidParameter, match="price of a label"):
        pairbench.make_env(ID, prices="label=-1")
    with pytest.raises(InvalidParameter, match="unit of budgets 'dollars'"):
        pairbench.make_env(ID, unit="dollars")
