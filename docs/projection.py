"""Compare projected score vectors with full ones, and write the page: python docs/projection.py.

The page is docs/projection.md. All figures are of one world of `pairbench/TinyLM-v1`.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pairbench import Pool
from pairbench.information import (
    label_information,
    optimal_weights,
    policy_covariance,
    uniform_information,
)
from pairbench.information.fisher import trace_criterion
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.embeddings import hidden_features, score_vectors
from pairbench.language.finite import FiniteLanguage
from pairbench.language.tokens import Tokens
from pairbench.pool.features import centre, rescale, standardise

Array = NDArray[np.float64]

PAGE = Path(__file__).resolve().parent / "projection.md"
N, K = 100, 16  # prompts, and completions of each
MASK = np.ones((N, K), dtype=np.bool_)
LABELS = (50, 200, 800)
DIMS = (64, 128, 256, 512, 1024, 2048)

HEAD = """# How many dimensions do score vectors need?

Made by `python docs/projection.py`. The theory's features of a completion are its score vector,
∇_θ log π_θ(y|x), a number for each weight of the model: a hundred thousand in
`pairbench/TinyLM-v1`, whose prompts, completions and reference these are. Designs see a random
projection of it, which keeps inner products up to an error of about ‖g‖‖g′‖/√dim
(`pairbench.language.embeddings.score_vectors`).

## Error of the criterion

By how much tr(C (Σ + λ)⁻¹) of the projected scores differs from that of the whole ones, for
random pairs. The projection makes it too small, and the more so the more directions the labels
have told of: d_e = tr(Σ (Σ + λ)⁻¹), the effective number of dimensions.

{errors}

## What it costs a design

Optimal designs (ridge 1) that saw other features, judged by the whole scores: their criterion over
that of random pairs, lower is better.

{designs}

## What it says

{findings}
"""


def main() -> None:
    """Compute the figures, and write the page."""
    language = FiniteLanguage(words=8, length=4, steps=1500, seed=0)
    rng = np.random.default_rng(0)
    prompts = language.grammar.prompts(rng, N)
    noisy = language.log_ref(prompts) + rng.gumbel(size=(N, len(language.completions)))
    sampled = np.argsort(-noisy, axis=1)[:, :K]  # Gumbel top-k: K without replacement
    texts = language.tokens(prompts, language.completions[sampled])
    reference = language.reference
    full = full_features(reference, texts)
    projected = score_vectors(reference, texts, max(DIMS)).astype(np.float64)
    lines, errors = criterion_errors(full, projected)
    ratios = design_ratios(reference, texts, full, projected)
    PAGE.write_text(
        HEAD.format(
            errors="\n".join(lines),
            designs="\n".join(table("designs saw", ratios)),
            findings="\n".join(findings(errors, ratios)),
        ),
        encoding="utf-8",
    )


def criterion_errors(full: Array, projected: Array) -> tuple[list[str], dict[int, Array]]:
    """Compute relative errors of the criterion; return their table, and the errors by dim."""
    pairs = np.argwhere(np.broadcast_to(np.triu(np.ones((K, K)), 1), (N, K, K)))
    pairs = np.random.default_rng(0).permutation(pairs)
    cases = [*itertools.product(LABELS, (1.0, 4.0))]

    def criteria(features: Array) -> Array:
        pool = Pool(rescale(features, MASK))
        covariance, unit = policy_covariance(pool), np.eye(pool.dim)
        precisions = [label_information(pool, pairs[:n]) + ridge * unit for n, ridge in cases]
        return np.array([trace_criterion(covariance, precision) for precision in precisions])

    exact, pool = criteria(full), Pool(rescale(full, MASK))
    values = {n: np.linalg.eigvalsh(label_information(pool, pairs[:n])) for n in LABELS}
    effective = [float((values[n] / (values[n] + ridge)).sum()) for n, ridge in cases]
    errors = {dim: criteria(projected[:, :, :dim]) / exact - 1 for dim in DIMS}
    head = [f"{n} labels, λ = {ridge:g}" for n, ridge in cases]
    rows = {"d_e": [f"{d:.0f}" for d in effective]}
    rows |= {f"dim {dim}": [f"{100 * e:+.1f} %" for e in errors[dim]] for dim in DIMS}
    return [
        f"| | {' | '.join(head)} |",
        "|---|" + "---|" * len(head),
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()),
    ], errors


def design_ratios(
    reference: Checkpoint, texts: Tokens, full: Array, projected: Array
) -> dict[str, list[float]]:
    """Compute the criterion of optimal designs over that of random pairs, by their features."""
    kinds = {f"scores, {dim}": rescale(projected[:, :, :dim], MASK) for dim in DIMS[:4]}
    for pooling in ("mean", "last"):
        hidden = hidden_features(reference, texts, pooling).astype(np.float64)
        kinds[f"hidden states, {pooling}"] = standardise(hidden, MASK)
    pool = Pool(rescale(full, MASK))
    covariance, unit, random = policy_covariance(pool), np.eye(pool.dim), uniform_information(pool)
    ratios: dict[str, list[float]] = {}
    for kind, features in kinds.items():
        for n in LABELS:
            design = optimal_weights(Pool(features), n=n, prior=1.0, tol=0.05)
            chosen = label_information(pool, design.pairs, design.weights)
            value, base = (trace_criterion(covariance, n * m + unit) for m in (chosen, random))
            ratios.setdefault(kind, []).append(value / base)
    return ratios


def full_features(reference: Checkpoint, texts: Tokens) -> Array:
    """Compute features with the inner products of the full, centred scores, ``(N, K, N K)``."""
    import torch

    weights = list(reference.model.parameters())
    rows = []
    for prompt, completions in zip(texts.prompts, texts.completions, strict=True):
        for completion in completions:
            ids = torch.from_numpy(np.concatenate([prompt, completion]))
            logits = reference.model(ids[None]).logits[0, len(prompt) - 1 : -1]
            total = logits.log_softmax(-1).gather(1, ids[len(prompt) :, None]).sum()
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, weights)]))
    scores = torch.stack(rows).reshape(N, K, -1)
    scores -= scores.mean(dim=1, keepdim=True)
    flat = scores.flatten(0, 1)
    values, vectors = np.linalg.eigh((flat @ flat.T).double().numpy())
    features = vectors * np.sqrt(np.maximum(values, 0))
    return centre(features.reshape(N, K, -1), MASK)


def table(head: str, ratios: dict[str, list[float]]) -> Iterator[str]:
    """Yield the lines of a table of ratios by number of labels."""
    yield f"| {head} | {' | '.join(f'{n} labels' for n in LABELS)} |"
    yield "|---|" + "---|" * len(LABELS)
    for name, values in ratios.items():
        yield f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |"


def findings(errors: dict[int, Array], ratios: dict[str, list[float]]) -> Iterator[str]:
    """Describe the errors of each dim, and the ratios of each kind of features."""
    for dim in DIMS:
        within = int((np.abs(errors[dim]) < 0.05).sum())
        yield f"- dim {dim}: within 5 % in {within} of {len(errors[dim])} cases."
    best = min(np.mean(values) for values in ratios.values())
    for name, values in ratios.items():
        verdict = "worse than random pairs" if np.mean(values) > 1 else "better than random pairs"
        yield (
            f"- Designs that see {name}: on average {np.mean(values):.3f}, {verdict}, "
            f"{100 * (np.mean(values) / best - 1):.1f} % above the best."
        )


if __name__ == "__main__":
    main()
