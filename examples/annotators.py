"""What annotators answer, and what that does to the policy: python examples/annotators.py.

Prints Markdown. Of all pairs of one world: how often the answer is the better completion (of those
that are an answer, ½ counted half), how often it is ½, and how often there is none. Then the gap
after 400 labels of random pairs, over that with plain Bradley–Terry labels: the mean of ten worlds.
"""

import sys

import numpy as np

from pairbench import make_env, play

WORLD = "pairbench/Isotropic-v1(steps=10)"
SEEDS, BUDGET, TIMES = range(10), 400, 50
ANNOTATORS = [
    "bradley-terry",
    "bradley-terry(agreement=0.72)",
    "thurstone(agreement=0.72)",
    "heavy-tailed(agreement=0.72)",
    "b-pref-oracle",
    "b-pref-mistake",
    "b-pref-skip",
    "b-pref-equal",
    "b-pref-myopic",
    "position-bias(weight=1)",
    "length-bias(weight=1)",
    "sycophancy(weight=1)",
    "intransitive(strength=2)",
    "drift(size=2)",
    "mistake(rate=0.2)",
    "adversary(fraction=0.2)",
    "length-bias(weight=1) | bradley-terry(agreement=0.72) | mistake(rate=0.1)",
    "crowd(votes=1)",
    "crowd(votes=3)",
    "crowd(votes=3, aggregate='soft')",
    "crowd(votes=3, reliability=(0.0, 1.0))",
    "crowd(votes=3, tastes=3, deviation=2)",
]


def main() -> None:
    """Print the table."""
    lines = ["| annotator | agrees with r* | ½ | none | gap over bradley-terry's |"]
    lines.append("|---|---|---|---|---|")
    plain = gap(ANNOTATORS[0])
    for annotator in ANNOTATORS:
        right, even, none = answers(annotator)
        shown, worse = annotator.replace("|", r"\|"), gap(annotator) / plain
        lines.append(f"| `{shown}` | {right:.3f} | {even:.3f} | {none:.3f} | {worse:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


def answers(annotator: str) -> tuple[float, float, float]:
    """How often it agrees, of all its answers, and how often it says ½ or nothing."""
    world = make_env(WORLD).world(0).answered_by(annotator, 0)
    x, i, j = pairs = np.nonzero(world.pool.pair_mask)
    asked = np.repeat(np.stack(pairs, axis=1), TIMES, axis=0)
    # Half of the times the other way round, and at any time within the budget.
    asked[1::2] = asked[1::2, [0, 2, 1]]
    repeat = np.tile(np.arange(TIMES), len(x))
    time = np.random.default_rng(0).integers(BUDGET, size=len(asked))
    labels = world.oracle.label(asked, repeat, time)
    labels[1::2] = 1 - labels[1::2]
    better = np.repeat(world.truth.rewards[x, i] > world.truth.rewards[x, j], TIMES)
    agrees, none = 1 - np.abs(labels - better), np.isnan(labels)
    return float(np.nanmean(agrees)), float(np.mean(labels == 0.5)), float(np.mean(none))


def gap(annotator: str) -> float:
    """The mean gap."""
    env = make_env(WORLD, annotator=annotator)
    return float(np.mean([play(env, "uniform", k, (BUDGET,)).rounds[-1].score.gap for k in SEEDS]))


if __name__ == "__main__":
    main()
