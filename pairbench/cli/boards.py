"""Commands that submit and verify entries, show leaderboards, and build their web pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pairbench.cli.options import Force, Jobs, Json, parse_changes

if TYPE_CHECKING:
    from pairbench.submission.verify import Verdict

Boards = Annotated[
    Path | None,
    typer.Option(help="Folder of boards.", show_default="the boards that ship with pairbench"),
]


def submit_command(
    board: Annotated[str, typer.Argument(help="Name of a published board, e.g. NAME-v1.")],
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the board's run.")],
    design: Annotated[str, typer.Option(help="Spec of the design, as in the run.")],
    author: Annotated[str, typer.Option(help="Name of the author or group.")],
    link: Annotated[str, typer.Option(help="Web page about the design, https://….")],
    change: Annotated[
        list[str] | None,
        typer.Option(
            help="Parameter change of an open entry, as in the run, e.g. trainer=ipo. Repeat for "
            "several."
        ),
    ] = None,
    not_deterministic: Annotated[
        bool,
        typer.Option(
            "--not-deterministic", help="Declare that a seed does not determine the pairs."
        ),
    ] = False,
    sign: Annotated[
        Path | None, typer.Option(help="SSH key that signs the bundle.", show_default="none")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder for the entry and its bundle, e.g. leaderboards of a checkout."),
    ] = Path("submission"),
    boards: Boards = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the entry without writing it.")
    ] = False,
    force: Force = False,
) -> None:
    """Make a board entry from a run, with a bundle of the pairs behind its figures."""
    from pairbench._util.files import check_writable, write_atomic
    from pairbench.boards.board import load_board
    from pairbench.boards.entry import write_entry
    from pairbench.cli.show.boards import print_submission
    from pairbench.submission import signature
    from pairbench.submission.submit import make_submission

    submission = make_submission(
        load_board(board, boards),
        run_folder,
        design,
        author=author,
        link=link,
        changes=parse_changes(change or ()),
        deterministic=not not_deterministic,
    )
    stem = out / board / "entries" / submission.entry.design.slug
    entry, bundle = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.bundle")
    files = [entry, bundle]
    if not dry_run:
        check_writable(files, force=force)
        write_atomic(bundle, submission.packed.data)
        write_entry(submission.entry, entry)
        if sign is not None:
            files.append(signature.sign(bundle, sign))
    print_submission(submission, files, dry_run)


def verify_command(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE...",
            help="Bundles of `pairbench submit`, NAME.bundle. Several share the worlds that they "
            "are run on.",
        ),
    ],
    entry: Annotated[
        Path | None,
        typer.Option(help="Entry of a single bundle.", show_default="NAME.json if it exists"),
    ] = None,
    level: Annotated[
        Literal["recomputed", "reproduced"],
        typer.Option(
            help="recomputed: recompute labels, policies and scores from the pairs; reproduced: "
            "also run the design again in a sandbox."
        ),
    ] = "reproduced",
    secret: Annotated[
        Path | None,
        typer.Option(
            help="File of secret bytes that seed the fresh worlds.", show_default="random"
        ),
    ] = None,
    boards: Boards = None,
    jobs: Jobs = None,
    cells: Annotated[
        int | None,
        typer.Option(help="Number of cells to recompute, at random.", show_default="all"),
    ] = None,
    announced: Annotated[
        int,
        typer.Option(help="Number of the board's own seeds to reproduce per environment; 0: all."),
    ] = 2,
    fresh: Annotated[
        int, typer.Option(help="Number of fresh, unannounced seeds to play per environment.")
    ] = 5,
    record: Annotated[
        bool, typer.Option("--record", help="Write the level reached into the entry.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Verify submissions: recompute their figures from the pairs, and rerun their designs."""
    from pairbench.cli.show.boards import print_verdict
    from pairbench.cli.show.terminal import console, progress, say_json
    from pairbench.submission.admission import admit_bundle
    from pairbench.submission.verify import verify_bundles

    entries = _entry_files(bundles, entry, required=record)
    read = [_read_submission(*files) for files in zip(bundles, entries, strict=True)]
    secret_bytes = None if secret is None else _read_bytes(secret)
    with progress(console(stderr=as_json), "verifying", "steps") as on_progress:
        verdicts = verify_bundles(
            [admit_bundle(s.data, s.name, entry=s.entry, board_root=boards) for s in read],
            level=level,
            secret=secret_bytes,
            jobs=jobs,
            cells=cells,
            announced=announced or None,
            fresh=fresh,
            on_progress=lambda what, done, total: on_progress(done, total, what),
        )
    for submission, verdict in zip(read, verdicts, strict=True):
        if as_json:
            say_json({**verdict.as_json(), "key": submission.key})
        else:
            print_verdict(verdict, submission.key)
        if record:
            submission.record(verdict)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Submission:
    """Files of a submission.

    Attributes:
        name: file name of the bundle.
        data: content of the bundle.
        key: fingerprint of the key that signed the bundle, None if it is not signed.
        path: path of the entry, None without one.
        entry: content of the entry, None without one.
    """

    name: str
    data: bytes
    key: str | None
    path: Path | None
    entry: bytes | None

    def record(self, verdict: "Verdict") -> None:
        """Write a verification into the entry, unless the verdict has none."""
        from pairbench.boards.entry import read_entry, write_entry

        verification = verdict.verification()
        if self.path is not None and self.entry is not None and verification is not None:
            entry = read_entry(self.entry, self.path.name)
            write_entry(entry.model_copy(update={"verification": verification}), self.path)


