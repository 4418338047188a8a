"""Measure what circular preferences cost a reward model: python examples/circles.py.

Prints Markdown. For Bradley–Terry labels with a cyclic part of a given strength, in reward units:
how often the likelier label is right, and for the best-fitting rewards the excess loss and the gap
of their policy. Means over five worlds.
"""

import sys

import numpy as np

from pairbench import make_env
from pairbench.worlds.intransitivity import best_bradley_terry

WORLDS = ("pairbench/Isotropic-v1", "pairbench/StrongReward-v1", "pairbench/NearDuplicates-v1")
STRENGTHS, SEEDS = (0, 0.5, 1, 2, 4), range(5)


def main() -> None:
    """Print the table."""
    lines = ["| world | strength | likelier answer is right | excess loss, nats a label | gap |"]
    lines.append("|---|---|---|---|---|")
    for name in WORLDS:
        for strength in STRENGTHS:
            right, excess, gap = np.mean([measure(name, strength, k) for k in SEEDS], axis=0)
            world = name.partition("/")[2]
            lines.append(f"| {world} | {strength:g} | {right:.3f} | {excess:.4f} | {gap:.4f} |")
    sys.stdout.write("\n".join(lines) + "\n")


def measure(name: str, strength: float, seed: int) -> tuple[float, float, float]:
    """Return how often the likelier label is right, the excess loss (nats), and the gap."""
    world = make_env(name).world(seed)
    annotator = f"intransitive(strength={strength})"
    x, i, j = pairs = np.nonzero(world.pool.pair_mask)
    oracle = world.with_annotator(f"{annotator} | deterministic", seed).oracle
    likelier = oracle.label(np.stack(pairs, axis=1), np.zeros(len(x), dtype=np.int64))
    right = likelier == (world.truth.rewards[x, i] > world.truth.rewards[x, j])
    best = best_bradley_terry(world.with_annotator(annotator, seed))
    return float(np.mean(right)), best.excess, best.gap


if __name__ == "__main__":
    main()
