"""From a folder of boards to a folder of pages."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from scipy.special import stdtrit

from pairbench.boards import Board, board_names, load_board
from pairbench.catalogue import FAMILIES, notes, parameter_notes
from pairbench.errors import FileThere, InvalidParameter, MissingData, PairbenchError
from pairbench.registry import (
    describe_design,
    describe_env,
    design_names,
    design_spec,
    make_env,
    parsed,
)
from pairbench.report import much
from pairbench.site import charts, words
from pairbench.site.cells import gaps_script
from pairbench.standings import Standing, Standings, standings
from pairbench.stats import LEVEL
from pairbench.submission.collection import load_entries
from pairbench.submission.entry import LEVELS, BoardEntry
from pairbench.tables import rows, to_json, to_parquet
from pairbench.world import Environment

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    import jinja2

MARK = ".pairbench-site"
"""The file that tells a folder of pages, which may be replaced, from any other folder."""

# "- ``prompts``, ``held_out_prompts``: how many", in an environment's docstring.
_ARGUMENT = re.compile(r"^- ((?:``\w+``(?:, )?)+): (.*(?:\n  .*)*)", re.MULTILINE)
_LOADED = re.compile(r'(?:src|href)="((?:\.\./)?static/[^"]+)"')


@dataclass(frozen=True)
class Built:
    """What was written.

    Attributes:
        folder: where.
        pages: the pages, relative to the folder.
        files: how many files there are in all.
        bytes: how large they are in all.
        heaviest: the page that loads most.
        heaviest_bytes: how much that is, with all that it loads.
    """

    folder: Path
    pages: tuple[str, ...]
    files: int
    bytes: int
    heaviest: str
    heaviest_bytes: int


@dataclass(frozen=True)
class BoardPage:
    """A board with its entries and where they stand.

    Attributes:
        board: the board.
        entries: in the order of their files.
        table: the standings.
    """

    board: Board
    entries: list[BoardEntry]
    table: Standings

    @property
    def ranked(self) -> list[Standing]:
        """The ranked designs of the closed division, best first."""
        return [s for s in self.table.closed if s.rank is not None]

    @property
    def unranked(self) -> list[Standing]:
        """The controls of the closed division."""
        return [s for s in self.table.closed if s.rank is None]

    @property
    def leaders(self) -> list[Standing]:
        """The designs of the closed division that none is better than beyond doubt."""
        return [s for s in self.ranked if s.places is not None and s.places[0] == 1]

    @property
    def waiting(self) -> bool:
        """Whether there are no standings yet."""
        return self.table.reference is None

    def place(self, slug: str) -> Standing | None:
        """Where an entry stands."""
        for standing in (*self.table.closed, *self.table.open):
            if standing.entry.design.slug == slug:
                return standing
        return None


@dataclass(frozen=True)
class Parameter:
    """A parameter of a design or of an environment, as pages list it.

    Attributes:
        name: its name.
        value: its value.
        changed: whether that is not the usual one.
        about: what it is, as far as that is said.
    """

    name: str
    value: object
    changed: bool
    about: Markup | None = None


def build_site(out: Path, root: Path | None = None) -> Built:
    """Make the pages of all boards that take entries.

    The same boards and entries give the same bytes.

    Args:
        out: the folder of the pages; one that an earlier build has made is replaced.
        root: a folder of boards; those that ship with pairbench if None.

    Raises:
        FileThere: If the folder holds something else.
        InvalidSubmission: If an entry is not what it must be.
        InvalidParameter: If jinja2 or pyarrow is not installed.
    """
    return write_pages(out, board_pages(root))


def board_pages(root: Path | None = None) -> list[BoardPage]:
    """The boards that take entries, and where those stand.

    Args:
        root: see :func:`build_site`.

    Raises:
        InvalidSubmission: If an entry is not what it must be.
    """
    found = []
    for name in board_names(root):
        board = load_board(name, root)
        if board.published is not None:
            entries = load_entries(name, root)
            found.append(BoardPage(board, entries, standings(board, entries)))
    return found


def write_pages(out: Path, boards: Sequence[BoardPage]) -> Built:
    """Make the pages of some boards; no text that an entry holds is trusted.

    Args:
        out: see :func:`build_site`.
        boards: in the order of their names.

    Raises:
        FileThere: If the folder holds something else.
        InvalidParameter: If jinja2 or pyarrow is not installed.
    """
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise FileThere(
            f"{out} is there already and holds no pages of pairbench. Give the name of another "
            "folder by --out."
        )
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    weights: dict[str, int] = {}
    for name, content in _files(boards):
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        weights[name] = len(content)
    (fresh / MARK).write_text("This folder was made by `pairbench site build`.\n")
    pages = tuple(sorted(name for name in weights if name.endswith(".html")))
    loads = {page: _load(page, weights, (fresh / page).read_text()) for page in pages}
    if out.exists():
        shutil.rmtree(out)
    fresh.rename(out)
    heaviest = max(pages, key=lambda page: loads[page])
    return Built(out, pages, len(weights) + 1, sum(weights.values()), heaviest, loads[heaviest])


def serve_site(folder: Path, port: int = 8000) -> "ThreadingHTTPServer":
    """A server of a folder of pages, for this machine only; call ``serve_forever`` on it.

    Args:
        folder: that :func:`build_site` made.
        port: where to listen; 0 for any that is free, which ``server_port`` tells.

    Raises:
        InvalidParameter: If the folder holds no pages.
    """
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    if not (folder / MARK).is_file():
        raise InvalidParameter(
            f"{folder} holds no pages. Make them first: pairbench site build --out {folder}"
        )

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Keep silent: the terminal belongs to the command."""

    return ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(folder)))


