"""What a set of pairs tells about the policy, and which pairs tell most."""

from pairbench.information.fisher import (
    label_information,
    policy_covariance,
    predicted_gap,
    robust_gap,
    uniform_information,
)
from pairbench.information.forecast import (
    LabelForecast,
    gaussian_forecast,
    label_entropy,
    sampled_forecast,
)
from pairbench.information.greedy import greedy_pairs
from pairbench.information.joint_labels import JointLabels, shared_information
from pairbench.information.laplacian import pair_forms, pair_gram
from pairbench.information.neighbours import NeighbourEntropy
from pairbench.information.optimal import OptimalDesign, optimal_weights
from pairbench.information.rank_one import RankOne
from pairbench.information.rounding import rounded_pairs
from pairbench.training.log_linear import logistic_slope

__all__ = [
    "JointLabels",
    "LabelForecast",
    "NeighbourEntropy",
    "OptimalDesign",
    "RankOne",
    "gaussian_forecast",
    "greedy_pairs",
    "label_entropy",
    "label_information",
    "logistic_slope",
    "optimal_weights",
    "pair_forms",
    "pair_gram",
    "policy_covariance",
    "predicted_gap",
    "robust_gap",
    "rounded_pairs",
    "sampled_forecast",
    "shared_information",
    "uniform_information",
]
