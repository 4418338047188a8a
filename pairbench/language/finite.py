"""A language of few words and short texts, which a real transformer speaks.

All of its texts can be enumerated, so that whatever the transformer is trained to, its policy is
known exactly.
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
from pairbench.language.kept import kept_model
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.supervised import next_tokens, preferences, train
from pairbench.language.tiny import save, tiny_model, word_tokenizer
from pairbench.language.tokens import Tokens
from pairbench.pool import Pool

Array = NDArray[np.float64]
Words = NDArray[np.int64]
"""Numbers of words, ``(..., length)``."""

PROMPT = 4
"""Words of a prompt."""


@dataclass(frozen=True)
class Grammar:
    """A Markov chain of words, each of which depends on the two before it.

    Attributes:
        words: how many there are.
        seed: of the transition probabilities.
    """

    words: int
    seed: int

    @cached_property
    def transitions(self) -> Array:
        """P(next | last but one, last), ``(words, words, words)``."""
        rng = np.random.default_rng([self.seed, 1])
        sharp = rng.dirichlet(np.full(self.words, 0.5), size=(self.words, self.words))
        return 0.9 * sharp + 0.1 / self.words

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Words:
        """Sequences, ``(n, length)``; their first two words are uniform."""
        return self.continued(rng, rng.integers(self.words, size=(n, 2)), length)

    def continued(self, rng: np.random.Generator, begun: Words, length: int) -> Words:
        """Sequences that begin so, ``(n, length)``."""
        sequences = np.empty((len(begun), length), dtype=np.int64)
        sequences[:, : begun.shape[1]] = begun
        up_to = self.transitions.cumsum(axis=2)[:, :, :-1]
        for t in range(begun.shape[1], length):
            before = up_to[sequences[:, t - 2], sequences[:, t - 1]]
            sequences[:, t] = (before < rng.random((len(begun), 1))).sum(axis=1)
        return sequences

    def prompts(self, rng: np.random.Generator, n: int) -> Words:
        """Different prompts, ``(n, PROMPT)``."""
        found = np.empty((0, PROMPT), dtype=np.int64)
        while len(found) < n:
            found = np.unique(np.concatenate([found, self.sample(rng, n, PROMPT)]), axis=0)
        return rng.permutation(found)[:n]


@dataclass(frozen=True)
class Reward:
    """r*(x, y): what words are worth, alone, after one another, and after the prompt's words.

    Attributes:
        word: ``(words,)``.
        bigram: ``(words, words)``; the first completion word follows the prompt's last.
        prompt: ``(words, words)``: of each word of the prompt with each of the completion.
    """

    word: Array
    bigram: Array
    prompt: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, words: int) -> "Reward":
        """Half of the variance is of words alone, if the prompt repeats none."""
        return cls(
            rng.normal(size=words),
            rng.normal(size=(words, words)) * np.sqrt(0.5),
            rng.normal(size=(words, words)) * np.sqrt(0.5 / PROMPT),
        )

    def of(self, prompts: Words, completions: Words) -> Array:
        """The rewards, ``(n, k)``.

        Args:
            prompts: ``(n, PROMPT)``.
            completions: ``(n, k, length)``, or ``(1, k, length)`` where all prompts share them.
        """
        completions = np.broadcast_to(completions, (len(prompts), *completions.shape[1:]))
        last = np.broadcast_to(prompts[:, None, -1:], (*completions.shape[:2], 1))
        before = np.concatenate([last, completions[:, :, :-1]], axis=2)
        rewards = self.word[completions] + self.bigram[before, completions]
        # The prompt's words are summed first: (n, words), what each next word is worth here.
        here = self.prompt[prompts].sum(axis=1)
        rows = np.arange(len(prompts))[:, None, None]
        total: Array = (rewards + here[rows, completions]).sum(axis=2)
        return total


@dataclass(frozen=True)
class FiniteLanguage:
    """All that the worlds of one language share: its words, and the model that speaks it.

    Attributes:
        words: how many there are.
        length: of a completion, words.
        steps: of the reference's supervised training.
        seed: of the grammar and of the training.
    """

    words: int
    length: int
    steps: int
    seed: int

    @property
    def names(self) -> list[str]:
        """The words as text."""
        return [chr(ord("a") + w) for w in range(self.words)]

    @cached_property
    def grammar(self) -> Grammar:
        """What it speaks."""
        return Grammar(self.words, self.seed)

    @cached_property
    def completions(self) -> Words:
        """All of them, ``(words ** length, length)``."""
        return np.array([*itertools.product(range(self.words), repeat=self.length)])

    @cached_property
    def tokenizer(self) -> Any:
        """Of its words."""
        # One token more than a text has, for the EOS that TRL appends before it cuts.
        return word_tokenizer(self.names, context=PROMPT + self.length + 1)

    @cached_property
    def reference(self) -> Checkpoint:
        """A GPT-2 of a hundred thousand weights, trained on the grammar; made once, then kept."""

        def make(folder: Path) -> None:
            model = tiny_model("gpt2", self.tokenizer, width=64, layers=2, heads=4, seed=self.seed)

            def sequences(rng: np.random.Generator) -> Words:
                return self.ids(self.grammar.sample(rng, 64, PROMPT + self.length))

            loss = next_tokens(model, sequences)
            train(model, loss, steps=self.steps, learning_rate=3e-3, seed=self.seed)
            save(folder, model, self.tokenizer)

        named = {"model": "reference of a finite language"}
        folder = kept_model(named | asdict(self), make)
        return load_decoder(str(folder), device="cpu", dtype="float32")

    def reward_model(self, reward: Reward, scale: float, seed: int) -> str:
        """A classifier trained on 2,000 labels by the truth; its folder.

        Args:
            reward: the truth.
            scale: reward units.
            seed: of the world, of which the prompts and labels that it is trained on are no part.
        """

        def make(folder: Path) -> None:
            rng = np.random.default_rng([seed, 9])
            prompts = self.grammar.sample(rng, 2000, PROMPT)
            texts = np.stack(
                [self.grammar.continued(rng, prompts, PROMPT + self.length) for _ in range(2)]
            )
            first, second = scale * np.stack(
                [reward.of(prompts, each[:, None, PROMPT:])[:, 0] for each in texts]
            )
            won = rng.random(len(prompts)) < expit(first - second)
            chosen, rejected = self.ids(np.where(won[:, None], texts, texts[::-1]))
            model = tiny_model("llama-classifier", self.tokenizer, width=64, heads=4, seed=seed)

            def pairs(rng: np.random.Generator) -> tuple[Words, Words]:
                rows = rng.integers(len(prompts), size=64)
                return chosen[rows], rejected[rows]

            train(model, preferences(model, pairs), steps=300, learning_rate=1e-3, seed=seed)
            save(folder, model, self.tokenizer)

        named = {"model": "reward model of a finite language", "world": seed, "scale": scale}
        return str(kept_model(named | asdict(self), make))

    def ids(self, words: Words) -> NDArray[np.int64]:
        """Words as the models read them, likewise shaped."""
        ids = np.array(self.tokenizer.convert_tokens_to_ids(self.names))
        return ids[words]

    def tokens(self, prompts: Words, completions: Words) -> Tokens:
        """Texts as the models read them."""
        return Tokens(self.ids(prompts), self.ids(completions))

    def log_ref(self, prompts: Words) -> Array:
        """log π_ref of all completions, ``(n, words ** length)`` nats."""
        every = np.broadcast_to(self.completions, (len(prompts), *self.completions.shape))
        values = log_likelihoods(self.reference.model, self.tokens(prompts, every))
        result: Array = log_softmax(values, axis=1)
        return result

    def pool(
        self, prompts: Words, chosen: NDArray[np.int64], log_ref: Array, features: NDArray[Any]
    ) -> Pool:
        """A pool of some of the completions.

        Args:
            prompts: ``(n, PROMPT)``.
            chosen: which completions, ``(n, k)``.
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
