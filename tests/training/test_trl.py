"""The losses that TRL has, too, are TRL's, and it trains language models as the fleet does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter
from pairbench.training.fleet import train_fleet
from pairbench.training.ipo import SquaredLoss
from pairbench.training.log_linear import LogisticLoss
from pairbench.training.recipe import Recipe
from pairbench.training.trl import TRLTrainer
from tests.training.conftest import RECIPE, reference, run_on, words

Array = NDArray[np.float64]
BETA, FLIP_RATE = 0.5, 0.2
TEXTS = [("Yes.", "Nay."), ("Red!", "Blue"), ("Left", "Far."), ("Wine", "Beer")]
TOKENS = 5  # of each completion: four bytes and the end


def logistic(x: Array, label: float) -> Array:
    return LogisticLoss(x[:, None], np.full(len(x), label), 1.0).values(x)


def ipo(x: Array) -> Array:
    # TRL's τ is its β, and its h is the mean over tokens, not the sum.
    return SquaredLoss(x[:, None], np.ones(len(x)), 1.0).values(x / TOKENS) * 2 / BETA**2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss_type", "ours"),
    [
        ("sigmoid", lambda x: logistic(x, 1.0)),
        ("robust", lambda x: logistic(x, (1 - FLIP_RATE) / (1 - 2 * FLIP_RATE))),
        ("ipo", ipo),
    ],
)
def test_what_trl_logs_is_our_loss_of_the_margin_it_logs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_gpt2: str,
    loss_type: str,
    ours: Callable[[Array], Array],
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]  # they are lazy

    data = Dataset.from_list(
        [{"prompt": "Well? ", "chosen": first, "rejected": second} for first, second in TEXTS]
    )
    settings = DPOConfig(
        output_dir=str(tmp_path / "out"),
        loss_type=[loss_type],
        label_smoothing=FLIP_RATE,
        beta=BETA,
        learning_rate=0.02,
        max_steps=30,
        per_device_train_batch_size=1,  # so that the mean loss is a pair's
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = DPOTrainer(tiny_gpt2, args=settings, train_dataset=data)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    margins = np.array([entry["rewards/margins"] for entry in log])
    losses = np.array([entry["loss"] for entry in log])
    assert len(log) == 30
    assert np.abs(margins).max() > 1
    np.testing.assert_allclose(losses, ours(margins), atol=2e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "lora_rank", "epochs"),
    [("dpo", 0, 8), ("ipo", 0, 2), ("cdpo", 0, 2), ("rdpo", 0, 2), ("dpo", 2, 2)],
)
def test_losses_are_those_of_trl(loss: str, lora_rank: int, epochs: int) -> None:
    recipe = Recipe(loss, 0.2, epochs=epochs, batch_size=4, learning_rate=1e-3, lora_rank=lora_rank)
    run, start = run_on(words(), n=32), reference()
    for ends in (False, True) if loss == "dpo" else (False,):
        ours = train_fleet(start, [run], recipe, ends=ends)[0]
        trainer = TRLTrainer(start, recipe, 1.0, ends=ends)
        theirs = trainer.fit_with_losses(run.pool, run.beta, run.pairs, run.labels)
        assert len(ours.losses) == 8 * epochs
        assert np.ptp(ours.losses) > 1e-2
        np.testing.assert_allclose(ours.losses, theirs.losses, atol=1e-5)
        here, there = (t.policy.log_probs(run.pool) for t in (ours, theirs))
        np.testing.assert_allclose(here, there, atol=1e-4)


def test_trl_leaves_out_what_has_no_winner_and_leaves_nothing_behind(
    capfd: pytest.CaptureFixture[str],
) -> None:
    pool, start = words(), reference()
    trainer = TRLTrainer(start, RECIPE, 1.0)
    pairs, labels = np.array([[0, 1, 2], [1, 0, 1], [2, 3, 4]]), np.array([0.5, np.nan, 1.0])
    found = trainer.fit_with_losses(pool, 1.0, pairs, labels)
    assert len(found.losses) == 1
    alone = trainer.fit_with_losses(pool, 1.0, pairs[2:], labels[2:])
    np.testing.assert_array_equal(found.losses, alone.losses)
    nobody = trainer.fit_with_losses(pool, 1.0, pairs[:2], labels[:2])
    assert len(nobody.losses) == 0
    captured = capfd.readouterr()
    assert captured.out == ""


def test_trl_cannot_cut_the_end_of_texts_of_several_lengths() -> None:
    run = run_on(words(longest=4, shortest=1))
    trainer = TRLTrainer(reference(), RECIPE, 1.0, ends=False)
    with pytest.raises(InvalidParameter, match="only be cut off where all prompts and all"):
        trainer.fit(run.pool, 1.0, run.pairs, run.labels)
