"""Build static web pages from a folder of boards, and serve them."""

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

from pairbench._util.arrow import to_json, to_parquet
from pairbench._version import __version__
from pairbench.boards.board import Board, board_names, load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.entry import LEVELS, BoardEntry
from pairbench.boards.standings import Standing, Standings, standings
from pairbench.boards.tables import gap_table
from pairbench.design.registry import describe_design, design_names, design_spec
from pairbench.errors import InvalidParameter, MissingData, OutputExists, PairbenchError
from pairbench.site import charts, text
from pairbench.site.gaps import gaps_script
from pairbench.spec.catalogue import FAMILIES, parameter_docs, parse_docstring
from pairbench.spec.text import parse_spec
from pairbench.stats.bootstrap import LEVEL
from pairbench.view.budget import quantity_noun
from pairbench.worlds.environment import Environment
from pairbench.worlds.registry import describe_env, make_env

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    import jinja2

MARKER = ".pairbench-site"
"""File that marks a folder of pages, which a build may replace."""

# An item such as "- ``prompts``, ``held_out_prompts``: …" in an environment's docstring.
_ARGUMENT = re.compile(r"^- ((?:``\w+``(?:, )?)+): (.*(?:\n  .*)*)", re.MULTILINE)
_NOT_CREATED = "This environment could not be created when the page was built."
_STATIC_LINK = re.compile(r'(?:src|href)="((?:\.\./)?static/[^"]+)"')


@dataclass(frozen=True)
class SiteSummary:
    """Summary of a built site.

    Attributes:
        folder: folder of the pages.
        pages: paths of the pages, relative to the folder.
        files: number of files.
        bytes: total size of the files, bytes.
        heaviest: page that loads the most bytes.
        heaviest_bytes: size of that page with all files that it loads, bytes.
    """

    folder: Path
    pages: tuple[str, ...]
    files: int
    bytes: int
    heaviest: str
    heaviest_bytes: int


@dataclass(frozen=True)
class BoardPage:
    """Content of a board's pages.

    Attributes:
        board: the board.
        entries: its entries, in the order of their files.
        table: its standings.
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
        """The designs of the closed division that no other is significantly better than."""
        return [s for s in self.ranked if s.rank_bounds is not None and s.rank_bounds[0] == 1]

    @property
    def waiting(self) -> bool:
        """Whether the board has no standings yet, for want of an entry of its reference."""
        return self.table.reference is None

    def find_standing(self, slug: str) -> Standing | None:
        """Return the standing of an entry, None if it has none."""
        for standing in (*self.table.closed, *self.table.open):
            if standing.entry.design.slug == slug:
                return standing
        return None


@dataclass(frozen=True)
class Parameter:
    """Parameter of a design or environment in a page's table.

    Attributes:
        name: its name.
        value: its value.
        changed: whether the value is not the default.
        about: its description, None if undocumented.
    """

    name: str
    value: object
    changed: bool
    about: Markup | None = None


def build_site(out: Path, root: Path | None = None) -> SiteSummary:
    """Build the pages of all published boards.

    Equal boards and entries give equal bytes.

    Args:
        out: folder of the pages; the folder of an earlier build is replaced.
        root: folder of boards; the boards that ship with pairbench if None.

    Raises:
        OutputExists: If the folder exists and holds anything but pages.
        InvalidSubmission: If an entry is invalid.
        InvalidParameter: If jinja2 or pyarrow is not installed.
    """
    return write_pages(out, board_pages(root))


def board_pages(root: Path | None = None) -> list[BoardPage]:
    """Load the published boards and compute their standings.

    Args:
        root: see :func:`build_site`.

    Raises:
        InvalidSubmission: If an entry is invalid.
    """
    pages = []
    for name in board_names(root):
        board = load_board(name, root)
        if board.published is not None:
            entries = load_entries(name, root)
            pages.append(BoardPage(board, entries, standings(board, entries)))
    return pages


def write_pages(out: Path, boards: Sequence[BoardPage]) -> SiteSummary:
    """Write the pages of boards. Texts of entries are untrusted and escaped.

    Args:
        out: see :func:`build_site`.
        boards: the boards, in the order of their names.

    Raises:
        OutputExists: If the folder exists and holds anything but pages.
        InvalidParameter: If jinja2 or pyarrow is not installed.
    """
    if out.exists() and not (out / MARKER).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExists(
            f"{out} exists and holds no pages of pairbench, so that it is not replaced. Name "
            "another folder by --out."
        )
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    sizes: dict[str, int] = {}
    for name, content in _files(boards):
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sizes[name] = len(content)
    (fresh / MARKER).write_text("This folder was made by `pairbench site build`.\n")
    pages = tuple(sorted(name for name in sizes if name.endswith(".html")))
    loads = {page: _loaded_bytes(page, sizes, (fresh / page).read_text()) for page in pages}
    if out.exists():
        shutil.rmtree(out)
    fresh.rename(out)
    heaviest = max(pages, key=lambda page: loads[page])
    return SiteSummary(
        folder=out,
        pages=pages,
        files=len(sizes) + 1,
        bytes=sum(sizes.values()),
        heaviest=heaviest,
        heaviest_bytes=loads[heaviest],
    )


def serve_site(folder: Path, port: int = 8000) -> "ThreadingHTTPServer":
    """Create a server of a folder of pages for this machine; call ``serve_forever`` on it.

    Args:
        folder: folder that :func:`build_site` wrote.
        port: port to listen on; 0 picks a free one, see the server's ``server_port``.

    Raises:
        InvalidParameter: If the folder holds no pages.
    """
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    if not (folder / MARKER).is_file():
        raise InvalidParameter(
            f"{folder} holds no pages. Build them first: pairbench site build --out {folder}"
        )

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Log nothing, because the command prints to the terminal."""

    return ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(folder)))


