"""Calibration of a choice's temperature to a given agreement with the true rewards."""

from collections.abc import Callable

import numpy as np

from pairbench.errors import InvalidParameter
from pairbench.oracles.questions import ExpectedQuestions
from pairbench.oracles.stages import AnnotatorContext, Array, PerceivedDifference
from pairbench.pool.pairs import pairs_from_numbers
from pairbench.pool.pool import Pairs, Pool

_MAX_PAIRS = 2**17
_COOLING = 0.8  # factor between the temperatures of the search
_MIN_RELATIVE_TEMPERATURE = 1e-18  # in units of the largest margin; in effect 0


def calibrate_temperature(
    win: Callable[[Array], Array],
    context: AnnotatorContext,
    perceived: PerceivedDifference,
    agreement: float,
) -> float:
    """Find T at which the choice agrees with the order of r* in a given share of the pool's pairs.

    The share is over pairs drawn uniformly and presented in both orders, before any label was
    bought; pairs of equal r* are left out. All pairs count where they are 131,072 or fewer;
    otherwise that many, one from each of as many equal parts of the list of all pairs. Replies,
    which come after the choice, do not count.

    Args:
        win: maps Δ/T, ``(m,)``, to the probability of preferring the first.
        context: the world.
        perceived: the perceived difference Δ of questions.
        agreement: the share, more than ½.

    Returns:
        T, reward units; the highest if several would do.

    Raises:
        InvalidParameter: If no temperature gives that agreement.
    """
    from scipy.optimize import brentq  # loads slowly

    margin = _margins(context, perceived)
    max_margin = float(np.abs(margin).max(initial=0.0))
    # The limit of temperature 0, where only ties are left to chance.
    highest = float(np.mean((1 + np.sign(margin)) / 2)) if max_margin > 0 else 0.5

    def excess(temperature: float) -> float:
        return float(np.mean(win(margin / temperature))) - agreement

    if max_margin > 0:
        high = max_margin
        while excess(high) >= 0:
            high *= 4
        while high > _MIN_RELATIVE_TEMPERATURE * max_margin:
            low = high * _COOLING
            if (excess_low := excess(low)) >= 0:
                return float(brentq(excess, low, high, rtol=1e-9))
            high, highest = low, max(highest, excess_low + agreement)
    reach = (
        f"more than 0.5 and less than {highest:.4g}"
        if highest > 0.5
        else "nothing above chance, 0.5"
    )
    raise InvalidParameter(
        f"agreement={agreement:g} cannot be reached in this world: with these perceptions a choice "
        f"can agree with the true rewards in {reach}, whatever its temperature."
    )


def _margins(context: AnnotatorContext, perceived: PerceivedDifference) -> Array:
    """Compute how much better the better completion of each pair seems, ``(m,)`` reward units."""
    pairs = sample_evenly(context.pool, _MAX_PAIRS)
    pairs = np.concatenate([pairs, pairs[:, [0, 2, 1]]])
    questions = ExpectedQuestions.of(pairs)
    truth = questions.difference(context.rewards)
    margins: Array = (np.sign(truth) * perceived(questions))[truth != 0]
    return margins


def sample_evenly(pool: Pool, most: int) -> Pairs:
    """Return all pairs of a pool, ``(m, 3)``, or a stratified sample of ``most`` of them.

    The sample has one pair from each of ``most`` equal parts of the list of all pairs, and is the
    same each time.
    """
    if pool.n_pairs <= most:
        return pairs_from_numbers(pool, np.arange(pool.n_pairs))
    edges = np.arange(most + 1) * pool.n_pairs // most
    rng = np.random.default_rng(0)
    return pairs_from_numbers(pool, rng.integers(edges[:-1], edges[1:]))
