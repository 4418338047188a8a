"""The theory's prediction against what is measured, on every well-specified synthetic world."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pairbench import PairEnv, make_design, make_env
from pairbench.information import (
    label_information,
    optimal_weights,
    policy_covariance,
    predicted_gap,
)
from pairbench.information.fisher import uniform_information
from pairbench.worlds.registry import environment_ids

WELL_SPECIFIED = [
    name
    for name in environment_ids()
    if isinstance(make_env(name), type(make_env("LogLinear-v1")))
    # LogLinear-v1 is the isotropic world unless told otherwise; the prediction is of a fixed pool.
    and not any(other in name for other in ("Misspecified", "LogLinear", "GenerateThenLabel"))
]
# The prediction is of pairs that are drawn independently.
DESIGNS = ["uniform", "i-optimal(rounding='independent')"]
# Where rewards are strong, the design that is best at θ = 0 asks for differences whose labels
# saturate, so that a label tells a fraction of what it tells elsewhere: it takes twice as many for
# the ridge, which the prediction leaves out, to stop mattering.
LABELS_PER_DIMENSION = {"pairbench/StrongReward-v1": 200}


def measured_over_predicted(environment: str, design: str, seeds: range) -> float:
    """Mean measured gap over mean predicted gap, after 100 labels per dimension or as above."""
    n = LABELS_PER_DIMENSION.get(environment, 100) * make_env(environment).world(0).pool.dim
    env, agent = PairEnv(environment, budgets=[n]), make_design(design)
    measured, predicted = [], []
    with threadpool_limits(limits=1):
        for seed in seeds:
            env.reset(seed=seed)
            world, theta = env.world, env.world.truth.theta
            assert theta is not None
            if design == "uniform":
                information = uniform_information(world.pool, theta)
            else:  # the weights that the design draws from
                best = optimal_weights(world.pool, n=n, prior=world.trainer.ridge, tol=0.05)
                information = label_information(world.pool, best.pairs, best.weights, theta)
            covariance = policy_covariance(world.held_out, theta, world.beta)
            predicted.append(predicted_gap(covariance, information, n, world.beta))
            env.step(env.action(agent.select(env.view(), n)))
            measured.append(world.gap(env.policy))
    return float(np.mean(measured) / np.mean(predicted))


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("environment", ["pairbench/Isotropic-v1", "pairbench/PowerLaw-v1"])
def test_measured_gap_is_near_the_predicted_one(environment: str, design: str) -> None:
    # 40 seeds: the standard error of the ratio is about 6 %.
    assert 0.8 < measured_over_predicted(environment, design, range(40)) < 1.25


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("environment", WELL_SPECIFIED)
def test_measured_gap_is_the_predicted_one(environment: str, design: str) -> None:
    ratio = measured_over_predicted(environment, design, range(200))
    print(f"{environment} {design}: measured / predicted = {ratio:.3f}")
    assert 0.9 <= ratio <= 1.15
