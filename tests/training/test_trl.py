"""The losses that TRL has, too, are TRL's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench.training.ipo import Squared
from pairbench.training.log_linear import Logistic

Array = NDArray[np.float64]
BETA, FLIP_RATE = 0.5, 0.2
TEXTS = [("Yes.", "Nay."), ("Red!", "Blue"), ("Left", "Far."), ("Wine", "Beer")]
TOKENS = 5  # of each completion: four bytes and the end


def logistic(x: Array, label: float) -> Array:
    return Logistic(x[:, None], np.full(len(x), label), 1.0).values(x)


def ipo(x: Array) -> Array:
    # TRL's τ is its β, and its h is the mean over tokens, not the sum.
    return Squared(x[:, None], np.ones(len(x)), 1.0).values(x / TOKENS) * 2 / BETA**2


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
