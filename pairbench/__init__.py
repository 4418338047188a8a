"""pairbench: which pairs of completions to compare, so that DPO makes the best of the labels."""

from pathlib import Path

import lazy_loader
import wrapt

from pairbench._util.deprecation import deprecated_names
from pairbench._version import __version__ as __version__

RENAMED = {
    "check_weighing": "check_weighting",
    "filled": "cycle_pairs",
    "largest": "masked_argmax",
    "over_prompts": "duel_per_prompt",
    "over_turns": "duel_sequentially",
    "ranked_completions": "rank_completions",
    "redrawn": "redraw_until_different",
    "rivals": "opponent_mask",
    "sampled_pairs": "sample_pairs",
    "turned": "randomize_order",
}
"""New name of each deprecated one."""

# What is public stands in __init__.pyi alone; names are imported on first use, so that
# `pairbench --help` and `import pairbench` cost next to nothing.
_lookup, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = deprecated_names(__name__, RENAMED, _lookup)

# Why: docs/decisions/002-content-stands-at-the-root.md
# In a source checkout envs/, designs/ and leaderboards/ stand beside this package, not inside it.
_root = Path(__file__).resolve().parent.parent
if not (_root / "pairbench" / "designs").is_dir() and (_root / "designs" / "__init__.py").is_file():
    __path__.append(str(_root))

# Why: docs/decisions/003-gymnasium-learns-ids-from-a-hook.md
# gymnasium.make knows our ids whichever of the two is imported first, at no cost to those who
# import only pairbench.
wrapt.register_post_import_hook("pairbench.worlds.registry:register_with_gymnasium", "gymnasium")
