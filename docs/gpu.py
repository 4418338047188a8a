"""Measure training, generation and scoring on a GPU, and write it down: python docs/gpu.py.

The page is docs/gpu.md, where what was measured stands between two marks. Models have the sizes of
real ones and random weights, which are made here. Without a GPU nothing is measured or written.
With --tiny, small models do the same on the CPU, to see that all of it runs; their figures say
nothing and are not written either.
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
from pairbench.files import write_whole
from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.rewards import RewardModel, text_scores
from pairbench.language.sampling import Sampling, TransformersSampler
from pairbench.language.tiny import save, tiny_model, word_tokenizer
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
name that torch knows a GPU by."""


@dataclass(frozen=True)
class Work:
    """What is done, and by models of which size.

    Attributes:
        words: of the vocabulary; pad, BOS and EOS tokens come on top.
        decoder: width, layers, and heads.
        classifier: likewise.
        context: tokens that models read.
        pairs: that are trained on.
        batch: pairs of a step.
        length: tokens of a prompt, and of a completion.
        texts: that are scored.
        longest: tokens of the longest of them.
        rows: completions that are drawn.
        at_once: of them.
        matrix: rows of the matrices by whose product the peak is measured.
    """

    words: int
    decoder: tuple[int, int, int]
    classifier: tuple[int, int, int]
    context: int
    pairs: int
    batch: int
    length: int
    texts: int
    longest: int
    rows: int
    at_once: int
    matrix: int


# gpt2-large's configuration, and an encoder of roberta-large's size.
LARGE = Work(50254, (1280, 36, 20), (1024, 24, 16), 1024, 512, 16, 128, 4096, 512, 512, 256, 8192)
TINY = Work(60, (16, 2, 2), (16, 1, 2), 64, 16, 4, 8, 40, 30, 8, 8, 128)


@dataclass(frozen=True)
class Measured:
    """How long some work took.

    Attributes:
        what: the work.
        tokens: that were read or drawn, padding aside.
        seconds: that it took.
        flops: that the model needs for it, by the usual count.
        memory: the most bytes that tensors had on the GPU; None on the CPU.
    """

    what: str
    tokens: int
    seconds: float
    flops: float
    memory: int | None

    def row(self, peak: float, product: float) -> str:
        """As a line of a table.

        Args:
            peak: the GPU's, FLOP/s; NaN if not known.
            product: the same as measured.
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
    """Measure, print, and, on a GPU, write the page."""
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="small models on the CPU, no page")
    parser.add_argument(
        "--accumulation",
        type=int,
        choices=(1, 2, 4),
        default=1,
        help="parts that a batch of pairs is cut into, for small memories",
    )
    given = parser.parse_args(arguments)
    if not given.tiny and not torch.cuda.is_available():
        raise SystemExit(
            "torch sees no GPU, so that there is nothing to measure: nothing was written. --tiny "
            "does the same with small models on the CPU."
        )
    work, device = (TINY, "cpu") if given.tiny else (LARGE, "cuda")
    with TemporaryDirectory() as folder, patch.dict(os.environ, PAIRBENCH_CACHE=folder):
        text = "\n".join(report(work, device, Path(folder), given.accumulation)) + "\n"
    sys.stdout.write(text)
    if not given.tiny:
        write_whole(PAGE, with_figures(PAGE.read_text(encoding="utf-8"), text).encode())


def with_figures(page: str, text: str) -> str:
    """The page with the text in the place of what was measured before.

    Raises:
        ValueError: If the page has no such place.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected the lines {BEGIN.strip()!r} and {END!r} in {PAGE}.")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def report(work: Work, device: str, folder: Path, accumulation: int) -> Iterator[str]:
    """What was measured, as Markdown."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    versions = ", ".join(f"{each} {version(each)}" for each in ("torch", "transformers", "trl"))
    product = product_speed(work.matrix, device)
    peak, source = next(
        (found for names, found in PEAKS.items() if re.fullmatch(names, name)), (np.nan, "")
    )
    told = f"{peak:g} TFLOP/s ({source})" if source else "not in the table of `docs/gpu.py`"
    yield f"On {name}, with {versions}, models in {DTYPE}."
    yield f"Peak in bf16: {told}."
    yield f"A product of two matrices of {work.matrix:,} rows: {product / 1e12:.3g} TFLOP/s."
    yield ""
    yield "| work | tokens | seconds | tokens/s | memory | TFLOP/s | of the peak | of the product |"
    yield "|---|---|---|---|---|---|---|---|"
    for done in measurements(work, device, folder, accumulation):
        yield done.row(peak * 1e12, product)


def measurements(
    work: Work, device: str, folder: Path, accumulation: int = 1
) -> Iterator[Measured]:
    """All three, one after the other."""
    tokenizer = word_tokenizer([f"w{i}" for i in range(work.words)], work.context)
    width, layers, heads = work.decoder
    model = tiny_model("gpt2", tokenizer, width=width, layers=layers, heads=heads)
    name = save(folder / "decoder", model, tokenizer)
    del model
    checkpoint = load_decoder(name, device=device, dtype=DTYPE)
    yield generation(work, checkpoint)
    yield training(work, checkpoint, accumulation)
    del checkpoint
    width, layers, heads = work.classifier
    model = tiny_model("distilbert", tokenizer, width=width, layers=layers, heads=heads)
    n = multiplied(model)
    name = save(folder / "classifier", model, tokenizer)
    del model
    yield scoring(work, RewardModel(name, device=device, dtype=DTYPE), n)


def generation(work: Work, checkpoint: Checkpoint) -> Measured:
    """Draw completions."""
    rng = np.random.default_rng(0)
    prompts = rng.integers(3, 3 + work.words, size=(work.rows, work.length)).tolist()
    streams = np.arange(3 * work.rows).reshape(work.rows, 3)
    sampler = TransformersSampler(checkpoint, Sampling(max_tokens=work.length), work.at_once)
    sampler(prompts[: work.at_once], streams[: work.at_once])  # to warm up
    drawn = 0

    def on_batch(rows: int, tokens: int) -> None:
        nonlocal drawn
        drawn += tokens

    seconds, memory = timed(lambda: sampler(prompts, streams, on_batch), checkpoint.device.type)
    read = work.rows * work.length
    flops = 2.0 * multiplied(checkpoint.model) * (drawn + read)
    return Measured(f"generation, {work.rows:,} completions", drawn, seconds, flops, memory)


def training(work: Work, checkpoint: Checkpoint, accumulation: int) -> Measured:
    """DPO by TRL, from the end of the first step, which warms up, to the end of the last."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    rng = np.random.default_rng(1)

    def text() -> str:
        return " ".join(f"w{i}" for i in rng.integers(work.words, size=work.length))

    pool = Pool(
        np.zeros((work.pairs, 2, 1)),
        prompts=[text() for _ in range(work.pairs)],
        texts=[[" " + text() for _ in range(2)] for _ in range(work.pairs)],
    )
    pairs = np.tile([0, 0, 1], (work.pairs, 1))
    pairs[:, 0] = np.arange(work.pairs)
    labels = np.ones(work.pairs)
    recipe = Recipe(epochs=1, batch_size=work.batch, learning_rate=1e-6)
    trainer = TRLTrainer(checkpoint, recipe, ridge=1.0, accumulation=accumulation)
    device = checkpoint.device.type
    ends = []

    def on_step(*_: object) -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    hook = register_optimizer_step_post_hook(on_step)
    try:
        _, memory = timed(lambda: trainer.trained(pool, 0.1, pairs, labels), device)
    finally:
        hook.remove()
    tokens = (work.pairs - work.batch) * 2 * (2 * work.length + 1)  # the EOS token, too
    # Forwards and backwards through the policy, forwards through the reference.
    flops = (6.0 + 2.0) * multiplied(checkpoint.model) * tokens
    what = f"DPO, {work.pairs - work.batch:,} of {work.pairs:,} pairs"
    return Measured(what, tokens, ends[-1] - ends[0], flops, memory)


