"""Tabulate annotators' labels and their effect on the policy: python examples/annotators.py.

Prints Markdown. Over all pairs of one world: the share of labels that agree with r* (ties count
half, skips are left out), of ties, and of skips. Then the mean gap over ten worlds after 400 labels
of random pairs, divided by that with Bradley–Terry labels.
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
    lines = ["| annotator | agrees with r* | ½ | none | gap / gap with `bradley-terry` |"]
    lines.append("|---|---|---|---|---|")
    baseline = mean_gap(ANNOTATORS[0])
    for annotator in ANNOTATORS:
        agreement, ties, skips = label_shares(annotator)
        name, ratio = annotator.replace("|", r"\|"), mean_gap(annotator) / baseline
        lines.append(f"| `{name}` | {agreement:.3f} | {ties:.3f} | {skips:.3f} | {ratio:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


def label_shares(annotator: str) -> tuple[float, float, float]:
    """Return the shares of labels that agree with r*, of ties, and of skips."""
    world = make_env(WORLD).world(0).with_annotator(annotator, 0)
    x, i, j = pairs = np.nonzero(world.pool.pair_mask)
    questions = np.repeat(np.stack(pairs, axis=1), TIMES, axis=0)
    # Every second question in reverse order; times are uniform within the budget.
    questions[1::2] = questions[1::2, [0, 2, 1]]
    repeat = np.tile(np.arange(TIMES), len(x))
    time = np.random.default_rng(0).integers(BUDGET, size=len(questions))
    labels = world.oracle.label(questions, repeat, time)
    labels[1::2] = 1 - labels[1::2]
    better = np.repeat(world.truth.rewards[x, i] > world.truth.rewards[x, j], TIMES)
    agrees, skipped = 1 - np.abs(labels - better), np.isnan(labels)
    return float(np.nanmean(agrees)), float(np.mean(labels == 0.5)), float(np.mean(skipped))


def mean_gap(annotator: str) -> float:
    """Return the mean gap over worlds after random pairs."""
    env = make_env(WORLD, annotator=annotator)
    return float(np.mean([play(env, "uniform", k, (BUDGET,)).rounds[-1].score.gap for k in SEEDS]))


if __name__ == "__main__":
    main()
