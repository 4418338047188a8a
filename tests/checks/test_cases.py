from collections.abc import Callable

import numpy as np
import pytest

from pairbench import Pool, View
from pairbench.checks.cases import CASES, LARGE_CASE, Case, Renumbering
from pairbench.pool.pairs import pair_numbers

MakePool = Callable[..., Pool]


def largest_difference(view: View) -> float:
    return float(np.abs(np.diff(view.pool.phi, axis=1)).max())


CONDITIONS: dict[str, Callable[[View], object]] = {
    "later round": lambda v: (
        len(v.labels) > 10
        and not v.pool.valid.all()
        and set(np.nan_to_num(v.labels, nan=-1)) == {-1.0, 0.0, 0.5, 1.0}
        and v.round == 1
    ),
    "no labels yet": lambda v: v.pairs.shape == (0, 3) and v.labels.shape == (0,) and v.round == 0,
    "completions missing": lambda v: (v.pool.valid.sum(axis=1) <= 3).mean() > 0.6,
    "two completions": lambda v: v.pool.n_completions == 2 and v.pool.n_prompts > 1,
    "one prompt": lambda v: v.pool.n_prompts == 1 and v.pool.n_completions > 2,
    "one pair": lambda v: v.pool.n_pairs == 1 and v.budget_left > 1,
    "one feature": lambda v: v.pool.dim == 1,
    "duplicates": lambda v: len(np.unique(v.pool.phi[0], axis=0)) == 2,
    "all completions equal": lambda v: (
        not largest_difference(v)
        and not np.ptp(v.pool.log_ref)
        and not np.ptp(v.pool.lengths, axis=1).any()
    ),
    "all labels equal": lambda v: (v.labels == 1).all() and len(v.labels) > 10,
    "labels missing": lambda v: np.isnan(v.labels).all() and len(v.labels) > 10,
    "every pair asked": lambda v: (
        len(np.unique(pair_numbers(v.pool, v.pairs))) == v.pool.n_pairs == len(v.pairs)
    ),
    "more labels than pairs": lambda v: v.budget_left == 3 * v.pool.n_pairs + 1,
    "one label": lambda v: v.budget_left == 1 and len(v.labels) > 10,
    "external scores": lambda v: v.pool.scores is not None,
}


@pytest.mark.parametrize("name", CASES)
def test_a_case_meets_the_condition_in_its_name(name: str) -> None:
    case = CASES[name]
    view, again = case.view(), case.view()
    assert CONDITIONS[name](view)
    assert view.pool.proper(view.pairs).all()
    assert view.budget_left == case.n
    assert not view.pairs.flags.writeable
    assert not view.labels.flags.writeable
    for one, other in (
        (view.pool.features, again.pool.features),
        (view.pairs, again.pairs),
        (view.labels, again.labels),
        (view.rng.random(3), again.rng.random(3)),
    ):
        np.testing.assert_array_equal(one, other)


def test_the_large_case_is_large() -> None:
    view = LARGE_CASE.view()
    assert (view.pool.n_pairs, len(view.pairs), view.budget_left) == (272_000, 300, 200)


def test_renumbering_keeps_all_values_of_a_pool() -> None:
    view = Case("", share_valid=0.6, scored=True).view()
    rng = np.random.default_rng(0)
    n, k, _ = view.pool.features.shape
    renumbering = Renumbering(
        rng.permutation(n), rng.permuted(np.tile(np.arange(k), (n, 1)), axis=1)
    )
    other = renumbering.view(view)
    np.testing.assert_array_equal(renumbering.original_pairs(other.pairs), view.pairs)
    # Equal bit for bit, because features are float32 and their differences float64.
    np.testing.assert_array_equal(
        other.pool.differences(other.pairs), view.pool.differences(view.pairs)
    )
    pairs = np.argwhere(other.pool.pair_mask)
    original = renumbering.original_pairs(pairs)
    assert other.pool.n_pairs == view.pool.n_pairs
    assert view.pool.proper(original).all()
    np.testing.assert_array_equal(renumbering.pairs(original), pairs)
    for name in ("log_ref", "lengths", "scores"):
        renumbered, values = getattr(other.pool, name), getattr(view.pool, name)
        np.testing.assert_allclose(
            renumbered[pairs[:, 0], pairs[:, 1]], values[original[:, 0], original[:, 1]], rtol=1e-12
        )
    np.testing.assert_allclose(
        other.pool.prompt_weights[pairs[:, 0]], view.pool.prompt_weights[original[:, 0]]
    )
    np.testing.assert_array_equal(other.labels, view.labels)
