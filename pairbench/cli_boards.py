"""The command line of the boards: submit, verify, and what is made of entries."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pairbench.cli_options import Json

Boards = Annotated[
    Path | None,
    typer.Option(help="Folder of boards. [default: those that ship with pairbench]"),
]


def submit_command(
    board: Annotated[str, typer.Argument(help="A published board, such as NAME-v1.")],
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of its run.")],
    design: Annotated[str, typer.Option(help="The design, as it was run.")],
    author: Annotated[str, typer.Option(help="You, or your group.")],
    link: Annotated[str, typer.Option(help="Where to read more, https://….")],
    change: Annotated[
        list[str] | None,
        typer.Option(help="Of an open entry, as it was run: trainer=ipo; may be repeated."),
    ] = None,
    not_deterministic: Annotated[
        bool,
        typer.Option(
            "--not-deterministic", help="The same seed need not give the same pairs again."
        ),
    ] = False,
    sign: Annotated[
        Path | None, typer.Option(help="SSH key to sign the bundle with. [default: none]")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the entry and its bundle; leaderboards of a checkout.")
    ] = Path("submission"),
    boards: Boards = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and write nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an entry that is there.")
    ] = False,
) -> None:
    """Make an entry of a run: the figures, and a bundle with the pairs that they come from."""
    from pairbench.boards import changed, load_board
    from pairbench.console_boards import print_submission
    from pairbench.files import check_writable, write_whole
    from pairbench.submission.entry import write_entry
    from pairbench.submission.signature import sign as signed
    from pairbench.submission.submit import make_submission

    made = make_submission(
        load_board(board, boards),
        run_folder,
        design,
        author=author,
        link=link,
        changes=changed(change or ()),
        deterministic=not not_deterministic,
    )
    stem = out / board / "entries" / made.entry.design.slug
    entry, bundle = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.bundle")
    files = [entry, bundle]
    if not dry_run:
        check_writable(files, force=force)
        write_whole(bundle, made.packed.data)
        write_entry(made.entry, entry)
        if sign is not None:
            files.append(signed(bundle, sign))
    print_submission(made, files, dry_run)


def verify_command(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE...",
            help="What `pairbench submit` made, NAME.bundle. Several share the worlds that they "
            "are run on.",
        ),
    ],
    entry: Annotated[
        Path | None,
        typer.Option(help="The entry of a single one. [default: NAME.json where it is there]"),
    ] = None,
    level: Annotated[
        Literal["recomputed", "reproduced"],
        typer.Option(
            help="recomputed: labels, fits and scores again from the pairs; reproduced: the design "
            "is run again, too, isolated."
        ),
    ] = "reproduced",
    secret: Annotated[
        Path | None,
        typer.Option(help="File whose bytes fresh seeds are drawn from. [default: random]"),
    ] = None,
    boards: Boards = None,
    jobs: Annotated[int | None, typer.Option(help="Processes. [default: the cores]")] = None,
    cells: Annotated[
        int | None,
        typer.Option(help="Cells to compute again, drawn from the secret. [default: all]"),
    ] = None,
    announced: Annotated[
        int,
        typer.Option(help="Announced seeds of each environment to run it on again; 0 is all."),
    ] = 2,
    fresh: Annotated[
        int, typer.Option(help="Seeds of each environment that nobody has announced.")
    ] = 5,
    record: Annotated[
        bool, typer.Option("--record", help="Write the level that was reached into the entry.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute submissions again from their pairs, and run their designs again, isolated."""
    from dataclasses import asdict

    from pairbench.console import console, progress, say_json
    from pairbench.console_boards import print_verdict
    from pairbench.errors import InvalidParameter, InvalidSubmission
    from pairbench.submission.admission import admitted
    from pairbench.submission.entry import read_entry, write_entry
    from pairbench.submission.signature import signer
    from pairbench.submission.verify import verify_bundles

    if entry is not None and len(bundles) > 1:
        raise InvalidParameter(
            f"--entry is of one bundle, and there are {len(bundles)}; entries beside them, "
            "NAME.json, are found."
        )
    beside = [bundle.with_suffix(".json") for bundle in bundles]
    entries: list[Path | None] = [entry]
    if entry is None:
        entries = [there if there.is_file() else None for there in beside]
    if record and None in entries:
        missing = beside[entries.index(None)]
        raise InvalidSubmission(f"there is no entry to write into: name it by --entry {missing}")
    try:
        drawn = None if secret is None else secret.read_bytes()
        claimed = [None if path is None else path.read_bytes() for path in entries]
        contents = [bundle.read_bytes() for bundle in bundles]
    except OSError as error:
        raise InvalidSubmission(f"cannot read {error.filename}: {error.strerror}.") from error
    signatures = [bundle.with_name(f"{bundle.name}.sig") for bundle in bundles]
    keys = [
        signer(data, signature) if signature.is_file() else None
        for data, signature in zip(contents, signatures, strict=True)
    ]
    with progress(console(stderr=as_json), "verifying", "steps") as on_progress:
        verdicts = verify_bundles(
            [
                admitted(data, bundle.name, entry=said, board_root=boards)
                for data, bundle, said in zip(contents, bundles, claimed, strict=True)
            ],
            level=level,
            secret=drawn,
            jobs=jobs,
            cells=cells,
            announced=announced or None,
            fresh=fresh,
            on_progress=lambda what, done, total: on_progress(done, total, what),
        )
    for verdict, key, path, said in zip(verdicts, keys, entries, claimed, strict=True):
        if as_json:
            say_json({**asdict(verdict), "key": key})
        else:
            print_verdict(verdict, key)
        verification = verdict.verification()
        if record and path is not None and said is not None and verification is not None:
            found = read_entry(said, path.name)
            write_entry(found.model_copy(update={"verification": verification}), path)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def site_build_command(
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("site"),
    boards: Boards = None,
) -> None:
    """Make the pages of all published boards, to be looked at or put on any web server."""
    from pairbench.console_boards import print_built
    from pairbench.site.build import build_site

    print_built(build_site(out, boards))


def site_serve_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8000,
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("site"),
    boards: Boards = None,
) -> None:
    """Make the pages, and show them to this machine until Ctrl-C."""
    from pairbench.console import say
    from pairbench.console_boards import print_built
    from pairbench.site.build import build_site, serve_site

    print_built(build_site(out, boards))
    with serve_site(out, port) as server:
        say(f"http://127.0.0.1:{server.server_port}/ until Ctrl-C")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("Stopped.")


def show_board_command(
    board: Annotated[str, typer.Argument(help="A published board, such as NAME-v1.")],
    boards: Boards = None,
) -> None:
    """Where designs stand on a board."""
    from pairbench.boards import load_board
    from pairbench.console_boards import print_standings
    from pairbench.standings import standings
    from pairbench.submission.collection import load_entries

    print_standings(standings(load_board(board, boards), load_entries(board, boards)))
