"""Checks that renumber prompts and completions and compare the chosen pairs."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pairbench.checks.cases import FIRST_ROUND, WITH_SCORES, Case, Renumbering
from pairbench.checks.subject import Failed, Subject
from pairbench.pool.pairs import pair_numbers, pairs_from_numbers
from pairbench.stats.counts import fisher_exact_test

Counts = NDArray[np.int64]

_PROBE_SEEDS = 3  # seeds that show whether a design is deterministic
_TEST_SEEDS = (20, 200)  # seeds of the first test, and of the second if the first is suspicious
_SUSPICIOUS_SDS = 1.0  # standard deviations of χ² above its mean from which on to test again
_SIGNIFICANCE = 1e-6  # probability of failing a design that ignores the order, per test

_CASE = Case("", shape=(4, 6, 3), n=5, share_valid=0.8)
_PROMPTS, _COMPLETIONS = np.arange(4), np.tile(np.arange(6), (4, 1))
_IDENTITY = Renumbering(_PROMPTS, _COMPLETIONS)

RENUMBERED_PROMPTS = Renumbering(np.roll(_PROMPTS, 2), _COMPLETIONS)
RENUMBERED_COMPLETIONS = Renumbering(
    _PROMPTS, np.random.default_rng(6).permuted(_COMPLETIONS, axis=1)
)

_BREAK_TIES = "Break ties by view.rng, as top_pairs and ranked_completions do, and not by position."
_ADVICE = {
    "prompts": f"A prompt's number means nothing. {_BREAK_TIES}",
    "completions": f"{_BREAK_TIES} If the order of completions means something to the design, its "
    "class says so: ordered: ClassVar[bool] = True.",
}


def compare_choices(subject: Subject, renumbered: str, renumbering: Renumbering) -> None:
    """Compare how often a design chooses each pair of a pool and of its renumbered copy.

    The frequencies over many seeds are compared by Fisher's exact test. A pair is counted at most
    once per seed, so that its counts are binomial even where a rule chooses pairs together, such as
    all pairs of one prompt.

    Args:
        subject: the design.
        renumbered: what is renumbered, ``"prompts"`` or ``"completions"``.
        renumbering: the renumbering of the copy.

    Raises:
        Failed: If the frequencies differ by more than chance.
    """
    for case in subject.rounds:
        # The pool and its copy get even and odd seeds, and each test gets new ones.
        probe = np.concatenate(
            [
                _choices(subject, case, order, range(parity, 2 * _PROBE_SEEDS, 2))
                for parity, order in enumerate((_IDENTITY, renumbering))
            ]
        )
        if (probe == probe[0]).all():  # the design is deterministic, and ignores the order
            continue
        for n_seeds in _TEST_SEEDS:
            original_counts, renumbered_counts = (
                _choices(subject, case, order, range(2 * n_seeds + parity, 4 * n_seeds, 2)).sum(
                    axis=0
                )
                for parity, order in enumerate((_IDENTITY, renumbering))
            )
            _test_counts(case, renumbered, original_counts, renumbered_counts, n_seeds)
            if not _is_suspicious(original_counts, renumbered_counts):
                break


def _test_counts(case: str, renumbered: str, first: Counts, second: Counts, n_seeds: int) -> None:
    """Test each pair's counts, ``(n_pairs,)``, with Bonferroni's correction.

    Args:
        case: the round.
        renumbered: what is renumbered, ``"prompts"`` or ``"completions"``.
        first: number of seeds under which each pair of the pool was chosen.
        second: number of seeds under which each pair of the copy was chosen.
        n_seeds: number of seeds.

    Raises:
        Failed: If the counts of a pair differ by more than chance.
    """
    p_values = fisher_exact_test(first, second, n_seeds)
    pair = int(p_values.argmin())
    if p_values[pair] * len(p_values) < _SIGNIFICANCE:
        x, i, j = pairs_from_numbers(_CASE.view().pool, np.array([pair]))[0]
        raise Failed(
            f"{case}: completions {i} and {j} of prompt {x} were compared under {first[pair]} of "
            f"{n_seeds} seeds, but under {second[pair]} when the {renumbered} were numbered "
            f"otherwise. {_ADVICE[renumbered]}"
        )


def _is_suspicious(first: Counts, second: Counts) -> bool:
    """Tell whether the χ² distance of two sets of counts, ``(n_pairs,)``, is above its mean."""
    total = first + second
    degrees = np.count_nonzero(total)  # about the degrees of freedom of χ²
    distance = np.sum((first - second) ** 2 / np.maximum(total, 1))
    return bool(distance >= degrees + _SUSPICIOUS_SDS * np.sqrt(2 * degrees))


@lru_cache(maxsize=16)  # the choices from the pool itself are needed by both checks
def _choices(
    subject: Subject, case: str, renumbering: Renumbering, seeds: range
) -> NDArray[np.bool_]:
    """Return which pairs are chosen from a renumbered pool, ``(len(seeds), n_pairs)``.

    Args:
        subject: the design.
        case: the round.
        renumbering: the numbering under which the design sees the pool.
        seeds: seeds of ``view.rng``.
    """
    share_labelled = 0.0 if case == FIRST_ROUND else _CASE.share_labelled
    scored = subject.plays(WITH_SCORES)
    view = replace(_CASE, share_labelled=share_labelled, scored=scored).view()
    renumbered_view = renumbering.view(view)
    chosen = np.zeros((len(seeds), view.pool.n_pairs), dtype=np.bool_)
    for row, seed in zip(chosen, seeds, strict=True):
        design_view = replace(renumbered_view, rng=np.random.default_rng(seed))
        pairs = renumbering.original_pairs(subject.select(case, design_view))
        row[pair_numbers(view.pool, pairs)] = True
    return chosen
