"""Measure training, generation and scoring on a GPU, and write the page: python docs/gpu.py.

The page is docs/gpu.md, whose figures stand between two markers. Models have the sizes of real
ones and random weights. Without a GPU nothing is measured or written. With --tiny, small models run
on the CPU as a test of the script; their figures mean nothing and are not written.
"""

import argparse
import gc
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from pairbench import Pool
from pairbench._util.files import write_atomic
from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.rewards import RewardModel, text_scores
from pairbench.language.sampling import Sampling, TransformersSampler
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer
from pairbench.training.recipe import Recipe
from pairbench.training.trl import TRLTrainer

PAGE = Path(__file__).resolve().parent / "gpu.md"
BEGIN, END = "<!-- measured by python docs/gpu.py -->\n", "<!-- end -->"
DTYPE = "bfloat16"

PEAKS = {
    r"NVIDIA H100 80GB HBM3": (989.4, "NVIDIA H100 data sheet, SXM"),
    r"NVIDIA H100 PCIe": (756.0, "NVIDIA H100 data sheet, PCIe"),
    r"NVIDIA H200": (989.4, "NVIDIA H200 data sheet, SXM"),
    r"NVIDIA A100.*": (312.0, "NVIDIA A100 data sheet"),
    r"NVIDIA L4": (121.0, "NVIDIA L4 data sheet"),
    r"NVIDIA GeForce RTX 4090": (165.2, "NVIDIA Ada GPU architecture, appendix A"),
}
"""bf16 TFLOP/s of tensor cores without sparsity (half of what data sheets give with it), by the
name that torch gives a GPU, as a regular expression."""


@dataclass(frozen=True)
class Workload:
    """Amounts of work, and sizes of the models.

    Attributes:
        words: size of the vocabulary without the pad, BOS and EOS tokens.
        decoder: width, layers and heads of the policy.
        classifier: width, layers and heads of the reward model.
        context: maximal number of tokens that models read.
        pairs: number of pairs to train on.
        batch: pairs per training step.
        length: tokens of each prompt and of each completion.
        texts: number of texts to score.
        max_text: tokens of the longest text.
        completions: number of completions to sample.
        sampling_batch: completions sampled at a time.
        matrix: rows of the square matrices whose product measures the GPU's speed.
    """

    words: int
    decoder: tuple[int, int, int]
    classifier: tuple[int, int, int]
    context: int
    pairs: int
    batch: int
    length: int
    texts: int
    max_text: int
    completions: int
    sampling_batch: int
    matrix: int


# gpt2-large's configuration, and an encoder of roberta-large's size.
LARGE = Workload(
    50254, (1280, 36, 20), (1024, 24, 16), 1024, 512, 16, 128, 4096, 512, 512, 256, 8192
)
TINY = Workload(60, (16, 2, 2), (16, 1, 2), 64, 16, 4, 8, 40, 30, 8, 8, 128)


