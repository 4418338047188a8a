"""Human votes on real completions: PandaLM's test set, 863 pairs on 170 instructions.

**Labels are the votes of three people** on the very pair that is asked, and only pairs that were
voted on can be asked. **The reward is an estimate from the same votes**, see :class:`PandaLM`. The
pool is not part of this project; it is built from a clone of the repository, which is under
Apache-2.0. The data file holds votes and features, no texts.

Source: Wang et al. 2023, *PandaLM*, arXiv 2306.05087, github.com/WeOpenML/PandaLM,
data/testset-v1.json.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field

from pairbench import Truth, World, register_env
from pairbench.errors import InvalidData
from pairbench.oracles.pair_votes import PairVotes
from pairbench.oracles.recorded import RecordedPanel
from pairbench.pool.features import STYLE_NAMES, centre
from pairbench.pool.pool import CompletionIndex
from pairbench.pool.records import iter_records, validate_record
from pairbench.pool.votes import Votes, check_aggregate
from pairbench.training.log_linear import fit_theta
from pairbench.worlds.data import Arrays, Dataset, find_data_file, load_arrays, register_dataset
from pairbench.worlds.recorded_pools import RecordedPool, check_arrays, split_pools, text_arrays
from pairbench.worlds.world import mask_rewards

NAME = "pandalm"
SOURCE = "github.com/WeOpenML/PandaLM"
SHARE = 0.75  # share of all rows in the pool that labels can be bought for
SPREAD = 1.0  # reward units; the standard deviation of rewards that the fit expects


@register_env("pairbench/PandaLM-v1")
@dataclass(frozen=True)
class PandaLM(RecordedPool):
    """Choice among pairs of real completions, labelled by recorded votes of people.

    **What this diagnoses.** Whether results for labels that follow a model carry over to labels of
    people, three of whom voted on each pair, nine times in ten unanimously. Few pairs were
    compared, most prompts have few completions, and features explain little: of pairs of held-out
    instructions, a fit to all others orders 61 % as the majority did; length alone, which is one of
    the features, 66 %.

    **Known optimum.** None: **the reward is an estimate**, and the score is the gap to the best
    policy for that estimate.

    **Pool.** Models of about 7 billion parameters answered each instruction; equal answers are one
    completion. Where that makes two pairs one, the first votes count (of 136 such pairs, one had
    different votes). Each prompt of the pool is a set of completions that were all compared with
    one another, so an instruction may occur several times, with other completions, and no pair
    occurs twice; see :class:`pairbench.oracles.recorded.Recorded`. Features are 20 of style and 16
    of words (LSA), centred within each instruction, scaled to equal variance on the training
    instructions, and to E‖φ‖² = 1 in all; the reference policy is uniform. Instructions are drawn
    by the seed until they make up three quarters of all sets, 366 of 488 (some sets of the last
    instruction may be left out), so that all seeds have equally many; the policy is scored on the
    other instructions, with all their completions. Lengths are characters / 4.

    **Reward.** Of each instruction, the fit of Bradley and Terry to all votes on it, ties half,
    with a ridge of 1; standardised over all instructions. It agrees with 96 % of the majorities.
    The labels of an instruction are among the votes that its reward was fitted to, so the gap on
    the pool is optimistic; the score is of other instructions. The pairs of five instructions do
    not connect all completions, and the mean rewards of unconnected parts are estimated as equal.

    **Arguments.**

    - ``aggregate``: the label that three votes are combined into: ``"majority"``, ½ if there is
      none, or ``"soft"``, their mean.
    - ``in_turn``: whether a label is one person's vote, the next person's whenever the pair is
      asked again.
    - ``reward_scale``: the standard deviation of the reward within instructions, reward units.
    - ``beta``: β, reward units per nat.
    - ``ridge``: λ of the fit; large because the features explain little.
    - ``trainer``: how labels are turned into a policy, see :func:`pairbench.make_trainer`.
      Predictions and the design efficiency are of ``"dpo"``.
    - ``annotator``: as in every environment, another annotator, which labels the same pairs by the
      estimated reward.

    **Version history.** v1: first.
    """

    dataset = NAME
    budgets = (50, 100, 200, 400)

    aggregate: str = "majority"
    in_turn: bool = False
    reward_scale: float = 2.0
    ridge: float = field(default=4.0, kw_only=True)

    def __post_init__(self) -> None:
        check_aggregate(self.aggregate)
        self.check_positive("reward_scale")
        super().__post_init__()

    # Why: docs/decisions/011-pandalm-pools-have-equal-size.md
    def world(self, seed: int) -> World:
        """Draw the instructions, and build a pool of the pairs that people voted on."""
        data, (records, rewards) = (
            load_arrays(NAME),
            _votes_and_rewards(find_data_file(NAME).sha256),
        )
        rewards = self.reward_scale * rewards
        count = np.bincount(records.index.prompts, minlength=len(rewards))
        order = np.random.default_rng(seed).permutation(len(rewards))
        # The last instruction of the order, whichever it is, is never drawn.
        size = min(round(SHARE * count.sum()), count.sum() - count.max())
        sample = order[: np.searchsorted(np.cumsum(count[order]), size) + 1]
        train, rest = np.sort(sample), np.setdiff1d(order, sample)
        pool, held_out = split_pools(data, (train, rest))
        rows = _first_rows(records.index, sample, size)
        pool = pool.regroup(rows._replace(prompts=np.searchsorted(train, rows.prompts)))
        truth = Truth(mask_rewards(rows.take(rewards), pool), mask_rewards(rewards[rest], held_out))
        return World(
            pool=pool,
            held_out=held_out,
            truth=truth,
            oracle=RecordedPanel(records.regroup(rows), self.in_turn).oracle(self.aggregate),
            trainer=self.policy_trainer,
            beta=self.beta,
        )


def _first_rows(rows: CompletionIndex, prompts: NDArray[np.int64], size: int) -> CompletionIndex:
    """Select the first ``size`` rows of some prompts, in the order of ``prompts``."""
    chosen = np.concatenate([np.flatnonzero(rows.prompts == x) for x in prompts])[:size]
    return CompletionIndex(*(values[chosen] for values in rows))


@lru_cache(maxsize=1)
def _votes_and_rewards(_digest: str) -> tuple[PairVotes, NDArray[np.float64]]:
    """Load the votes of the data file, and fit the rewards to them; cached by its digest."""
    data = load_arrays(NAME)
    pairs, answers = data["pairs"].astype(np.int64), data["votes"].astype(np.float64)
    annotators = np.tile(np.arange(answers.shape[1]), (len(pairs), 1))
    sources = tuple(f"pair {k}" for k in range(len(pairs)))
    rewards = fitted_rewards(pairs, answers, data["mask"])
    return PairVotes(pairs, Votes(annotators, answers), sources), rewards


def fitted_rewards(
    pairs: NDArray[np.int64], votes: NDArray[np.float64], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Fit Bradley–Terry rewards with a ridge, and scale them to standard deviation 1 in prompts.

    Args:
        pairs: ``(m, 3)``.
        votes: on each of them, ``(m, v)``.
        mask: which completions there are, ``(N, K)``.

    Returns:
        Rewards, ``(N, K)``, of mean 0 in each prompt, and 0 where there is no completion.
    """
    rewards = np.zeros(mask.shape)
    for x in np.unique(pairs[:, 0]):
        of_prompt = pairs[:, 0] == x
        _, first, second = np.repeat(pairs[of_prompt], votes.shape[1], axis=0).T
        z = np.eye(mask.shape[1])[first] - np.eye(mask.shape[1])[second]
        rewards[x] = fit_theta(z, votes[of_prompt].ravel(), SPREAD**-2)
    rewards = centre(rewards, mask)
    deviation: float = rewards[mask].std()
    return rewards / deviation


