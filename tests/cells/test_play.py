"""Episodes: their results, that replays repeat them bit for bit, and designs that misbehave."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray

from pairbench import (
    Design,
    Environment,
    Pairs,
    Pool,
    RunSpec,
    View,
    make_env,
    play,
    replay,
    run,
)
from pairbench.design.registry import design_names
from pairbench.errors import BudgetExceeded, InvalidPairs, InvalidPool, ReadOnlyView
from pairbench.oracles import Oracle
from pairbench.spec import text as text_module
from pairbench.view.budget import Ledger, Prices
from pairbench.worlds.environment import _draw_world, draw_world
from pairbench.worlds.registry import environment_ids
from pairbench.worlds.world import World

Results = Callable[[Path], dict[str, Any]]
BUDGETS = (6, 15)
SIZES = {"prompts": 6, "held_out_prompts": 6, "completions": 6, "dim": 8}
TRAINERS = ["dpo", "selm(alpha=0.01)", "xpo(alpha=0.1)", "rdpo", "ipo", "rao-kupper", "davidson"]
RAGGED = {"prompts": 6, "held_out_prompts": 6, "completions": 5, "dim": 3, "missing": 0.4}


def synthetic() -> list[str]:
    """Return the ids of all environments that take the sizes below and need no data."""
    family = type(make_env("LogLinear-v1"))
    return [id_ for id_ in environment_ids() if isinstance(make_env(id_), family)]


def as_json(episode: Any) -> Any:
    """Return an episode's results as they are read back from a file."""
    return json.loads(json.dumps(episode.results()))


@pytest.fixture(scope="module")
def ragged() -> Environment:
    return make_env("LogLinear-v1", **RAGGED)


def test_one_off_computations_of_a_world_do_not_count_as_the_designs_time(tiny: str) -> None:
    computed_before = []

    def guard(_: int) -> AbstractContextManager[None]:
        computed_before.append(
            {"best_in_class", "initial_score"} <= vars(draw_world(make_env(tiny), 77)).keys()
        )
        return nullcontext()

    play(tiny, "oracle-i-optimal", 77, (5, 12), guard=guard)
    assert computed_before == [True, True]


def test_an_episode_has_a_round_for_each_budget(tiny: str) -> None:
    episode = play(tiny, "uniform", 3, (5, 12, 20))
    assert [r.budget for r in episode.rounds] == [5, 12, 20]
    assert [r.pairs.shape for r in episode.rounds] == [(5, 3), (7, 3), (8, 3)]
    assert [len(r.labels) for r in episode.rounds] == [5, 7, 8]
    assert all(set(r.labels) <= {0.0, 0.5, 1.0} for r in episode.rounds)
    assert episode.start.gap > 0
    assert episode.start.design_efficiency == 0


def test_the_environments_own_schedule_is_the_default(tiny: str) -> None:
    assert [r.budget for r in play(tiny, "uniform").rounds] == [50, 100, 200, 400, 800]


def test_more_labels_make_a_better_policy(tiny: str) -> None:
    gaps = np.array(
        [[r.score.gap for r in play(tiny, "uniform", seed, (10, 1000)).rounds] for seed in range(5)]
    )
    assert gaps[:, 1].mean() < gaps[:, 0].mean() / 5


def test_seeds_are_other_worlds_and_designs_share_them(tiny: str) -> None:
    starts = [play(tiny, "uniform", seed, (5,)).start for seed in (0, 1)]
    assert starts[0] != starts[1]
    assert play(tiny, "leverage", 0, (5,)).start == starts[0]


def test_designs_that_ask_the_same_question_get_the_same_answer(ragged: Environment) -> None:
    forth = play(ragged, lambda view, n: all_pairs(view)[:n], 0, (20,)).rounds[0]
    back = play(ragged, lambda view, n: all_pairs(view)[:n][::-1, [0, 2, 1]], 0, (20,)).rounds[0]
    np.testing.assert_array_equal(back.labels[::-1], 1 - forth.labels)


def test_each_round_has_its_usage(tiny: str) -> None:
    usage = play(tiny, "uniform", 0, (5, 10)).usage()
    assert [set(use) for use in usage] == [{"selection", "training"}] * 2
    assert all(part["seconds"] >= 0 for use in usage for part in use.values())