@dataclass(frozen=True)
class Measurement:
    """Speed and memory of one kind of work.

    Attributes:
        what: description of the work.
        tokens: number of tokens read or sampled, without padding.
        seconds: wall time.
        flops: FLOPs of the model, 2 per weight and token of a forward pass.
        memory: peak memory of tensors on the GPU, bytes; None on the CPU.
    """

    what: str
    tokens: int
    seconds: float
    flops: float
    memory: int | None

    def row(self, peak: float, product: float) -> str:
        """Format as a line of the table.

        Args:
            peak: peak of the GPU, FLOP/s; NaN if unknown.
            product: measured speed of a matrix product, FLOP/s.
        """
        speed = self.flops / self.seconds
        memory = "–" if self.memory is None else f"{self.memory / 2**30:.1f} GiB"
        cells = [
            self.what,
            f"{self.tokens:,}",
            f"{self.seconds:.1f}",
            f"{self.tokens / self.seconds:,.0f}",
            memory,
            f"{speed / 1e12:.1f}",
            "–" if np.isnan(peak) else f"{speed / peak:.1%}",
            f"{speed / product:.1%}",
        ]
        return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the page if measured on a GPU."""
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="small models on the CPU, no page")
    parser.add_argument(
        "--accumulation",
        type=int,
        choices=(1, 2, 4),
        default=1,
        help="gradient accumulation steps, for small memories",
    )
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        raise SystemExit(
            "torch sees no GPU, so that there is nothing to measure: nothing was written. --tiny "
            "does the same with small models on the CPU."
        )
    load, device = (TINY, "cpu") if options.tiny else (LARGE, "cuda")
    with TemporaryDirectory() as folder, patch.dict(os.environ, PAIRBENCH_CACHE=folder):
        text = "\n".join(report(load, device, Path(folder), options.accumulation)) + "\n"
    sys.stdout.write(text)
    if not options.tiny:
        write_atomic(PAGE, replace_figures(PAGE.read_text(encoding="utf-8"), text).encode())


def replace_figures(page: str, text: str) -> str:
    """Replace the figures of the page.

    Raises:
        ValueError: If the page lacks the markers.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected the lines {BEGIN.strip()!r} and {END!r} in {PAGE}.")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def report(load: Workload, device: str, folder: Path, accumulation: int) -> Iterator[str]:
    """Measure, and yield the lines of the report as Markdown."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    versions = ", ".join(f"{each} {version(each)}" for each in ("torch", "transformers", "trl"))
    product = matmul_flops(load.matrix, device)
    peak, source = next(
        (entry for pattern, entry in PEAKS.items() if re.fullmatch(pattern, name)), (np.nan, "")
    )
    peak_text = f"{peak:g} TFLOP/s ({source})" if source else "not in the table of `docs/gpu.py`"
    yield f"On {name}, with {versions}, models in {DTYPE}."
    yield f"Peak in bf16: {peak_text}."
    yield f"A product of two matrices of {load.matrix:,} rows: {product / 1e12:.3g} TFLOP/s."
    yield ""
    yield "| work | tokens | seconds | tokens/s | memory | TFLOP/s | of the peak | of the product |"
    yield "|---|---|---|---|---|---|---|---|"
    for measurement in measurements(load, device, folder, accumulation):
        yield measurement.row(peak * 1e12, product)


def measurements(
    load: Workload, device: str, folder: Path, accumulation: int = 1
) -> Iterator[Measurement]:
    """Measure generation, training and scoring, in this order."""
    tokenizer = word_tokenizer([f"w{i}" for i in range(load.words)], load.context)
    width, layers, heads = load.decoder
    model = tiny_model("gpt2", tokenizer, width=width, layers=layers, heads=heads)
    name = save_model(folder / "decoder", model, tokenizer)
    del model
    checkpoint = load_decoder(name, device=device, dtype=DTYPE)
    yield generation(load, checkpoint)
    yield training(load, checkpoint, accumulation)
    del checkpoint
    width, layers, heads = load.classifier
    model = tiny_model("distilbert", tokenizer, width=width, layers=layers, heads=heads)
    n = matmul_parameters(model)
    name = save_model(folder / "classifier", model, tokenizer)
    del model
    yield scoring(load, RewardModel(name, device=device, dtype=DTYPE), n)


def generation(load: Workload, checkpoint: Checkpoint) -> Measurement:
    """Measure the sampling of completions."""
    rng = np.random.default_rng(0)
    prompts = rng.integers(3, 3 + load.words, size=(load.completions, load.length)).tolist()
    streams = np.arange(3 * load.completions).reshape(load.completions, 3)
    settings, batch = Sampling(max_tokens=load.length), load.sampling_batch
    sampler = TransformersSampler(checkpoint, settings, batch)
    sampler(prompts[:batch], streams[:batch])  # warm-up
    sampled = 0

    def on_batch(rows: int, tokens: int) -> None:
        nonlocal sampled
        sampled += tokens

    seconds, memory = timed(lambda: sampler(prompts, streams, on_batch), checkpoint.device.type)
    read = load.completions * load.length
    flops = 2.0 * matmul_parameters(checkpoint.model) * (sampled + read)
    what = f"generation, {load.completions:,} completions"
    return Measurement(what, sampled, seconds, flops, memory)


def training(load: Workload, checkpoint: Checkpoint, accumulation: int) -> Measurement:
    """Measure TRL's DPO from the end of the first step, a warm-up, to the end of the last."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    rng = np.random.default_rng(1)

    def text() -> str:
        return " ".join(f"w{i}" for i in rng.integers(load.words, size=load.length))

    pool = Pool(
        np.zeros((load.pairs, 2, 1)),
        prompts=[text() for _ in range(load.pairs)],
        texts=[[" " + text() for _ in range(2)] for _ in range(load.pairs)],
    )
    pairs = np.tile([0, 0, 1], (load.pairs, 1))
    pairs[:, 0] = np.arange(load.pairs)
    labels = np.ones(load.pairs)
    recipe = Recipe(epochs=1, batch_size=load.batch, learning_rate=1e-6)
    trainer = TRLTrainer(checkpoint, recipe, ridge=1.0, accumulation=accumulation)
    device = checkpoint.device.type
    step_ends = []

    def on_step(*_: object) -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        step_ends.append(time.perf_counter())

    hook = register_optimizer_step_post_hook(on_step)
    try:
        _, memory = timed(lambda: trainer.fit_with_losses(pool, 0.1, pairs, labels), device)
    finally:
        hook.remove()
    tokens = (load.pairs - load.batch) * 2 * (2 * load.length + 1)  # with the EOS token
    # Forward and backward pass of the policy, forward pass of the reference.
    flops = (6.0 + 2.0) * matmul_parameters(checkpoint.model) * tokens
    what = f"DPO, {load.pairs - load.batch:,} of {load.pairs:,} pairs"
    return Measurement(what, tokens, step_ends[-1] - step_ends[0], flops, memory)


