"""What a set of pairs tells about the policy, and which pairs tell most."""

from pairbench.information.fisher import label_information, policy_covariance, predicted_gap
from pairbench.information.greedy import greedy_d
from pairbench.information.laplacian import pair_forms, pair_gram
from pairbench.information.optimal import OptimalDesign, optimal_weights

__all__ = [
    "OptimalDesign",
    "greedy_d",
    "label_information",
    "optimal_weights",
    "pair_forms",
    "pair_gram",
    "policy_covariance",
    "predicted_gap",
]