def _entry_files(
    bundles: Sequence[Path], entry: Path | None, *, required: bool
) -> list[Path | None]:
    """Return the entry's path for each bundle: ``entry``, or NAME.json beside the bundle.

    Raises:
        InvalidParameter: If ``entry`` is given for several bundles.
        InvalidSubmission: If one is required and missing.
    """
    from pairbench.errors import InvalidParameter, InvalidSubmission

    if entry is not None:
        if len(bundles) > 1:
            raise InvalidParameter(
                f"--entry takes the entry of a single bundle, got {len(bundles)} bundles. Leave "
                "it out: entries NAME.json beside NAME.bundle are read."
            )
        return [entry]
    paths = [bundle.with_suffix(".json") for bundle in bundles]
    entries = [path if path.is_file() else None for path in paths]
    if required and None in entries:
        missing = paths[entries.index(None)]
        raise InvalidSubmission(f"no entry {missing} to write into. Name the entry by --entry.")
    return entries


def _read_submission(bundle: Path, entry: Path | None) -> _Submission:
    """Read a bundle, its signature if there is one, and its entry.

    Raises:
        InvalidSubmission: If a file cannot be read, or the signature is not of the bundle.
    """
    from pairbench.submission.signature import signer

    claimed, data = None if entry is None else _read_bytes(entry), _read_bytes(bundle)
    signature = bundle.with_name(f"{bundle.name}.sig")
    key = signer(data, signature) if signature.is_file() else None
    return _Submission(bundle.name, data, key, entry, claimed)


def _read_bytes(path: Path) -> bytes:
    from pairbench.errors import InvalidSubmission

    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidSubmission(f"cannot read {error.filename}: {error.strerror}.") from error


def site_build_command(
    out: Annotated[Path, typer.Option(help="Folder of the pages.")] = Path("site"),
    boards: Boards = None,
) -> None:
    """Build static web pages of all published boards."""
    from pairbench.cli.show.boards import print_site
    from pairbench.site.build import build_site

    print_site(build_site(out, boards))


def site_serve_command(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    out: Annotated[Path, typer.Option(help="Folder of the pages.")] = Path("site"),
    boards: Boards = None,
) -> None:
    """Build the pages and serve them on this machine until Ctrl-C."""
    from pairbench.cli.show.boards import print_site
    from pairbench.cli.show.terminal import say
    from pairbench.site.build import build_site, serve_site

    print_site(build_site(out, boards))
    with serve_site(out, port) as server:
        say(f"http://127.0.0.1:{server.server_port}/ until Ctrl-C")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("Stopped.")


def show_board_command(
    board: Annotated[str, typer.Argument(help="Name of a published board, e.g. NAME-v1.")],
    boards: Boards = None,
) -> None:
    """Show the standings of a board."""
    from pairbench.boards.board import load_board
    from pairbench.boards.collection import load_entries
    from pairbench.boards.standings import standings
    from pairbench.cli.show.boards import print_standings

    print_standings(standings(load_board(board, boards), load_entries(board, boards)))