def _files(boards: Sequence[BoardPage]) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file of the site but the marker."""
    for file in resources.files("pairbench.site").joinpath("static").iterdir():
        yield f"static/{file.name}", file.read_bytes()
    render = _renderer(boards)
    yield "index.html", render("overview.html", "")
    for page in boards:
        yield from _board_files(render, page)
    for slug, standings_by_board in _by_design(boards).items():
        yield f"designs/{slug}.html", _design_page(render, slug, standings_by_board)
    for spec, positions in _by_environment(boards).items():
        html = _environment_page(render, spec, positions)
        yield f"environments/{environment_slug(spec)}.html", html


def _board_files(render: Callable[..., bytes], page: BoardPage) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of a board's pages, and of the gaps of its entries."""
    name = page.board.name
    data = page.table.reference and charts.chart_data(
        page.board, page.table.closed, page.table.reference
    )
    yield f"boards/{name}.html", render("board.html", "../", page=page, data=data)
    yield f"boards/{name}.compare.html", render("compare.html", "../", page=page)
    for entry in page.entries:
        table, stem = gap_table([entry]), f"cells/{name}/{entry.design.slug}"
        yield f"{stem}.json", to_json(table)
        yield f"{stem}.parquet", to_parquet(table)
        yield f"{stem}.js", gaps_script(entry)


def _design_page(
    render: Callable[..., bytes], slug: str, on: Sequence[tuple[BoardPage, Standing]]
) -> bytes:
    """Render the page of a design.

    Args:
        render: see :func:`_renderer`.
        slug: the design's name in addresses.
        on: the boards that it is on, with its standings.
    """
    newest = max((standing.entry for _, standing in on), key=lambda entry: entry.date)
    data = {
        page.board.name: charts.chart_data(
            page.board, _with_reference(page, standing), page.table.reference
        )
        for page, standing in on
        if page.table.reference is not None
    }
    return render(
        "design.html",
        "../",
        slug=slug,
        on=on,
        entry=newest,
        documentation=_documentation(newest),
        version=__version__,
        parameters=_design_parameters(newest),
        data=data,
    )


def _environment_page(
    render: Callable[..., bytes], spec: str, positions: Sequence[tuple[BoardPage, int]]
) -> bytes:
    """Render the page of an environment.

    Args:
        render: see :func:`_renderer`.
        spec: spec of the environment.
        positions: the boards that it is on, with its index there.
    """
    description, picture, missing, parameters = "", None, None, []
    try:
        environment = make_env(spec)
        description = parse_docstring(type(environment).__doc__).text
        parameters = _environment_parameters(spec, environment)
        picture, missing = _picture(environment)
    except PairbenchError:  # its message may name a file of this machine
        missing = _NOT_CREATED
    by_gap = [
        (page, k, sorted(page.table.closed, key=lambda s: s.environments[k].gaps[-1].value))
        for page, k in positions
    ]
    data = {
        page.board.name: charts.chart_data(page.board, closed, page.table.reference, [k])
        for page, k, closed in by_gap
        if page.table.reference is not None
    }
    return render(
        "environment.html",
        "../",
        spec=spec,
        description=description,
        parameters=parameters,
        picture=picture,
        missing=missing,
        boards_with_rows=by_gap,
        data=data,
    )


def _picture(environment: Environment) -> tuple[Markup | None, str | None]:
    """Draw an environment's pool, or return the reason why it cannot be drawn."""
    if environment.uses_language_models:  # it takes minutes, and models that may be missing
        return (
            None,
            "A language model writes the completions of this pool; they are not drawn here.",
        )
    try:
        return charts.pool_svg(environment.world(0).pool), None
    except MissingData as error:
        return None, f"The data of this pool was missing when the page was built. {error.remedy}"
    except InvalidParameter:
        return None, _NOT_CREATED


def _with_reference(page: BoardPage, standing: Standing) -> list[Standing]:
    """Return a standing, followed by the reference's unless they are the same."""
    entry = page.table.reference
    reference = None if entry is None else page.find_standing(entry.design.slug)
    return [standing] if reference is None or reference is standing else [standing, reference]


def _documentation(entry: BoardEntry) -> Markup | None:
    """Return a built-in design's docstring if the entry is of the same design, else None.

    The source tells within a protocol. For an entry of an earlier one, name and parameters have to
    do, and the page says that the text is of this version.
    """
    name = entry.design.name
    if name not in design_names():
        return None
    spec = design_spec(name)
    if entry.required_version is None:
        same = spec.source == entry.design.source
    else:
        same = spec.params.keys() == entry.design.params.keys()
    return text.prose(describe_design(name)["text"]) if same else None


