"""Worlds of recorded completions, with features of the texts and recorded scores or votes.

The data file of such a pool, N prompts with up to K completions each, holds

- ``mask``: the valid completions, ``(N, K)`` bool; other elements of the arrays are ignored;
- ``style``, ``lsa``: features of the texts, ``(N, K, 20)`` and ``(N, K, dim)``;
- ``n_chars``: lengths, ``(N, K)`` characters;
- further arrays from which rewards are computed, such as scores, ``(N, K)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_positive
from pairbench.errors import InvalidData
from pairbench.oracles.bradley_terry import BradleyTerry
from pairbench.pool.features import (
    CHARS_PER_TOKEN,
    STYLE_NAMES,
    lsa_features,
    standardise,
    style_features,
)
from pairbench.pool.pool import Pool
from pairbench.training import Trainer, make_trainer
from pairbench.worlds.data import Arrays, find_data_file
from pairbench.worlds.environment import Environment
from pairbench.worlds.world import Truth, World, mask_rewards

Array = NDArray[np.float64]
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Sorted indices of the training prompts, which can be labelled, and of the held-out prompts."""


@dataclass(frozen=True, kw_only=True)
class RecordedPool(Environment):
    """An environment on a data file of recorded completions; the seed splits its prompts.

    Features are those of the file, centred within each prompt, scaled to equal variance on the
    training prompts, and then to E‖φ‖² = 1, so that a ridge of λ corresponds to a prior variance
    of the rewards of 1/λ. The reference policy is uniform over a prompt's completions. Lengths in
    tokens are characters / 4.

    Attributes:
        dataset: name of the data set.
        beta: β, reward units per nat.
        ridge: λ of the fit.
        trainer: trainer spec, see :func:`pairbench.make_trainer`. Views and the design efficiency
            assume ``"dpo"``.
    """

    dataset: ClassVar[str]

    beta: float = 1.0
    ridge: float = 1.0
    trainer: str = "dpo"

    def __post_init__(self) -> None:
        self.check_positive("beta")
        _ = self.policy_trainer  # raises if the spec is invalid

    @cached_property
    def policy_trainer(self) -> Trainer:
        """The trainer that turns labels into a policy."""
        return make_trainer(self.trainer, self.ridge)

    def parts(self) -> tuple[object, ...]:
        """Return the annotator's stages and the trainer."""
        return (*super().parts(), self.policy_trainer)

    def check_positive(self, *names: str) -> None:
        """Check that parameters are positive and finite.

        Raises:
            InvalidParameter: If one is not.
        """
        check_positive(**{name: getattr(self, name) for name in names})

    def data_digest(self) -> str:
        """Return the SHA-256 of the data file."""
        return find_data_file(self.dataset).sha256

    def build_world(self, data: Arrays, rewards: Array, split: Split, seed: int) -> World:
        """Build a world from rewards of all completions, with labels by the Bradley–Terry model.

        Args:
            data: arrays of the data file.
            rewards: r*, ``(N, K)`` reward units, finite.
            split: training and held-out prompts, see :func:`split_prompts`.
            seed: seed of the labels.
        """
        pool, held_out = split_pools(data, split)
        train, test = split
        truth = Truth(mask_rewards(rewards[train], pool), mask_rewards(rewards[test], held_out))
        return World(
            pool=pool,
            held_out=held_out,
            truth=truth,
            oracle=BradleyTerry(truth.rewards, seed),
            trainer=self.policy_trainer,
            beta=self.beta,
        )


def split_prompts(groups: NDArray[Any], share: float, rng: np.random.Generator) -> Split:
    """Draw a split of prompts that is stratified by group (largest remainder method).

    Args:
        groups: group of each prompt, ``(n_prompts,)``; at least two prompts in all.
        share: share of training prompts; both parts get at least one prompt.
        rng: source of randomness.
    """
    size = min(max(round(len(groups) * share), 1), len(groups) - 1)
    names, count = np.unique(groups, return_counts=True)
    exact = count * size / len(groups)
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: size - quota.sum()]] += 1
    strata = [
        rng.permutation(np.flatnonzero(groups == name))[:n]
        for name, n in zip(names, quota, strict=True)
    ]
    train = np.sort(np.concatenate(strata))
    return train, np.setdiff1d(np.arange(len(groups)), train)


def split_pools(data: Arrays, split: Split) -> tuple[Pool, Pool]:
    """Build the pools of the training and the held-out prompts, see :class:`RecordedPool`."""
    mask = data["mask"]
    features = np.concatenate([data["style"], data["lsa"]], axis=2).astype(np.float64)
    features = standardise(np.where(mask[:, :, None], features, 0.0), mask, split[0])
    tokens = -(-data["n_chars"] // CHARS_PER_TOKEN)
    train, held_out = (
        Pool(features[part], valid=mask[part], lengths=tokens[part]) for part in split
    )
    return train, held_out


def text_arrays(
    texts: NDArray[np.object_], mask: NDArray[np.bool_], dim: int
) -> dict[str, NDArray[Any]]:
    """Compute the arrays of a data file that describe texts.

    Args:
        texts: ``(N, K)``; elements outside the mask are ignored.
        mask: the valid completions, ``(N, K)``.
        dim: number of latent semantic features.

    Returns:
        ``style``, ``lsa``, ``n_chars`` and ``mask``; features are NaN and lengths 0 outside the
        mask.

    Raises:
        InvalidData: If the texts share too few words for that many features.
    """
    flat = [str(text) for text in texts[mask]]
    style = np.full((*mask.shape, len(STYLE_NAMES)), np.nan, dtype=np.float16)
    lsa = np.full((*mask.shape, dim), np.nan, dtype=np.float16)
    style[mask], lsa[mask] = style_features(flat), lsa_features(flat, dim)
    n_chars = np.zeros(mask.shape, dtype=np.int32)
    n_chars[mask] = [len(text) for text in flat]
    return {"style": style, "lsa": lsa, "n_chars": n_chars, "mask": mask}


def check_arrays(data: Arrays, *, scores: Sequence[str] = (), groups: Sequence[str] = ()) -> None:
    """Check the arrays of a data file of recorded completions.

    Args:
        data: the arrays.
        scores: names of arrays with a number per completion.
        groups: names of arrays with a value of any type per prompt.

    Raises:
        InvalidData: If an array is missing, or has a wrong shape, type or value.
    """
    required = sorted({"mask", "style", "lsa", "n_chars", *scores, *groups})
    if missing := [name for name in required if name not in data]:
        raise InvalidData(f"it lacks the arrays {', '.join(missing)}.")
    mask = data["mask"]
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InvalidData(f"mask must be a bool array (prompts, models), got shape {mask.shape}.")
    if len(mask) < 2:
        raise InvalidData("there must be two prompts or more: one to train on, one to score on.")
    if (mask.sum(axis=1) < 2).any():
        raise InvalidData("a prompt has fewer than two completions.")
    dims = {"style": (len(STYLE_NAMES),), "lsa": data["lsa"].shape[-1:]}
    for name in required:
        expected = mask.shape[:1] if name in groups else (*mask.shape, *dims.get(name, ()))
        if data[name].shape != expected:
            raise InvalidData(f"{name} has shape {data[name].shape}, expected {expected}.")
        if name == "mask" or name in groups:
            continue
        if data[name].dtype.kind not in "iuf":
            raise InvalidData(f"{name} must hold numbers, not {data[name].dtype}.")
        if not np.isfinite(data[name][mask]).all():
            raise InvalidData(f"{name} holds NaN or infinite values where mask is true.")
