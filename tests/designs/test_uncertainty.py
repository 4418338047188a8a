"""The designs of the uncertainty family, each against a slow transcription of its rule."""

import importlib
from collections import Counter
from collections.abc import Callable
from itertools import permutations, product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import digamma
from scipy.stats import chisquare

from pairbench import (
    Belief,
    BeliefDesign,
    InvalidParameter,
    Laplace,
    Members,
    Pool,
    View,
    fresh_pairs,
    make_design,
    uniform_pairs,
)
from tests.information.reference import joint_information
from tests.reference import (
    all_pairs,
    precision_of,
    sigmoid,
    theta_of,
    unordered,
)

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
MakeSame = Callable[[], View]
Array = NDArray[np.float64]
Question = tuple[int, int, int]

BETA = 0.8


@pytest.fixture(params=[0.02, 0.5])
def make_same(request: pytest.FixtureRequest, make_pool: MakePool, make_view: MakeView) -> MakeSame:
    """Makes the same view again and again: of a ragged pool of which few pairs were asked."""

    def make() -> View:
        pool = make_pool(7, 12, 5, 4, ragged=True)
        pairs = np.array(all_pairs(pool))[::6]
        labels = (pool.differences(pairs) @ np.array([3.0, -3.0, 1.0, 0.0]) > 0).astype(np.float64)
        labels[::5] = np.nan
        return make_view(pool, pairs, labels, ridge=request.param, beta=BETA)

    return make


@pytest.fixture
def view(make_same: MakeSame) -> View:
    return make_same()


@pytest.fixture
def ensemble(view: View, monkeypatch: pytest.MonkeyPatch) -> Members:
    """What all designs that believe anything believe."""
    rewards = 2 * np.random.default_rng(4).normal(size=(6, *view.pool.valid.shape))
    members = Members(view.pool, rewards)
    monkeypatch.setattr(BeliefDesign, "belief", lambda *_: members)
    return members


def module_of(name: str) -> ModuleType:
    return importlib.import_module(type(make_design(name)).__module__)


def fresh(view: View) -> list[Question]:
    asked = set(unordered(view.pairs))
    return [pair for pair in all_pairs(view.pool) if pair not in asked]


def moments(view: View) -> Callable[[Question], tuple[float, float]]:
    """Mean and deviation of Δ under the Laplace posterior."""
    theta = theta_of(view)
    covariance = np.linalg.inv(precision_of(view, theta))

    def of(pair: Question) -> tuple[float, float]:
        z = view.pool.phi[pair[0], pair[1]] - view.pool.phi[pair[0], pair[2]]
        return float(z @ theta), float(np.sqrt(z @ covariance @ z))

    return of


def best(view: View, score: Callable[[Question], float], n: int) -> list[Question]:
    """The n pairs not asked before of highest score, in falling order."""
    candidates = fresh(view)
    assert len(candidates) > n
    return sorted(candidates, key=score, reverse=True)[:n]


def entropy(p: float) -> float:
    return float(-p * np.log(p) - (1 - p) * np.log1p(-p)) if 0 < p < 1 else 0.0


def expected(function: Callable[[float], float], mean: float, deviation: float) -> float:
    """E f(σ(Δ)) under a normal Δ, by quadrature."""

    def integrand(x: float) -> float:
        density = float(np.exp(-x * x / 2) / np.sqrt(2 * np.pi))
        return function(sigmoid(mean + deviation * x)) * density

    middle = min(max(-mean / deviation, -9.0), 9.0)
    return float(quad(integrand, -10, 10, points=[middle], limit=200, epsabs=1e-9)[0])


def chosen_by(view: View, name: str, n: int, **params: Any) -> list[Question]:
    return unordered(make_design(name, **params).select(view, n))


# Rules that rank all pairs.


