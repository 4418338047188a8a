"""What is exported is what TRL trains on, as it is."""

from pathlib import Path
from typing import Any

import pytest

from pairbench.annotation.exchange import exported
from pairbench.annotation.pairs import Question

CHAT = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny GPT-2 of random weights, with a tokenizer of bytes and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("model"))
    names = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, eos_token="<end>", pad_token="<end>"
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    config = GPT2Config(
        vocab_size=len(names), n_embd=8, n_layer=1, n_head=1, eos_token_id=0, bos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, chat: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]  # they are lazy

    path = tmp_path / "preferences.jsonl"
    path.write_bytes(exported([question(k, chat) for k in range(6)], "trl").files[".trl.jsonl"])
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
    trainer = DPOTrainer(model, args=settings, train_dataset=data)
    result = trainer.train()
    assert result.global_step == 2
    # At the first step the policy is the reference, and the loss is log 2.
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
