"""A finite language of short texts, modelled by a transformer.

All of its texts can be enumerated, so that the policy of a trained transformer is known exactly.
"""

import itertools
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.model_cache import cache_model
from pairbench.language.supervised import next_token_loss, preference_loss, train
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer
from pairbench.language.tokens import Tokens
from pairbench.pool.pool import Pool

Array = NDArray[np.float64]
WordIds = NDArray[np.int64]
"""Indices of words, ``(..., length)``."""

PROMPT_LENGTH = 4
"""Length of a prompt, words."""


@dataclass(frozen=True)
class Grammar:
    """A second-order Markov chain of words.

    Attributes:
        words: size of the vocabulary.
        seed: seed of the transition probabilities.
    """

    words: int
    seed: int

    @cached_property
    def transitions(self) -> Array:
        """Transition probabilities P(next | last but one, last), ``(words, words, words)``."""
        rng = np.random.default_rng([self.seed, 1])
        sharp = rng.dirichlet(np.full(self.words, 0.5), size=(self.words, self.words))
        return 0.9 * sharp + 0.1 / self.words

    def sample(self, rng: np.random.Generator, n: int, length: int) -> WordIds:
        """Sample sequences, ``(n, length)``; their first two words are uniform."""
        return self.extend(rng, rng.integers(self.words, size=(n, 2)), length)

    def extend(self, rng: np.random.Generator, prefixes: WordIds, length: int) -> WordIds:
        """Sample continuations of prefixes; return the whole sequences, ``(n, length)``."""
        sequences = np.empty((len(prefixes), length), dtype=np.int64)
        sequences[:, : prefixes.shape[1]] = prefixes
        cdf = self.transitions.cumsum(axis=2)[:, :, :-1]
        for t in range(prefixes.shape[1], length):
            conditional = cdf[sequences[:, t - 2], sequences[:, t - 1]]
            sequences[:, t] = (conditional < rng.random((len(prefixes), 1))).sum(axis=1)
        return sequences

    def prompts(self, rng: np.random.Generator, n: int) -> WordIds:
        """Sample distinct prompts, ``(n, PROMPT)``."""
        distinct = np.empty((0, PROMPT_LENGTH), dtype=np.int64)
        while len(distinct) < n:
            distinct = np.unique(
                np.concatenate([distinct, self.sample(rng, n, PROMPT_LENGTH)]), axis=0
            )
        return rng.permutation(distinct)[:n]


@dataclass(frozen=True)
class Reward:
    """True reward r*(x, y): a sum over words, bigrams, and pairs of prompt and completion words.

    Attributes:
        word: reward of each word, ``(words,)``.
        bigram: reward of each bigram, ``(words, words)``; the first completion word forms one with
            the prompt's last word.
        prompt: reward of each prompt word with each completion word, ``(words, words)``.
    """

    word: Array
    bigram: Array
    prompt: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, words: int) -> "Reward":
        """Draw Gaussian rewards; words give half of the variance if the prompt repeats none."""
        return cls(
            rng.normal(size=words),
            rng.normal(size=(words, words)) * np.sqrt(0.5),
            rng.normal(size=(words, words)) * np.sqrt(0.5 / PROMPT_LENGTH),
        )

    def of(self, prompts: WordIds, completions: WordIds) -> Array:
        """Compute the rewards of completions, ``(n, k)``.

        Args:
            prompts: ``(n, PROMPT)``.
            completions: ``(n, k, length)``, or ``(1, k, length)`` where all prompts share them.
        """
        completions = np.broadcast_to(completions, (len(prompts), *completions.shape[1:]))
        last = np.broadcast_to(prompts[:, None, -1:], (*completions.shape[:2], 1))
        previous = np.concatenate([last, completions[:, :, :-1]], axis=2)
        rewards = self.word[completions] + self.bigram[previous, completions]
        # Sum over the prompt's words first: reward of each completion word, (n, words).
        with_prompt = self.prompt[prompts].sum(axis=1)
        rows = np.arange(len(prompts))[:, None, None]
        total: Array = (rewards + with_prompt[rows, completions]).sum(axis=2)
        return total