def test_uncertainty_takes_the_label_of_most_entropy(view: View) -> None:
    of = moments(view)

    def score(pair: Question) -> float:
        mean, deviation = of(pair)
        return entropy(sigmoid(mean / np.sqrt(1 + np.pi * deviation**2 / 8)))

    made = chosen_by(view, "uncertainty", 25)
    assert made == best(view, score, 25)
    assert made != chosen_by(view, "smallest-gap", 25), "the pool tells the two apart"


def test_difference_variance_takes_what_is_known_least(view: View) -> None:
    of = moments(view)
    made = chosen_by(view, "difference-variance", 25)
    assert made == best(view, lambda pair: of(pair)[1], 25)
    assert made == chosen_by(view, "leverage", 25)


def test_difference_variance_of_an_ensemble(view: View, ensemble: Members) -> None:
    def score(pair: Question) -> float:
        x, i, j = pair
        return float(np.var([r[x, i] - r[x, j] for r in ensemble.rewards]))

    assert chosen_by(view, "difference-variance", 25) == best(view, score, 25)


def test_probability_variance_is_the_integral(view: View) -> None:
    of = moments(view)

    def score(pair: Question) -> float:
        mean, deviation = of(pair)
        p = expected(lambda p: p, mean, deviation)
        return expected(lambda q: (q - p) ** 2, mean, deviation)

    assert chosen_by(view, "probability-variance", 25) == best(view, score, 25)


def test_bald_is_the_integral(view: View) -> None:
    of = moments(view)

    def score(pair: Question) -> float:
        p = expected(lambda p: p, *of(pair))
        return entropy(p) - expected(entropy, *of(pair))

    assert chosen_by(view, "bald", 25) == best(view, score, 25)


def test_bald_and_probability_variance_of_an_ensemble(view: View, ensemble: Members) -> None:
    def probabilities(pair: Question) -> list[float]:
        x, i, j = pair
        return [sigmoid(float(r[x, i] - r[x, j])) for r in ensemble.rewards]

    def information(pair: Question) -> float:
        p = probabilities(pair)
        return entropy(float(np.mean(p))) - float(np.mean([entropy(q) for q in p]))

    assert chosen_by(view, "bald", 25) == best(view, information, 25)
    by_variance = best(view, lambda pair: float(np.var(probabilities(pair))), 25)
    assert chosen_by(view, "probability-variance", 25) == by_variance


def test_guro_is_slope_times_deviation(view: View) -> None:
    of = moments(view)

    def score(pair: Question) -> float:
        mean, deviation = of(pair)
        return sigmoid(mean) * sigmoid(-mean) * deviation

    assert chosen_by(view, "guro", 25) == best(view, score, 25)


def test_bayesian_guro_is_the_variance_over_draws(make_same: MakeSame) -> None:
    view, same = make_same(), make_same()
    draws = Laplace().fit(same).draws(5, same.rng)

    def score(pair: Question) -> float:
        x, i, j = pair
        return float(np.var([sigmoid(float(r[x, i] - r[x, j])) for r in draws]))

    made = chosen_by(view, "guro", 20, bayesian=True, draws=5)
    assert made == best(same, score, 20)
    assert made != chosen_by(make_same(), "guro", 20)


def test_volume_removal_takes_the_even_chances(view: View) -> None:
    of = moments(view)

    def score(pair: Question) -> float:
        p = expected(lambda p: p, *of(pair))
        return min(1 - p, p)

    assert chosen_by(view, "volume-removal", 20) == best(view, score, 20)


def test_volume_removal_of_clipped_answers_is_what_draws_lose(make_same: MakeSame) -> None:
    view, same = make_same(), make_same()
    draws = Laplace().fit(same).draws(40, same.rng)

    def score(pair: Question) -> float:
        x, i, j = pair
        gaps = [float(r[x, i] - r[x, j]) for r in draws]
        removed = [sum(1 - min(1.0, np.exp(sign * gap)) for gap in gaps) for sign in (1, -1)]
        return float(min(removed))

    made = chosen_by(view, "volume-removal", 10, answers="clipped", draws=40)
    assert made == best(same, score, 10)


