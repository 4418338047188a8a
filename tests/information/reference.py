"""Slow transcriptions of the definitions, to hold the package against."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from pairbench import Pairs, Pool
from tests.reference import sigmoid

Array = NDArray[np.float64]


def slope(logit: Array) -> Array:
    small = np.exp(-np.abs(logit))
    found: Array = small / (1 + small) ** 2
    return found


def all_pairs(pool: Pool) -> Pairs:
    return np.argwhere(pool.pair_mask)


def sorted_pairs(pairs: Pairs) -> Pairs:
    return np.unique(np.column_stack([pairs[:, 0], np.sort(pairs[:, 1:], axis=1)]), axis=0)


def differences(pool: Pool, pairs: Pairs) -> Array:
    phi = np.asarray(pool.features, dtype=np.float64)
    z: Array = phi[pairs[:, 0], pairs[:, 1]] - phi[pairs[:, 0], pairs[:, 2]]
    return z


def atoms_of(pool: Pool, pairs: Pairs, theta: Array | None) -> Array:
    """√ω z of each pair."""
    z = differences(pool, pairs)
    omega = np.full(len(z), 0.25) if theta is None else slope(z @ theta)
    return z * np.sqrt(omega)[:, None]


def covariance_of(pool: Pool, theta: Array | None, beta: float = 1.0) -> Array:
    total = np.zeros((pool.dim, pool.dim))
    for x in range(pool.n_prompts):
        there = np.flatnonzero(pool.valid[x])
        phi = pool.features[x, there].astype(np.float64)
        phi -= phi[0]
        logits = pool.log_ref[x, there] + (0 if theta is None else phi @ theta / beta)
        mass = np.exp(logits - logsumexp(logits))
        phi -= mass @ phi
        total += pool.prompt_weights[x] * (phi.T * mass) @ phi
    return total


@dataclass
class Problem:
    """A criterion of weights over pairs, from its definition.

    Attributes:
        criterion: its name.
        pairs: the candidates, ``(p, 3)``.
        z: their differences, ``(p, d)``.
        atoms: √ω z for each θ.
        known: B for each θ.
        covariances: C for each θ.
    """

    criterion: str
    pairs: Pairs
    z: Array
    atoms: list[Array]
    known: list[Array]
    covariances: list[Array]

    def value(self, pairs: Pairs, weights: Array) -> float:
        """The criterion of a design, inf where it leaves out a direction that counts."""
        rows = {tuple(row): k for k, row in enumerate(self.pairs.tolist())}
        full = np.zeros(len(self.pairs))
        for (x, i, j), weight in zip(pairs.tolist(), weights, strict=True):
            full[rows[x, min(i, j), max(i, j)]] += weight
        return self.at(full)

    def at(self, weights: Array) -> float:
        cases = [
            b + (a * weights[:, None]).T @ a for a, b in zip(self.atoms, self.known, strict=True)
        ]
        if self.criterion == "d":
            sign, log_det = np.linalg.slogdet(cases[0])
            return float(np.exp(-log_det / len(cases[0]))) if sign > 0 else np.inf
        if self.criterion == "e":
            return float(1 / max(np.linalg.eigvalsh(cases[0])[0], 1e-300))
        if self.criterion == "g":
            inverse = np.linalg.inv(cases[0])
            return float(np.einsum("pi,ij,pj->p", self.z, inverse, self.z).max())
        traces = [
            float(np.trace(c @ np.linalg.inv(m)))
            for c, m in zip(self.covariances, cases, strict=True)
        ]
        return max(traces) if self.criterion == "minimax-i" else float(np.mean(traces))

    def another_design(self) -> Array:
        """Weights that are nearly optimal, ``(p,)``, by descent on a smoothed criterion.

        Weights are softmax(u); the largest of several numbers is approached by power means. It is
        independent of what is tested, and need not be exact: any design's value is above the least.
        """
        u = np.zeros(len(self.pairs))
        best, least = np.exp(u) / len(u), np.inf
        for power in (1.0,) if self.criterion in ("i", "a", "d", "bayes-i") else (4.0, 20.0, 100.0):

            def objective(u: Array, power: float = power) -> tuple[float, Array]:
                w = np.exp(u - logsumexp(u))
                value, sensitivity = self._smooth(w, power)
                return value, w * (w @ sensitivity - sensitivity)

            fit = minimize(objective, u, jac=True, method="L-BFGS-B", options={"maxiter": 80})
            u = np.maximum(fit.x - fit.x.max(), -20)
            weights = np.exp(u - logsumexp(u))
            if (value := self.at(weights)) < least:
                best, least = weights, value
        return best

    def _smooth(self, w: Array, power: float) -> tuple[float, Array]:
        cases = [b + (a * w[:, None]).T @ a for a, b in zip(self.atoms, self.known, strict=True)]
        inverses = [np.linalg.inv(m) for m in cases]
        if self.criterion == "d":
            (inverse,), (z,) = inverses, self.atoms
            value = -float(np.linalg.slogdet(cases[0])[1]) / len(inverse)
            return value, np.einsum("pi,ij,pj->p", z, inverse, z) / len(inverse)
        if self.criterion == "e":
            values, vectors = np.linalg.eigh(inverses[0])
            logs = np.log(np.maximum(values, 1e-300))
            total = logsumexp(power * logs)
            share = np.exp((power + 1) * logs - total)
            return total / power, np.square(self.atoms[0] @ vectors) @ share
        if self.criterion == "g":
            half = self.z @ inverses[0]
            logs = np.log(np.maximum(np.sum(half * self.z, axis=1), 1e-300))
            total = logsumexp(power * logs)
            effect = (half.T * np.exp((power - 1) * logs - total)) @ half
            return total / power, np.einsum("pi,ij,pj->p", self.atoms[0], effect, self.atoms[0])
        logs = np.array(
            [
                np.log(max(np.trace(c @ m), 1e-300))
                for c, m in zip(self.covariances, inverses, strict=True)
            ]
        )
        total = logsumexp(power * logs)
        sensitivity = np.zeros(len(w))
        for z, c, m, log in zip(self.atoms, self.covariances, inverses, logs, strict=True):
            share = np.exp((power - 1) * log - total)
            sensitivity += share * np.einsum("pi,ij,pj->p", z, m @ c @ m, z)
        return total / power, sensitivity


def problem(
    pool: Pool,
    criterion: str,
    thetas: Sequence[Array | None],
    *,
    n: float = 1.0,
    past: Pairs | None = None,
    prior: Array | None = None,
    beta: float = 1.0,
    candidates: Pairs | None = None,
) -> Problem:
    """The problem that `optimal_weights` is given; without prior and past on what pairs span."""
    pairs = all_pairs(pool) if candidates is None else sorted_pairs(candidates)
    atoms = [atoms_of(pool, pairs, theta) for theta in thetas]
    if criterion.endswith("i"):
        covariances = [covariance_of(pool, theta, beta) for theta in thetas]
    else:
        covariances = [np.eye(pool.dim)]
    z, uniform = differences(pool, pairs), [a.T @ a / len(a) for a in atoms]
    if prior is None and past is None:
        known = [1e-6 * u for u in uniform]
        values, vectors = np.linalg.eigh(np.mean(uniform, axis=0))
        basis = vectors[:, values > 1e-14 * values[-1]]
        return Problem(
            criterion,
            pairs,
            z @ basis,
            [a @ basis for a in atoms],
            [basis.T @ b @ basis for b in known],
            [basis.T @ c @ basis for c in covariances],
        )
    known = []
    for theta in thetas:
        b = np.zeros((pool.dim, pool.dim)) if prior is None else prior
        if past is not None:
            old = atoms_of(pool, past, theta)
            b = b + old.T @ old
        known.append(b / n)
    return Problem(criterion, pairs, z, atoms, known, covariances)


def joint_information(draws: Array, batch: list[int]) -> float:
    """I(y_batch; Δ), over all configurations of the labels."""
    p = [[sigmoid(x) for x in row] for row in draws[:, batch]]
    information = 0.0
    for labels in product((0, 1), repeat=len(batch)):
        given = [
            float(np.prod([x if y else 1 - x for x, y in zip(row, labels, strict=True)]))
            for row in p
        ]
        total = sum(given) / len(given)
        information += sum(g * np.log(g / total) for g in given) / len(given)
    return information
