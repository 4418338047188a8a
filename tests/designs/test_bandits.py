"""The dueling bandits against slow transcriptions of their rules, prompt by prompt."""

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import chisquare

from pairbench import (
    Belief,
    DuelDesign,
    InvalidParameter,
    Laplace,
    Members,
    Pairs,
    Pool,
    View,
    make_design,
)
from tests.reference import history, precision_of, sigmoid, theta_of

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Array = NDArray[np.float64]
Duel = tuple[int, int]

RIDGE = 0.5
NAMES = [
    "baits", "colstim", "delta-ucb", "doubler", "drts", "dts", "eets", "ids", "infogain",
    "infomax", "maxminlcb", "multisbm", "rucb", "sparring",
]  # fmt: skip
BOUNDED = ["delta-ucb", "dts", "ids", "infomax", "maxminlcb", "multisbm", "rucb"]


def make_duel(name: str, **params: object) -> DuelDesign:
    design = make_design(name, **params)
    assert isinstance(design, DuelDesign)
    return design


@pytest.fixture(params=[0, 15, 60])
def view(request: pytest.FixtureRequest, make_pool: MakePool, make_view: MakeView) -> View:
    """A ragged pool after no, few and many labels."""
    pool = make_pool(0, 12, 6, 3, ragged=True)
    assert pool.valid.sum(axis=1).min() == 2
    return make_view(pool, *history(pool, request.param), ridge=RIDGE)


@pytest.fixture
def few(make_pool: MakePool) -> Members:
    """Four reward functions that hold with equal probability, of a ragged pool."""
    pool = make_pool(0, 6, 5, 2, ragged=True)
    return Members(pool, 0.7 * np.random.default_rng(1).normal(size=(4, 6, 5)))


@pytest.fixture
def apart(make_pool: MakePool) -> Members:
    """Four that agree on much, and differ the more the later the completion."""
    pool, rng = make_pool(10, 25, 5, 2), np.random.default_rng(1)
    rewards = 2 * rng.normal(size=(25, 5)) + 0.4 * np.arange(1, 6) * rng.normal(size=(4, 25, 5))
    return Members(pool, rewards)


class Slow:
    """μ and s of one prompt's completions, from the definitions."""

    def __init__(self, there: list[int], rewards: Array, covariance: Array) -> None:
        """Rewards ``(K,)`` and their covariance ``(K, K)``, of the valid completions."""
        self.there, self._rewards, self._covariance = there, rewards, covariance

    def mu(self, i: int, j: int) -> float:
        return float(self._rewards[i] - self._rewards[j])

    def s(self, i: int, j: int) -> float:
        c = self._covariance
        return float(np.sqrt(max(c[i, i] + c[j, j] - 2 * c[i, j], 0.0)))

    def mean(self, i: int) -> float:
        """μ_i, relative to the prompt's mean."""
        return float(np.mean([self.mu(i, j) for j in self.there]))

    def deviation(self, i: int) -> float:
        """s_i, of the reward relative to the prompt's mean."""
        contrast = np.zeros(len(self._rewards))
        contrast[i] = 1
        contrast[self.there] -= 1 / len(self.there)
        return float(np.sqrt(contrast @ self._covariance @ contrast))

    def upper(self, i: int, j: int, beta: float) -> float:
        return self.mu(i, j) + beta * self.s(i, j)

    def lower(self, i: int, j: int, beta: float) -> float:
        return self.mu(i, j) - beta * self.s(i, j)

    def pairs(self) -> list[Duel]:
        return list(itertools.combinations(self.there, 2))

    def others(self, i: int) -> list[int]:
        return [j for j in self.there if j != i]

    def plausible(self, beta: float) -> list[int]:
        return [i for i in self.there if all(self.upper(i, j, beta) >= 0 for j in self.others(i))]


def of_view(view: View) -> list[Slow]:
    theta = theta_of(view)
    inverse = np.linalg.inv(precision_of(view, theta))
    return [
        Slow(np.flatnonzero(valid).tolist(), phi @ theta, phi @ inverse @ phi.T)
        for phi, valid in zip(view.pool.phi, view.pool.valid, strict=True)
    ]


