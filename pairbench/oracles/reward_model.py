"""Reward models as annotators: their scores of texts replace the true rewards."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pairbench._util.checks import check_finite
from pairbench.errors import InvalidParameter
from pairbench.language.rewards import RewardModel, pool_scores
from pairbench.oracles.perceptions import standardise_within_prompts
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext, Array, Perception, Step
from pairbench.pool.pool import Pool


@dataclass(frozen=True)
class RewardModels(Perception):
    """Reward model: the completion that it scores higher seems better, whatever the true rewards.

    It replaces the true difference by scale × the difference in score and keeps the terms that
    other perceptions add. Several models are an ensemble: the mean of their scores, each centred
    within prompts and in units of its standard deviation. Texts are scored once, and scores are
    cached (see ``pairbench.language.rewards``).

    Attributes:
        model: a Hugging Face id or the folder of a saved model, or a list of them.
        label: the classifier output that is the reward, by name or number; its score is the
            label's log-odds.
        template: how prompt and completion are joined: ``"plain"`` or, by the tokenizer's
            template, ``"chat"``.
        scale: reward units per unit of the score, or per standard deviation of an ensemble's.
        dtype: of the computations; bfloat16 on a GPU and float32 elsewhere if None.
    """

    model: str | tuple[str, ...]
    label: int | str | None = None
    template: str = "plain"
    scale: float = 1.0
    dtype: str | None = None
    replaces: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self._models:
            raise InvalidParameter("model must be a model or several, got an empty list.")
        check_finite(scale=self.scale)

    @property
    def _models(self) -> list[RewardModel]:
        names = [self.model] if isinstance(self.model, str) else self.model
        return [RewardModel(name, self.label, self.template, dtype=self.dtype) for name in names]

    def data_digest(self) -> str:
        """Return a SHA-256 of all that the scores depend on; retraining a model changes it."""
        digests = "".join(model.digest() for model in self._models)
        return hashlib.sha256(digests.encode()).hexdigest()

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that replaces true rewards by scores."""
        scores = self.scale * self.scores(context.pool)

        def replace_rewards(questions: Questions, delta: Array) -> Array:
            # In this order equal scores give a difference of exactly 0, whatever the rewards.
            biases = delta - questions.difference(context.rewards)
            perceived: Array = biases + questions.difference(scores)
            return perceived

        return replace_rewards

    def scores(self, pool: Pool) -> Array:
        """Compute the model's or the ensemble's scores, ``(n_prompts, n_completions)``.

        Scores are 0 where a completion is not valid.

        Raises:
            InvalidParameter: If the pool has no texts, or a model cannot be used.
        """
        if pool.texts is None:
            raise InvalidParameter(
                "annotator 'reward-model' reads texts, and this world's pool has none. Take an "
                "environment whose pool has texts."
            )
        scores = [pool_scores(pool, model) for model in self._models]
        if len(scores) == 1:
            return scores[0]
        mean: Array = np.mean(
            [standardise_within_prompts(values, pool) for values in scores], axis=0
        )
        return mean