def scoring(load: Workload, model: RewardModel, n: int) -> Measurement:
    """Measure the scoring of texts of mixed lengths.

    Args:
        load: number and lengths of the texts.
        model: the reward model.
        n: its number of weights, see :func:`matmul_parameters`.
    """
    rng = np.random.default_rng(2)
    sizes = rng.integers(load.max_text // 16, load.max_text + 1, size=load.texts)
    texts = [
        ("", " ".join(f"w{i}" for i in rng.integers(load.words, size=size)))
        for size in sizes.tolist()
    ]
    n_warm_up = min(256, load.texts // 8)
    device = str(model.device)
    text_scores(texts[:n_warm_up], model, jobs=1)  # loads the model
    seconds, memory = timed(lambda: text_scores(texts[n_warm_up:], model, jobs=1), device)
    tokens = int(sizes[n_warm_up:].sum())
    what = f"scoring, {load.texts - n_warm_up:,} texts"
    return Measurement(what, tokens, seconds, 2.0 * n * tokens, memory)


def matmul_parameters(model: Any) -> int:
    """Count the weights that each token is multiplied by, that is all but embedding tables."""
    import torch

    head = model.get_output_embeddings()
    tables = {
        id(layer.weight): layer.weight.numel()
        for layer in model.modules()
        if isinstance(layer, torch.nn.Embedding)
        and (head is None or layer.weight is not head.weight)
    }
    return sum(weights.numel() for weights in model.parameters()) - sum(tables.values())


def matmul_flops(rows: int, device: str) -> float:
    """Measure the FLOP/s of a product of two square matrices in bf16, the best of ten runs."""
    import torch

    a, b = (torch.randn(rows, rows, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = min(timed(lambda: torch.mm(a, b), device)[0] for _ in range(10))
    return 2.0 * rows**3 / best


def timed(work: Callable[[], object], device: str) -> tuple[float, int | None]:
    """Measure the wall time of some work, seconds, and the peak memory on the GPU, bytes."""
    import torch

    if device == "cpu":
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin, None
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin, torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    main()
