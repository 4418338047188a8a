"""The temperature at which a choice agrees with the true rewards as often as is asked."""

from collections.abc import Callable

import numpy as np

from pairbench.errors import InvalidParameter
from pairbench.oracles.questions import OnAverage
from pairbench.oracles.stages import Array, Perceived, Scene
from pairbench.pool import Pairs, Pool, numbered_pairs

_MOST_PAIRS = 2**17
_COOLER, _COOLEST = 0.8, 1e-18  # steps of the temperature, and where it is as good as 0


def calibrated_temperature(
    win: Callable[[Array], Array], scene: Scene, perceived: Perceived, agreement: float
) -> float:
    """T at which the choice agrees with the order of r* in this share of the pool's pairs.

    Pairs are drawn uniformly, are shown either way round, before any label was bought, and those
    of equal r* are left out. All of them are counted where they are 131,072 or fewer, otherwise
    that many, one from each of as many equal parts of the list of all pairs. What replies make of
    the choice does not count.

    Args:
        win: the probability of preferring the first where it seems better by Δ, of Δ/T.
        scene: the world.
        perceived: Δ of questions.
        agreement: the share, more than ½.

    Returns:
        T, reward units; where several would do, the highest.

    Raises:
        InvalidParameter: If no temperature gives that agreement.
    """
    from scipy.optimize import brentq  # loads slowly

    margin = _margins(scene, perceived)
    size = float(np.abs(margin).max(initial=0.0))
    # What is left when the temperature goes to 0: chance decides nothing but ties.
    most = float(np.mean((1 + np.sign(margin)) / 2)) if size > 0 else 0.5

    def excess(temperature: float) -> float:
        return float(np.mean(win(margin / temperature))) - agreement

    if size > 0:
        high = size
        while excess(high) >= 0:
            high *= 4
        while high > _COOLEST * size:
            low = high * _COOLER
            if (found := excess(low)) >= 0:
                return float(brentq(excess, low, high, rtol=1e-9))
            high, most = low, max(most, found + agreement)
    reach = f"more than 0.5 and less than {most:.4g}" if most > 0.5 else "nothing above chance, 0.5"
    raise InvalidParameter(
        f"agreement={agreement:g} cannot be reached in this world: what is perceived there lets a "
        f"choice agree with the true rewards in {reach}, whatever its temperature."
    )


def _margins(scene: Scene, perceived: Perceived) -> Array:
    """By how much the better of each pair seems better, ``(m,)`` reward units."""
    pairs = sampled_evenly(scene.pool, _MOST_PAIRS)
    pairs = np.concatenate([pairs, pairs[:, [0, 2, 1]]])
    asked = OnAverage.of(pairs)
    truth = asked.difference(scene.rewards)
    margins: Array = (np.sign(truth) * perceived(asked))[truth != 0]
    return margins


def sampled_evenly(pool: Pool, most: int) -> Pairs:
    """All pairs of a pool, ``(m, 3)``, or ``most`` of them, spread evenly over their list."""
    if pool.n_pairs <= most:
        return numbered_pairs(pool, np.arange(pool.n_pairs))
    edges = np.arange(most + 1) * pool.n_pairs // most
    rng = np.random.default_rng(0)  # always the same ones
    return numbered_pairs(pool, rng.integers(edges[:-1], edges[1:]))
