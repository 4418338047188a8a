"""Optimality criteria of designs.

Each is 1/f of an information function f, which is concave and homogeneous of degree one in the
information matrices M_k(w) (Pukelsheim 2006, chapter 5); these are linear in w. So with E_k the
gradient of log f, Σ_k tr(E_k M_k(w)) = 1, and for any other weights v

    f(v) / f(w) ≤ Σ_k tr(E_k M_k(v)) ≤ max_p Σ_k tr(E_k A_kp),    A_kp = B_k + ω_kp z_p z_pᵀ,

which is the general equivalence theorem (Kiefer 1974) and the certificate of every solution.

A worst case has no gradient where two cases tie. It is approximated from below by power means with
weights μ, (Σ_k μ_k ψ_k^q)^{1/q} ≤ max_k ψ_k, so that a lower bound of the power mean is one of the
worst case too. Replacing μ by the weights of the cases in the gradient, the entropic proximal point
method (Teboulle 1992), closes the difference at a finite q.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh, solve_triangular
from scipy.special import logsumexp

from pairbench.information.candidates import Candidates
from pairbench.pool.pool import Pairs

Array = NDArray[np.float64]

_FIRST_POWER = 4.0
_POWER_GROWTH = 1.5
_MAX_POWER = 200.0
_MAX_LOG_STEP = 3.0
"""The largest move of a log weight in one tightening of :class:`WorstVariance`."""


class SmoothValue(NamedTuple):
    """A smooth lower bound of a criterion, and its gradient.

    Attributes:
        log_value: log of the bound.
        gradients: E_k, ``(r, r)`` each: the gradient of −log of the bound with respect to M_k.
    """

    log_value: float
    gradients: list[Array]


class ExactValue(NamedTuple):
    """The value of a criterion.

    Attributes:
        log_value: log of the value, or of a lower bound of it that a search has found.
        log_bound: log of an upper bound of the value; equal to ``log_value`` without a search.
    """

    log_value: float
    log_bound: float


class Criterion(ABC):
    """A criterion of information matrices M_k, ``(r, r)`` in a basis that the criterion fixes."""

    @abstractmethod
    def smooth(self, informations: Sequence[Array]) -> SmoothValue:
        """Compute a smooth lower bound of the criterion and its gradients.

        Args:
            informations: M_k, ``(r, r)`` each, positive definite.
        """

    def exact(self, informations: Sequence[Array]) -> ExactValue:
        """Compute the criterion itself.

        Args:
            informations: M_k, ``(r, r)`` each, positive definite.
        """
        value = self.smooth(informations).log_value
        return ExactValue(value, value)

    def tighten(self, informations: Sequence[Array]) -> None:
        """Bring :meth:`smooth` nearer to :meth:`exact`, where they differ."""
        return


class Trace(Criterion):
    """ψ = Σ_k tr(C_k M_k⁻¹) / m, or max_k tr(C_k M_k⁻¹): I, A, Bayesian I, minimax I."""

    def __init__(self, roots: Sequence[Array], *, worst: bool = False) -> None:
        """Store the matrices.

        Args:
            roots: C_k^{1/2}, ``(r, any)``: C_k is root rootᵀ.
            worst: use the maximum in place of the mean.
        """
        self.roots = list(roots)
        self.worst = worst
        self.power = _FIRST_POWER if worst and len(self.roots) > 1 else 1.0
        self.log_weights = np.full(len(self.roots), -np.log(len(self.roots)))

    def smooth(self, informations: Sequence[Array]) -> SmoothValue:
        """Compute the weighted power mean of the traces."""
        effects, log_traces = self._traces(informations)
        terms = self.log_weights + self.power * log_traces
        total = logsumexp(terms)
        share = np.exp(terms - total - log_traces)
        gradients = [s * e for s, e in zip(share, effects, strict=True)]
        return SmoothValue(total / self.power, gradients)

    def exact(self, informations: Sequence[Array]) -> ExactValue:
        """Compute the mean or the maximum of the traces."""
        if not self.worst:
            return super().exact(informations)
        value = float(self._traces(informations)[1].max())
        return ExactValue(value, value)

    def tighten(self, informations: Sequence[Array]) -> None:
        """Shift weight to the cases with the largest traces."""
        if self.worst:
            terms = self.log_weights + self.power * self._traces(informations)[1]
            self.log_weights = terms - logsumexp(terms)
            self.power = min(_POWER_GROWTH * self.power, _MAX_POWER) if len(self.roots) > 1 else 1.0

    def _traces(self, informations: Sequence[Array]) -> tuple[list[Array], Array]:
        """Compute M_k⁻¹C_kM_k⁻¹, ``(r, r)``, and log tr(C_kM_k⁻¹), ``(m,)``."""
        effects, traces = [], []
        for root, information in zip(self.roots, informations, strict=True):
            factor = cho_factor(information, lower=True, check_finite=False)
            half = cho_solve(factor, root, check_finite=False)
            effects.append(half @ half.T)
            traces.append(np.sum(half * root))
        # A case of trace 0, such as a deterministic policy, is never the worst.
        return effects, np.log(np.maximum(traces, 1e-300))


class Determinant(Criterion):
    """det(M)^{−1/r}: D."""

    def __init__(self, offset: float) -> None:
        """Store the offset.

        Args:
            offset: log det of M in the original basis less that in the criterion's basis.
        """
        self.offset = offset

    def smooth(self, informations: Sequence[Array]) -> SmoothValue:
        """Compute the criterion itself, which is smooth."""
        (information,) = informations
        factor = cho_factor(information, lower=True, check_finite=False)
        r = len(information)
        log_det = 2 * np.log(np.diag(factor[0])).sum() + self.offset
        inverse = cho_solve(factor, np.eye(r), check_finite=False)
        return SmoothValue(-log_det / r, [(inverse + inverse.T) / (2 * r)])


class Eigenvalue(Criterion):
    """The largest eigenvalue of Kᵀ M⁻¹ K: E."""

    def __init__(self, root: Array) -> None:
        """Start from equal weight of all directions.

        Args:
            root: K, ``(r, r)``, the change of basis from the criterion's to an orthonormal one.
        """
        self.root = root
        self.power = _FIRST_POWER
        self.density = np.eye(len(root)) / len(root)

    def smooth(self, informations: Sequence[Array]) -> SmoothValue:
        """Compute ‖Q^{1/2q} Kᵀ M⁻¹ K Q^{1/2q}‖_q with tr Q = 1, at most the largest eigenvalue."""
        values, vectors = eigh(self.density)
        weight = (vectors * np.maximum(values, 1e-30) ** (0.5 / self.power)) @ vectors.T
        factor = cho_factor(informations[0], lower=True, check_finite=False)
        k = self.root @ weight
        half = cho_solve(factor, k, check_finite=False)
        values, vectors = eigh(k.T @ half)
        terms = np.log(np.maximum(values, 1e-300))
        total = logsumexp(self.power * terms)
        rotated = half @ vectors
        effect = (rotated * np.exp((self.power - 1) * terms - total)) @ rotated.T
        return SmoothValue(total / self.power, [effect])

    def exact(self, informations: Sequence[Array]) -> ExactValue:
        """Compute the largest eigenvalue."""
        factor = cho_factor(informations[0], lower=True, check_finite=False)
        inverse = self.root.T @ cho_solve(factor, self.root, check_finite=False)
        value = float(np.log(eigh(inverse, eigvals_only=True)[-1]))
        return ExactValue(value, value)

    def tighten(self, informations: Sequence[Array]) -> None:
        """Shift the weight Q to the directions of largest variance."""
        # With respect to M in the orthonormal basis, K⁻¹ M K⁻ᵀ, the gradient is Kᵀ E K.
        density = self.root.T @ self.smooth(informations).gradients[0] @ self.root
        self.density = (density + density.T) / (2 * np.trace(density))
        self.power = min(_POWER_GROWTH * self.power, _MAX_POWER)


class WorstVariance(Criterion):
    """max_p z_pᵀ M⁻¹ z_p over all pairs: G.

    The maximum is taken over an active set of pairs, to which each search adds the worst ones.
    """

    def __init__(self, candidates: Candidates, basis: Array, start: Array) -> None:
        """Find the first active pairs.

        Args:
            candidates: pairs with one atom at θ = 0, ¼ z zᵀ.
            basis: T, ``(d, r)``: features in the criterion's basis are φT.
            start: an information matrix, ``(r, r)``, whose worst pairs are the first active ones.
        """
        self.candidates, self.basis = candidates, basis
        self.power = _FIRST_POWER
        self.pairs = np.empty((0, 3), dtype=np.int64)
        self.z = np.empty((0, basis.shape[1]))
        self.log_weights = np.empty(0)
        self._activate(self._worst([start])[0])

    def smooth(self, informations: Sequence[Array]) -> SmoothValue:
        """Compute the weighted power mean over the active pairs."""
        half, log_variances = self._variances(informations)
        terms = self.log_weights + self.power * log_variances
        total = logsumexp(terms)
        share = np.exp(terms - total - log_variances)
        return SmoothValue(total / self.power, [(half.T * share) @ half])

    def exact(self, informations: Sequence[Array]) -> ExactValue:
        """Search for the largest variance, and activate the worst pairs."""
        pairs, value = self._worst(informations)
        self._activate(pairs)
        return value

    def tighten(self, informations: Sequence[Array]) -> None:
        """Shift weight to the active pairs of largest variance, and drop those of none."""
        log_variances = self._variances(informations)[1]
        # While new pairs are far worse than the others, a long step would leave the others no
        # weight, and the next step these.
        excess = float(log_variances.max() - np.exp(self.log_weights) @ log_variances)
        max_step = _MAX_LOG_STEP / max(excess, _MAX_LOG_STEP / _MAX_POWER)
        step = min(self.power, max_step)
        terms = self.log_weights + step * log_variances
        weights = np.exp(terms - logsumexp(terms))
        active = weights > 1e-9 * weights.max()
        self.pairs, self.z = self.pairs[active], self.z[active]
        self.log_weights = np.log(weights[active] / weights[active].sum())
        self.power = min(_POWER_GROWTH * self.power, max(_FIRST_POWER, max_step))

    def _variances(self, informations: Sequence[Array]) -> tuple[Array, Array]:
        """Compute M⁻¹z, ``(n, r)``, and log zᵀM⁻¹z, ``(n,)``, of the active pairs."""
        factor = cho_factor(informations[0], lower=True, check_finite=False)
        half = cho_solve(factor, self.z.T, check_finite=False).T
        return half, np.log(np.maximum(np.sum(half * self.z, axis=1), 1e-300))

    def _worst(self, informations: Sequence[Array]) -> tuple[Pairs, ExactValue]:
        """Search all candidates for the pairs of largest variance."""
        r = self.basis.shape[1]
        factor = np.linalg.cholesky(informations[0])
        root = self.basis @ solve_triangular(factor, np.eye(r), lower=True).T
        result = self.candidates.find_largest([root], 4 * r)
        # The atoms of the candidates are ¼ z zᵀ.
        log_value = float(np.log(4 * result.values[0]))
        return result.pairs, ExactValue(log_value, float(np.log(4 * result.bound)))

    def _activate(self, pairs: Pairs) -> None:
        """Add pairs to the active set with a tenth of the weight, or all of it at the start."""
        active = {tuple(row) for row in self.pairs.tolist()}
        new = np.array([row for row in pairs.tolist() if tuple(row) not in active], dtype=np.int64)
        if not len(new):
            return
        z = 2 * self.candidates.atoms(new)[0] @ self.basis
        weight = 0.1 if len(self.pairs) else 1.0
        new_log_weights = np.full(len(new), np.log(weight / len(new)))
        self.pairs = np.concatenate([self.pairs, new])
        self.z = np.concatenate([self.z, z])
        self.log_weights = np.concatenate([self.log_weights + np.log1p(-0.1), new_log_weights])