def _files(boards: Sequence[BoardPage]) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each file but the mark."""
    for file in resources.files("pairbench.site").joinpath("static").iterdir():
        yield f"static/{file.name}", file.read_bytes()
    render = _renderer(boards)
    yield "index.html", render("overview.html", "")
    for shown in boards:
        name = shown.board.name
        data = shown.table.reference and charts.chart_data(
            shown.board, shown.table.closed, shown.table.reference
        )
        yield f"boards/{name}.html", render("board.html", "../", shown=shown, data=data)
        yield f"boards/{name}.compare.html", render("compare.html", "../", shown=shown)
        for entry in shown.entries:
            table, stem = rows([entry]), f"cells/{name}/{entry.design.slug}"
            yield f"{stem}.json", to_json(table)
            yield f"{stem}.parquet", to_parquet(table)
            yield f"{stem}.js", gaps_script(entry)
    for slug, on in _by_design(boards).items():
        yield f"designs/{slug}.html", _design_page(render, slug, on)
    for spec, places in _by_environment(boards).items():
        yield (
            f"environments/{environment_slug(spec)}.html",
            _environment_page(render, spec, places),
        )


def _design_page(
    render: Callable[..., bytes], slug: str, on: Sequence[tuple[BoardPage, Standing]]
) -> bytes:
    newest = max((standing.entry for _, standing in on), key=lambda entry: entry.date)
    data = {
        shown.board.name: charts.chart_data(
            shown.board, _beside_reference(shown, standing), shown.table.reference
        )
        for shown, standing in on
        if shown.table.reference is not None
    }
    return render(
        "design.html",
        "../",
        slug=slug,
        on=on,
        entry=newest,
        text=_own_text(newest),
        parameters=_design_parameters(newest),
        data=data,
    )


def _environment_page(
    render: Callable[..., bytes], spec: str, places: Sequence[tuple[BoardPage, int]]
) -> bytes:
    told, picture, missing, parameters = "", None, None, []
    try:
        environment = make_env(spec)
        told = notes(type(environment).__doc__).text
        parameters = _environment_parameters(spec, environment)
        picture, missing = _picture(environment)
    except PairbenchError as error:
        missing = str(error)
    ordered = [
        (shown, k, sorted(shown.table.closed, key=lambda s: s.environments[k].gaps[-1].value))
        for shown, k in places
    ]
    data = {
        shown.board.name: charts.chart_data(shown.board, rows, shown.table.reference, [k])
        for shown, k, rows in ordered
        if shown.table.reference is not None
    }
    return render(
        "environment.html",
        "../",
        spec=spec,
        told=told,
        parameters=parameters,
        picture=picture,
        missing=missing,
        places=ordered,
        data=data,
    )


def _picture(environment: Environment) -> tuple[Markup | None, str | None]:
    """The picture of an environment's pool, or why there is none."""
    if environment.written_by_models:  # it takes minutes, and models that may not be here
        return (
            None,
            "A language model writes the completions of this pool; they are not drawn here.",
        )
    try:
        return charts.pool_svg(environment.world(0).pool), None
    except (MissingData, InvalidParameter) as error:
        return None, f"The pool cannot be drawn here: {error}"


def _beside_reference(shown: BoardPage, standing: Standing) -> list[Standing]:
    reference = shown.table.reference
    beside = None if reference is None else shown.place(reference.design.slug)
    return [standing] if beside is None or beside is standing else [standing, beside]