def of_members(belief: Members) -> list[Slow]:
    slow = []
    for x, valid in enumerate(belief.pool.valid):
        there = np.flatnonzero(valid).tolist()
        rewards = np.zeros((len(belief.rewards), len(valid)))
        rewards[:, there] = belief.rewards[:, x, there]
        slow.append(Slow(there, rewards.mean(axis=0), np.cov(rewards.T, bias=True)))
    return slow


def duels(design: DuelDesign, belief: Belief, seed: int = 0) -> list[Duel]:
    first, second = design.duel(belief, np.random.default_rng(seed))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def agree(
    design: DuelDesign, belief: Belief, chances: list[dict[Duel, float]], rounds: int = 2000
) -> None:
    """Hold the frequencies of each prompt's duels against their exact probabilities."""
    rng = np.random.default_rng(0)
    drawn = [Counter[Duel]() for _ in chances]
    for _ in range(rounds):
        first, second = design.duel(belief, rng)
        for counter, i, j in zip(drawn, first.tolist(), second.tolist(), strict=True):
            counter[i, j] += 1
    assert any(len(chance) > 1 for chance in chances)
    for counter, chance in zip(drawn, chances, strict=True):
        assert sum(chance.values()) == pytest.approx(1)
        assert set(counter) <= set(chance)
        if len(chance) > 1:
            expected = [rounds * chance[duel] for duel in chance]
            assert chisquare([counter[duel] for duel in chance], expected).pvalue > 1e-3


def chance_of(outcomes: list[Duel]) -> dict[Duel, float]:
    """Probabilities of outcomes that are equally likely."""
    return {duel: count / len(outcomes) for duel, count in Counter(outcomes).items()}


def best(there: list[int], values: Array) -> int:
    return max(there, key=lambda i: values[i])


# Rules that name the pair of highest score.


def gap_score(p: Slow, i: int, j: int, beta: float) -> float:
    return max(p.upper(i, j, beta), p.upper(j, i, beta))


def width_score(p: Slow, i: int, j: int, beta: float) -> float:
    return sigmoid(p.upper(i, j, beta)) - sigmoid(p.lower(i, j, beta))


def information(p: Slow, i: int, j: int, _beta: float = 1.0) -> float:
    chance = sigmoid(p.mu(i, j))
    return 0.5 * float(np.log(1 + chance * (1 - chance) * p.s(i, j) ** 2))


SCORES: dict[str, Callable[[Slow, int, int, float], float]] = {
    "delta-ucb": gap_score,
    "infomax": width_score,
    "infogain": information,
}


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("name", SCORES)
def test_the_pair_of_highest_score_is_taken(view: View, name: str, beta: float) -> None:
    params = {"beta": beta} if name in BOUNDED else {}
    chosen = duels(make_duel(name, **params), Laplace().fit(view))
    slow = of_view(view)
    for p, duel in zip(slow, chosen, strict=True):
        score = SCORES[name]
        assert tuple(sorted(duel)) == max(
            p.pairs(), key=lambda pair: score(p, pair[0], pair[1], beta)
        )
    assert {duel[0] < duel[1] for duel in chosen} == {True, False}, "pairs are turned"


def test_the_scores_differ(few: Members) -> None:
    chosen = {
        name: [
            max(p.pairs(), key=lambda pair: score(p, pair[0], pair[1], 1.0))
            for p in of_members(few)
        ]
        for name, score in SCORES.items()
    }
    for one, other in itertools.combinations(chosen.values(), 2):
        assert one != other


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_ids_takes_the_least_regret_squared_for_information(apart: Members, beta: float) -> None:
    expected = []
    for p in of_members(apart):
        greedy = max(p.there, key=p.mean)
        hope = max(p.mu(k, greedy) + beta * p.s(k, greedy) for k in p.there)
        best_reward = p.mean(greedy) + hope

        def ratio(pair: Duel, p: Slow = p, best_reward: float = best_reward) -> float:
            regret = (2 * best_reward - p.mean(pair[0]) - p.mean(pair[1])) / 2
            return regret**2 / information(p, *pair)

        expected.append(min(p.pairs(), key=ratio))
    chosen = duels(make_duel("ids", beta=beta), apart)
    assert [tuple(sorted(duel)) for duel in chosen] == expected


def test_ids_puts_pairs_that_tell_nothing_last() -> None:
    # All members find 0 and 1 equal and best, so that their duel has no regret, and no use.
    belief = Members(Pool(np.ones((1, 3, 1))), np.array([[[2.0, 2, 0]], [[2.0, 2, 1]]]))
    for seed in range(20):
        assert 2 in duels(make_duel("ids", beta=0.0), belief, seed)[0]