def scoring(work: Work, model: RewardModel, n: int) -> Measured:
    """Score texts of mixed lengths.

    Args:
        work: how many.
        model: by which reward model.
        n: its weights that are multiplied.
    """
    rng = np.random.default_rng(2)
    sizes = rng.integers(work.longest // 16, work.longest + 1, size=work.texts)
    texts = [
        ("", " ".join(f"w{i}" for i in rng.integers(work.words, size=size)))
        for size in sizes.tolist()
    ]
    warm = min(256, work.texts // 8)
    device = str(model.device)
    text_scores(texts[:warm], model, jobs=1)  # to load the model, and to warm up
    seconds, memory = timed(lambda: text_scores(texts[warm:], model, jobs=1), device)
    tokens = int(sizes[warm:].sum())
    what = f"scoring, {work.texts - warm:,} texts"
    return Measured(what, tokens, seconds, 2.0 * n * tokens, memory)


def multiplied(model: Any) -> int:
    """N: the weights that each token is multiplied by; of a table, only a row is looked up."""
    import torch

    head = model.get_output_embeddings()
    tables = {
        id(layer.weight): layer.weight.numel()
        for layer in model.modules()
        if isinstance(layer, torch.nn.Embedding)
        and (head is None or layer.weight is not head.weight)
    }
    return sum(weights.numel() for weights in model.parameters()) - sum(tables.values())


def product_speed(rows: int, device: str) -> float:
    """FLOP/s of a product of two square matrices in bf16, the best of ten."""
    import torch

    a, b = (torch.randn(rows, rows, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = min(timed(lambda: torch.mm(a, b), device)[0] for _ in range(10))
    return 2.0 * rows**3 / best


def timed(work: Callable[[], object], device: str) -> tuple[float, int | None]:
    """Seconds that some work takes, and the most bytes of tensors on the GPU meanwhile."""
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
