"""Commands for annotating your own completions: generate pools, select pairs, exchange labels."""

from pathlib import Path
from typing import Annotated

import typer

from pairbench.cli.options import Device, Dtype, Force, Json, set_device


def select_command(
    pool: Annotated[
        Path,
        typer.Argument(
            metavar="POOL",
            help="Completions: JSONL, JSON, CSV or Parquet, or a folder of `pool generate`.",
        ),
    ],
    budget: Annotated[int, typer.Option(help="Number of labels to buy in this round.")],
    out: Annotated[Path, typer.Option(help="Pairs file to write, JSONL.")] = Path("pairs.jsonl"),
    design: Annotated[
        str, typer.Option(help="Design, as NAME, 'NAME(pilot=0.3)' or FILE.py.")
    ] = "greedy-i-robust(residual=1.0)",
    labels: Annotated[
        Path | None,
        typer.Option(help="File of the labels so far, as `pairbench import` writes it."),
    ] = None,
    ignore_answers: Annotated[
        bool,
        typer.Option("--ignore-answers", help="Do not use the comparisons in POOL as labels."),
    ] = False,
    ignore_log_ref: Annotated[
        bool,
        typer.Option(
            "--ignore-log-ref",
            help="Treat all completions as equally likely, for example because the reference "
            "policy sampled them.",
        ),
    ] = False,
    merge_prompts: Annotated[
        bool,
        typer.Option(
            "--merge-prompts", help="Merge prompts that have the same text and different IDs."
        ),
    ] = False,
    embed: Annotated[
        str | None,
        typer.Option(
            help="Hugging Face encoder for features, as model ID or folder.", show_default="none"
        ),
    ] = None,
    dim: Annotated[
        int, typer.Option(help="Maximal number of features: words, or principal components.")
    ] = 64,
    beta: Annotated[float, typer.Option(help="β of the DPO training.")] = 1.0,
    ridge: Annotated[
        float, typer.Option(help="λ: the prior variance of rewards within a prompt is 1/λ.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the design's randomness.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Select pairs of your own completions to label, and estimate the worth of the labels."""
    from pairbench._util.files import check_writable, write_atomic
    from pairbench.annotation.figure import draw_gap_curve
    from pairbench.annotation.round import plan_round
    from pairbench.cli.show.annotation import print_round
    from pairbench.cli.show.terminal import say, say_json
    from pairbench.errors import InvalidParameter

    if out.suffix in (".svg", ".png"):
        raise InvalidParameter(f"--out is the file of the pairs, which are JSONL; got {out}.")
    set_device(device, dtype)
    check_writable([out], force=force, read=[pool, labels])
    stem = out.with_suffix("")
    files = [out, stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")]
    check_writable(files, force=force)
    planned = plan_round(
        pool,
        design,
        budget,
        labels=labels,
        pool_file_labels=not ignore_answers,
        log_ref=not ignore_log_ref,
        merge_prompts=merge_prompts,
        encoder=embed,
        dim=dim,
        beta=beta,
        ridge=ridge,
        seed=seed,
    )
    write_atomic(out, planned.pairs_file)
    try:
        figures = draw_gap_curve(planned.selection, len(planned.past.pairs), stem)
    except ImportError:
        figures = []
        say("figures need matplotlib: pip install 'pairbench[plots]'", stderr=True)
    if as_json:
        say_json(planned.summary())
    else:
        print_round(planned, out, figures)


def export_command(
    pairs: Annotated[
        list[Path], typer.Argument(metavar="PAIRS", help="Pairs files of `pairbench select`.")
    ],
    to: Annotated[str, typer.Option(help="Format: label-studio, argilla, csv or trl.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="named after PAIRS")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels file; needed for trl.")] = None,
    force: Force = False,
) -> None:
    """Export pairs to an annotation tool, or labelled pairs to TRL's DPOTrainer."""
    from pairbench._util.files import check_writable, write_atomic
    from pairbench.annotation.answers import read_labels
    from pairbench.annotation.exchange import export_questions
    from pairbench.annotation.pairs import read_pairs
    from pairbench.cli.show.annotation import print_export

    check_writable([out] if out else [], force=force, read=[*pairs, labels])
    export = export_questions(read_pairs(pairs), to, read_labels(labels) if labels else ())
    files = export.paths(pairs[0], out)
    check_writable(files, force=force)
    for path, content in files.items():
        write_atomic(path, content)
    print_export(export, list(files))


def import_command(
    answers: Annotated[
        Path,
        typer.Argument(
            metavar="ANSWERS",
            help="Annotators' answers: an export of Label Studio or Argilla, CSV, or JSONL.",
        ),
    ],
    labels: Annotated[Path, typer.Option(help="Labels file to write or extend.")] = Path(
        "labels.jsonl"
    ),
    annotator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who gave the answers that have no annotator.",
            show_default="as in ANSWERS",
        ),
    ] = None,
) -> None:
    """Import annotators' answers as labels. An answer imported twice counts once."""
    from pairbench.annotation.exchange import import_answers
    from pairbench.cli.show.annotation import print_import

    print_import(import_answers(answers, labels, annotator), labels)


def generate_command(
    policy: Annotated[
        str, typer.Option(help="Language model, as Hugging Face model ID or folder.")
    ],
    prompts: Annotated[
        Path,
        typer.Option(help="File of prompts: .txt with one a line, JSONL, JSON, CSV or Parquet."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the pool.")],
    completions: Annotated[int, typer.Option(help="Number of completions per prompt.")] = 16,
    max_tokens: Annotated[int, typer.Option(help="Maximal number of tokens per completion.")] = 128,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    top_p: Annotated[
        float,
        typer.Option(help="Nucleus sampling: draw from the likeliest tokens of this total mass."),
    ] = 1.0,
    features: Annotated[
        str,
        typer.Option(
            help="Features of a completion: hidden (mean of the last layer's states), last (the "
            "last token's state) or none."
        ),
    ] = "hidden",
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    shard: Annotated[
        int, typer.Option(help="Prompts per shard, the unit that is saved and resumed.")
    ] = 64,
    batch: Annotated[
        int, typer.Option(help="Completions per batch; reduced when memory runs out.")
    ] = 64,
    engine: Annotated[
        str, typer.Option(help="Sampling engine: transformers, or vllm if installed.")
    ] = "transformers",
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Sample completions of prompts from a language model. Running again resumes."""
    from dataclasses import asdict

    from pairbench.cli.show.annotation import print_generation
    from pairbench.cli.show.terminal import console, progress, resumable, say_json
    from pairbench.language.generation import GenerationSettings, generate_pool
    from pairbench.language.sampling import Sampling
    from pairbench.pool.corpus import read_prompts

    set_device(device, dtype)
    settings = GenerationSettings(
        completions=completions,
        sampling=Sampling(max_tokens, temperature, top_p, seed),
        shard=shard,
        features=features,
        engine=engine,
    )
    texts = read_prompts(prompts)
    screen = console(stderr=as_json)
    with resumable("Whole shards"), progress(screen, "sampling", "completions") as on_progress:
        summary = generate_pool(policy, texts, out, settings, batch=batch, on_progress=on_progress)
    if as_json:
        say_json(asdict(summary))
    else:
        print_generation(summary, settings, out)