# Rules that name one after the other, by bounds.


@pytest.mark.parametrize("beta", [0.1, 1.0, 3.0])
def test_maxminlcb_plays_the_stackelberg_game(view: View, beta: float) -> None:
    chosen = duels(make_duel("maxminlcb", beta=beta), Laplace().fit(view))
    alone = 0
    for p, duel in zip(of_view(view), chosen, strict=True):
        leaders = p.plausible(beta)
        followers = leaders if len(leaders) > 1 else p.there
        alone += len(leaders) == 1

        def worst(i: int, p: Slow = p, followers: list[int] = followers) -> float:
            return min(p.lower(i, j, beta) for j in followers if j != i)

        values = sorted((worst(i) for i in leaders), reverse=True)
        first, second = duel
        assert first in leaders
        assert worst(first) == pytest.approx(values[0], abs=1e-12)
        assert second in followers
        assert p.lower(first, second, beta) == pytest.approx(worst(first), abs=1e-12)
    if beta == 0.1 and len(view.pairs):
        assert alone > 3, "the fall-back is met"


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_rucb_draws_a_champion_and_takes_its_most_hopeful_rival(few: Members, beta: float) -> None:
    chances = []
    for p in of_members(few):
        champions = p.plausible(beta)
        rival = {i: max(p.others(i), key=lambda j: p.upper(j, i, beta)) for i in champions}
        chances.append({(i, rival[i]): 1 / len(champions) for i in champions})
    agree(make_duel("rucb", beta=beta), few, chances)


@pytest.mark.parametrize(("width", "threshold"), [(10.0, 10.0), (0.5, 0.3)])
def test_colstim_perturbs_and_challenges(view: View, width: float, threshold: float) -> None:
    design = make_duel("colstim", width=width, threshold=threshold)
    chosen = duels(design, Laplace().fit(view), seed=5)
    noise = np.random.default_rng(5).gumbel(size=view.pool.valid.shape)
    assert (noise > threshold).any() == (threshold < 1)
    for p, drawn, duel in zip(of_view(view), noise, chosen, strict=True):
        perturbed = {
            i: p.mean(i) + min(threshold, max(-threshold, drawn[i])) * p.deviation(i) / 2
            for i in p.there
        }
        first = max(p.there, key=lambda i: perturbed[i])
        second = max(p.others(first), key=lambda j: p.mu(j, first) + width * p.s(j, first) / 2)
        if len(p.there) > 2:
            assert duel == (first, second)
        else:  # the two deviations are the same, and so is a cut-off perturbation
            assert perturbed[duel[0]] == pytest.approx(perturbed[first], abs=1e-12)


# Rules that draw from the posterior: exact probabilities.


def draws_of(few: Members, count: int) -> list[tuple[Array, ...]]:
    """All equally likely series of draws, each ``(n_prompts, K)``."""
    return list(itertools.product(list(few.rewards), repeat=count))


def test_sparring_takes_two_independent_draws(few: Members) -> None:
    chances = []
    for x, p in enumerate(of_members(few)):
        outcomes = []
        for left, right in draws_of(few, 2):
            first = best(p.there, left[x])
            outcomes.append((first, best(p.others(first), right[x])))
        chances.append(chance_of(outcomes))
    agree(make_duel("sparring"), few, chances)


@pytest.mark.parametrize("beta", [0.2, 1.0, 3.0])
def test_dts_draws_among_those_that_the_bounds_leave_in(few: Members, beta: float) -> None:
    chances, free = [], 0
    for x, p in enumerate(of_members(few)):
        copeland = {i: sum(p.upper(i, j, beta) > 0 for j in p.others(i)) for i in p.there}
        champions = [i for i in p.there if copeland[i] == max(copeland.values())]
        outcomes = []
        for one, other in draws_of(few, 2):
            first = best(champions, one[x])
            unsure = [j for j in p.others(first) if p.lower(j, first, beta) <= 0]
            free += len(unsure) == len(p.there) - 1 and len(champions) == len(p.there)
            outcomes.append((first, best(unsure, other[x])))
        chances.append(chance_of(outcomes))
    assert free < 16 * 6 or beta == 3.0, "the bounds leave some out"
    agree(make_duel("dts", beta=beta), few, chances)