def test_fewer_pairs_are_allowed_and_left_for_later(tiny: str) -> None:
    def frugal(view: View, n: int) -> Pairs:
        return np.tile([0, 0, 1], (n if view.round == 2 else 1, 1))

    episode = play(tiny, frugal, 0, (5, 10, 15))
    assert [len(r.pairs) for r in episode.rounds] == [1, 1, 13]


def test_a_design_may_select_no_pairs(tiny: str) -> None:
    episode = play(tiny, lambda view, n: np.empty((0, 3), dtype=np.int64), 0, (5, 10))
    assert [r.score.gap for r in episode.rounds] == [episode.start.gap] * 2


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, list])
def test_any_integers_will_do(tiny: str, kind: Any) -> None:
    rows = [[0, 0, 1], [5, 3, 2]]
    pairs: Any = rows if kind is list else np.array(rows, dtype=kind)
    episode = play(tiny, lambda view, n: pairs, 0, (2,))
    assert episode.rounds[0].pairs.tolist() == rows


# -- reproducibility -----------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_replaying_an_episode_from_its_pairs_gives_it_again_bit_for_bit(
    data: st.DataObject, seed: int
) -> None:
    id_ = data.draw(st.sampled_from(synthetic()))
    missing = data.draw(st.sampled_from([0.0, 0.4]))
    design = data.draw(st.sampled_from(design_names()))
    trainer = data.draw(st.sampled_from(TRAINERS))
    environment = make_env(id_, **SIZES, missing=missing, trainer=trainer)
    episode = play(environment, design, seed, BUDGETS)
    _draw_world.cache_clear()
    play("pairbench/Isotropic-v1", "uniform", 0, (3,))  # something else in between
    generated = [r.generated for r in episode.rounds]
    again = replay(environment, [r.pairs for r in episode.rounds], seed, BUDGETS, generated)
    assert again.results() == episode.results()
    assert again.rounds[-1].policy == episode.rounds[-1].policy


@dataclass(frozen=True)
class FirstAnswerFlipped:
    """An oracle that answers as another one does, except for the first question of an episode."""

    oracle: Oracle

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        assert time is not None
        labels = self.oracle.label(pairs, repeat, time)
        return np.where(time == 0, 1 - labels, labels)


@dataclass(frozen=True)
class Flipped(Environment):
    """The worlds of another environment, with the first answer flipped."""

    spec: str = ""

    def world(self, seed: int) -> World:
        world = make_env(self.spec).world(seed)
        return replace(world, oracle=FirstAnswerFlipped(world.oracle))


def test_one_other_answer_in_the_same_world_is_another_policy(tiny: str) -> None:
    plain, again, flipped = (
        play(environment, "uniform", 0, (10, 20))
        for environment in (tiny, tiny, Flipped(spec=tiny))
    )
    assert flipped.start == plain.start
    for number in (0, 1):
        one, other = plain.rounds[number], flipped.rounds[number]
        np.testing.assert_array_equal(other.pairs, one.pairs)
        differing = np.flatnonzero(other.labels != one.labels)
        assert differing.tolist() == ([0] if number == 0 else [])
        assert other.policy != one.policy
        assert again.rounds[number].policy == one.policy


CASES = [
    (id_, design, seed)
    for seed, (id_, design) in enumerate(zip(synthetic(), design_names(), strict=False))
]


def test_another_process_gives_equal_results_in_another_order(
    environment_variables: dict[str, str],
) -> None:
    sizes = ", ".join(f"{name}={value}" for name, value in SIZES.items())
    cases = [(f"{id_}({sizes})", design, seed) for id_, design, seed in CASES]
    here = [as_json(play(*case, BUDGETS)) for case in cases]
    code = (
        "import json, sys; from pairbench import play; "
        "cases = json.load(sys.stdin); "
        f"print(json.dumps([play(*case, {BUDGETS}).results() for case in reversed(cases)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(cases),
        env=environment_variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)[::-1] == here


