"""Control: pairs in proportion to the weights that minimise the predicted gap at the true θ*.

tr(C(θ*) M(w)⁻¹), M(w) the information of a round's labels with weights w over pairs, of the labels
already bought and of the ridge: what a design of this kind could reach with the true θ*. Shown in
tables, never ranked. With few labels it is no upper bound, see docs/optimal-designs.md.

Family: control.
Source: Han, Goyal, Ma 2026, "Which Pairs to Compare for LLM Post-Training?", arXiv 2606.19607, for
    the criterion.
Assumes: θ*, and that labels follow the log-linear model.
Cost: a few sweeps of O(N K d² + N K² d).
"""

from dataclasses import dataclass
from typing import ClassVar

from pairbench import ControlView, View, WeightedDesign, round_weights
from pairbench.information import OptimalDesign


@dataclass(frozen=True)
class OracleIOptimal(WeightedDesign):
    """I-optimal weights at θ*, given the labels already bought."""

    control: ClassVar[bool] = True

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Optimise the weights of n labels with the true θ* and the held-out prompts."""
        assert isinstance(view, ControlView)
        return round_weights(view, n, "i", view.theta, self.tol, view.covariance)
