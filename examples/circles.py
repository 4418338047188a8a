"""What circular preferences cost whoever believes in rewards: python examples/circles.py.

Prints Markdown. For answers by Bradley–Terry with a cyclic part of so many reward units: how often
the likelier answer is the better completion, and what the rewards that fit all answers best leave
unexplained and make of the policy. Means of five worlds.
"""

import sys

import numpy as np

from pairbench import make_env
from pairbench.intransitivity import best_bradley_terry

WORLDS = ("pairbench/Isotropic-v1", "pairbench/StrongReward-v1", "pairbench/NearDuplicates-v1")
STRENGTHS, SEEDS = (0, 0.5, 1, 2, 4), range(5)


def main() -> None:
    """Print the table."""
    lines = ["| world | strength | likelier answer is right | excess loss, nats a label | gap |"]
    lines.append("|---|---|---|---|---|")
    for name in WORLDS:
        for strength in STRENGTHS:
            right, excess, gap = np.mean([figures(name, strength, k) for k in SEEDS], axis=0)
            short = name.partition("/")[2]
            lines.append(f"| {short} | {strength:g} | {right:.3f} | {excess:.4f} | {gap:.4f} |")
    sys.stdout.write("\n".join(lines) + "\n")


def figures(name: str, strength: float, seed: int) -> tuple[float, float, float]:
    """How often the likelier answer is right, the excess loss, and the gap."""
    world = make_env(name).world(seed)
    chain = f"intransitive(strength={strength})"
    x, i, j = pairs = np.nonzero(world.pool.pair_mask)
    sure = world.answered_by(f"{chain} | deterministic", seed).oracle
    likelier = sure.label(np.stack(pairs, axis=1), np.zeros(len(x), dtype=np.int64))
    right = likelier == (world.truth.rewards[x, i] > world.truth.rewards[x, j])
    best = best_bradley_terry(world.answered_by(chain, seed))
    return float(np.mean(right)), best.excess, best.gap


if __name__ == "__main__":
    main()