def _own_text(entry: BoardEntry) -> Markup | None:
    """What a built-in design says of itself, where the entry was made by that very file."""
    name = entry.design.name
    if name not in design_names() or design_spec(name).source != entry.design.source:
        return None
    return words.prose(describe_design(name)["text"])


def _design_parameters(entry: BoardEntry) -> list[Parameter]:
    given = entry.design.label.partition("(")[2]
    return [
        Parameter(name, value, re.search(rf"(?:^|, ){re.escape(name)}=", given) is not None)
        for name, value in entry.design.params.items()
    ]


def _environment_parameters(spec: str, environment: Environment) -> list[Parameter]:
    about: dict[str, str] = parameter_notes(type(environment))
    for base in reversed(type(environment).__mro__):
        for names, text in _ARGUMENT.findall(notes(vars(base).get("__doc__")).text):
            about |= dict.fromkeys(re.findall(r"\w+", names), text)
    preset = describe_env(parsed(spec)[0]).get("differs", {})
    found = []
    for field in fields(environment):
        value, said = getattr(environment, field.name), about.get(field.name)
        changed = field.name in preset or value != field.default
        found.append(Parameter(field.name, value, changed, words.prose(said) if said else None))
    return found


def _by_design(boards: Sequence[BoardPage]) -> dict[str, list[tuple[BoardPage, Standing]]]:
    """The boards that each design is on, by slug."""
    found: dict[str, list[tuple[BoardPage, Standing]]] = {}
    for shown in boards:
        for standing in (*shown.table.closed, *shown.table.open):
            found.setdefault(standing.entry.design.slug, []).append((shown, standing))
    return dict(sorted(found.items()))


def _by_environment(boards: Sequence[BoardPage]) -> dict[str, list[tuple[BoardPage, int]]]:
    """The boards that each environment is on, and its place there, by its spec."""
    found: dict[str, list[tuple[BoardPage, int]]] = {}
    for shown in boards:
        for k, environment in enumerate(shown.board.environments):
            found.setdefault(environment.spec, []).append((shown, k))
    return found


def environment_slug(spec: str) -> str:
    """An environment's name in addresses: ``"powerlaw-v1-annotator-crowd-votes-3"``."""
    return re.sub(r"[^a-z0-9]+", "-", words.short(spec).lower().replace(".", "p")).strip("-")


def _load(page: str, weights: Mapping[str, int], text: str) -> int:
    """What a page weighs with all that it loads, bytes."""
    own = weights[page] + sum(
        weights[name.removeprefix("../")] for name in sorted(set(_LOADED.findall(text)))
    )
    # The compare page loads the gaps of the two designs that are chosen.
    folder = f"cells/{page.removeprefix('boards/').removesuffix('.compare.html')}/"
    gaps = [w for name, w in weights.items() if name.startswith(folder) and name.endswith(".js")]
    return own + sum(sorted(gaps)[-2:]) if page.endswith(".compare.html") else own


def _renderer(boards: Sequence[BoardPage]) -> Callable[..., bytes]:
    """``render(template, root, **values)``, ``root`` being the way to the site's first page."""
    environment = _templates()
    environment.globals |= {
        "boards": boards,
        "designs": _by_design(boards),
        "environments": _by_environment(boards),
        "families": FAMILIES,
        "levels": LEVELS,
        "environment_names": lambda board: words.told_apart([e.spec for e in board.environments]),
        "student_table": _student,
        "profile_rows": charts.profile_rows,
        "savings_svg": charts.savings_svg,
    }

    def render(template: str, root: str, **values: Any) -> bytes:
        return (environment.get_template(template).render(root=root, **values) + "\n").encode()

    return render


def _student(entry: BoardEntry) -> dict[str, float]:
    """Student's t for the intervals of as many seeds as an entry has in its environments."""
    sizes = sorted({len(curve.seeds) for curve in entry.curves} - {1})
    return {str(n): float(stdtrit(n - 1, (1 + LEVEL) / 2)) for n in sizes}


def _templates() -> "jinja2.Environment":
    try:
        import jinja2
    except ImportError as error:
        raise InvalidParameter(
            "pages need jinja2, which is not installed: pip install 'pairbench[site]'."
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pairbench.site"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "island": words.island,
        "places": words.place_text,
        "gap": words.gap_text,
        "interval": words.interval_text,
        "seconds": words.seconds_text,
        "bytes": words.bytes_text,
        "much": much,
        "saved": words.savings_value,
        "saved_range": words.savings_range,
        "short": words.short,
        "verdict": words.verdict,
        "warmth": words.warmth,
        "web": words.web_link,
        "prose": words.prose,
        "geomean": words.geometric_mean,
        "slug": environment_slug,
    }
    return environment