def _text(value: object) -> object:
    """Replace NaN, a missing text, by the empty text."""
    return "" if isinstance(value, float) and np.isnan(value) else value


_Vote = Annotated[int, Field(ge=0, le=2, strict=True)]
_ANSWERS = np.array([0.5, 1.0, 0.0])  # of a tie, the first, the second


class _Pair(BaseModel):
    """A record of the test set: two responses and three votes."""

    instruction: str
    input: Annotated[str | None, BeforeValidator(_text)] = None
    response1: str
    response2: str
    annotator1: _Vote
    annotator2: _Vote
    annotator3: _Vote


def _build(path: Path) -> Arrays:
    """Read the test set, a JSON list or JSONL."""
    file = path if path.is_file() else path / "data" / "testset-v1.json"
    if not file.is_file():
        raise InvalidData(f"there is no {file}. PATH must be a clone of {SOURCE}.")
    index: dict[tuple[str, str], int] = {}
    texts: list[dict[str, int]] = []
    votes: dict[tuple[int, int, int], NDArray[np.float64]] = {}
    for row in iter_records(file):
        pair = validate_record(_Pair, row)
        if pair.response1 == pair.response2:
            raise InvalidData(f"{row.location}: the two responses are the same.")
        x = index.setdefault((pair.instruction, pair.input or ""), len(index))
        if x == len(texts):
            texts.append({})
        i, j = (texts[x].setdefault(t, len(texts[x])) for t in (pair.response1, pair.response2))
        answers = _ANSWERS[[pair.annotator1, pair.annotator2, pair.annotator3]]
        votes.setdefault((x, min(i, j), max(i, j)), answers if i < j else 1 - answers)
    sizes = np.array([len(row) for row in texts])
    mask = np.arange(sizes.max()) < sizes[:, None]
    completions = np.full(mask.shape, "", dtype=object)
    completions[mask] = [text for row in texts for text in row]
    pairs = sorted(votes)
    return {
        "prompts": np.array([str(x) for x in range(len(texts))]),
        "style_names": np.array(STYLE_NAMES),
        "pairs": np.array(pairs, dtype=np.int64),
        "votes": np.array([votes[pair] for pair in pairs]),
        **text_arrays(completions, mask, dim=16),
    }