def test_logistic_volume_removal_asks_about_copies(make_view: MakeView) -> None:
    phi = np.random.default_rng(0).normal(size=(10, 4, 3))
    phi[:, 1] = phi[:, 0]
    pool = Pool(phi)
    asked = [[x, 2, 3] for x in range(10)]
    view = make_view(pool, asked, pool.differences(np.array(asked))[:, 0] > 0)
    copies = {(x, 0, 1) for x in range(10)}
    assert set(chosen_by(view, "volume-removal", 10)) == copies
    assert not copies & set(chosen_by(view, "volume-removal", 10, answers="clipped"))


def test_gate_draws_among_the_pairs_that_it_is_not_sure_of(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(7, 4, 4, 3, ragged=True)
    pairs = np.array(all_pairs(pool))[::4]
    view = make_view(pool, pairs, np.arange(len(pairs)) % 2, ridge=0.1)
    of = moments(view)
    gap = {pair: abs(of(pair)[0]) for pair in fresh(view)}
    threshold = float(np.median(list(gap.values())))
    inside = [pair for pair in gap if gap[pair] <= threshold]
    drawn = Counter(
        pair for _ in range(400) for pair in chosen_by(view, "gate", 3, threshold=threshold)
    )
    assert set(drawn) == set(inside)
    assert chisquare(list(drawn.values())).pvalue > 1e-3
    # Those that do not pass follow by their distance.
    more = chosen_by(view, "gate", len(inside) + 4, threshold=threshold)
    assert set(more[: len(inside)]) == set(inside)
    outside = sorted(set(gap) - set(inside), key=lambda pair: gap[pair])
    assert more[len(inside) :] == outside[:4]


def test_a_gate_that_is_open_is_uniform_and_one_that_is_shut_takes_the_smallest_gap(
    view: View,
) -> None:
    assert chosen_by(view, "gate", 20, threshold=0.0) == chosen_by(view, "smallest-gap", 20)
    drawn = {pair for _ in range(30) for pair in chosen_by(view, "gate", 20, threshold=1e9)}
    assert drawn == set(fresh(view))


# BALD's batch rules.

SCORES = np.array([0.5, 0.1, 0.3, 0.2])


@pytest.mark.parametrize(
    ("batch", "odds"),
    [
        ("power", SCORES**2),
        ("softmax", np.exp(2 * SCORES)),
        ("softrank", np.array([1, 4, 2, 3]) ** -2.0),
    ],
)
def test_perturbed_scores_draw_without_replacement(batch: str, odds: Array) -> None:
    design = make_design("bald", batch=batch, coldness=2.0)
    perturbed: Callable[..., Array] = vars(type(design))["perturbed"]
    rng = np.random.default_rng(0)
    tops = [tuple(np.argsort(-perturbed(design, SCORES, rng))[:2].tolist()) for _ in range(20_000)]
    share = odds / odds.sum()
    outcomes = list(permutations(range(4), 2))
    exact = np.array([share[i] * share[j] / (1 - share[i]) for i, j in outcomes])
    observed = Counter(tops)
    counts = [observed[outcome] for outcome in outcomes]
    assert chisquare(counts, 20_000 * exact).pvalue > 1e-3


@pytest.mark.parametrize("batch", ["power", "softmax", "softrank"])
def test_cold_batch_rules_take_the_top_of_what_was_not_asked(
    make_same: MakeSame, batch: str
) -> None:
    top = chosen_by(make_same(), "bald", 20)
    assert chosen_by(make_same(), "bald", 20, batch=batch, coldness=1e9) == top
    warm = chosen_by(make_same(), "bald", 20, batch=batch, coldness=1e-3)
    assert warm != top
    assert set(warm) <= set(fresh(make_same()))


# BatchBALD.


def greedy(draws: Array, n: int) -> list[int]:
    batch: list[int] = []
    for _ in range(n):
        others = [p for p in range(draws.shape[1]) if p not in batch]
        batch.append(max(others, key=lambda p: joint_information(draws, [*batch, p])))
    return batch


def test_batch_bald_is_greedy_over_all_configurations(make_same: MakeSame) -> None:
    view, same = make_same(), make_same()
    pairs = fresh_pairs(same, 20)
    draws = Laplace().fit(same).pair_draws(pairs, 12, same.rng)
    made = make_design("batch-bald", draws=12, candidates=20, joint=4).select(view, 4)
    np.testing.assert_array_equal(made, pairs[greedy(draws, 4)])


def test_batch_bald_closes_in_from_block_to_block(make_same: MakeSame) -> None:
    view, same = make_same(), make_same()
    pairs = fresh_pairs(same, 20)
    draws = Laplace().fit(same).pair_draws(pairs, 12, same.rng)
    expected_rows: list[int] = []
    # Seven labels in blocks of three at most: 3, 2 and 2, among 7, 7 and 6 of the candidates.
    for rows, n in (([*range(7)], 3), ([*range(7, 14)], 2), ([*range(14, 20)], 2)):
        batch = [rows[p] for p in greedy(draws[:, rows], n)]
        expected_rows += batch
        weights = [float(np.mean([sigmoid(x) * sigmoid(-x) for x in draws[:, p]])) for p in batch]
        for p, weight in zip(batch, weights, strict=True):
            mean = draws.mean(axis=0)
            x = draws[:, p] - mean[p]
            along = np.outer(x, x) / (x @ x)
            shrunk = np.eye(12) - (1 - (1 + weight * x @ x / 12) ** -0.5) * along
            draws = mean + shrunk @ (draws - mean)
    made = make_design("batch-bald", draws=12, candidates=20, joint=3).select(view, 7)
    np.testing.assert_array_equal(made, pairs[expected_rows])


def test_draws_close_in_as_a_normal_posterior_does() -> None:
    rng = np.random.default_rng(0)
    deviations = rng.normal(size=(30, 5))
    deviations -= deviations.mean(axis=0)
    covariance = deviations.T @ deviations / 30
    weights = np.array([0.25, 0.1, 0.25])
    transform = module_of("batch-bald").updated_transform(
        np.eye(30), deviations[:, [4, 1, 4]], weights
    )
    made = transform @ deviations
    for p, weight in zip([4, 1, 4], weights, strict=True):
        gain = weight / (1 + weight * covariance[p, p])
        covariance = covariance - gain * np.outer(covariance[:, p], covariance[p])
    np.testing.assert_allclose(made.T @ made / 30, covariance, atol=1e-12)
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-12)


