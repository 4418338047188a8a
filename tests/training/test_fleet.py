"""Many models trained at once are those trained one by one, plainly, and by TRL."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter
from pairbench.errors import TrainingFailed
from pairbench.language.checkpoints import Checkpoint
from pairbench.training.fleet import FleetTrainer, TrainingTask, train_fleet
from pairbench.training.recipe import LOSSES, Recipe
from tests.training.conftest import RECIPE, reference, run_on, words

DECODERS = ("gpt2", "llama", "qwen2", "gpt_neox")


def plain(
    reference: Checkpoint, run: TrainingTask, recipe: Recipe, ends: bool
) -> NDArray[np.float64]:
    """The losses of plain training, one text at a time, with torch's optimiser."""
    import copy

    import torch

    model = copy.deepcopy(reference.model).requires_grad_(True)
    tokenizer = reference.tokenizer
    assert run.pool.prompts is not None
    assert run.pool.texts is not None

    def log_p(net: torch.nn.Module, x: int, k: int) -> tuple[torch.Tensor, int]:
        assert run.pool.prompts is not None
        assert run.pool.texts is not None
        head = tokenizer(run.pool.prompts[x])["input_ids"]
        tail = tokenizer(run.pool.texts[x][k] + (tokenizer.eos_token if ends else ""))["input_ids"]
        logits = net(torch.tensor([head + tail])).logits[0]
        said = logits.log_softmax(-1)[len(head) - 1 : -1]
        return said.gather(1, torch.tensor(tail)[:, None]).sum(), len(tail)

    def loss_of(row: int) -> torch.Tensor:
        x, first, second = run.pairs[row].tolist()
        ratios = []
        for k in (first, second):
            value, length = log_p(model, x, k)
            with torch.no_grad():
                ratio = value - log_p(reference.model, x, k)[0]
            ratio = value - log_p(reference.model, x, k)[0].detach()
            ratios.append(ratio / length if recipe.loss == "ipo" else ratio)
        margin = ratios[0] - ratios[1]
        if recipe.loss == "ipo":
            win, defeat = (margin - 0.5 / run.beta) ** 2, (margin + 0.5 / run.beta) ** 2
        else:
            scaled = run.beta * margin
            win, defeat = (-torch.nn.functional.logsigmoid(s) for s in (scaled, -scaled))
        a, b = recipe.loss_weights(run.labels[row : row + 1])
        return float(a[0]) * win + float(b[0]) * defeat

    order = recipe.order(len(run.pairs))
    steps = -(-len(order) // recipe.batch_size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.0)
    losses = []
    for step in range(steps):
        rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size].tolist()
        value = torch.stack([loss_of(row) for row in rows]).mean()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * (1 - step / steps)
        optimiser.step()
        losses.append(value.item())
    return np.array(losses)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("ends", [True, False])
def test_losses_are_those_of_plain_training(architecture: str, ends: bool) -> None:
    run = run_on(words(longest=4, shortest=1), soft=True)
    start = reference(architecture)
    found = train_fleet(start, [run], RECIPE, ends=ends)[0].losses
    assert found.shape == (5,)
    assert np.ptp(found) > 1e-3
    np.testing.assert_allclose(found, plain(start, run, RECIPE, ends), rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_all_losses_are_those_of_plain_training(loss: str) -> None:
    run, recipe = run_on(words(longest=4, shortest=2)), replace(RECIPE, loss=loss)
    start = reference()
    found = train_fleet(start, [run], recipe)[0].losses
    np.testing.assert_allclose(found, plain(start, run, recipe, ends=True), rtol=1e-5)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_fleet_gives_what_each_run_gives_on_its_own(lora_rank: int) -> None:
    recipe, start = replace(RECIPE, lora_rank=lora_rank), reference()
    runs = [
        run_on(words(0), n=10, seed=0),
        run_on(words(1, longest=3, shortest=1), n=3, seed=1, beta=1.5),
        run_on(words(2), n=0),
        run_on(words(0), n=17, seed=3),
    ]
    together, again = (train_fleet(start, runs, recipe) for _ in range(2))
    for run, one, two in zip(runs, together, again, strict=True):
        alone = train_fleet(start, [run], recipe)[0]
        assert len(one.losses) == -(-2 * len(run.pairs) // 4)
        np.testing.assert_allclose(one.losses, alone.losses, rtol=1e-5)
        here, there = (t.policy.log_probs(run.pool) for t in (one, alone))
        np.testing.assert_allclose(here, there, atol=1e-4)
        assert one.policy.fingerprint() == two.policy.fingerprint()


def test_without_labels_the_policy_is_the_reference() -> None:
    pool, start = words(), reference()
    pairs, labels = np.array([[0, 1, 2]] * 2), np.full(2, np.nan)
    policy = FleetTrainer(start, RECIPE, 1.0).fit(pool, 1.0, pairs, labels)
    from pairbench.language.policy import LanguageModelPolicy

    np.testing.assert_array_equal(
        policy.log_probs(pool), LanguageModelPolicy(start).log_probs(pool)
    )


def test_what_is_trained_is_the_models_own_and_the_reference_is_not() -> None:
    run, start = run_on(words()), reference()
    before = {name: weights.clone() for name, weights in start.model.state_dict().items()}
    one, two = (t.policy.checkpoint.model for t in train_fleet(start, [run, run], RECIPE))
    for name, weights in one.state_dict().items():
        assert (weights == two.state_dict()[name]).all()
    next(one.parameters()).data.zero_()
    for name, weights in start.model.state_dict().items():
        assert (weights == before[name]).all()
    assert next(two.parameters()).abs().max() > 0
    assert not one.training


def test_adapters_train_no_other_weights() -> None:
    run, start = run_on(words()), reference()
    recipe = replace(RECIPE, lora_rank=2)
    trained = train_fleet(start, [run], recipe)[0].policy.checkpoint.model
    changed = {
        name
        for name, weights in trained.state_dict().items()
        if (weights != start.model.state_dict()[name]).any()
    }
    assert changed
    assert all("weight" in name for name in changed)
    assert not any("wte" in name or "ln_" in name for name in changed)


def test_training_that_diverges_is_told() -> None:
    with pytest.raises(TrainingFailed, match=r"loss is not finite at step .*learning rate below"):
        train_fleet(reference(), [run_on(words())], replace(RECIPE, learning_rate=1e30))


def test_layers_of_an_unknown_kind_are_refused() -> None:
    import torch

    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

    start = reference()
    start.model.transformer.ln_f = Odd()
    with pytest.raises(InvalidParameter, match="cannot train weights of a Odd"):
        train_fleet(start, [run_on(words())], RECIPE)
