"""Worlds of completions that a language model writes, and that a reward model judges.

The reference policy draws the pool, a reward model says what is true of any text, and the policy,
the reference after training on labels, is scored by drawing from it, see
:mod:`pairbench.language.sampled`. What is drawn and what is scored is kept in the cache folder and
not made again.
"""

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.annotation.content import key, rendered
from pairbench.annotation.pools import read_corpus
from pairbench.annotation.rows import MANIFEST
from pairbench.errors import InvalidData, InvalidParameter, did_you_mean
from pairbench.features import components, scaled, standardised
from pairbench.language.checkpoints import Checkpoint, checked_place, folder_digest, load_decoder
from pairbench.language.embeddings import hidden_features, score_vectors
from pairbench.language.generation import fitting
from pairbench.language.rewards import RewardModel, Texts, pool_scores, text_scores
from pairbench.language.sampled import SampledWorld, kept_texts
from pairbench.language.sampling import Sampling
from pairbench.language.texts import local, source_texts
from pairbench.language.tokens import tokenised
from pairbench.oracles.annotators import make_annotator
from pairbench.oracles.bradley_terry import BradleyTerry
from pairbench.oracles.calibration import calibrated_temperature
from pairbench.oracles.stages import Scene
from pairbench.pool import Pool, frozen_array
from pairbench.training import Trainer
from pairbench.training.fleet import FleetTrainer, trainable
from pairbench.training.recipe import Recipe
from pairbench.training.trl import TRLTrainer
from pairbench.world import Environment, Truth, World

Array = NDArray[np.float64]

_KNOWN = {
    "features": ("mean", "last", "scores"),
    "backend": ("trl", "fleet"),
}
_TINY = {
    "prompts": 16,
    "held_out_prompts": 12,
    "completions": 6,
    "max_tokens": 10,
    "draws": 16,
    "reference_draws": 128,
    "dim": 16,
}


@dataclass(frozen=True)
class ScaledReward:
    """r* of any text: a reward model's score over a temperature.

    Attributes:
        model: the reward model.
        temperature: units of the score per reward unit.
    """

    model: RewardModel
    temperature: float

    def __call__(self, texts: Texts) -> Array:
        """The rewards, ``(n,)``."""
        return text_scores(texts, self.model) / self.temperature