def test_batch_bald_does_not_ask_one_thing_twice(make_view: MakeView) -> None:
    # Eight prompts of the same two completions, far apart, and eight of different ones.
    phi = np.zeros((16, 2, 9))
    phi[:8, 0, 0] = 3
    phi[8:, 0, 1:] = 2 * np.eye(8)
    view = make_view(Pool(phi), ridge=0.5)
    assert {x for x, _, _ in chosen_by(view, "bald", 8)} == set(range(8))
    prompts = {x for x, _, _ in chosen_by(view, "batch-bald", 8, draws=2000)}
    assert len(prompts & set(range(8, 16))) >= 6


# EPIG.


def test_epig_is_the_mean_information_about_targets(make_same: MakeSame) -> None:
    for aim in ("policy", "uniform"):
        view, same = make_same(), make_same()
        pairs = fresh_pairs(same, 30)
        policy = aim == "policy"
        module = module_of("epig")
        targets = module.policy_pairs(same, 6) if policy else uniform_pairs(same, 6)
        both = np.concatenate([pairs, targets])
        draws = Laplace().fit(same).pair_draws(both, 9, same.rng)
        gains = []
        for m in range(30):
            total = 0.0
            for t in range(30, 36):
                table = np.zeros((2, 2))
                for a, b in zip(draws[:, m], draws[:, t], strict=True):
                    for y, target in product((0, 1), repeat=2):
                        table[y, target] += sigmoid((2 * y - 1) * a) * sigmoid((2 * target - 1) * b)
                table /= len(draws)
                for y, target in product((0, 1), repeat=2):
                    apart = table[y].sum() * table[:, target].sum()
                    total += table[y, target] * np.log(table[y, target] / apart)
            gains.append(total)
        design = make_design("epig", aim=aim, targets=6, draws=9, candidates=30)
        best_rows = np.argsort(gains)[::-1][:12]
        np.testing.assert_array_equal(design.select(view, 12), pairs[best_rows])