def _design_parameters(entry: BoardEntry) -> list[Parameter]:
    """List a design's parameters; those that its label names differ from the default."""
    arguments = entry.design.label.partition("(")[2]
    return [
        Parameter(name, value, re.search(rf"(?:^|, ){re.escape(name)}=", arguments) is not None)
        for name, value in entry.design.params.items()
    ]


def _environment_parameters(spec: str, environment: Environment) -> list[Parameter]:
    """List an environment's parameters with the descriptions in its docstrings."""
    about: dict[str, str] = parameter_docs(type(environment))
    for base in reversed(type(environment).__mro__):
        for names, description in _ARGUMENT.findall(
            parse_docstring(vars(base).get("__doc__")).text
        ):
            about |= dict.fromkeys(re.findall(r"\w+", names), description)
    preset = describe_env(parse_spec(spec)[0]).get("differs", {})
    parameters = []
    for field in fields(environment):
        value, note = getattr(environment, field.name), about.get(field.name)
        changed = field.name in preset or value != field.default
        html = text.prose(note) if note else None
        parameters.append(Parameter(field.name, value, changed, html))
    return parameters


def _by_design(boards: Sequence[BoardPage]) -> dict[str, list[tuple[BoardPage, Standing]]]:
    """Collect, by slug, the boards that each design is on, with its standings."""
    by_slug: dict[str, list[tuple[BoardPage, Standing]]] = {}
    for page in boards:
        for standing in (*page.table.closed, *page.table.open):
            by_slug.setdefault(standing.entry.design.slug, []).append((page, standing))
    return dict(sorted(by_slug.items()))


def _by_environment(boards: Sequence[BoardPage]) -> dict[str, list[tuple[BoardPage, int]]]:
    """Collect, by spec, the boards that each environment is on, with its index there."""
    by_spec: dict[str, list[tuple[BoardPage, int]]] = {}
    for page in boards:
        for k, environment in enumerate(page.board.environments):
            by_spec.setdefault(environment.spec, []).append((page, k))
    return by_spec


def environment_slug(spec: str) -> str:
    """Return an environment's name in addresses: ``"powerlaw-v1-annotator-crowd-votes-3"``."""
    return re.sub(r"[^a-z0-9]+", "-", text.shorten(spec).lower().replace(".", "p")).strip("-")


def _loaded_bytes(page: str, sizes: Mapping[str, int], html: str) -> int:
    """Return the size of a page with all files that it loads, bytes.

    Args:
        page: path of the page.
        sizes: size of each file of the site.
        html: content of the page.
    """
    static = {name.removeprefix("../") for name in _STATIC_LINK.findall(html)}
    total = sizes[page] + sum(sizes[name] for name in static)
    if not page.endswith(".compare.html"):
        return total
    # The compare page loads the gaps of two designs: count the largest two.
    folder = f"cells/{page.removeprefix('boards/').removesuffix('.compare.html')}/"
    gaps = [n for name, n in sizes.items() if name.startswith(folder) and name.endswith(".js")]
    return total + sum(sorted(gaps)[-2:])


def _renderer(boards: Sequence[BoardPage]) -> Callable[..., bytes]:
    """Return ``render(template, root, **values)``; ``root`` is the relative path to the index."""
    environment = _templates()
    environment.globals |= {
        "boards": boards,
        "designs": _by_design(boards),
        "environments": _by_environment(boards),
        "families": FAMILIES,
        "levels": LEVELS,
        "environment_names": lambda board: text.shorten_all([e.spec for e in board.environments]),
        "student_quantiles": _student_quantiles,
        "profile_rows": charts.profile_rows,
        "savings_svg": charts.savings_svg,
    }

    def render(template: str, root: str, **values: Any) -> bytes:
        return (environment.get_template(template).render(root=root, **values) + "\n").encode()

    return render


def _student_quantiles(entry: BoardEntry) -> dict[str, float]:
    """Return quantiles of Student's t for intervals, by the numbers of seeds of an entry."""
    sizes = sorted({len(curve.seeds) for curve in entry.curves} - {1})
    return {str(n): float(stdtrit(n - 1, (1 + LEVEL) / 2)) for n in sizes}


def _templates() -> "jinja2.Environment":
    """Load the templates, with the filters that they use."""
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
        "script_json": text.script_json,
        "places": text.rank_text,
        "gap": text.gap_text,
        "interval": text.interval_text,
        "seconds": text.seconds_text,
        "bytes": text.bytes_text,
        "quantity_noun": quantity_noun,
        "saved": text.savings_value,
        "saved_range": text.savings_range,
        "shorten": text.shorten,
        "verdict": text.verdict,
        "heatmap_level": text.heatmap_level,
        "web_link": text.web_link,
        "prose": text.prose,
        "geomean": text.geometric_mean,
        "slug": environment_slug,
    }
    return environment