@dataclass(frozen=True, kw_only=True)
class GeneratedPool(Environment):
    """An environment whose completions its reference policy writes.

    A subclass says which models and data are meant (``policy``, ``reward_model``, ``data``), how a
    text of the data becomes a prompt, and what stands in for the models where ``tiny`` is asked
    for.

    Models and data are named by a path or by a Hugging Face id. Where they run, and in which
    numbers, ``PAIRBENCH_DEVICE`` and ``PAIRBENCH_DTYPE`` say.

    Attributes:
        policy: the reference, a causal language model.
        reward_model: what is true: a sequence classifier.
        reward_label: which of its outputs is the reward, if it has several; then by its log-odds.
        data: what prompts are made of; not looked at where ``pool`` is given.
        split: of the data set, if it is the hub's.
        pool: a folder that ``pairbench pool generate`` wrote with the same policy at temperature 1,
            whose prompts and completions are taken; if None, they are drawn and kept.
        evaluator: an annotator, such as ``"judge(model='…')"``, that compares draws from a policy
            with draws from the reference (``Score.sampled.judged``).
        compared: how many of them, for each held-out prompt.
        prompts: how many labels can be bought for.
        held_out_prompts: how many the policy is scored on.
        completions: drawn for each prompt; texts drawn twice are one completion of twice the
            weight, and those without text are left out.
        max_tokens: of a completion, after which it is cut.
        draws: from a policy for each held-out prompt, for its score.
        reference_draws: from π_ref for each held-out prompt, for J(π*).
        agreement: how often a label agrees with the order of the rewards, on average over the
            pool's pairs; it sets the temperature that scores are divided by.
        beta: β, reward units per nat.
        ridge: λ of designs' own estimates; the network is trained without.
        features: what designs see: ``"mean"`` or ``"last"``, the reference's hidden states over a
            completion or at its end, or ``"scores"``, the projected ∇_θ log π_θ at the reference.
        dim: of the features; hidden states are reduced to so many principal components.
        trainer: ``"dpo"``, ``"ipo"``, ``"cdpo"`` or ``"rdpo"``, with TRL's losses.
        backend: ``"trl"``, a ``trl.DPOTrainer``, or ``"fleet"``, for small models.
        flip_rate: what the last two are told of labels that were flipped.
        epochs, batch_size, learning_rate: of the training, see
            :class:`pairbench.training.recipe.Recipe`.
        accumulation: into how many parts TRL cuts a batch to fit into memory.
        lora_rank: of low-rank adapters, if they are all that is trained; 0 trains all weights, for
            which the learning rate is to be much smaller.
        tiny: the same on models of some ten thousand weights and on texts that are made here, with
            16 prompts and all other sizes as small; nothing is downloaded.
    """

    written_by_models = True

    fields: ClassVar[tuple[str, ...]]
    """What a text of the data may be called."""

    policy: str
    reward_model: str
    reward_label: str | None = None
    data: str
    split: str
    pool: str | None = None
    evaluator: str | None = None
    compared: int = 1
    prompts: int = 500
    held_out_prompts: int = 200
    completions: int = 16
    max_tokens: int = 48
    draws: int = 16
    reference_draws: int = 256
    agreement: float = 0.75
    beta: float = 1.0
    ridge: float = 1.0
    features: str = "mean"
    dim: int = 64
    trainer: str = "dpo"
    backend: str = "trl"
    flip_rate: float = 0.1
    epochs: int = 1
    batch_size: int = 32
    accumulation: int = 4
    learning_rate: float = 5e-5
    lora_rank: int = 16
    tiny: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("compared", 1),
            ("prompts", 1),
            ("held_out_prompts", 1),
            ("completions", 2),
            ("max_tokens", 1),
            ("draws", 2),
            ("reference_draws", 2),
            ("dim", 1),
        ):
            if (value := getattr(self, name)) < least:
                raise InvalidParameter(f"{name} must be {least} or more, got {value}.")
        if self.compared > min(self.draws, self.reference_draws):
            raise InvalidParameter(
                "compared must be at most draws and reference_draws, "
                f"{min(self.draws, self.reference_draws)}, got {self.compared}."
            )
        for name in ("beta", "ridge"):
            if not 0 < (number := getattr(self, name)) < np.inf:
                raise InvalidParameter(f"{name} must be positive and finite, got {number}.")
        if not 0.5 < self.agreement < 1:
            raise InvalidParameter(
                f"agreement must be a share between 0.5 and 1, got {self.agreement}."
            )
        for name, known in _KNOWN.items():
            if (given := getattr(self, name)) not in known:
                near = did_you_mean(str(given), known)
                raise InvalidParameter(
                    f"{name} must be one of {', '.join(known)}, got {given!r}.{near}"
                )
        if self.accumulation < 1 or self.batch_size % self.accumulation:
            raise InvalidParameter(
                f"accumulation must divide batch_size, {self.batch_size}, got {self.accumulation}."
            )
        self._recipe  # noqa: B018 - says so if it cannot be
        if self.evaluator is not None:
            make_annotator(self.evaluator)  # says so if it cannot be

    @abstractmethod
    def prompt(self, text: str, tokenizer: Any, rng: np.random.Generator) -> str | None:
        """The prompt that a text of the data becomes, None where it becomes none."""

    @abstractmethod
    def stand_ins(self) -> dict[str, Any]:
        """What ``tiny`` puts in the place of parameters: models and data that are made here."""

    def data_digest(self) -> str | None:
        """SHA-256 of the files that are the user's own, and of what the reward depends on."""
        if self.tiny:  # the code makes them
            return None
        names = [name for name in (self.policy, self.data, self.pool) if name is not None]
        digests = [folder_digest(path) if (path := local(name)) else name for name in names]
        digests.append(self._reward_model.digest())
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def world(self, seed: int) -> World:
        """See :class:`pairbench.Environment`."""
        if self.tiny:
            return self.small().world(seed)
        rng = np.random.default_rng([seed, 9])  # 9: another stream than other environments'
        reference = _reference(self.policy)
        sampling = Sampling(self.max_tokens, seed=seed)
        if self.pool is None:
            wanted = self.prompts + self.held_out_prompts
            prompts = self._prompts(reference, rng, wanted)
            here, there = prompts[: self.prompts], prompts[self.prompts :]
            written = kept_texts(reference, here, self.completions, sampling)
        else:
            here, there, written = self._given(reference, rng, self.pool)
        pool = self._described(reference, _pool(reference, here, written, self.completions))
        raw = pool_scores(pool, self._reward_model)
        scene = Scene(pool, raw, None, seed)
        temperature = calibrated_temperature(
            expit, scene, lambda asked: asked.difference(raw), self.agreement
        )
        reward = ScaledReward(self._reward_model, temperature)
        truth = frozen_array(raw / temperature)
        drawn = kept_texts(reference, there, self.reference_draws, sampling)
        texts = [(prompt, text) for prompt, row in zip(there, drawn, strict=True) for text in row]
        shape = (len(there), self.reference_draws)
        return SampledWorld(
            pool=pool,
            held_out=Pool(np.zeros((*shape, 1)), prompts=there, texts=drawn),
            truth=Truth(truth, frozen_array(reward(texts).reshape(shape))),
            oracle=BradleyTerry(truth, seed),
            trainer=self.trained_from(reference),
            beta=self.beta,
            reference=reference,
            reward=reward,
            sampling=sampling,
            draws=self.draws,
            evaluator=self.evaluator,
            compared=self.compared,
        )

    def small(self) -> Self:
        """What ``tiny`` stands for."""
        sizes = {name: min(getattr(self, name), most) for name, most in _TINY.items()}
        sizes["compared"] = min(self.compared, sizes["draws"])
        training: dict[str, Any] = {
            "backend": "fleet",
            "lora_rank": 0,
            "learning_rate": 1e-3,
            "epochs": 8,
        }
        return replace(self, tiny=False, pool=None, **training, **sizes, **self.stand_ins())

    def trained_from(self, reference: Checkpoint) -> Trainer:
        """What trains the policy.

        Args:
            reference: where it begins.
        """
        if self.backend == "fleet":
            return FleetTrainer(reference, self._recipe, self.ridge)
        return TRLTrainer(reference, self._recipe, self.ridge, accumulation=self.accumulation)

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            self.trainer,
            self.flip_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            lora_rank=self.lora_rank,
        )

    @property
    def _reward_model(self) -> RewardModel:
        return RewardModel(self.reward_model, self.reward_label)

    def _prompts(self, reference: Checkpoint, rng: np.random.Generator, wanted: int) -> list[str]:
        """Different prompts that leave room for a completion, drawn from the data."""
        texts = source_texts(self.data, self.split, self.fields)
        room = reference.context - self.max_tokens - 1
        found: dict[str, str] = {}
        for i in rng.permutation(len(texts)).tolist():
            prompt = self.prompt(texts[i], reference.tokenizer, rng)
            if prompt and 0 < len(reference.tokenizer(prompt, verbose=False)["input_ids"]) <= room:
                found.setdefault(key(prompt), prompt)
            if len(found) == wanted:
                return list(found.values())
        raise InvalidData(
            f"{self.data} has {len(texts)} texts, which give {len(found)} different prompts that "
            f"leave room for max_tokens={self.max_tokens} in the {reference.context} that the "
            f"model reads; {wanted} are needed. Take fewer prompts or held_out_prompts, or shorter "
            "completions."
        )

    def _given(
        self, reference: Checkpoint, rng: np.random.Generator, pool: str
    ) -> tuple[list[str], list[str], list[list[str]]]:
        """Prompts, held-out prompts and the completions of the first, from a pool's folder."""
        folder = Path(pool).expanduser()
        try:
            settings = json.loads((folder / MANIFEST).read_bytes())["settings"]
            made = {name: settings[name] for name in ("policy", "temperature", "top_p")}
            made["max_tokens"] = settings["max_tokens"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidData(
                f"{pool} is no pool that `pairbench pool generate --policy {self.policy} --prompts "
                f"PROMPTS --max-tokens {self.max_tokens} --out {pool}` wrote: {error!r}."
            ) from error
        asked = {
            "policy": reference.revision,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": self.max_tokens,
        }
        differ = [
            f"{name} {made[name]} there, {asked[name]} here"
            for name in asked
            if made[name] != asked[name]
        ]
        if differ:
            raise InvalidParameter(
                f"the completions of {pool} are no draws from this reference: {'; '.join(differ)}. "
                "Make another pool, or give the parameters that it was made with."
            )
        corpus = read_corpus(folder)
        wanted = self.prompts + self.held_out_prompts
        if len(corpus.prompts) < wanted:
            raise InvalidData(
                f"{pool} has {len(corpus.prompts)} prompts; prompts and held_out_prompts ask for "
                f"{wanted}. Take fewer."
            )
        chosen = [corpus.prompts[i] for i in rng.permutation(len(corpus.prompts))[:wanted]]
        names = [rendered(each.content or "") for each in chosen]
        written = [
            [rendered(c.content) for c in each.candidates] for each in chosen[: self.prompts]
        ]
        return names[: self.prompts], names[self.prompts :], written

    def _described(self, reference: Checkpoint, pool: Pool) -> Pool:
        """The pool with its features and lengths."""
        if self.features == "scores":
            # By the weights that are trained.
            model = trainable(reference, self._recipe).eval()
            scores = score_vectors(replace(reference, model=model), pool, self.dim)
            phi = scaled(scores.astype(np.float64), pool.valid)
        else:
            raw = hidden_features(reference, pool, self.features).astype(np.float64)
            phi = standardised(raw, pool.valid)
            if phi.shape[2] > self.dim:
                few, _ = components(phi[pool.valid], min(self.dim, int(pool.valid.sum())))
                phi = np.zeros((*pool.valid.shape, few.shape[1]))
                phi[pool.valid] = few
        tokens = tokenised(pool, reference.tokenizer, reference.context)
        return Pool(
            phi,
            log_ref=np.where(pool.valid, pool.log_ref, 0.0),
            lengths=(tokens.completions >= 0).sum(axis=2),
            valid=pool.valid,
            prompts=pool.prompts,
            texts=pool.texts,
        )


def _pool(
    reference: Checkpoint, prompts: Sequence[str], written: list[list[str]], width: int
) -> Pool:
    """The pool of some draws, in which each counts alike; it has no features yet.

    So π_ref over the pool is what it is over the draws, and an average over the pool estimates that
    over all completions. (Under the texts' own probabilities, which differ by many orders of
    magnitude, a pool would be its likeliest completion and little else.)

    Args:
        reference: the model that will read them.
        prompts: N texts.
        written: the draws of each.
        width: K, the most completions that a prompt gets.
    """
    shape = (len(prompts), width)
    texts = np.full(shape, "", dtype=object)
    counts = np.zeros(shape)
    heads = reference.tokenizer(list(prompts), verbose=False)["input_ids"]
    for x, (prompt, head, row) in enumerate(zip(prompts, heads, written, strict=True)):
        said = [text for text in row[:width] if text.strip()]
        fits = fitting(reference, prompt, head, said)
        found = Counter(text for text, good in zip(said, fits, strict=True) if good)
        if len(found) < 2:
            raise InvalidData(
                f"of {len(row[:width])} completions of the prompt {prompt!r}, {len(found)} are "
                "different and not empty, too few to be compared. Take more completions, or longer "
                "ones."
            )
        texts[x, : len(found)] = list(found)
        counts[x, : len(found)] = list(found.values())
    valid = counts > 0
    return Pool(
        np.zeros((*shape, 1)),
        log_ref=np.log(np.where(valid, counts, 1.0)),
        valid=valid,
        prompts=prompts,
        texts=texts.tolist(),
    )


def _reference(name: str) -> Checkpoint:
    path = local(name)
    return _loaded(name, folder_digest(path) if path else name, checked_place())


@lru_cache(maxsize=1)
def _loaded(name: str, _digest: str, _place: tuple[str, str]) -> Checkpoint:
    return load_decoder(name)