def test_targets_follow_the_policy(make_pool: MakePool, make_view: MakeView) -> None:
    pool = make_pool(3, 2, 3, 2, ragged=True, weighted=True)
    pairs = np.array(all_pairs(pool))
    view = make_view(pool, pairs, np.ones(len(pairs)), ridge=0.5, beta=BETA)
    targets = module_of("epig").policy_pairs(view, 20_000)
    pi = np.exp(view.log_policy())
    exact = {
        (x, i, j): pool.prompt_weights[x] * pi[x, i] * pi[x, j] / (1 - pi[x, i])
        for a, b, c in all_pairs(pool)
        for x, i, j in ((a, b, c), (a, c, b))
    }
    assert sum(exact.values()) == pytest.approx(1)
    drawn = Counter((int(x), int(i), int(j)) for x, i, j in targets)
    assert set(drawn) <= set(exact)
    counts = [drawn[pair] for pair in exact]
    assert chisquare(counts, 20_000 * np.array(list(exact.values()))).pvalue > 1e-3


def test_ensembles_lend_all_their_members(view: View, ensemble: Members) -> None:
    pairs = np.array(all_pairs(view.pool))[:8]
    draws = ensemble.scenarios(pairs, 100, view.rng)
    assert draws.shape == (6, 8)
    for name in ("batch-bald", "epig", "bal-pm"):
        made = chosen_by(view, name, 10)
        assert set(made) <= set(fresh(view))


# BAL-PM.


@pytest.mark.parametrize(("weight", "dimension"), [(0.0, 1.0), (0.05, 1.0), (0.3, 4.0)])
def test_bal_pm_adds_each_prompts_own_term(view: View, weight: float, dimension: float) -> None:
    pool, of, k = view.pool, moments(view), 3
    feature = [
        sum(pool.phi[x, i] for i in range(5) if pool.valid[x, i]) / pool.valid[x].sum()
        for x in range(12)
    ]
    asked = [int(x) for x in view.pairs[:, 0]]
    score = {}
    for pair in fresh(view):
        p = expected(lambda p: p, *of(pair))
        score[pair] = entropy(p) - expected(entropy, *of(pair))
    batch: list[Question] = []
    for _ in range(12):
        gains = {}
        for pair in score:
            x = pair[0]
            distance = [float(np.linalg.norm(feature[x] - feature[y])) for y in range(12)]
            radius = sorted(distance[y] for y in range(12) if y != x)[k - 1]
            near = sum(distance[y] < radius for y in asked)
            prompt = dimension * np.log(radius) - digamma(near + 1)
            gains[pair] = score[pair] + weight * prompt
        batch.append(max(gains, key=lambda pair: gains[pair]))
        asked.append(batch[-1][0])
        del score[batch[-1]]
    design = {"weight": weight, "dimension": dimension, "neighbours": k}
    assert chosen_by(view, "bal-pm", 12, **design) == batch
    if not weight:
        assert batch == chosen_by(view, "bald", 12)


# Maximum regret.


