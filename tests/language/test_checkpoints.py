"""Checkpoints load, or say what is wrong with them and what to do."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairbench.errors import InvalidParameter
from pairbench.language.checkpoints import (
    Checkpoint,
    folder_digest,
    load_classifier,
    load_decoder,
    load_encoder,
    resolve_device,
    resolve_dtype,
)
from pairbench.language.tiny import byte_tokenizer, save_model, tiny_model


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2."""
    folder = tmp_path_factory.mktemp("good")
    tokenizer = byte_tokenizer(48)
    save_model(folder, tiny_model("gpt2", tokenizer, layers=1), tokenizer)
    return folder


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "copy")
    return tmp_path / "copy"


def edit(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def test_a_folder_loads_and_says_what_it_is(good: Path) -> None:
    loaded = load_decoder(str(good), device="cpu", dtype="float64")
    assert loaded.name == str(good)
    assert str(loaded.model.dtype) == "torch.float64"
    assert loaded.device.type == "cpu"
    assert loaded.context == 48
    assert not loaded.model.training
    assert loaded.tokenizer.padding_side == "right"
    assert loaded.revision == folder_digest(good)


def test_loading_is_quiet(good: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_decoder(str(good), device="cpu")
    load_encoder(str(good), device="cpu")
    assert capfd.readouterr() == ("", "")


def test_the_environment_chooses_device_and_dtype(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRBENCH_DEVICE", "cpu")
    monkeypatch.setenv("PAIRBENCH_DTYPE", "bfloat16")
    assert str(load_decoder(str(good)).model.dtype) == "torch.bfloat16"
    assert str(load_decoder(str(good), dtype="float32").model.dtype) == "torch.float32"
    monkeypatch.setenv("PAIRBENCH_DTYPE", "auto")
    assert str(load_decoder(str(good)).model.dtype) == "torch.float32"


@pytest.mark.parametrize("architecture", ["distilbert", "llama-classifier"])
def test_classifiers_and_encoders_load(architecture: str, folder: Path) -> None:
    tokenizer = byte_tokenizer(48)
    save_model(folder, tiny_model(architecture, tokenizer, labels=3), tokenizer)
    assert load_classifier(str(folder), device="cpu").model.config.num_labels == 3
    encoder = load_encoder(str(folder), device="cpu")
    assert encoder.context == 48
    inputs = encoder.tokenizer("text", return_tensors="pt")
    assert encoder.model(**inputs).last_hidden_state.shape == (1, 4, 32)


def test_what_has_no_reward_head_is_no_reward_model(good: Path) -> None:
    said = r"does not hold the reward model or classifier: .* random .* score\.weight"
    with pytest.raises(InvalidParameter, match=said):
        load_classifier(str(good), device="cpu")


# -- names ---------------------------------------------------------------------------------------

LOADERS = {
    load_decoder: "the language model",
    load_classifier: "the reward model or classifier",
    load_encoder: "the encoder",
}


@pytest.mark.parametrize("load", LOADERS)
def test_a_missing_folder_is_told_from_an_id(
    load: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    path = str(tmp_path / "nothing")
    with pytest.raises(InvalidParameter) as error:
        load(path, device="cpu")
    said = f"cannot load {LOADERS[load]} '{path}': there is no such folder. Expected the folder of"
    assert str(error.value).startswith(said)
    assert "`hf download ID` on a machine with network" in str(error.value)


@pytest.mark.parametrize("name", ["", "./models/mine", "~/mine", "models/of/mine"])
def test_names_that_can_only_be_folders(name: str) -> None:
    with pytest.raises(InvalidParameter, match="there is no such folder"):
        load_decoder(name, device="cpu")


@pytest.mark.parametrize("name", ["gpt2", "nobody/no-such-model"])
def test_an_id_that_is_not_in_the_cache_says_how_to_get_it(name: str) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(InvalidParameter, match=re.escape(f"`hf download {name}` on a machine")):
        load_decoder(name, device="cpu")


# -- damaged folders -----------------------------------------------------------------------------


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def unknown_model(folder: Path) -> None:
    edit(folder / "config.json", model_type="nobody-knows")


def other_width(folder: Path) -> None:
    edit(folder / "config.json", n_embd=16)


def no_tokens(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"a": 1}')


@pytest.mark.parametrize(
    "damage", [without_weights, cut_weights, no_json, unknown_model, other_width, no_tokens]
)
def test_damaged_folders_are_told(damage: Callable[[Path], None], copy: Path) -> None:
    damage(copy)
    with pytest.raises(InvalidParameter, match=f"cannot load the language model '{copy}': "):
        load_decoder(str(copy), device="cpu")


def test_a_folder_without_a_tokenizer_is_told(copy: Path) -> None:
    for path in copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(InvalidParameter, match=r"holds no tokenizer\. .*save_pretrained\(FOLDER"):
        load_decoder(str(copy), device="cpu")


def test_a_tokenizer_without_pad_pads_with_its_end(copy: Path) -> None:
    edit(copy / "tokenizer_config.json", pad_token=None)
    loaded = load_decoder(str(copy), device="cpu")
    assert loaded.tokenizer.pad_token == loaded.tokenizer.eos_token == "</s>"


def test_a_tokenizer_without_pad_and_end_is_told(copy: Path) -> None:
    edit(copy / "tokenizer_config.json", pad_token=None, eos_token=None)
    with pytest.raises(InvalidParameter, match=r"neither a pad nor an EOS token.*pad_token = '…'"):
        load_decoder(str(copy), device="cpu")


def test_the_revision_changes_when_a_file_does(copy: Path) -> None:
    seen = {load_decoder(str(copy), device="cpu").revision}
    assert load_decoder(str(copy), device="cpu").revision in seen
    edit(copy / "tokenizer_config.json", model_max_length=40)
    seen.add(load_decoder(str(copy), device="cpu").revision)
    (copy / "notes.txt").write_text("")
    seen.add(folder_digest(copy))
    (copy / "notes.txt").rename(copy / "other.txt")
    seen.add(folder_digest(copy))
    # A single bit.
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    seen.add(load_decoder(str(copy), device="cpu").revision)
    assert len(seen) == 5


# -- devices and dtypes --------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "meta", "mps", "cpu:1"])
def test_what_is_no_device_is_told(device: str) -> None:
    with pytest.raises(InvalidParameter, match=rf"device must be 'auto', .* got '{device}'\."):
        resolve_device(device)


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, good: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"'cuda:99' is not there: torch sees \d+ GPUs"):
        resolve_device("cuda:99")
    monkeypatch.setenv("PAIRBENCH_DEVICE", "cuda:99")
    with pytest.raises(InvalidParameter, match="'cuda:99' is not there"):
        load_decoder(str(good))


def test_without_a_gpu_none_is_taken_instead(monkeypatch: pytest.MonkeyPatch, good: Path) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    told = r"'cuda' is not there: torch sees 0 GPUs\. Take 'cpu', or a torch built for the GPU\."
    for load in (load_decoder, load_classifier, load_encoder):
        with pytest.raises(InvalidParameter, match=told):
            load(str(good), device="cuda")
    monkeypatch.setenv("PAIRBENCH_DEVICE", "cuda")
    with pytest.raises(InvalidParameter, match=told):
        load_decoder(str(good))
    assert load_decoder(str(good), device="auto").device.type == "cpu"


def test_devices_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv("PAIRBENCH_DEVICE", raising=False)
    assert resolve_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device() == resolve_device("auto") == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    # As accelerate and torchrun tell the second of two processes.
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device() == resolve_device("cuda") == "cuda:1"
    assert resolve_device("cuda:0") == "cuda:0"
    assert resolve_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InvalidParameter, match="'cuda:2' is not there: torch sees 2 GPUs"):
        resolve_device("cuda")


def test_an_unknown_dtype_is_told_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_dtype("float64") == "float64"
    with pytest.raises(InvalidParameter, match=r"got 'bflot16'\. Did you mean 'bfloat16'\?"):
        resolve_dtype("bflot16")
    monkeypatch.setenv("PAIRBENCH_DTYPE", "half")
    with pytest.raises(InvalidParameter, match="dtype must be one of auto, bfloat16, float16, "):
        resolve_dtype()
