"""A small transformer, and labels for it."""

import numpy as np

from pairbench import Pool
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.tiny import tiny_model, word_tokenizer
from pairbench.training.fleet import TrainingTask
from pairbench.training.recipe import Recipe

WORDS = tuple("abcdefgh")
RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=3e-3)


def reference(architecture: str = "gpt2") -> Checkpoint:
    tokenizer = word_tokenizer(WORDS, 16)
    model = tiny_model(architecture, tokenizer, seed=1)
    return Checkpoint(architecture, model, tokenizer, "random")


def words(seed: int = 0, longest: int = 4, shortest: int = 4, prompts: int = 6) -> Pool:
    """A pool of texts; of one length, or of several."""
    rng = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(rng.choice(WORDS, size=rng.integers(shortest, longest + 1)))

    return Pool(
        np.zeros((prompts, 5, 1)),
        prompts=[text() for _ in range(prompts)],
        texts=[[" " + text() for _ in range(5)] for _ in range(prompts)],
    )


def run_on(
    pool: Pool, n: int = 10, seed: int = 0, beta: float = 0.7, soft: bool = False
) -> TrainingTask:
    rng = np.random.default_rng(seed)
    both = rng.permuted(np.tile(np.arange(5), (n, 1)), axis=1)[:, :2]
    pairs = np.column_stack([rng.integers(pool.n_prompts, size=n), both])
    labels = rng.random(n) if soft else (rng.random(n) < 0.7).astype(np.float64)
    return TrainingTask(pool, pairs, labels, beta)