def each_prompt(view: View, make_view: MakeView) -> View:
    """A view in which every prompt's turn is due, and what is known is what was."""
    pairs = np.array([next(p for p in all_pairs(view.pool) if p[0] == x) for x in range(12)])
    return make_view(view.pool, pairs, np.arange(12) % 2, ridge=0.5, beta=BETA)


def test_max_regret_asks_what_two_draws_cost_each_other(view: View, make_view: MakeView) -> None:
    due, same = each_prompt(view, make_view), each_prompt(view, make_view)
    pool, belief = same.pool, Laplace().fit(same)
    first, second = vars(type(make_design("max-regret")))["duel"](
        make_design("max-regret", draws=5), belief, due.rng
    )
    same.rng.permutation(5)  # the order in which equal completions are looked at
    draws = belief.draws(5, same.rng)
    for x in range(12):
        there = [y for y in range(5) if pool.valid[x, y]]
        most, question = 0.0, set(there[:0])
        for a, b in product(draws, repeat=2):
            like_a = max(there, key=lambda y: a[x, y])
            like_b = max(there, key=lambda y: b[x, y])
            mutual = a[x, like_a] - a[x, like_b] + b[x, like_b] - b[x, like_a]
            if mutual > most:
                most, question = mutual, {like_a, like_b}
        if not question:  # all agree
            ranked = sorted(there, key=lambda y: belief.mean[x, y])
            liked = max(there, key=lambda y: draws[0][x, y])
            question = {liked, [y for y in ranked if y != liked][-1]}
        assert {int(first[x]), int(second[x])} == question


def test_max_regret_of_draws_that_agree_asks_the_runner_up(make_pool: MakePool) -> None:
    pool = make_pool(7, 12, 5, 4, ragged=True)
    rewards = np.random.default_rng(0).normal(size=pool.valid.shape)
    belief: Belief = Members(pool, np.stack([rewards, rewards]))
    design = make_design("max-regret")
    duel = vars(type(design))["duel"](design, belief, np.random.default_rng(0))
    for x, (first, second) in enumerate(zip(*duel, strict=True)):
        ranked = sorted(np.flatnonzero(pool.valid[x]), key=lambda y: -rewards[x, y])
        assert [first, second] == ranked[:2]


# Active preference learning.


def drawn_pairs(view: View) -> list[Question]:
    """Fresh pairs in the order in which the policy draws them, by the same random numbers."""
    pairs = fresh_pairs(view, view.pool.n_pairs)
    noise = view.rng.gumbel(size=len(pairs))
    log_policy = view.log_policy()
    keys = [
        np.log(view.pool.prompt_weights[x]) + log_policy[x, i] + log_policy[x, j] + e
        for (x, i, j), e in zip(pairs, noise, strict=True)
    ]
    return [unordered(pairs)[k] for k in np.argsort(keys)[::-1]]


@pytest.mark.parametrize(
    "form", ["entropy-certainty", "entropy", "certainty", "uncertainty", "mid", "tails"]
)
def test_apl_sieves(make_same: MakeSame, form: str) -> None:
    n, prompts, per_label = 5, 2, 4
    view, same = make_same(), make_same()
    drawn = drawn_pairs(same)
    log_policy, theta = same.log_policy(), theta_of(same)
    assert len(drawn) > n * prompts * per_label, "the sieves have something to leave out"

    def undecided(pair: Question) -> float:
        return sum(entropy_term(log_policy[pair[0], y]) for y in range(5))

    def entropy_term(log_p: float) -> float:
        return float(-np.exp(log_p) * log_p) if np.isfinite(log_p) else 0.0

    def gap(pair: Question) -> float:
        x, i, j = pair
        return abs(float((same.pool.phi[x, i] - same.pool.phi[x, j]) @ theta))

    if form == "entropy":
        through = sorted(drawn[: n * prompts], key=undecided, reverse=True)[:n]
    elif form == "entropy-certainty":
        kept = sorted(drawn[: n * prompts * per_label], key=undecided, reverse=True)
        through = sorted(kept[: n * per_label], key=gap)[-n:]
    else:
        rising = sorted(drawn[: n * per_label], key=gap)
        through = {
            "certainty": rising[-5:],
            "uncertainty": rising[:5],
            "mid": rising[7:12],
            "tails": rising[:3] + rising[-2:],
        }[form]
    made = chosen_by(view, "apl", n, form=form, prompts=prompts, pairs=per_label)
    assert set(made) == set(through)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["certainty", "mid"])