@pytest.mark.parametrize("draws", [2, 3])
def test_eets_draws_again_until_the_best_is_another(few: Members, draws: int) -> None:
    chances = []
    for x, p in enumerate(of_members(few)):
        outcomes = []
        for series in draws_of(few, draws):
            first = best(p.there, series[0][x])
            found = [best(p.there, draw[x]) for draw in series[1:]]
            different = [i for i in found if i != first]
            second = different[0] if different else best(p.others(first), series[0][x])
            outcomes.append((first, second))
        chances.append(chance_of(outcomes))
    agree(make_duel("eets", draws=draws), few, chances)


@pytest.mark.parametrize("tries", [1, 2])
def test_drts_takes_the_best_and_the_worst_of_two_draws(make_pool: MakePool, tries: int) -> None:
    # Members disagree so much that one's best is another's worst.
    pool = make_pool(3, 6, 4, 2, ragged=True)
    one = np.random.default_rng(1).normal(size=(6, 4))
    few = Members(pool, np.stack([one, -one, np.roll(one, 1, axis=1)]))
    chances, clashes = [], 0
    for x, p in enumerate(of_members(few)):
        chance: Counter[Duel] = Counter()
        series = draws_of(few, 1 + tries)
        for draws in series:
            first = best(p.there, draws[0][x])
            found = [best(p.there, -draw[x]) for draw in draws[1:]]
            different = [i for i in found if i != first]
            clashes += not different
            seconds = different[:1] or p.others(first)
            for second in seconds:
                chance[first, second] += 1 / len(series) / len(seconds)  # type: ignore[assignment]
        chances.append(dict(chance))
    assert clashes > 0
    agree(make_duel("drts", tries=tries), few, chances)  # type: ignore[arg-type]


def probability_variance(mu: float, s: float, link: Callable[[float], float]) -> float:
    """Var link(Δ) for Δ ~ N(mu, s²), by numerical integration."""
    density = 1 / np.sqrt(2 * np.pi)
    first, second = (
        quad(lambda e, k=k: link(mu + s * e) ** k * density * np.exp(-(e**2) / 2), -9, 9)[0]
        for k in (1, 2)
    )
    return float(second - first**2)


def test_baits_takes_the_rival_of_least_certain_chance(apart: Members) -> None:
    def probit(x: float) -> float:
        return float(ndtr(x * np.sqrt(np.pi / 8)))

    chances = []
    for x, p in enumerate(of_members(apart)):
        firsts, second = [best(p.there, draw[x]) for (draw,) in draws_of(apart, 1)], {}
        for first in set(firsts):
            variance = {}
            for j in p.others(first):
                mu, s = p.mu(first, j), p.s(first, j)
                variance[j] = probability_variance(mu, s, probit)
                exact = probability_variance(mu, s, sigmoid)
                assert variance[j] == pytest.approx(exact, abs=0.01)
            second[first] = max(variance, key=lambda j: variance[j])
        chances.append(chance_of([(first, second[first]) for first in firsts]))
    agree(make_duel("baits"), apart, chances)


# Rules that go by the pairs asked before.


def per_prompt(pairs: Pairs, x: int) -> list[Duel]:
    return [(int(i), int(j)) for prompt, i, j in pairs if prompt == x]


@pytest.mark.parametrize("asked", [0, 40])
@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_multisbm_goes_on_from_the_last_right_arm(
    make_pool: MakePool, make_view: MakeView, asked: int, beta: float
) -> None:
    pool = make_pool(3, 12, 6, 3, ragged=True)
    view = make_view(pool, *history(pool, asked), ridge=RIDGE)
    assert len(set(view.pairs[:, 0].tolist())) in (0, 12)
    chosen = make_design("multisbm", beta=beta).select(view, 50)
    starts = set()
    for x, p in enumerate(of_view(view)):
        past = per_prompt(view.pairs, x)
        for left, right in per_prompt(chosen, x):
            if past:
                assert left == past[-1][1]
            else:
                starts.add(p.there.index(left))
            hopes = {j: p.upper(j, left, beta) for j in p.others(left)}
            assert hopes[right] == pytest.approx(max(hopes.values()), abs=1e-12)
            past.append((left, right))
    assert len(starts) > 2 or asked, "the first left arms are random"


