"""Public names, and the module that defines each: they are imported on first use."""

from ._util.checks import (
    check_at_least as check_at_least,
    check_between as check_between,
    check_finite as check_finite,
    check_nonnegative as check_nonnegative,
    check_one_of as check_one_of,
    check_positive as check_positive,
)
from .boards.board import Board as Board, load_board as load_board
from .cells.plan import RunSpec as RunSpec
from .cells.play import Episode as Episode, Round as Round, play as play, replay as replay
from .cells.run import run as run
from .design.bases import (
    BeliefDesign as BeliefDesign,
    ConfidenceDesign as ConfidenceDesign,
    DuelDesign as DuelDesign,
    ScoredDesign as ScoredDesign,
    WeightedDesign as WeightedDesign,
    WrapperDesign as WrapperDesign,
)
from .design.choosing import (
    Duels as Duels,
    check_counts as check_counts,
    check_weighting as check_weighting,
    cycle_pairs as cycle_pairs,
    distinct_draws as distinct_draws,
    duel_per_prompt as duel_per_prompt,
    duel_sequentially as duel_sequentially,
    fresh_pairs as fresh_pairs,
    largest_pair as largest_pair,
    masked_argmax as masked_argmax,
    opponent_mask as opponent_mask,
    pair_scores as pair_scores,
    randomize_order as randomize_order,
    rank_completions as rank_completions,
    redraw_until_different as redraw_until_different,
    round_weights as round_weights,
    sample_pairs as sample_pairs,
    top_pairs as top_pairs,
    uniform_pairs as uniform_pairs,
    weights_at_zero as weights_at_zero,
)
from .design.design import Design as Design
from .design.registry import make_design as make_design, register_design as register_design
from .errors import InvalidParameter as InvalidParameter, PairbenchError as PairbenchError
from .estimators import (
    Belief as Belief,
    Estimator as Estimator,
    Laplace as Laplace,
    LaplaceBelief as LaplaceBelief,
    Members as Members,
    make_estimator as make_estimator,
    register_estimator as register_estimator,
    reward_differences as reward_differences,
)
from .estimators.dawid_skene import dawid_skene as dawid_skene
from .oracles.annotators import register_annotator as register_annotator
from .oracles.bradley_terry import BradleyTerry as BradleyTerry
from .pool.pool import Pairs as Pairs, Pool as Pool
from .pool.votes import Votes as Votes
from .reports.report import Report as Report, load_report as load_report
from .training import make_trainer as make_trainer, register_trainer as register_trainer
from .training.flipped import LogLinearCDPO as LogLinearCDPO, LogLinearRDPO as LogLinearRDPO
from .training.ipo import LogLinearIPO as LogLinearIPO
from .training.log_linear import LogLinearDPO as LogLinearDPO
from .training.optimistic import LogLinearSELM as LogLinearSELM, LogLinearXPO as LogLinearXPO
from .training.ties import (
    LogLinearDavidson as LogLinearDavidson,
    LogLinearRaoKupper as LogLinearRaoKupper,
)
from .view.budget import Prices as Prices
from .view.view import ControlView as ControlView, View as View
from .worlds.environment import Environment as Environment
from .worlds.pair_env import PairEnv as PairEnv
from .worlds.registry import make_env as make_env, register_env as register_env
from .worlds.world import Truth as Truth, World as World

__version__: str
__all__: list[str]
RENAMED: dict[str, str]