def test_apl_draws_pairs_from_the_policy(
    make_pool: MakePool, make_view: MakeView, form: str
) -> None:
    # Without a sieve, and in the first round, when nothing is certain.
    pool = make_pool(3, 2, 3, 2, weighted=True)
    view = make_view(pool, beta=BETA)
    pi = np.exp(pool.log_ref)
    odds = np.array([pool.prompt_weights[x] * pi[x, i] * pi[x, j] for x, i, j in all_pairs(pool)])
    factor = {"certainty": 1, "mid": 16}[form]
    drawn = Counter(chosen_by(view, "apl", 1, form=form, pairs=factor)[0] for _ in range(1200))
    counts = [drawn[pair] for pair in all_pairs(pool)]
    assert chisquare(counts, 1200 * odds / odds.sum()).pvalue > 1e-3


# What no design can be made with.


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("apl", {"form": "middle"}, "form must be one of entropy-certainty, .*, got 'middle'"),
        ("apl", {"prompts": 0}, "prompts must be 1 or more, got 0"),
        ("apl", {"pairs": 0}, "pairs must be 1 or more, got 0"),
        ("bald", {"batch": "best"}, "batch must be one of top, .*, got 'best'"),
        ("bald", {"coldness": 0.0}, "coldness must be positive and finite, got 0.0"),
        ("bald", {"coldness": np.inf}, "coldness must be positive and finite, got inf"),
        ("batch-bald", {"draws": 0}, "draws must be 1 or more, got 0"),
        ("batch-bald", {"candidates": 0}, "candidates must be 1 or more, got 0"),
        ("batch-bald", {"joint": 0}, "joint must be 1 or more, got 0"),
        ("batch-bald", {"configurations": 0}, "configurations must be 1 or more, got 0"),
        ("epig", {"aim": "prior"}, "aim must be policy or uniform, got 'prior'"),
        ("epig", {"targets": 0}, "targets must be 1 or more, got 0"),
        ("bal-pm", {"weight": -1.0}, "weight must be a finite number, 0 or more, got -1.0"),
        ("bal-pm", {"dimension": 0.0}, "dimension must be positive and finite, got 0.0"),
        ("bal-pm", {"neighbours": 0}, "neighbours must be 1 or more, got 0"),
        ("volume-removal", {"answers": "hard"}, "answers must be logistic or clipped, got 'hard'"),
        ("volume-removal", {"draws": 0}, "draws must be 1 or more, got 0"),
        ("max-regret", {"draws": 1}, "draws must be 2 or more, got 1"),
        ("guro", {"draws": 1}, "draws must be 2 or more, got 1"),
        ("gate", {"threshold": -0.1}, "threshold must be 0 or more, got -0.1"),
        ("gate", {"threshold": np.nan}, "threshold must be 0 or more, got nan"),
    ],
)
def test_impossible_parameters_are_refused_at_once(
    name: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_design(name, **params)


@pytest.mark.parametrize(
    "name", ["bald", "bal-pm", "batch-bald", "difference-variance", "epig", "gate", "guro",
             "max-regret", "probability-variance", "volume-removal"],
)  # fmt: skip
def test_an_estimator_is_made_when_the_design_is(name: str) -> None:
    with pytest.raises(Exception, match="no estimator 'laplas'"):
        make_design(name, estimator="laplas")