def epoch_before(past: list[Duel]) -> list[int]:
    """The left arms to draw from, after the publication's loops."""
    if not past:
        return []
    multiset, steps, i = [past[0][0]], list(past), 1
    while True:
        played, steps = steps[: 2**i], steps[2**i :]
        if len(played) < 2**i:
            return multiset
        multiset, i = [right for _, right in played], i + 1


def test_the_epochs_of_doubler() -> None:
    past = [(k, 100 + k) for k in range(14)]
    assert epoch_before(past[:1]) == [0]
    assert epoch_before(past[:2]) == epoch_before(past[:5]) == [100, 101]
    assert epoch_before(past[:6]) == epoch_before(past[:13]) == [102, 103, 104, 105]
    assert epoch_before(past) == list(range(106, 114))


def test_doubler_draws_left_arms_from_the_epoch_before(make_pool: MakePool) -> None:
    # Prompts that are at all kinds of places of their epochs, their pairs in mixed order.
    lengths = [0, 1, 2, 5, 6, 13, 14, 29]
    pool = make_pool(1, len(lengths), 5, 2)
    rng = np.random.default_rng(2)
    asked = np.repeat(np.arange(len(lengths)), lengths)
    pairs = np.stack([asked, *np.argsort(rng.random((len(asked), 5)), axis=1).T[:2]], axis=1)
    pairs = rng.permutation(pairs)
    few = Members(pool, rng.normal(size=(3, len(lengths), 5)))
    chances = []
    for x, p in enumerate(of_members(few)):
        left_arms = epoch_before(per_prompt(pairs, x)) or p.there
        outcomes = [
            (left, best(p.others(left), draw[x]))
            for left in left_arms
            for (draw,) in draws_of(few, 1)
        ]
        chances.append(chance_of(outcomes))

    class Stepping:
        def duel(self, belief: Belief, rng: np.random.Generator) -> object:
            return make_design("doubler").step(belief, pairs, rng)  # type: ignore[attr-defined]

    agree(Stepping(), few, chances)  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [0, 25])
def test_doubler_counts_the_steps_of_its_own_round(
    make_pool: MakePool, make_view: MakeView, asked: int
) -> None:
    pool = make_pool(3, 3, 6, 3, ragged=True)
    view = make_view(pool, *history(pool, asked), ridge=RIDGE)
    chosen = make_design("doubler").select(view, 60)
    for x in range(3):
        past = per_prompt(view.pairs, x)
        for left, right in per_prompt(chosen, x):
            assert not past or left in epoch_before(past)
            past.append((left, right))
        assert len(past) > 14


# All of them.


@pytest.mark.parametrize("name", NAMES)
def test_ties_are_broken_at_random(name: str) -> None:
    pool = Pool(np.ones((1, 4, 2)), valid=np.array([[True, False, True, True]]))
    belief = Members(pool, np.zeros((2, 1, 4)))
    every = list(itertools.permutations([0, 2, 3], 2))
    agree(make_duel(name), belief, [dict.fromkeys(every, 1 / 6)], rounds=600)


@pytest.mark.parametrize("name", NAMES)
def test_two_completions_leave_no_choice(name: str, make_pool: MakePool) -> None:
    pool = make_pool(0, 20, 2, 3)
    for belief in (
        Members(pool, np.random.default_rng(0).normal(size=(3, 20, 2))),
        Members(pool, 1e6 * np.random.default_rng(0).normal(size=(1, 20, 2))),
    ):
        assert {tuple(sorted(duel)) for duel in duels(make_duel(name), belief)} == {(0, 1)}


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("beta", [-1.0, np.nan, np.inf])
def test_a_beta_that_is_no_width_is_refused(name: str, beta: float) -> None:
    with pytest.raises(InvalidParameter, match="beta must be a finite number, 0 or more"):
        make_design(name, beta=beta)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("drts", {"tries": 0}, "tries must be 1 or more, got 0"),
        ("eets", {"draws": 1}, "draws must be 2 or more, got 1"),
        ("colstim", {"width": -1.0}, "width must be a finite number, 0 or more, got -1.0"),
        ("colstim", {"threshold": np.nan}, "threshold must be a finite number, 0 or more, got nan"),
    ],
)
def test_an_impossible_parameter_is_refused(
    name: str, params: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_design(name, **params)


@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="trust must be a finite number"):
        make_design(name, estimator="laplace(trust=1e999)")
