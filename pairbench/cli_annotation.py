"""The command line of one's own completions: pools are made, pairs chosen, labels brought back."""

from pathlib import Path
from typing import Annotated

import typer

from pairbench.cli_options import Device, Dtype, Force, Json, use


def select_command(
    pool: Annotated[
        Path,
        typer.Argument(
            metavar="POOL",
            help="JSONL, JSON, CSV or Parquet with completions, or a folder of `pool generate`.",
        ),
    ],
    budget: Annotated[int, typer.Option(help="Labels to buy in this round.")],
    out: Annotated[Path, typer.Option(help="The pairs file to write, JSONL.")] = Path(
        "pairs.jsonl"
    ),
    design: Annotated[
        str, typer.Option(help="Design, as NAME, 'NAME(pilot=0.3)' or FILE.py.")
    ] = "greedy-i-robust(residual=1.0)",
    labels: Annotated[
        Path | None, typer.Option(help="Labels so far; `pairbench import` makes this file.")
    ] = None,
    ignore_answers: Annotated[
        bool,
        typer.Option(
            "--ignore-answers", help="Do not count comparisons that POOL holds as labels."
        ),
    ] = False,
    ignore_log_ref: Annotated[
        bool,
        typer.Option(
            "--ignore-log-ref",
            help="Take all completions as equally likely, as they are where the reference policy "
            "wrote them.",
        ),
    ] = False,
    embed: Annotated[
        str | None,
        typer.Option(help="Hugging Face encoder for features, as id or folder. [default: none]"),
    ] = None,
    dim: Annotated[
        int, typer.Option(help="Word features, or components of embeddings, at most.")
    ] = 64,
    beta: Annotated[float, typer.Option(help="β of the DPO training to come.")] = 1.0,
    ridge: Annotated[
        float, typer.Option(help="λ: a priori, rewards have variance 1/λ within a prompt.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the design's randomness.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Choose pairs of your own completions to be labelled, and say what they are worth."""
    from pairbench.annotation.round import plan_round
    from pairbench.console import print_round, say, say_json
    from pairbench.errors import InvalidParameter
    from pairbench.figures import gap_curve
    from pairbench.files import check_writable, write_whole

    if out.suffix in (".svg", ".png"):
        raise InvalidParameter(f"--out is for pairs, which are JSONL; got {out}.")
    use(device, dtype)
    check_writable([out], force=force, read=[pool, labels])
    stem = out.with_suffix("")
    files = [out, stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")]
    check_writable(files, force=force)
    planned = plan_round(
        pool,
        design,
        budget,
        labels=labels,
        own_answers=not ignore_answers,
        log_ref=not ignore_log_ref,
        encoder=embed,
        dim=dim,
        beta=beta,
        ridge=ridge,
        seed=seed,
    )
    write_whole(out, planned.pairs_file)
    try:
        figures = gap_curve(planned.selection, len(planned.past.pairs), stem)
    except ImportError:
        figures = []
        say("figures need matplotlib: pip install 'pairbench[plots]'", stderr=True)
    if as_json:
        say_json(planned.summary())
    else:
        print_round(planned, out, figures)


def export_command(
    pairs: Annotated[
        list[Path], typer.Argument(metavar="PAIRS", help="Files that `pairbench select` wrote.")
    ],
    to: Annotated[str, typer.Option(help="label-studio, argilla, csv or trl.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write. [default: named after PAIRS]")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels, for trl.")] = None,
    force: Force = False,
) -> None:
    """Take pairs to an annotation tool, or labelled pairs to TRL's DPOTrainer."""
    from pairbench.annotation.exchange import exported, read_labels
    from pairbench.annotation.pairs import read_pairs
    from pairbench.console import print_exported
    from pairbench.files import check_writable, write_whole

    check_writable([out] if out else [], force=force, read=[*pairs, labels])
    made = exported(read_pairs(pairs), to, read_labels(labels) if labels else ())
    files = made.paths(pairs[0], out)
    check_writable(files, force=force)
    for path, content in files.items():
        write_whole(path, content)
    print_exported(made, list(files))


def import_command(
    answers: Annotated[
        Path,
        typer.Argument(
            metavar="ANSWERS",
            help="What annotators gave back: an export of Label Studio or Argilla, CSV, or JSONL.",
        ),
    ],
    labels: Annotated[Path, typer.Option(help="The labels file to make, or to add to.")] = Path(
        "labels.jsonl"
    ),
) -> None:
    """Bring labels back; an answer that is there already is not counted twice."""
    from pairbench.annotation.exchange import bring_in
    from pairbench.console import print_imported

    print_imported(bring_in(answers, labels), labels)


def generate_command(
    policy: Annotated[str, typer.Option(help="Language model, as Hugging Face id or folder.")],
    prompts: Annotated[
        Path, typer.Option(help="Prompts, one a line of .txt, or JSONL, JSON, CSV or Parquet.")
    ],
    out: Annotated[Path, typer.Option(help="The pool to make, a folder.")],
    completions: Annotated[int, typer.Option(help="Completions of each prompt.")] = 16,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a completion at most.")] = 128,
    temperature: Annotated[float, typer.Option(help="What logits are divided by.")] = 1.0,
    top_p: Annotated[
        float, typer.Option(help="Draw from the likeliest tokens of this probability.")
    ] = 1.0,
    features: Annotated[
        str,
        typer.Option(
            help="hidden: the mean of a completion's last hidden states; last: that of its last "
            "token; none."
        ),
    ] = "hidden",
    seed: Annotated[int, typer.Option(help="Seed of the completions.")] = 0,
    shard: Annotated[int, typer.Option(help="Prompts whose completions are kept together.")] = 64,
    batch: Annotated[
        int, typer.Option(help="Completions drawn at once; fewer where memory is short.")
    ] = 64,
    engine: Annotated[
        str, typer.Option(help="What draws: transformers, or vllm where it is installed.")
    ] = "transformers",
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Let a language model complete prompts. Running again goes on where it was stopped."""
    from dataclasses import asdict

    from pairbench.annotation.pools import read_prompts
    from pairbench.console import console, print_generated, progress, say, say_json
    from pairbench.language.generation import Generation, generate_pool
    from pairbench.language.sampling import Sampling

    use(device, dtype)
    what = Generation(
        completions=completions,
        sampling=Sampling(max_tokens, temperature, top_p, seed),
        shard=shard,
        features=features,
        engine=engine,
    )
    texts = read_prompts(prompts)
    try:
        with progress(console(stderr=as_json), "drawing", "completions") as on_progress:
            done = generate_pool(policy, texts, out, what, batch=batch, on_progress=on_progress)
    except KeyboardInterrupt:
        say("Stopped. Whole shards are kept: the same command goes on from there.", stderr=True)
        raise typer.Exit(130) from None
    if as_json:
        say_json(asdict(done))
    else:
        print_generated(done, what, out)
