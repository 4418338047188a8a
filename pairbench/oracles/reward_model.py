"""Reward models as annotators: what they think of texts takes the place of the true rewards."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pairbench.errors import InvalidParameter
from pairbench.language.rewards import RewardModel, pool_scores
from pairbench.oracles.perceptions import in_deviations
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import Array, Perception, Scene, Step, check_finite
from pairbench.pool import Pool


@dataclass(frozen=True)
class RewardModels(Perception):
    """What a reward model scores higher seems better, whatever the true rewards are.

    Δ becomes scale × the difference in score; what other perceptions add stays. Several models are
    an ensemble: the mean of their scores, each centred within prompts and in units of its standard
    deviation there. Texts are scored once, and scores kept (see ``pairbench.language.rewards``).

    Attributes:
        model: a Hugging Face id or the folder of a saved model, or a list of them.
        label: which of a classifier's outputs is the reward, by name or number; its score is the
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
        check_finite("scale", self.scale)

    @property
    def _models(self) -> list[RewardModel]:
        names = [self.model] if isinstance(self.model, str) else self.model
        return [RewardModel(name, self.label, self.template, dtype=self.dtype) for name in names]

    def data_digest(self) -> str:
        """SHA-256 of all that the scores depend on; another once a model is trained again."""
        digests = "".join(model.digest() for model in self._models)
        return hashlib.sha256(digests.encode()).hexdigest()

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Perception`."""
        scores = self.scale * self.scores(scene.pool)

        def judge(asked: Questions, delta: Array) -> Array:
            # In this order a tie of scores stays one, whatever the true rewards are.
            seems: Array = (delta - asked.difference(scene.rewards)) + asked.difference(scores)
            return seems

        return judge

    def scores(self, pool: Pool) -> Array:
        """What the model or the ensemble thinks, ``(n_prompts, n_completions)``, 0 where not valid.

        Raises:
            InvalidParameter: If the pool has no texts, or a model cannot be used.
        """
        if pool.texts is None:
            raise InvalidParameter(
                "annotator 'reward-model' reads texts, and this world's pool has none. Take an "
                "environment whose pool knows its texts."
            )
        scores = [pool_scores(pool, model) for model in self._models]
        if len(scores) == 1:
            return scores[0]
        mean: Array = np.mean([in_deviations(values, pool) for values in scores], axis=0)
        return mean
