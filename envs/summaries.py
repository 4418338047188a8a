"""Real summaries with people's scores: those of SummEval and REALSumm, 100 news articles each.

People scored every summary by itself, and no two were ever compared. **A label is therefore
derived**: the reward is the score, standardised, and labels follow Bradley–Terry's law. The pools
are not part of this project. They are built from files of neulab/BARTScore, whose repository is
under Apache-2.0 (SummEval's own under MIT); the articles are those of CNN and the Daily Mail. The
data files hold scores and features, no texts.

Source: Fabbri et al. 2021, *SummEval*, arXiv 2007.12626; Bhandari et al. 2020, *Re-evaluating
Evaluation in Text Summarization*, arXiv 2010.07100; both in the form of Yuan et al. 2021,
*BARTScore*, arXiv 2106.11520, github.com/neulab/BARTScore.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, create_model

from pairbench import InvalidParameter, World, register_env
from pairbench._util.pickles import read_plain_pickle
from pairbench.errors import InvalidData, did_you_mean
from pairbench.pool.features import STYLE_NAMES, centre
from pairbench.worlds.data import Arrays, Dataset, load_arrays, register_dataset
from pairbench.worlds.recorded_pools import RecordedPool, check_arrays, split_prompts, text_arrays

SOURCE = "github.com/neulab/BARTScore"
SUMMEVAL, REALSUMM = "summeval", "realsumm"
ASPECTS = ("coherence", "consistency", "fluency", "relevance")
RECALL = ("litepyramid_recall",)


@dataclass(frozen=True)
class Summaries(RecordedPool):
    """Base of both environments: the reward is a standardised score of people."""

    reward_scale: float = 2.0
    ridge: float = field(default=4.0, kw_only=True)

    def __post_init__(self) -> None:
        self.check_positive("reward_scale")
        super().__post_init__()

    @property
    @abstractmethod
    def scores(self) -> Sequence[str]:
        """Names of the arrays whose mean, standardised, is the reward."""

    def world(self, seed: int) -> World:
        """Split the articles, scale the features, and standardise the scores.

        All articles together are standardised, so that the unit is the same for every seed.
        """
        data = load_arrays(self.dataset)
        mask = data["mask"]
        split = split_prompts(np.zeros(len(mask)), 0.75, np.random.default_rng(seed))
        score = np.mean([data[name] for name in self.scores], axis=0, dtype=np.float64)
        reward = centre(np.where(mask, score, 0.0), mask)
        reward *= self.reward_scale / reward[mask].std()
        return self.build_world(data, reward, split, seed)


@register_env("pairbench/SummEval16-v1")
@dataclass(frozen=True)
class SummEval16(Summaries):
    """Summaries of 100 articles by 16 systems, scored by three experts.

    **What this diagnoses.** Choice with features that are mostly noise, as they are where the
    causes of a good text are unknown: style explains a sixth of the reward on held-out articles,
    words, which are two thirds of the features, nothing. A label spent on them is lost, and the
    gain of a design is small beside the floor.

    **Known optimum.** The optimal policy is exact; the best design is not known, since the reward
    is not linear in the features.

    **Pool.** Experts scored coherence, consistency, fluency and relevance from 1 to 5; the data has
    the means over experts. Features are 20 of style and 48 of words (LSA), centred within each
    article, scaled to equal variance on the training articles, and to E‖φ‖² = 1 in all; the
    reference policy is uniform over the systems. Articles are split 75/25 by the seed. Labels are
    derived, see the module docstring. Lengths are characters / 4.

    **Arguments.**

    - ``aspect``: the rewarded aspect: ``"coherence"``, ``"consistency"``, ``"fluency"``,
      ``"relevance"``, or the ``"mean"`` of the four. Two thirds of all pairs tie in consistency,
      more than half of them in fluency.
    - ``reward_scale``: the standard deviation of the reward within articles, reward units. The
      larger, the more closely labels follow the scores. At 2, two labels of a random pair agree in
      73 % of cases, as two people who compare summaries do (Stiennon et al. 2020, arXiv 2009.01325,
      section 3.3).
    - ``beta``: β, reward units per nat.
    - ``ridge``: λ of the fit. It is large because the features explain little: at 1, policies
      trained on 50 to 400 labels are worse than π_ref.
    - ``trainer``: how labels are turned into a policy, see :func:`pairbench.make_trainer`.
      Predictions and the design efficiency are of ``"dpo"``.

    **Version history.** v1: first.
    """

    dataset = SUMMEVAL

    aspect: str = "mean"

    def __post_init__(self) -> None:
        if self.aspect not in (aspects := ("mean", *ASPECTS)):
            raise InvalidParameter(
                f"aspect must be one of {', '.join(aspects)}, got {self.aspect!r}."
                f"{did_you_mean(self.aspect, aspects)}"
            )
        super().__post_init__()

    @property
    def scores(self) -> Sequence[str]:
        """All four aspects, or the one of ``aspect``."""
        return ASPECTS if self.aspect == "mean" else [self.aspect]


@register_env("pairbench/REALSumm24-v1")
@dataclass(frozen=True)
class REALSumm24(Summaries):
    """Summaries of 100 articles by 24 systems, scored for content.

    **What this diagnoses.** As SummEval16, with a reward of content alone: features do not show
    which facts a summary contains, except by its length. Systems often extract the same sentences,
    so that a fifth of all pairs tie, some of them duplicates.

    **Known optimum.** The optimal policy is exact; the best design is not known, since the reward
    is not linear in the features.

    **Pool.** The score is LitePyramid recall: the share of a reference summary's content units that
    crowd workers found in the summary. All else is as in SummEval16.

    **Arguments.** Those of SummEval16 but for ``aspect``. At a ``reward_scale`` of 2, two labels of
    a random pair agree in 74 % of cases.

    **Version history.** v1: first.
    """

    dataset = REALSUMM

    @property
    def scores(self) -> Sequence[str]:
        """Name of the array of LitePyramid recalls."""
        return RECALL


def _check(data: Arrays, *, scores: Sequence[str]) -> None:
    """Check the arrays of a data file, whose scores must differ within some prompt."""
    check_arrays(data, scores=scores)
    for name in scores:
        score = np.where(data["mask"], data[name], np.nan)
        if (np.nanmax(score, axis=1) == np.nanmin(score, axis=1)).all():
            raise InvalidData(f"{name} tells no completion of a prompt from another.")


def _build(folder: Path, *, name: str, scores: Sequence[str]) -> Arrays:
    """Read ``SUM/name/data.pkl``: for each article and system, a summary and its scores."""
    file = folder / "SUM" / name / "data.pkl"
    if not file.is_file():
        raise InvalidData(f"there is no {file}. PATH must be a clone of {SOURCE}.")
    articles = _articles(file, scores)
    systems = sorted({system for article in articles for system in article})
    index = {system: j for j, system in enumerate(systems)}
    shape = (len(articles), len(systems))
    mask, texts = np.zeros(shape, dtype=np.bool_), np.full(shape, "", dtype=object)
    values = np.full((len(scores), *shape), np.nan, dtype=np.float32)
    for i, article in enumerate(articles):
        for system, summary in article.items():
            mask[i, index[system]], texts[i, index[system]] = True, summary.sys_summ
            values[:, i, index[system]] = [getattr(summary.scores, score) for score in scores]
    return {
        "models": np.array(systems),
        "prompts": np.array([str(i) for i in range(len(articles))]),
        "style_names": np.array(STYLE_NAMES),
        **dict(zip(scores, values, strict=True)),
        **text_arrays(texts, mask, dim=48),
    }


def _articles(file: Path, scores: Sequence[str]) -> list[dict[str, Any]]:
    """Read and validate each article's summaries by system, without other metrics."""
    name = Annotated[str, Field(coerce_numbers_to_str=True)]
    number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
    numbers: dict[str, Any] = dict.fromkeys(scores, (number, ...))
    score: Any = create_model("Scores", **numbers)
    summary: Any = create_model("Summary", sys_summ=(str, ...), scores=(score, ...))
    article: Any = create_model("Article", sys_summs=(dict[name, summary], ...))
    try:
        articles = TypeAdapter(dict[name, article]).validate_python(read_plain_pickle(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ", ".join(map(str, first["loc"]))
        raise InvalidData(f"{file}: {where}: {first['msg']}.") from error
    return [article.sys_summs for article in articles.values()]


for _name, _folder, _scores in (
    (SUMMEVAL, "SummEval", ASPECTS),
    (REALSUMM, "REALSumm", RECALL),
):
    register_dataset(
        Dataset(
            _name,
            SOURCE,
            check=partial(_check, scores=_scores),
            build=partial(_build, name=_folder, scores=_scores),
        )
    )