def test_one_worker_four_workers_and_this_process_give_the_same(
    tmp_path: Path, results: Results, tiny: str
) -> None:
    spec = RunSpec(
        name="custom",
        environments=[tiny, f"{tiny[:-1]}, missing=0.4)"],
        designs=["leverage", "i-optimal", "best-versus-worst"],
        seeds=range(3),
        reference="uniform",
        budgets=BUDGETS,
    )
    backwards = replace(spec, designs=list(spec.designs)[::-1], seeds=[2, 1, 0])
    one = run(spec, tmp_path / "one", jobs=1)
    four = run(backwards, tmp_path / "four", jobs=4)
    assert one.played == four.played == 24
    assert not one.failed
    assert not four.failed
    cells = {cell.key: cell for cell in spec.cells()[0]}
    here = {
        key: as_json(play(cell.environment.name, cell.design.name, cell.seed, cell.budgets))
        for key, cell in cells.items()
        if "missing" not in cell.environment.label and cell.design.label == cell.design.name
        for cell in [replace(cell, environment=replace(cell.environment, name=tiny))]
    }
    assert results(tmp_path / "one") == results(tmp_path / "four")
    assert here.items() <= results(tmp_path / "one").items()
    assert len(here) >= 9


# -- designs that misbehave ----------------------------------------------------------------------


def all_pairs(view: View) -> Pairs:
    return np.argwhere(view.pool.pair_mask)


def good(view: View, n: int) -> Pairs:
    return np.resize(all_pairs(view), (n, 3))


def row(*values: float) -> Callable[[View, int], Any]:
    """Build a design that selects proper pairs and one given row."""

    def select(view: View, n: int) -> Any:
        return np.concatenate([good(view, n - 1), [values]])

    return select


def not_valid(view: View, n: int) -> Pairs:
    prompt, gone = np.argwhere(~view.pool.valid)[0]
    return np.tile([prompt, gone, 0], (n, 1))


BAD: list[tuple[str, Callable[[View, int], Any], type[Exception], str]] = [
    ("nothing", lambda v, n: None, InvalidPairs, r"returned shape \(\) of dtype object"),
    ("one row", lambda v, n: np.array([0, 0, 1]), InvalidPairs, r"shape \(3,\)"),
    ("pairs only", lambda v, n: good(v, n)[:, 1:], InvalidPairs, r"shape \(6, 2\).*\(n, 3\) rows"),
    ("turned over", lambda v, n: good(v, n).T, InvalidPairs, r"shape \(3, 6\)"),
    ("stacked", lambda v, n: good(v, n)[None], InvalidPairs, r"shape \(1, 6, 3\)"),
    ("ragged", lambda v, n: [[0, 0, 1], [0, 1]], InvalidPairs, "something that is no array"),
    ("a text", lambda v, n: "first", InvalidPairs, r"shape \(\) of dtype <U5"),
    ("floats", lambda v, n: good(v, n) * 1.0, InvalidPairs, "dtype float64; expected integers"),
    ("NaN", lambda v, n: good(v, n) * np.nan, InvalidPairs, "NaN or infinite indices in 6 of 6"),
    ("bools", lambda v, n: good(v, n) > 0, InvalidPairs, "dtype bool; expected integers"),
    ("objects", lambda v, n: good(v, n).astype(object), InvalidPairs, "dtype object"),
    ("a generator", lambda v, n: (p for p in good(v, n)), InvalidPairs, "dtype object"),
    ("i = j", row(1, 1, 1), InvalidPairs, "1 improper of 6 pairs, the first at row 5: prompt 1 "),
    ("prompt outside", row(6, 0, 1), InvalidPairs, "prompt 6 is outside .* prompts 0 to 5"),
    ("prompt negative", row(-1, 0, 1), InvalidPairs, "prompt -1 is outside the pool"),
    ("first outside", row(0, 5, 1), InvalidPairs, "completion 5 is outside .* 0 to 4"),
    ("second outside", row(0, 0, 5), InvalidPairs, "completion 5 is outside .* 0 to 4"),
    ("second negative", row(0, 0, -1), InvalidPairs, "completion -1 is outside the pool"),
    ("far outside", row(0, 0, 2**62), InvalidPairs, "is outside the pool"),
    ("not valid", not_valid, InvalidPairs, "is not valid"),
    ("one too many", lambda v, n: good(v, n + 1), BudgetExceeded, "asked for 7 pairs, where 6 "),
    ("everything", lambda v, n: all_pairs(v), BudgetExceeded, "at most view.budget_left pairs"),
]


