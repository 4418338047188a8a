"""pairbench: which pairs of completions to compare, so that DPO makes the best of the labels."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from pairbench.acquisition import (
        BeliefDesign,
        ConfidenceDesign,
        DuelDesign,
        Duels,
        ScoredDesign,
        WeightedDesign,
        WrapperDesign,
        check_counts,
        check_weighing,
        distinct_draws,
        filled,
        fresh_pairs,
        largest,
        largest_pair,
        over_prompts,
        over_turns,
        pair_scores,
        ranked_completions,
        redrawn,
        rivals,
        round_weights,
        sampled_pairs,
        top_pairs,
        turned,
        uniform_pairs,
        weights_at_zero,
    )
    from pairbench.boards import Board, load_board
    from pairbench.budget import Prices
    from pairbench.design import ControlView, Design, View
    from pairbench.env import PairEnv
    from pairbench.errors import InvalidParameter, PairbenchError
    from pairbench.estimators import (
        Belief,
        Estimator,
        Laplace,
        LaplaceBelief,
        Members,
        make_estimator,
        reward_differences,
    )
    from pairbench.estimators.dawid_skene import dawid_skene
    from pairbench.harness.play import Episode, Round, play, replay
    from pairbench.harness.run import RunSpec, run
    from pairbench.oracles.bradley_terry import BradleyTerry
    from pairbench.pool import Pairs, Pool
    from pairbench.registry import make_design, make_env, register_design, register_env
    from pairbench.report import Report, load_report
    from pairbench.training import make_trainer
    from pairbench.training.flipped import LogLinearCDPO, LogLinearRDPO
    from pairbench.training.ipo import LogLinearIPO
    from pairbench.training.log_linear import LogLinearDPO
    from pairbench.training.optimistic import LogLinearSELM, LogLinearXPO
    from pairbench.training.ties import LogLinearDavidson, LogLinearRaoKupper
    from pairbench.votes import Votes
    from pairbench.world import Environment, Truth, World

__version__ = "0.1.0"

# Where each public name lives. They are imported on first use, so that `pairbench --help` and
# `import pairbench` cost next to nothing.
_HOMES = {
    "Belief": "estimators",
    "BeliefDesign": "acquisition",
    "Board": "boards",
    "BradleyTerry": "oracles.bradley_terry",
    "ConfidenceDesign": "acquisition",
    "ControlView": "design",
    "Design": "design",
    "DuelDesign": "acquisition",
    "Duels": "acquisition",
    "Environment": "world",
    "Episode": "harness.play",
    "Estimator": "estimators",
    "InvalidParameter": "errors",
    "Laplace": "estimators",
    "LaplaceBelief": "estimators",
    "LogLinearCDPO": "training.flipped",
    "LogLinearDPO": "training.log_linear",
    "LogLinearDavidson": "training.ties",
    "LogLinearIPO": "training.ipo",
    "LogLinearRDPO": "training.flipped",
    "LogLinearRaoKupper": "training.ties",
    "LogLinearSELM": "training.optimistic",
    "LogLinearXPO": "training.optimistic",
    "Members": "estimators",
    "PairEnv": "env",
    "PairbenchError": "errors",
    "Pairs": "pool",
    "Pool": "pool",
    "Prices": "budget",
    "Report": "report",
    "Round": "harness.play",
    "RunSpec": "harness.run",
    "ScoredDesign": "acquisition",
    "Truth": "world",
    "View": "design",
    "Votes": "votes",
    "WeightedDesign": "acquisition",
    "World": "world",
    "WrapperDesign": "acquisition",
    "check_counts": "acquisition",
    "check_weighing": "acquisition",
    "dawid_skene": "estimators.dawid_skene",
    "distinct_draws": "acquisition",
    "filled": "acquisition",
    "fresh_pairs": "acquisition",
    "largest": "acquisition",
    "largest_pair": "acquisition",
    "load_board": "boards",
    "load_report": "report",
    "make_design": "registry",
    "make_env": "registry",
    "make_estimator": "estimators",
    "make_trainer": "training",
    "over_prompts": "acquisition",
    "over_turns": "acquisition",
    "pair_scores": "acquisition",
    "play": "harness.play",
    "ranked_completions": "acquisition",
    "redrawn": "acquisition",
    "register_design": "registry",
    "register_env": "registry",
    "replay": "harness.play",
    "reward_differences": "estimators",
    "rivals": "acquisition",
    "round_weights": "acquisition",
    "run": "harness.run",
    "sampled_pairs": "acquisition",
    "top_pairs": "acquisition",
    "turned": "acquisition",
    "uniform_pairs": "acquisition",
    "weights_at_zero": "acquisition",
}

__all__ = [
    "Belief",
    "BeliefDesign",
    "Board",
    "BradleyTerry",
    "ConfidenceDesign",
    "ControlView",
    "Design",
    "DuelDesign",
    "Duels",
    "Environment",
    "Episode",
    "Estimator",
    "InvalidParameter",
    "Laplace",
    "LaplaceBelief",
    "LogLinearCDPO",
    "LogLinearDPO",
    "LogLinearDavidson",
    "LogLinearIPO",
    "LogLinearRDPO",
    "LogLinearRaoKupper",
    "LogLinearSELM",
    "LogLinearXPO",
    "Members",
    "PairEnv",
    "PairbenchError",
    "Pairs",
    "Pool",
    "Prices",
    "Report",
    "Round",
    "RunSpec",
    "ScoredDesign",
    "Truth",
    "View",
    "Votes",
    "WeightedDesign",
    "World",
    "WrapperDesign",
    "check_counts",
    "check_weighing",
    "dawid_skene",
    "distinct_draws",
    "filled",
    "fresh_pairs",
    "largest",
    "largest_pair",
    "load_board",
    "load_report",
    "make_design",
    "make_env",
    "make_estimator",
    "make_trainer",
    "over_prompts",
    "over_turns",
    "pair_scores",
    "play",
    "ranked_completions",
    "redrawn",
    "register_design",
    "register_env",
    "replay",
    "reward_differences",
    "rivals",
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