def _check(data: Arrays) -> None:
    """Check the arrays of the data file."""
    check_arrays(data)
    if missing := [name for name in ("pairs", "votes") if name not in data]:
        raise InvalidData(f"it lacks the arrays {', '.join(missing)}.")
    pairs, votes, mask = data["pairs"], data["votes"], data["mask"]
    if pairs.dtype.kind not in "iu" or pairs.ndim != 2 or pairs.shape[1] != 3 or not len(pairs):
        raise InvalidData(f"pairs must be whole numbers (pairs, 3), got shape {pairs.shape}.")
    shaped = votes.ndim == 2 and len(votes) == len(pairs) and votes.size
    if not shaped or not np.isin(votes, _ANSWERS).all():
        raise InvalidData(f"votes must be 1, 0 or ½, some on each of {len(pairs)} pairs.")
    x, first, second = pairs.T
    if (pairs < 0).any() or (x >= len(mask)).any() or (pairs[:, 1:] >= mask.shape[1]).any():
        raise InvalidData("pairs point to completions that are not there.")
    if not (mask[x, first] & mask[x, second] & (first < second)).all():
        raise InvalidData("pairs must be of two completions that are there, the lower one first.")
    if not np.array_equal(np.unique(pairs, axis=0), pairs):
        raise InvalidData("each pair must come once, in ascending order.")
    if len(np.unique(x)) < len(mask):
        raise InvalidData("there are votes on some prompts alone.")


register_dataset(Dataset(NAME, SOURCE, check=_check, build=_build))
