"""pairbench: which pairs of completions to compare, so that DPO makes the best of the labels."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from pairbench.boards import Board, load_board
    from pairbench.design import (
        ControlView,
        Design,
        View,
        check_weighing,
        difference_variance,
        over_prompts,
        posterior_covariance,
        posterior_draws,
        posterior_precision,
        ranked_completions,
        round_weights,
        sampled_pairs,
        top_pairs,
        turned,
        uniform_pairs,
        weights_at_zero,
    )
    from pairbench.env import PairEnv
    from pairbench.errors import InvalidParameter, PairbenchError
    from pairbench.harness.play import Episode, Round, play, replay
    from pairbench.harness.run import RunSpec, run
    from pairbench.oracles.bradley_terry import BradleyTerry
    from pairbench.pool import Pairs, Pool
    from pairbench.registry import make_design, make_env, register_design, register_env
    from pairbench.report import Report, load_report
    from pairbench.training.log_linear import LogLinearDPO
    from pairbench.world import Environment, Truth, World

__version__ = "0.1.0"

# Where each public name lives. They are imported on first use, so that `pairbench --help` and
# `import pairbench` cost next to nothing.
_HOMES = {
    "Board": "boards",
    "BradleyTerry": "oracles.bradley_terry",
    "ControlView": "design",
    "Design": "design",
    "Environment": "world",
    "Episode": "harness.play",
    "InvalidParameter": "errors",
    "LogLinearDPO": "training.log_linear",
    "PairEnv": "env",
    "PairbenchError": "errors",
    "Pairs": "pool",
    "Pool": "pool",
    "Report": "report",
    "Round": "harness.play",
    "RunSpec": "harness.run",
    "Truth": "world",
    "View": "design",
    "World": "world",
    "check_weighing": "design",
    "difference_variance": "design",
    "load_board": "boards",
    "make_design": "registry",
    "make_env": "registry",
    "over_prompts": "design",
    "play": "harness.play",
    "posterior_covariance": "design",
    "posterior_draws": "design",
    "posterior_precision": "design",
    "ranked_completions": "design",
    "round_weights": "design",
    "register_design": "registry",
    "register_env": "registry",
    "replay": "harness.play",
    "load_report": "report",
    "run": "harness.run",
    "sampled_pairs": "design",
    "top_pairs": "design",
    "turned": "design",
    "uniform_pairs": "design",
    "weights_at_zero": "design",
}

__all__ = [
    "Board",
    "BradleyTerry",
    "ControlView",
    "Design",
    "Environment",
    "Episode",
    "InvalidParameter",
    "LogLinearDPO",
    "PairEnv",
    "PairbenchError",
    "Pairs",
    "Pool",
    "Report",
    "Round",
    "RunSpec",
    "Truth",
    "View",
    "World",
    "check_weighing",
    "difference_variance",
    "load_board",
    "load_report",
    "make_design",
    "make_env",
    "over_prompts",
    "play",
    "posterior_covariance",
    "posterior_draws",
    "posterior_precision",
    "ranked_completions",
    "register_design",
    "register_env",
    "replay",
    "round_weights",
    "run",
    "sampled_pairs",
    "top_pairs",
    "turned",
    "uniform_pairs",
    "weights_at_zero",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pairbench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"pairbench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# In a source checkout envs/, designs/ and leaderboards/ stand beside this package, not inside it.
_root = Path(__file__).resolve().parent.parent
if not (_root / "pairbench" / "designs").is_dir() and (_root / "designs" / "__init__.py").is_file():
    __path__.append(str(_root))

# gymnasium.make knows our ids whichever of the two is imported first, at no cost to those who
# import only pairbench.
wrapt.register_post_import_hook("pairbench.registry:register_with_gymnasium", "gymnasium")
