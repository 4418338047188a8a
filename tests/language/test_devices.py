"""Nothing is left on the CPU while a model is elsewhere, which a GPU would not forgive."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ARCHITECTURES = ("gpt2", "llama")
CLASSIFIERS = ("distilbert", "llama-classifier")


def differences() -> dict[str, float]:
    """How far values on a device that is none are from those on the CPU, by what gives them."""
    import torch

    from pairbench.language.checkpoints import Checkpoint
    from pairbench.language.embeddings import hidden_features, score_vectors
    from pairbench.language.likelihood import direct_log_likelihoods, tree_log_likelihoods
    from pairbench.language.rewards import batched_logits
    from pairbench.language.sampling import Sampling, TransformersSampler
    from pairbench.language.tiny import tiny_model
    from pairbench.language.tokens import tokenize_pool
    from pairbench.training.fleet import train_fleet
    from pairbench.training.recipe import Recipe
    from tests.language.pretend import Pretend, brought
    from tests.training.conftest import reference, run_on, words

    pool, ids = words(longest=4, shortest=1), [[3, 4, 5], [6], [7, 8]]
    runs, streams = [run_on(pool, n=10), run_on(words(1), n=5)], np.arange(9).reshape(3, 3)

    def drawn(at: Checkpoint) -> Any:
        sampler = TransformersSampler(at, Sampling(5, temperature=0.8, top_p=0.9))
        return np.concatenate([sample.ids for sample in sampler(ids, streams)])

    def scores(at: Checkpoint) -> Any:
        batches = batched_logits(at.model, ids, 6)
        return np.concatenate([logits[np.argsort(rows)] for rows, logits in batches])

    def trained(at: Checkpoint, loss: str, lora_rank: int) -> Any:
        recipe = Recipe(loss, epochs=2, batch_size=4, learning_rate=3e-3, lora_rank=lora_rank)
        found = train_fleet(at, runs, recipe)
        losses = np.concatenate([each.losses for each in found])
        return np.concatenate([losses, found[0].policy.log_probs(pool).ravel()])

    decoders: dict[str, Callable[[Checkpoint], Any]] = {
        "direct": lambda at: direct_log_likelihoods(at.model, tokens),
        "tree": lambda at: tree_log_likelihoods(at.model, tokens),
        "hidden": lambda at: hidden_features(at, pool),
        "scores": lambda at: score_vectors(at, pool, 16),
        "drawn": drawn,
        "fleet": lambda at: trained(at, "dpo", 0),
        "fleet of adapters": lambda at: trained(at, "ipo", 2),
    }
    found = {}
    with Pretend():  # type: ignore[no-untyped-call]
        for architecture in ARCHITECTURES:
            here = reference(architecture)
            tokens = tokenize_pool(pool, here.tokenizer, here.context)
            there = replace(here, model=brought(here.model))
            for name, of in decoders.items():
                a, b = of(here), of(there)
                assert np.isfinite(a).any()
                found[f"{name}, {architecture}"] = float(np.abs(a - b)[np.isfinite(a)].max())
        for architecture in CLASSIFIERS:
            model = tiny_model(architecture, here.tokenizer, labels=2)
            here = replace(here, model=model)
            a, b = scores(here), scores(replace(here, model=brought(model)))
            found[f"rewards, {architecture}"] = float(np.abs(a - b).max())
        with pytest.raises(RuntimeError, match="expected all tensors on one device"):
            brought(torch.nn.Linear(2, 2))(torch.ones(1, 2))
    return found


@pytest.mark.slow
def test_all_is_where_the_model_is(root: Path) -> None:
    script = (
        "import json; from tests.language.test_devices import *; print(json.dumps(differences()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    if "cannot import name '_setup_privateuseone" in done.stderr:
        pytest.skip("torch knows of no devices that are made in Python")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 7 * len(ARCHITECTURES) + len(CLASSIFIERS)
    assert max(found.values()) < 1e-4, found
