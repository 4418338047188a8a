"""What is exported is what TRL trains on, as it is."""

from pathlib import Path
from typing import Any

import pytest

from pairbench.annotation.exchange import export_questions
from pairbench.annotation.pairs import Question


def question(k: int, chat: bool) -> Question:
    texts: dict[str, Any] = {"prompt": f"Question {k}?", "first": "Yes.", "second": "No, no."}
    if chat:
        texts = {
            name: [{"role": "user" if name == "prompt" else "assistant", "content": text}]
            for name, text in texts.items()
        }
    id_ = f"{k:016x}-{k + 1:016x}"
    return Question.model_validate(
        {"id": id_, "rank": k, "label": ("first", "tie", 0)[k % 3]} | texts
    )


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "conversational"])
def test_dpo_trains_on_what_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_gpt2: str, chat: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]  # they are lazy

    path = tmp_path / "preferences.jsonl"
    path.write_bytes(
        export_questions([question(k, chat) for k in range(6)], "trl").files[".trl.jsonl"]
    )
    data = load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert data.column_names == ["prompt", "chosen", "rejected"]
    assert len(data) == 4
    settings = DPOConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = DPOTrainer(tiny_gpt2, args=settings, train_dataset=data)
    result = trainer.train()
    assert result.global_step == 2
    # At the first step the policy is the reference, and the loss is log 2.
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
