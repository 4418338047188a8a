"""The criteria that a design can minimise.

Each is 1/f of an information function f: concave and homogeneous of degree one in the information
matrices M_k(w) (Pukelsheim 2006, chapter 5), which are linear in w. So with E_k the gradient of
log f, Σ_k tr(E_k M_k(w)) = 1, and for any other weights v

    f(v) / f(w) ≤ Σ_k tr(E_k M_k(v)) ≤ max_p Σ_k tr(E_k A_kp),    A_kp = B_k + ω_kp z_p z_pᵀ,

which is the general equivalence theorem (Kiefer 1974) and the certificate of every solution.

A worst case has no gradient where two cases tie. It is approached from below by power means with
weights μ, (Σ_k μ_k ψ_k^q)^{1/q} ≤ max_k ψ_k, whose bound is a bound for it too. Moving μ to the
gradient's own weights, the entropic proximal point method (Teboulle 1992), makes the two meet at
a finite q.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh, solve_triangular
from scipy.special import logsumexp

from pairbench.information.candidates import Candidates
from pairbench.pool import Pairs

Array = NDArray[np.float64]

_POWER, _GROWTH, _MOST, _STEP = 4.0, 1.5, 200.0, 3.0


class Criterion(ABC):
    """A criterion of information matrices M_k, ``(r, r)`` in a basis of its own."""

    @abstractmethod
    def smooth(self, informations: Sequence[Array]) -> tuple[float, list[Array]]:
        """log of a smooth lower bound of the criterion, and E_k, ``(r, r)``."""

    def exact(self, informations: Sequence[Array]) -> tuple[float, float]:
        """log of the criterion, and of an upper bound of it where it has to be searched for."""
        value = self.smooth(informations)[0]
        return value, value

    def tighten(self, informations: Sequence[Array]) -> None:
        """Bring :meth:`smooth` nearer to :meth:`exact`, where they differ."""
        return


class Trace(Criterion):
    """ψ = Σ_k tr(C_k M_k⁻¹) / m, or the largest of them: I, A, Bayesian I, minimax I."""

    def __init__(self, roots: Sequence[Array], *, worst: bool = False) -> None:
        """Take the matrices.

        Args:
            roots: C_k^{1/2}, ``(r, any)``: C_k is root rootᵀ.
            worst: the largest in place of the mean.
        """
        self.roots = list(roots)
        self.worst = worst
        self.power = _POWER if worst and len(self.roots) > 1 else 1.0
        self.log_weights = np.full(len(self.roots), -np.log(len(self.roots)))

    def smooth(self, informations: Sequence[Array]) -> tuple[float, list[Array]]:
        """Power mean of the traces."""
        effects, log_traces = self._traces(informations)
        terms = self.log_weights + self.power * log_traces
        total = logsumexp(terms)
        share = np.exp(terms - total - log_traces)
        return total / self.power, [s * e for s, e in zip(share, effects, strict=True)]

    def exact(self, informations: Sequence[Array]) -> tuple[float, float]:
        """The mean, or the largest."""
        if not self.worst:
            return super().exact(informations)
        value = float(self._traces(informations)[1].max())
        return value, value

    def tighten(self, informations: Sequence[Array]) -> None:
        """Move the weights to the cases that are worst now."""
        if self.worst:
            terms = self.log_weights + self.power * self._traces(informations)[1]
            self.log_weights = terms - logsumexp(terms)
            self.power = min(_GROWTH * self.power, _MOST) if len(self.roots) > 1 else 1.0

    def _traces(self, informations: Sequence[Array]) -> tuple[list[Array], Array]:
        """M⁻¹CM⁻¹ and log tr(CM⁻¹)."""
        effects, traces = [], []
        for root, information in zip(self.roots, informations, strict=True):
            factor = cho_factor(information, lower=True, check_finite=False)
            half = cho_solve(factor, root, check_finite=False)
            effects.append(half @ half.T)
            traces.append(np.sum(half * root))
        # A case without a trace, such as a policy that is sure of itself, is never the worst.
        return effects, np.log(np.maximum(traces, 1e-300))


class Determinant(Criterion):
    """det(M)^{−1/r}: D."""

    def __init__(self, offset: float) -> None:
        """Take the offset.

        Args:
            offset: what the basis adds to log det M.
        """
        self.offset = offset

    def smooth(self, informations: Sequence[Array]) -> tuple[float, list[Array]]:
        """The criterion itself."""
        (information,) = informations
        factor = cho_factor(information, lower=True, check_finite=False)
        r = len(information)
        log_det = 2 * np.log(np.diag(factor[0])).sum() + self.offset
        inverse = cho_solve(factor, np.eye(r), check_finite=False)
        return -log_det / r, [(inverse + inverse.T) / (2 * r)]


class Eigenvalue(Criterion):
    """The largest eigenvalue of Kᵀ M⁻¹ K: E."""

    def __init__(self, root: Array) -> None:
        """Take the basis.

        Args:
            root: K, ``(r, r)``, from this basis to an orthonormal one.
        """
        self.root = root
        self.power = _POWER
        self.density = np.eye(len(root)) / len(root)

    def smooth(self, informations: Sequence[Array]) -> tuple[float, list[Array]]:
        """‖Q^{1/2q} Kᵀ M⁻¹ K Q^{1/2q}‖_q, Q of trace one: below the largest eigenvalue."""
        values, vectors = eigh(self.density)
        weight = (vectors * np.maximum(values, 1e-30) ** (0.5 / self.power)) @ vectors.T
        factor = cho_factor(informations[0], lower=True, check_finite=False)
        k = self.root @ weight
        half = cho_solve(factor, k, check_finite=False)
        values, vectors = eigh(k.T @ half)
        terms = np.log(np.maximum(values, 1e-300))
        total = logsumexp(self.power * terms)
        turned = half @ vectors
        effect = (turned * np.exp((self.power - 1) * terms - total)) @ turned.T
        return total / self.power, [effect]

    def exact(self, informations: Sequence[Array]) -> tuple[float, float]:
        """The largest eigenvalue."""
        factor = cho_factor(informations[0], lower=True, check_finite=False)
        inverse = self.root.T @ cho_solve(factor, self.root, check_finite=False)
        value = float(np.log(eigh(inverse, eigvals_only=True)[-1]))
        return value, value

    def tighten(self, informations: Sequence[Array]) -> None:
        """Move Q to the directions that are known least now."""
        # Of M in the orthonormal basis, K⁻¹ M K⁻ᵀ, the gradient is Kᵀ E K.
        density = self.root.T @ self.smooth(informations)[1][0] @ self.root
        self.density = (density + density.T) / (2 * np.trace(density))
        self.power = min(_GROWTH * self.power, _MOST)


class WorstVariance(Criterion):
    """max_p z_pᵀ M⁻¹ z_p over all pairs: G. Pairs that are worst are taken in as they are found."""

    def __init__(self, candidates: Candidates, basis: Array, start: Array) -> None:
        """Take in the first pairs.

        Args:
            candidates: pairs with one atom at θ = 0, ¼ z zᵀ.
            basis: T, ``(d, r)``: features φT are this basis' own.
            start: an information matrix, ``(r, r)``: the pairs that are worst for it are the first.
        """
        self.candidates, self.basis = candidates, basis
        self.power = _POWER
        self.pairs = np.empty((0, 3), dtype=np.int64)
        self.z = np.empty((0, basis.shape[1]))
        self.log_weights = np.empty(0)
        self._admit(self._worst([start])[0])

    def smooth(self, informations: Sequence[Array]) -> tuple[float, list[Array]]:
        """Power mean over the pairs taken in so far."""
        half, log_variances = self._variances(informations)
        terms = self.log_weights + self.power * log_variances
        total = logsumexp(terms)
        share = np.exp(terms - total - log_variances)
        return total / self.power, [(half.T * share) @ half]

    def exact(self, informations: Sequence[Array]) -> tuple[float, float]:
        """The largest variance, by a search; the worst pairs are taken in."""
        pairs, value, bound = self._worst(informations)
        self._admit(pairs)
        return value, bound

    def tighten(self, informations: Sequence[Array]) -> None:
        """Move the weights to the pairs that are worst now."""
        log_variances = self._variances(informations)[1]
        # While pairs that were just taken in are far worse than the rest, a long step would leave
        # nothing of the rest, and the next one nothing of these.
        above = float(log_variances.max() - np.exp(self.log_weights) @ log_variances)
        most = _STEP / max(above, _STEP / _MOST)
        step = min(self.power, most)
        terms = self.log_weights + step * log_variances
        weights = np.exp(terms - logsumexp(terms))
        kept = weights > 1e-9 * weights.max()
        self.pairs, self.z = self.pairs[kept], self.z[kept]
        self.log_weights = np.log(weights[kept] / weights[kept].sum())
        self.power = min(_GROWTH * self.power, max(_POWER, most))

    def _variances(self, informations: Sequence[Array]) -> tuple[Array, Array]:
        factor = cho_factor(informations[0], lower=True, check_finite=False)
        half = cho_solve(factor, self.z.T, check_finite=False).T
        return half, np.log(np.maximum(np.sum(half * self.z, axis=1), 1e-300))

    def _worst(self, informations: Sequence[Array]) -> tuple[Pairs, float, float]:
        r = self.basis.shape[1]
        factor = np.linalg.cholesky(informations[0])
        root = self.basis @ solve_triangular(factor, np.eye(r), lower=True).T
        found = self.candidates.largest([root], 4 * r)
        # Their atoms are ¼ z zᵀ.
        return found.pairs, float(np.log(4 * found.values[0])), float(np.log(4 * found.bound))

    def _admit(self, pairs: Pairs) -> None:
        known = {tuple(row) for row in self.pairs.tolist()}
        new = np.array([row for row in pairs.tolist() if tuple(row) not in known], dtype=np.int64)
        if not len(new):
            return
        z = 2 * self.candidates.atoms(new)[0] @ self.basis
        weight = 0.1 if len(self.pairs) else 1.0
        added = np.full(len(new), np.log(weight / len(new)))
        self.pairs = np.concatenate([self.pairs, new])
        self.z = np.concatenate([self.z, z])
        self.log_weights = np.concatenate([self.log_weights + np.log1p(-0.1), added])
