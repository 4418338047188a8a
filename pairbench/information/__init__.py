"""Information of pairs about the policy, optimal designs, and greedy choice."""

from typing import TYPE_CHECKING

from pairbench._util.deprecation import deprecated_names
from pairbench._util.numerics import logistic_slope
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
from pairbench.information.joint_labels import JointLabels, mutual_information
from pairbench.information.laplacian import pair_forms, pair_gram
from pairbench.information.neighbours import NeighbourEntropy
from pairbench.information.optimal import OptimalDesign, optimal_weights
from pairbench.information.rank_one import RankOne
from pairbench.information.rounding import round_to_pairs

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
    "mutual_information",
    "optimal_weights",
    "pair_forms",
    "pair_gram",
    "policy_covariance",
    "predicted_gap",
    "robust_gap",
    "round_to_pairs",
    "sampled_forecast",
    "uniform_information",
]

RENAMED = {
    "rounded_pairs": "round_to_pairs",
    "shared_information": "mutual_information",
}
"""New name of each deprecated one."""

if not TYPE_CHECKING:
    __getattr__ = deprecated_names(__name__, RENAMED)
