"""Publications of designs, parsed from their sources and written as BibTeX.

A design names its sources in prose, ``Authors year, Title, venue, arXiv number``, with or without
quotes around the title. Remarks may precede, separate and follow the publications.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pairbench._version import __version__

_NAME = r"(?:(?:van|von|de|der|den|di|la|Van|Von|De|La) )*[^\W\d_a-z][^\W\d_]*(?:[-'’][^\W\d_]+)*"
_AUTHOR = rf"{_NAME}(?: {_NAME})?"
_PUBLICATION = re.compile(
    rf"(?<![\w-])(?P<authors>{_AUTHOR}(?:, (?!and ){_AUTHOR})*(?:,? and {_AUTHOR})?)"
    r"(?P<et_al>,? et al\.)? (?P<year>(?:18|19|20)\d\d), "
)
_QUOTED = re.compile(r'["“](?P<title>[^"“”]+?),?["”](?:, (?P<rest>.*))?', re.DOTALL)
_ARXIV = re.compile(r"arXiv:? ?(\d{4}\.\d{4,5})")
# Text between commas that is a location in a publication or a remark, not a part of the title.
_REMARK = re.compile(
    r"(?:for|with|which|where|there|here|turned|after|see|introduction|section|Section|eq\.|"
    r"Algorithm \d|arXiv)\b"
)
_COMMA = re.compile(r", (?![^()]*\))")
_SENTENCE_END = re.compile(r"; |\. (?=[A-Z])|, and (?=that )")
_WORD = re.compile(r"[^\W\d_]+")
_STOP_WORDS = {"a", "an", "the", "on", "in", "of", "to", "for", "and", "is", "are"}


@dataclass(frozen=True)
class Publication:
    """Publication that a design's source names.

    Attributes:
        authors: surnames of the authors.
        et_al: whether there are further authors, "et al.".
        year: year of publication.
        title: title without quotes; empty if the source gives only a number.
        venue: journal or conference, None if the source names none.
        arxiv: arXiv number, None if the source gives none.
    """

    authors: tuple[str, ...]
    et_al: bool
    year: int
    title: str
    venue: str | None = None
    arxiv: str | None = None


CRITERION_PAPER = Publication(
    ("Han", "Goyal", "Ma"),
    False,
    2026,
    "Which Pairs to Compare for LLM Post-Training?",
    arxiv="2606.19607",
)
"""Publication of the criterion of the optimal designs."""


def parse_publications(source: str) -> list[Publication]:
    """Parse the publications that a design's source names, in order, without remarks.

    Args:
        source: text of the ``Source:`` line of a design's docstring.
    """
    starts = list(_PUBLICATION.finditer(source))
    ends = [*(match.start() for match in starts), len(source)][1:]
    return [
        _parse_publication(match, source[match.end() : end])
        for match, end in zip(starts, ends, strict=True)
    ]


def bibtex(sources: Mapping[str, str | None]) -> str:
    """Write a bibliography of pairbench, the paper of its criterion, and the designs' publications.

    A publication has one entry, whose ``keywords`` are the designs that name it. Designs that name
    no publication are keywords of pairbench's entry.

    Args:
        sources: source of each design, by name; None if it has none.
    """
    publications = {_identity(CRITERION_PAPER): CRITERION_PAPER}
    designs: dict[str, list[str]] = {_identity(CRITERION_PAPER): []}
    unpublished = []
    for design, source in sources.items():
        cited = parse_publications(source or "")
        if not cited:
            unpublished.append(design)
        for publication in cited:
            identity = _identity(publication)
            publications[identity] = _merge(publications.get(identity, publication), publication)
            citing = designs.setdefault(identity, [])
            if design not in citing:
                citing.append(design)
    keys = _citation_keys(publications.values())
    entries = [_package_entry(unpublished)]
    for key, (identity, publication) in zip(keys, publications.items(), strict=True):
        entries.append(_publication_entry(key, publication, designs[identity]))
    return "\n".join(entries)


def latex(text: str) -> str:
    """Convert text to LaTeX: accented letters become commands, special characters are escaped.

    Args:
        text: the text; characters that have no command here stay as they are.
    """
    return "".join(_latex_character(c) for c in unicodedata.normalize("NFC", text))


def _parse_publication(match: re.Match[str], text: str) -> Publication:
    """Parse a publication from the match of its authors and year, and the text that follows."""
    number = _ARXIV.search(text)
    if quoted := _QUOTED.match(text):
        title, rest = quoted["title"], quoted["rest"] or ""
        parts = _split_at_commas(rest)
    else:
        title, *parts = _split_at_commas(text)
        # A title may contain commas; then its next part begins in lower case.
        while parts and parts[0][:1].islower() and not _REMARK.match(parts[0]):
            title += f", {parts.pop(0)}"
    venue = parts[0] if parts and not _REMARK.match(parts[0]) else None
    return Publication(
        authors=tuple(re.split(r",? and |, ", match["authors"])),
        et_al=match["et_al"] is not None,
        year=int(match["year"]),
        title="" if _ARXIV.match(title) else _strip_brackets(title),
        venue=_strip_brackets(venue) if venue and venue[:1].isupper() else None,
        arxiv=number[1] if number else None,
    )


def _split_at_commas(text: str) -> list[str]:
    """Split the first sentence of a text at its commas outside brackets."""
    return _COMMA.split(_SENTENCE_END.split(text, maxsplit=1)[0])


def _strip_brackets(text: str) -> str:
    """Remove a remark in brackets from the end; the issue of a volume, as in ``4(5)``, stays."""
    text = text.partition(" (")[0]
    if text.count(")") > text.count("("):  # closes a bracket that encloses the whole publication
        text = text.partition(")")[0]
    return text.strip(' ,."“”')


def _identity(publication: Publication) -> str:
    """Return a key that is the same for different ways of citing one publication."""
    return publication.arxiv or f"{publication.authors[0]} {publication.year} {publication.title}"


def _merge(first: Publication, second: Publication) -> Publication:
    """Merge two citations of one publication: the full authors, the longer title, either venue."""
    full, partial = (second, first) if first.et_al and not second.et_al else (first, second)
    title = max(first.title, second.title, key=len)
    return replace(full, title=title, venue=full.venue or partial.venue)


def _citation_keys(publications: Iterable[Publication]) -> list[str]:
    """Return unique citation keys such as ``han2026which``, with letters appended to duplicates."""
    keys: list[str] = []
    for publication in publications:
        words = [w for w in _WORD.findall(_ascii(publication.title)) if w not in _STOP_WORDS]
        author = re.sub(r"[^a-z]", "", _ascii(publication.authors[0]))
        stem = f"{author}{publication.year}{words[0] if words else ''}"
        key, letters = stem, iter("bcdefghijklmnopqrstuvwxyz")
        while key in keys:
            key = stem + next(letters, "z" + str(len(keys)))
        keys.append(key)
    return keys


def _ascii(text: str) -> str:
    plain = text.replace("ı", "i").replace("ł", "l").replace("ø", "o").replace("ß", "ss").lower()
    return unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()


def _publication_entry(key: str, publication: Publication, designs: Iterable[str]) -> str:
    authors = [_surname(name) for name in publication.authors] + ["others"] * publication.et_al
    fields = {
        "author": " and ".join(authors),
        # Double braces keep BibTeX styles from changing capitals.
        "title": f"{{{latex(publication.title or f'arXiv {publication.arxiv}')}}}",
        "year": str(publication.year),
    }
    if publication.venue:
        fields["howpublished"] = latex(publication.venue)
    if publication.arxiv:
        fields |= {
            "eprint": publication.arxiv,
            "archiveprefix": "arXiv",
            "url": f"https://arxiv.org/abs/{publication.arxiv}",
        }
    return _format_entry(key, fields | _keywords(designs))


def _package_entry(designs: Iterable[str]) -> str:
    fields = {
        "author": "{The pairbench maintainers}",
        "title": "{pairbench: which pairs to compare}",
        "note": f"Python package, version {latex(__version__)}",
    }
    return _format_entry("pairbench", fields | _keywords(designs))


def _keywords(designs: Iterable[str]) -> dict[str, str]:
    text = ", ".join(latex(design) for design in designs)
    return {"keywords": text} if text else {}


def _format_entry(key: str, fields: Mapping[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{key},\n{lines}}}\n"


def _surname(name: str) -> str:
    """Convert a surname to LaTeX, in braces if it has several words, so that it stays one name."""
    return f"{{{latex(name)}}}" if " " in name else latex(name)


_SPECIAL_CHARACTERS = {
    "\\": r"{\textbackslash}",
    "{": r"{\textbraceleft}",
    "}": r"{\textbraceright}",
    "~": r"{\textasciitilde}",
    "^": r"{\textasciicircum}",
    **{c: f"\\{c}" for c in "&%$#_"},
}
_LETTERS = {
    "ı": r"{\i}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "ß": r"{\ss}",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "’": "'",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
    "\u0328": "k",
}


def _latex_character(c: str) -> str:
    if command := _SPECIAL_CHARACTERS.get(c) or _LETTERS.get(c):
        return command
    base, *accents = list(unicodedata.normalize("NFD", c))
    if len(accents) == 1 and accents[0] in _ACCENTS and base.isascii() and base.isalpha():
        return rf"{{\{_ACCENTS[accents[0]]}{{{base}}}}}"
    return c