@dataclass(frozen=True)
class FiniteLanguage:
    """A language of all texts of a given length, with its reference model; worlds share it.

    Attributes:
        words: size of the vocabulary.
        length: length of a completion, words.
        steps: steps of the reference's supervised training.
        seed: seed of the grammar and of the training.
    """

    words: int
    length: int
    steps: int
    seed: int

    @property
    def names(self) -> list[str]:
        """The words, as text."""
        return [chr(ord("a") + w) for w in range(self.words)]

    @cached_property
    def grammar(self) -> Grammar:
        """The grammar that generates the reference's training data."""
        return Grammar(self.words, self.seed)

    @cached_property
    def completions(self) -> WordIds:
        """All completions, ``(words ** length, length)``."""
        return np.array([*itertools.product(range(self.words), repeat=self.length)])

    @cached_property
    def tokenizer(self) -> Any:
        """A tokenizer with a token for each word."""
        # One token more than a text has, for the EOS that TRL appends before it truncates.
        return word_tokenizer(self.names, context=PROMPT_LENGTH + self.length + 1)

    @cached_property
    def reference(self) -> Checkpoint:
        """The reference model: a GPT-2 of 100,000 weights trained on the grammar, and cached."""

        def make(folder: Path) -> None:
            model = tiny_model("gpt2", self.tokenizer, width=64, layers=2, heads=4, seed=self.seed)

            def sequences(rng: np.random.Generator) -> WordIds:
                return self.ids(self.grammar.sample(rng, 64, PROMPT_LENGTH + self.length))

            loss = next_token_loss(model, sequences)
            train(model, loss, steps=self.steps, learning_rate=3e-3, seed=self.seed)
            save_model(folder, model, self.tokenizer)

        settings = {"model": "reference of a finite language"}
        folder = cache_model(settings | asdict(self), make)
        return load_decoder(str(folder), device="cpu", dtype="float32")

    def reward_model(self, reward: Reward, scale: float, seed: int) -> str:
        """Train a reward model on 2,000 labels from the true reward, or load it from the cache.

        Args:
            reward: the true reward, before scaling.
            scale: factor of the true reward.
            seed: the world's seed; the training prompts and labels are not part of the world.

        Returns:
            The reward model's folder.
        """

        def make(folder: Path) -> None:
            rng = np.random.default_rng([seed, 9])
            prompts = self.grammar.sample(rng, 2000, PROMPT_LENGTH)
            texts = np.stack(
                [self.grammar.extend(rng, prompts, PROMPT_LENGTH + self.length) for _ in range(2)]
            )
            first, second = scale * np.stack(
                [reward.of(prompts, side[:, None, PROMPT_LENGTH:])[:, 0] for side in texts]
            )
            first_wins = rng.random(len(prompts)) < expit(first - second)
            chosen, rejected = self.ids(np.where(first_wins[:, None], texts, texts[::-1]))
            model = tiny_model("llama-classifier", self.tokenizer, width=64, heads=4, seed=seed)

            def pairs(rng: np.random.Generator) -> tuple[WordIds, WordIds]:
                rows = rng.integers(len(prompts), size=64)
                return chosen[rows], rejected[rows]

            train(model, preference_loss(model, pairs), steps=300, learning_rate=1e-3, seed=seed)
            save_model(folder, model, self.tokenizer)

        settings = {"model": "reward model of a finite language", "world": seed, "scale": scale}
        return str(cache_model(settings | asdict(self), make))

    def ids(self, words: WordIds) -> NDArray[np.int64]:
        """Convert words to token ids, in an array of the same shape."""
        ids = np.array(self.tokenizer.convert_tokens_to_ids(self.names))
        return ids[words]

    def tokens(self, prompts: WordIds, completions: WordIds) -> Tokens:
        """Convert the words of prompts and completions to tokens."""
        return Tokens(self.ids(prompts), self.ids(completions))

    def log_ref(self, prompts: WordIds) -> Array:
        """Compute log π_ref of all completions, ``(n, words ** length)`` nats."""
        completions = np.broadcast_to(self.completions, (len(prompts), *self.completions.shape))
        values = log_likelihoods(self.reference.model, self.tokens(prompts, completions))
        result: Array = log_softmax(values, axis=1)
        return result

    def pool(
        self, prompts: WordIds, chosen: NDArray[np.int64], log_ref: Array, features: NDArray[Any]
    ) -> Pool:
        """Build a pool of a subset of the completions.

        Args:
            prompts: ``(n, PROMPT)``.
            chosen: indices of each prompt's completions, ``(n, k)``.
            log_ref: log π_ref of all completions, ``(n, words ** length)`` nats.
            features: ``(n, k, dim)``.
        """
        names = np.array(self.names)
        texts = [" " + " ".join(words) for words in names[self.completions].tolist()]
        return Pool(
            features,
            log_ref=np.take_along_axis(log_ref, chosen, axis=1),
            lengths=np.full(chosen.shape, self.length),
            prompts=[" ".join(words) for words in names[prompts].tolist()],
            texts=[[texts[k] for k in row] for row in chosen.tolist()],
        )
