"""What measures a GPU runs where there is none, and writes nothing there."""

import importlib.util
import itertools
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pairbench.language.checkpoints import Checkpoint
from pairbench.language.tiny import tiny_model, word_tokenizer


@pytest.fixture
def gpu(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("gpu_page", root / "docs" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_page", module)  # which dataclasses look up
    spec.loader.exec_module(module)
    return module


def test_small_models_on_the_cpu_go_all_the_way(
    gpu: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = gpu.PAGE.read_bytes()
    gpu.main(["--tiny", "--accumulation", "2"])
    assert gpu.PAGE.read_bytes() == before
    out = capsys.readouterr().out
    assert out.startswith("On the CPU, with torch ")
    rows = [line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("| ")]
    assert [row[0].split(",")[0] for row in rows[1:]] == ["generation", "DPO", "scoring"]
    for row in rows[1:]:
        assert len(row) == len(rows[0]) == 8
        assert float(row[3].replace(",", "")) > 0  # tokens/s
        assert row[4] == row[6] == "–"  # no memory and no peak of a CPU
        assert re.fullmatch(r"\d+\.\d%", row[7])  # of whatever the busy machine did meanwhile


def test_the_time_of_dpo_is_that_of_all_steps_but_the_first(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    tokenizer = word_tokenizer([f"w{i}" for i in range(gpu.TINY.words)], gpu.TINY.context)
    model = tiny_model("gpt2", tokenizer, width=16, layers=2, heads=2)
    checkpoint = Checkpoint("tiny", model, tokenizer, "random")
    measurement = gpu.training(gpu.TINY, checkpoint, 2)
    assert measurement.seconds == gpu.TINY.pairs / gpu.TINY.batch - 1  # a second from step to step
    assert measurement.tokens == 12 * 2 * (2 * 8 + 1)


def test_without_a_gpu_nothing_is_measured_or_written(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "report", None)
    before = gpu.PAGE.read_bytes()
    with pytest.raises(SystemExit) as stopped:
        gpu.main([])
    # Text as the code is printed to standard error, and the status is 1.
    assert str(stopped.value.code).startswith("torch sees no GPU, so that there is nothing to")
    assert gpu.PAGE.read_bytes() == before
    assert capsys.readouterr().out == ""


def test_the_models_have_the_sizes_of_real_ones(gpu: Any) -> None:
    import torch

    tokenizer = word_tokenizer([f"w{i}" for i in range(gpu.LARGE.words)], gpu.LARGE.context)
    sizes = {"gpt2": gpu.LARGE.decoder, "distilbert": gpu.LARGE.classifier}
    with torch.device("meta"):
        decoder, classifier = (
            tiny_model(name, tokenizer, width=width, layers=layers, heads=heads)
            for name, (width, layers, heads) in sizes.items()
        )
    assert decoder.num_parameters() == 774_030_080  # as gpt2-large has
    assert classifier.num_parameters() == pytest.approx(355e6, rel=0.01)  # as roberta-large has
    # By hand: of each layer 12 width² and biases and norms, and the head, which is the table.
    width, layers = 1280, 36
    layer = 12 * width**2 + 13 * width
    assert gpu.matmul_parameters(decoder) == layers * layer + 2 * width + 50257 * width
    width, layers = 1024, 24
    layer = 12 * width**2 + 13 * width
    head = width**2 + width + width + 1
    assert gpu.matmul_parameters(classifier) == layers * layer + 2 * width + head


def test_a_row_says_what_was_measured(gpu: Any) -> None:
    measurement = gpu.Measurement("reading", 3_000_000, 2.0, 4e14, 3 * 2**30)
    expected = "| reading | 3,000,000 | 2.0 | 1,500,000 | 3.0 GiB | 200.0 | 50.0% | 80.0% |"
    assert measurement.row(4e14, 2.5e14) == expected
    assert " – | 80.0% |" in measurement.row(np.nan, 2.5e14)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", None),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 D", None),
    ],
)
def test_peaks_are_of_one_gpu_each(gpu: Any, name: str, peak: float | None) -> None:
    matches = [value for pattern, (value, _) in gpu.PEAKS.items() if re.fullmatch(pattern, name)]
    assert matches == ([] if peak is None else [peak])


def test_figures_replace_earlier_ones(gpu: Any) -> None:
    page = gpu.PAGE.read_text(encoding="utf-8")
    once = gpu.replace_figures(page, "| new |\n")
    assert "\n\n| new |\n\n<!-- end -->\n" in once
    assert "No figures yet" not in once
    assert gpu.replace_figures(once, "| new |\n") == once
    head, tail = page.split(gpu.BEGIN)[0], page.split(gpu.END)[1]
    assert once.startswith(head)
    assert once.endswith(tail)
    with pytest.raises(ValueError, match="expected the lines"):
        gpu.replace_figures("# Another page", "| new |")
