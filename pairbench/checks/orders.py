"""Checks that renumber prompts and completions and compare the chosen pairs."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pairbench.checks.cases import FIRST_ROUND, WITH_SCORES, Case, Renumbering
from pairbench.checks.subject import Failed, Subject
from pairbench.pool.pairs import pair_numbers, pairs_from_numbers
from pairbench.stats.counts import fisher_exact_test

_FEW, _SOME, _MANY = 3, 20, 200  # seeds


_ALARM = 1.0  # standard deviations from which on to look closer


_CERTAIN = 1e-6  # how rarely a good design may be called bad


_RENUMBERED = Case("", shape=(4, 6, 3), n=5, share_valid=0.8)


_PROMPTS, _COMPLETIONS = np.arange(4), np.tile(np.arange(6), (4, 1))


_UNCHANGED = Renumbering(_PROMPTS, _COMPLETIONS)


OTHER_PROMPTS = Renumbering(np.roll(_PROMPTS, 2), _COMPLETIONS)


OTHER_COMPLETIONS = Renumbering(_PROMPTS, np.random.default_rng(6).permuted(_COMPLETIONS, axis=1))


def compare_choices(subject: Subject, what: str, order: Renumbering) -> None:
    """Raise unless a design chooses alike from a pool and from its renumbered copy.

    How often it chooses each pair, over many seeds, is compared by Fisher's exact test. Pairs are
    counted once a round, so that each pair's counts are independent however the pairs of a round
    hang together, as they do where a rule asks all pairs of one prompt.

    Raises:
        Failed: If that cannot be chance.
    """
    for case in subject.rounds:
        # Each pool has seeds of its own, even or odd ones, and fresh ones each time.
        few = [
            _chosen(subject, case, each, range(start, 2 * _FEW, 2))
            for start, each in enumerate((_UNCHANGED, order))
        ]
        if (np.concatenate(few) == few[0][0]).all():  # it leaves nothing to chance
            continue
        for seeds in (_SOME, _MANY):
            one, other = (
                _chosen(subject, case, each, range(2 * seeds + start, 4 * seeds, 2)).sum(axis=0)
                for start, each in enumerate((_UNCHANGED, order))
            )
            chance = fisher_exact_test(one, other, seeds)
            pair = int(chance.argmin())
            if chance[pair] * len(chance) < _CERTAIN:
                x, i, j = pairs_from_numbers(_RENUMBERED.view().pool, np.array([pair]))[0]
                raise Failed(
                    f"{case}: completions {i} and {j} of prompt {x} were compared under "
                    f"{one[pair]} of {seeds} seeds, but under {other[pair]} when the {what} were "
                    f"numbered otherwise. {_MEND[what]}"
                )
            both = one + other
            seen = np.count_nonzero(both)
            distance = np.sum((one - other) ** 2 / np.maximum(both, 1))
            if distance < seen + _ALARM * np.sqrt(2 * seen):  # χ², of about as many degrees
                break


_TIES = "Break ties by view.rng, as top_pairs and ranked_completions do, and not by position."


_MEND = {
    "prompts": f"A prompt's number means nothing. {_TIES}",
    "completions": f"{_TIES} If the order of completions means something to the design, its class "
    "says so: ordered: ClassVar[bool] = True.",
}


@lru_cache(maxsize=16)  # what is chosen from the pool as it is is compared twice
def _chosen(subject: Subject, case: str, order: Renumbering, seeds: range) -> NDArray[np.bool_]:
    """Return which pairs are chosen from a renumbered pool, ``(seeds, n_pairs)``.

    Args:
        subject: the design.
        case: the round.
        order: the order in which the design sees the pool.
        seeds: of the design's random numbers.
    """
    share_labelled = 0.0 if case == FIRST_ROUND else _RENUMBERED.share_labelled
    view = replace(
        _RENUMBERED, share_labelled=share_labelled, scored=subject.plays(WITH_SCORES)
    ).view()
    other = order.view(view)
    chosen = np.zeros((len(seeds), view.pool.n_pairs), dtype=np.bool_)
    for row, seed in zip(chosen, seeds, strict=True):
        shown = replace(other, rng=np.random.default_rng(seed))
        row[pair_numbers(view.pool, order.original_pairs(subject.select(case, shown)))] = True
    return chosen