@pytest.mark.parametrize(
    ("design", "error", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_a_bad_answer_is_a_clear_error(
    ragged: Environment, design: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        play(ragged, design, 0, (6,))
    assert type(caught.value) is error
    assert str(caught.value).startswith("design ")


def test_a_bad_answer_in_a_later_round_is_found_too(ragged: Environment) -> None:
    def late(view: View, n: int) -> Pairs:
        return good(view, n + view.round)

    with pytest.raises(BudgetExceeded, match="asked for 5 pairs, where 4 labels are left"):
        play(ragged, late, 0, (6, 10))


def test_an_exception_of_a_design_is_raised_unchanged(ragged: Environment) -> None:
    def raises(view: View, n: int) -> Pairs:
        raise RuntimeError("I would rather not")

    with pytest.raises(RuntimeError, match="I would rather not"):
        play(ragged, raises, 0, (6,))


def test_the_error_names_the_design_as_it_was_given(tmp_path: Path, tiny: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def select(view, n): return None\n")
    with pytest.raises(InvalidPairs, match=re.escape(f"design '{path}' returned shape ()")):
        play(tiny, str(path), 0, (6,))

    def halves(view: View, n: int) -> Any:
        return None

    with pytest.raises(InvalidPairs, match="design 'halves' returned"):
        play(tiny, halves, 0, (6,))


ARRAYS = ["pool.features", "pool.log_ref", "pool.lengths", "pool.valid", "pool.prompt_weights"]
ARRAYS += ["pool.phi", "pool.pair_mask", "pairs", "labels"]


def array_at(view: View, path: str) -> np.ndarray[Any, Any]:
    value: Any = view
    for name in path.split("."):
        value = getattr(value, name)
    assert isinstance(value, np.ndarray)
    return value


@pytest.mark.parametrize("path", ARRAYS)
def test_writing_into_the_view_is_a_clear_error(ragged: Environment, path: str) -> None:
    def select(view: View, n: int) -> Pairs:
        if view.round:
            array_at(view, path)[:] = 0
        return good(view, n)

    with pytest.raises(ReadOnlyView, match=r"tried to write into its view.*work on a copy"):
        play(ragged, select, 0, BUDGETS)


def _flags(view: View, path: str) -> None:
    array = array_at(view, path)
    array.flags.writeable = True
    array[:] = 0


def _field(view: View, path: str) -> None:
    owner, _, name = f"view.{path}".rpartition(".")
    target = view if owner == "view" else view.pool
    object.__setattr__(target, name, np.zeros_like(array_at(view, path)))


@pytest.mark.parametrize("path", ARRAYS)
@pytest.mark.parametrize("meddle", [_flags, _field])
def test_no_meddling_with_the_view_changes_the_world(
    ragged: Environment, meddle: Callable[[View, str], None], path: str
) -> None:
    """Equal pairs get equal labels and scores, whether the change of the view raises or not."""

    def select(view: View, n: int) -> Pairs:
        pairs = good(view, n)
        meddle(view, path)
        return pairs

    honest = play(ragged, good, 0, BUDGETS).results()
    try:
        results = play(ragged, select, 0, BUDGETS).results()
    except (InvalidPairs, ValueError):  # writing, setting flags, or a pool without pairs
        results = honest
    assert results == honest
    assert play(ragged, good, 0, BUDGETS).results() == honest
    _draw_world.cache_clear()
    assert play(ragged, good, 0, BUDGETS).results() == honest


def _ledger_budgets(view: View) -> None:
    object.__setattr__(view.ledger, "budgets", (1000, 2000))


def _ledger_labels(view: View) -> None:
    object.__setattr__(view.ledger, "labels", -1000)


def _ledger_round(view: View) -> None:
    object.__setattr__(view.ledger, "round", 1)


def _view_ledger(view: View) -> None:
    object.__setattr__(view, "ledger", Ledger((1000, 2000)))


@pytest.mark.parametrize("meddle", [_ledger_budgets, _ledger_labels, _ledger_round, _view_ledger])
def test_no_meddling_with_the_ledger_buys_more_labels(
    tiny: str, meddle: Callable[[View], None]
) -> None:
    def select(view: View, n: int) -> Pairs:
        meddle(view)
        return np.tile([0, 0, 1], (n + 2, 1))

    with pytest.raises(BudgetExceeded, match="asked for 8 pairs, where 6 labels are left"):
        play(tiny, select, 0, BUDGETS)


def test_no_meddling_with_valid_lets_a_missing_completion_be_asked(ragged: Environment) -> None:
    def select(view: View, n: int) -> Pairs:
        pairs = not_valid(view, n)
        object.__setattr__(view.pool, "valid", np.ones_like(view.pool.valid))
        return pairs

    with pytest.raises(InvalidPairs, match="is not valid"):
        play(ragged, select, 0, BUDGETS)


def test_drawing_from_the_views_generator_changes_nothing_but_the_designs_own_numbers(
    tiny: str,
) -> None:
    def thirsty(view: View, n: int) -> Pairs:
        view.rng.random(1000)
        return np.tile([0, 0, 1], (n, 1))

    def sober(view: View, n: int) -> Pairs:
        return np.tile([0, 0, 1], (n, 1))

    assert play(tiny, thirsty, 0, BUDGETS).results() == play(tiny, sober, 0, BUDGETS).results()


def test_global_random_state_neither_matters_nor_changes(tiny: str) -> None:
    legacy: Any = np.random
    before = play(tiny, "uniform", 0, BUDGETS).results()
    legacy.seed(7)
    state = legacy.get_state()[1].tolist()
    assert play(tiny, "uniform", 0, BUDGETS).results() == before
    assert legacy.get_state()[1].tolist() == state


def test_from_a_view_nothing_leads_to_the_truth(tiny: str) -> None:
    """Follow every attribute of a view: no world, oracle, truth or policy is reached."""
    seen: dict[int, object] = {}

    def walk(thing: object) -> None:
        if id(thing) in seen or isinstance(thing, np.ndarray | np.random.Generator | type):
            return
        seen[id(thing)] = thing
        inside: list[object] = list(getattr(thing, "__dict__", {}).values())
        inside += list(thing) if isinstance(thing, tuple | list) else []
        for other in inside:
            walk(other)

    def select(view: View, n: int) -> Pairs:
        walk(view)
        return good(view, n)

    play(tiny, select, 0, BUDGETS)
    ours = {type(t).__name__ for t in seen.values() if type(t).__module__.startswith("pairbench")}
    assert ours == {View.__name__, Pool.__name__, Ledger.__name__, Prices.__name__}


def test_an_empty_list_buys_nothing(tiny: str) -> None:
    def nothing(view: View, n: int) -> Any:
        return []

    episode = play(tiny, nothing, 0, (4, 6))
    assert [len(round_.pairs) for round_ in episode.rounds] == [0, 0]


def test_a_reference_plays_the_same_up_to_its_horizon_with_further_budgets(tiny: str) -> None:
    design = "i-optimal-two-stage"
    alone = play(tiny, design, 0, (10, 20, 40))
    further = play(tiny, design, 0, (10, 20, 40, 80, 320), horizon=40)
    assert further.results()["rounds"][:3] == alone.results()["rounds"]


def test_a_world_whose_rewards_are_no_numbers_is_refused() -> None:
    world = make_env("LogLinear-v1").world(0)
    held_out = np.where(np.arange(8) == 3, np.nan, world.truth.held_out)
    with pytest.raises(InvalidPool, match="held-out rewards must be finite"):
        replace(world, truth=replace(world.truth, held_out=held_out))
    with pytest.raises(InvalidPool, match=r"rewards must have the pool's shape \(100, 8\)"):
        replace(world, truth=replace(world.truth, rewards=world.truth.rewards[:1]))


GROWING = (
    "GenerateThenLabel-v1(prompts=6, held_out_prompts=4, completions=5, dim=3, "
    "prices='label=1, token_read=0.02, completion=0.5')"
)


class Growing(Design):
    """Design that requests given completions and selects random pairs."""

    def __init__(self, draws: object) -> None:
        self.draws = draws

    def generate(self, view: View) -> Any:
        return self.draws(view) if callable(self.draws) else self.draws

    def select(self, view: View, n: int) -> Pairs:
        assert view.hidden is not None
        pairs = np.argwhere(view.pool.pair_mask)
        return view.rng.choice(pairs, size=n)


def test_an_episode_of_a_growing_pool_is_replayed_from_its_pairs_and_draws() -> None:
    def draws(view: View) -> Any:
        assert view.hidden is not None
        left = np.repeat(np.arange(6), view.hidden)
        return view.rng.permutation(left)[:4]

    budgets = (20, 40)
    episode = play(GROWING, Growing(draws), 3, budgets)
    assert [len(r.generated) for r in episode.rounds] == [4, 4]
    pairs = np.concatenate([r.pairs for r in episode.rounds])
    assert (pairs[:, 1:] >= 2).any(), "new completions are asked about"
    assert episode.rounds[1].spent <= 40
    recorded = as_json(episode)["rounds"]
    rounds = [np.array(r["pairs"], dtype=np.int64).reshape(-1, 3) for r in recorded]
    generated = [np.array(r["generated"], dtype=np.int64) for r in recorded]
    assert as_json(replay(GROWING, rounds, 3, budgets, generated)) == as_json(episode)


@pytest.mark.parametrize(
    ("draws", "error", "message"),
    [
        ([0.5], InvalidPairs, "expected .m,. integers"),
        ([[0, 1]], InvalidPairs, "shape .1, 2."),
        ([6], InvalidPairs, "prompt 6, which is outside the pool: it has prompts 0 to 5"),
        ([-1], InvalidPairs, "prompt -1"),
        ([2, 2, 2, 2], InvalidPairs, "4 completions for prompt 2, where 3 can be generated"),
        ([0, 1] * 30, BudgetExceeded, "60 completions generated, where the money buys 40"),
    ],
)
def test_invalid_requests_for_completions_are_refused(
    draws: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        play(GROWING, Growing(draws), 0, (20,))


def test_pairs_beyond_the_budget_are_dropped_at_random() -> None:
    spec = "LogLinear-v1(prompts=6, completions=5, dim=3, unit='money', prices='token_read=1')"
    selections: list[Pairs] = []

    def dearest(view: View, n: int) -> Pairs:
        pairs = np.argwhere(view.pool.pair_mask)
        selections.append(pairs[np.argsort(-view.cost(pairs))][:n])
        return selections[-1]

    (round_,) = play(spec, dearest, 1, (2000,)).rounds
    (selected,) = selections
    rows = [selected.tolist().index(row) for row in round_.pairs.tolist()]
    assert rows == sorted(rows)
    assert rows != list(range(len(rows))), "not the first of them"
    world = make_env(spec).world(1)
    prompt, first, second = selected.T
    cost = world.pool.lengths[prompt, first] + world.pool.lengths[prompt, second]
    assert cost[rows].sum() == round_.spent <= 2000 < cost.sum()
    assert 2000 - round_.spent < cost.max()
    again = play(spec, dearest, 1, (2000,)).rounds[0]
    np.testing.assert_array_equal(again.pairs, round_.pairs)


def test_with_money_cheap_pairs_may_be_more_than_labels_left() -> None:
    spec = "LogLinear-v1(prompts=6, completions=5, dim=3, unit='money', prices='token_read=1')"
    estimates = []

    def cheapest(view: View, n: int) -> Pairs:
        estimates.append(n)
        pairs = np.argwhere(view.pool.pair_mask)
        pairs = pairs[np.argsort(view.cost(pairs))]
        return pairs[: view.ledger.affordable(pairs, view.pool)]

    (round_,) = play(spec, cheapest, 0, (2000,)).rounds
    assert len(round_.pairs) > estimates[0]
    assert round_.spent <= 2000


def test_each_text_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed_texts: list[str] = []

    class Recorder:
        def fullmatch(self, text: str) -> re.Match[str] | None:
            parsed_texts.append(text)
            return pattern.fullmatch(text)

    pattern = text_module._SPEC
    monkeypatch.setattr(text_module, "_SPEC", Recorder())
    environment = (
        "pairbench/LogLinear-v1(prompts=6, held_out_prompts=4, dim=3, "
        "trainer='cdpo(flip_rate=0.1)', annotator='length-bias(weight=0.5) | b-pref-mistake', "
        "unit='money', prices='label=2')"
    )
    play(environment, "bald(estimator='laplace(trust=0)')", 3, [8, 16, 24])
    assert Counter(parsed_texts) == Counter(
        [
            environment,
            "cdpo(flip_rate=0.1)",
            "length-bias(weight=0.5)",
            "b-pref-mistake",
            "deterministic",
            "mistake(rate=0.1)",
            "prices(label=2)",
            "bald(estimator='laplace(trust=0)')",
            "laplace(trust=0)",
        ]
    )
