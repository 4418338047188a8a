"""A real transformer, small enough that its suboptimality is exact."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench import BradleyTerry, Environment, InvalidParameter, Truth, World, register_env
from pairbench.errors import did_you_mean
from pairbench.language.embeddings import hidden_features, score_vectors
from pairbench.language.finite import PROMPT_LENGTH, FiniteLanguage, Reward
from pairbench.language.tokens import Tokens
from pairbench.pool.features import rescale, standardise
from pairbench.pool.pool import freeze_array
from pairbench.training.fleet import FleetTrainer
from pairbench.training.recipe import Recipe
from pairbench.training.trl import TRLTrainer
from pairbench.worlds.finite_language import LanguageWorld

Array = NDArray[np.float64]

FLOOR_LABELS = (5_000, 10_000, 20_000, 40_000)
"""Numbers of noise-free labels that the floor is trained on; the largest is not the best."""


@register_env("pairbench/TinyLM-v1")
@dataclass(frozen=True)
class TinyLM(Environment):
    """A transformer trained by DPO on completions of four words out of eight.

    A GPT-2 of a hundred thousand weights is the reference, supervised on a grammar. The pool holds
    completions sampled from it, the reward is known, and the policy is the same model after DPO.
    All 4,096 completions of a prompt are enumerated, so that π_θ, π*, and the gap
    G(π_θ) = β E KL(π_θ‖π*) on held-out prompts are exact.

    **What this diagnoses.** Whether the theory of the log-linear policy holds for a network that is
    trained by gradient steps and evaluated on held-out prompts.

    **Known optimum.** π* and its value are exact. The best design is unknown: the theory's, at the
    network's score vectors (``features="scores"``), is exact to first order around π_ref.

    **Arguments.**

    - ``prompts``, ``held_out_prompts``: numbers of prompts that labels can be bought for, and that
      the policy is scored on.
    - ``completions``: K, for each prompt, distinct draws from the reference.
    - ``words``, ``length``: of the language; it has ``words ** length`` completions.
    - ``reward_scale``: the standard deviation of r* over the reference's completions.
    - ``beta``: β, reward units per nat.
    - ``ridge``: λ of designs' estimates; the network is trained without.
    - ``features``: features of the pool: ``"scores"``, the projected ∇_θ log π_θ at the reference;
      ``"mean"`` or ``"last"``, its hidden states over a completion, or at its end.
    - ``dim``: of the projected scores.
    - ``labeler``: ``"truth"``, or ``"reward-model"``, a classifier that was trained on 2,000 labels
      by the truth; it then answers, and policies are still scored by the truth.
    - ``trainer``: ``"dpo"``, ``"ipo"``, ``"cdpo"`` or ``"rdpo"``, with TRL's losses.
    - ``flip_rate``: rate of flipped labels that ``"cdpo"`` and ``"rdpo"`` assume.
    - ``backend``: ``"fleet"``, our own loop, or ``"trl"``, a ``trl.DPOTrainer`` on the same
      batches.
    - ``lora_rank``: rank of the low-rank adapters that are trained; 0 trains all weights.
    - ``language``: the seed of the grammar and of the reference, which all worlds share.
    - ``pretraining``: steps of the reference's supervised training.

    **Version history.** v1: first.
    """

    uses_language_models = True

    prompts: int = 100
    held_out_prompts: int = 64
    completions: int = 16
    words: int = 8
    length: int = 4
    reward_scale: float = 2.0
    beta: float = 1.0
    ridge: float = 0.25
    features: str = "scores"
    dim: int = 256
    labeler: str = "truth"
    trainer: str = "dpo"
    flip_rate: float = 0.1
    backend: str = "fleet"
    lora_rank: int = 0
    language: int = 0
    pretraining: int = 1500

    def __post_init__(self) -> None:
        if not (2 <= self.words <= 26 and self.length >= 1 and self.words**self.length <= 2**16):
            raise InvalidParameter(
                "words must be 2 to 26, length 1 or more, and words ** length, which are all "
                f"enumerated, at most {2**16}; got words={self.words}, length={self.length}."
            )
        most, sizes = self.words**PROMPT_LENGTH // 2, (self.prompts, self.held_out_prompts)
        if min(sizes) < 1 or sum(sizes) > most:
            raise InvalidParameter(
                "prompts and held_out_prompts must be 1 or more, and together at most half of all "
                f"that there are, {most}; got {sizes[0]} and {sizes[1]}."
            )
        if not 2 <= self.completions <= self.words**self.length:
            raise InvalidParameter(
                f"completions must be 2 to {self.words**self.length}, all there are, got "
                f"{self.completions}."
            )
        for name in ("dim", "pretraining"):
            if getattr(self, name) < 1:
                raise InvalidParameter(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("reward_scale", "beta", "ridge"):
            if not 0 < getattr(self, name) < np.inf:
                raise InvalidParameter(
                    f"{name} must be positive and finite, got {getattr(self, name)}."
                )
        for name, allowed in (
            ("features", ("scores", "mean", "last")),
            ("labeler", ("truth", "reward-model")),
            ("backend", ("fleet", "trl")),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidParameter(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                    + did_you_mean(getattr(self, name), allowed)
                )
        self._recipe()  # raises if the trainer is not possible

    def world(self, seed: int) -> World:
        """Sample prompts, completions and the reward, and score all completions exactly."""
        rng = np.random.default_rng([seed, 8])  # 8: a stream apart from other environments'
        language = FiniteLanguage(self.words, self.length, self.pretraining, self.language)
        prompts = language.grammar.prompts(rng, self.prompts + self.held_out_prompts)
        log_ref = language.log_ref(prompts)
        reward = Reward.draw(rng, self.words)
        rewards, scale = self._scaled(reward.of(prompts, language.completions[None]), log_ref)
        # Draws without replacement: the K largest of log π_ref plus Gumbel noise.
        noisy = log_ref + rng.gumbel(size=log_ref.shape)
        sample = np.argsort(-noisy, axis=1)[: self.prompts, : self.completions]
        train, rest = prompts[: self.prompts], prompts[self.prompts :]
        features = self._features(language, language.tokens(train, language.completions[sample]))
        pool = language.pool(train, sample, log_ref[: self.prompts], features)
        every = np.tile(np.arange(log_ref.shape[1]), (len(rest), 1))
        blank = np.zeros((*every.shape, 1))
        held_out = language.pool(rest, every, log_ref[self.prompts :], blank)
        pool_rewards = freeze_array(np.take_along_axis(rewards[: self.prompts], sample, axis=1))
        trainer = TRLTrainer if self.backend == "trl" else FleetTrainer
        world = LanguageWorld(
            pool=pool,
            held_out=held_out,
            truth=Truth(pool_rewards, freeze_array(rewards[self.prompts :])),
            oracle=BradleyTerry(pool_rewards, seed),
            trainer=trainer(language.reference, self._recipe(), self.ridge, ends=False),
            saturated_trainers=[
                FleetTrainer(language.reference, recipe, self.ridge, ends=False)
                for recipe in self._limits()
            ],
            beta=self.beta,
        )
        if self.labeler == "truth":
            return world
        model = language.reward_model(reward, scale, seed)
        return world.with_annotator(f"reward-model(model={model!r}, dtype='float32')", seed)

    def _recipe(self) -> Recipe:
        """Return the recipe of the transformer's training."""
        return Recipe(self.trainer, self.flip_rate, lora_rank=self.lora_rank)

    def _limits(self) -> list[Recipe]:
        """Return the recipes by which the floor is trained."""
        pairs = self.prompts * self.completions * (self.completions - 1) // 2
        epochs = sorted({max(1, round(n_labels / pairs)) for n_labels in FLOOR_LABELS})
        return [Recipe(epochs=e, batch_size=64, learning_rate=1e-3) for e in epochs]

    def _features(self, language: FiniteLanguage, texts: Tokens) -> NDArray[Any]:
        """Compute φ of the pool's completions, scaled to E‖φ‖² = 1, ``(n, k, d)``."""
        valid = texts.completions[:, :, 0] >= 0
        if self.features == "scores":
            scores = score_vectors(language.reference, texts, self.dim, seed=self.language)
            return rescale(scores.astype(np.float64), valid)
        hidden = hidden_features(language.reference, texts, self.features)
        return standardise(hidden.astype(np.float64), valid)

    def _scaled(self, rewards: Array, log_ref: Array) -> tuple[Array, float]:
        """Scale rewards to deviation ``reward_scale`` under π_ref; also return the factor."""
        probability = np.exp(log_ref)
        mean = (probability * rewards).sum(axis=1, keepdims=True)
        variance = (probability * (rewards - mean) ** 2).sum(axis=1).mean()
        scale = self.reward_scale / float(np.sqrt(variance))
        return scale * (rewards - mean), scale
