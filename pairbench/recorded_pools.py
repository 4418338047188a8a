"""Worlds of recorded completions: texts that were written and judged once, with their features.

A data file of such a pool, N prompts with up to K completions each, holds

- ``mask``: which completions there are, ``(N, K)`` bool; what stands elsewhere counts nothing;
- ``style``, ``lsa``: features of the texts, ``(N, K, 20)`` and ``(N, K, dim)``;
- ``n_chars``: lengths, ``(N, K)`` characters;

and, whatever the rewards are made of, scores ``(N, K)`` among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.data import Arrays, entry
from pairbench.errors import InvalidData, InvalidParameter
from pairbench.features import (
    CHARS_PER_TOKEN,
    STYLE_NAMES,
    lsa_features,
    standardised,
    style_features,
)
from pairbench.oracles.bradley_terry import BradleyTerry
from pairbench.pool import Pool
from pairbench.training import make_trainer
from pairbench.world import Environment, Truth, World, masked

Array = NDArray[np.float64]
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The prompts that labels can be bought for, and those that the policy is scored on, sorted."""


@dataclass(frozen=True, kw_only=True)
class RecordedPool(Environment):
    """An environment on a data file of recorded completions, which splits its prompts by the seed.

    Features are the file's, centred within each prompt, scaled to equal variance on the training
    prompts, and to E‖φ‖² = 1 in all, so that a ridge of λ says that rewards have variance 1/λ a
    priori. The reference policy is uniform over a prompt's completions. Lengths are characters / 4.

    Attributes:
        dataset: the kind of data file.
        beta: β, reward units per nat.
        ridge: λ of the fit.
        trainer: what turns labels into a policy, see :func:`pairbench.make_trainer`. Predictions
            and the design efficiency are of ``"dpo"``.
    """

    dataset: ClassVar[str]

    beta: float = 1.0
    ridge: float = 1.0
    trainer: str = "dpo"

    def __post_init__(self) -> None:
        self.check_positive("beta")
        make_trainer(self.trainer, self.ridge)  # says so if it cannot be

    def check_positive(self, *names: str) -> None:
        """Make sure that parameters are positive and finite.

        Raises:
            InvalidParameter: If one is not.
        """
        for name in names:
            if not (np.isfinite(value := getattr(self, name)) and value > 0):
                raise InvalidParameter(f"{name} must be positive and finite, got {value}.")

    def data_digest(self) -> str:
        """SHA-256 of the data file."""
        return entry(self.dataset).sha256

    def scored_world(self, data: Arrays, rewards: Array, split: Split, seed: int) -> World:
        """The world in which every completion has a reward, and labels follow Bradley–Terry's law.

        Args:
            data: the arrays of the file.
            rewards: r*, ``(N, K)`` reward units, finite.
            split: see :func:`split_prompts`.
            seed: of the labels.
        """
        pool, held_out = split_pools(data, split)
        train, rest = split
        truth = Truth(masked(rewards[train], pool), masked(rewards[rest], held_out))
        return World(
            pool=pool,
            held_out=held_out,
            truth=truth,
            oracle=BradleyTerry(truth.rewards, seed),
            trainer=make_trainer(self.trainer, self.ridge),
            beta=self.beta,
        )


def split_prompts(groups: NDArray[Any], share: float, rng: np.random.Generator) -> Split:
    """Draw the training prompts, in proportion over the groups (largest remainders).

    Args:
        groups: which group each prompt belongs to, ``(N,)``, two prompts or more.
        share: of the training prompts among all; both parts get one prompt at least.
        rng: what is drawn from.
    """
    size = min(max(round(len(groups) * share), 1), len(groups) - 1)
    names, count = np.unique(groups, return_counts=True)
    exact = count * size / len(groups)
    take = np.floor(exact).astype(int)
    take[np.argsort(take - exact, kind="stable")[: size - take.sum()]] += 1
    parts = [
        rng.permutation(np.flatnonzero(groups == name))[:n]
        for name, n in zip(names, take, strict=True)
    ]
    train = np.sort(np.concatenate(parts))
    return train, np.setdiff1d(np.arange(len(groups)), train)


def split_pools(data: Arrays, split: Split) -> tuple[Pool, Pool]:
    """The pools of the training and of the held-out prompts, see :class:`RecordedPool`."""
    mask = data["mask"]
    features = np.concatenate([data["style"], data["lsa"]], axis=2).astype(np.float64)
    features = standardised(np.where(mask[:, :, None], features, 0.0), mask, split[0])
    tokens = -(-data["n_chars"] // CHARS_PER_TOKEN)
    train, held_out = (
        Pool(features[part], valid=mask[part], lengths=tokens[part]) for part in split
    )
    return train, held_out


def text_arrays(
    texts: NDArray[np.object_], mask: NDArray[np.bool_], dim: int
) -> dict[str, NDArray[Any]]:
    """What a data file holds of the texts themselves.

    Args:
        texts: ``(N, K)``; what stands where there is no completion is not looked at.
        mask: which completions there are, ``(N, K)``.
        dim: how many word features.

    Returns:
        ``style``, ``lsa``, ``n_chars`` and ``mask``; features are NaN and lengths 0 where there is
        no completion.

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
    """Make sure that a data file holds what a world is made of.

    Args:
        data: its arrays.
        scores: names of arrays with a number for each completion.
        groups: names of arrays with a value of any kind for each prompt.

    Raises:
        InvalidData: If an array is missing, or has a wrong shape or impossible values.
    """
    needed = sorted({"mask", "style", "lsa", "n_chars", *scores, *groups})
    if missing := [name for name in needed if name not in data]:
        raise InvalidData(f"it lacks the arrays {', '.join(missing)}.")
    mask = data["mask"]
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InvalidData(f"mask must be a bool array (prompts, models), got shape {mask.shape}.")
    if len(mask) < 2:
        raise InvalidData("there must be two prompts or more: one to learn on, one to be scored.")
    if (mask.sum(axis=1) < 2).any():
        raise InvalidData("a prompt has fewer than two completions.")
    ends = {"style": (len(STYLE_NAMES),), "lsa": data["lsa"].shape[-1:]}
    for name in needed:
        expected = mask.shape[:1] if name in groups else (*mask.shape, *ends.get(name, ()))
        if data[name].shape != expected:
            raise InvalidData(f"{name} has shape {data[name].shape}, expected {expected}.")
        if name == "mask" or name in groups:
            continue
        if data[name].dtype.kind not in "iuf":
            raise InvalidData(f"{name} must hold numbers, not {data[name].dtype}.")
        if not np.isfinite(data[name][mask]).all():
            raise InvalidData(f"{name} holds NaN or infinite values where mask is true.")
