"""The publications that designs are from, as BibTeX.

Designs name their sources in a line of prose, ``Authors year, Title, venue, arXiv number``, with or
without quotes around the title, in which remarks may stand before, behind and between.
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
    r"(?P<more>,? et al\.)? (?P<year>(?:18|19|20)\d\d), "
)
_QUOTED = re.compile(r'["“](?P<title>[^"“”]+?),?["”](?:, (?P<rest>.*))?', re.DOTALL)
_ARXIV = re.compile(r"arXiv:? ?(\d{4}\.\d{4,5})")
# A piece between commas that is where something stands or what is said of it, not the title.
_REMARK = re.compile(
    r"(?:for|with|which|where|there|here|turned|after|see|introduction|section|Section|eq\.|"
    r"Algorithm \d|arXiv)\b"
)
_PIECE = re.compile(r", (?![^()]*\))")
_END = re.compile(r"; |\. (?=[A-Z])|, and (?=that )")
_WORD = re.compile(r"[^\W\d_]+")
_LITTLE = {"a", "an", "the", "on", "in", "of", "to", "for", "and", "is", "are"}


@dataclass(frozen=True)
class Publication:
    """What a source names.

    Attributes:
        authors: surnames.
        more: whether there are others, "et al.".
        year: of it.
        title: without quotes; empty where the source gives a number alone.
        venue: where it appeared, None where the source does not say.
        arxiv: its number there, likewise.
    """

    authors: tuple[str, ...]
    more: bool
    year: int
    title: str
    venue: str | None = None
    arxiv: str | None = None


PAPER = Publication(
    ("Han", "Goyal", "Ma"),
    False,
    2026,
    "Which Pairs to Compare for LLM Post-Training?",
    arxiv="2606.19607",
)
"""Where the criterion of the optimal designs is from."""


def publications(source: str) -> list[Publication]:
    """The publications that a design's source names, in its order; remarks are left out.

    Args:
        source: as a design's ``Source:`` line has it.
    """
    starts = list(_PUBLICATION.finditer(source))
    ends = [*(match.start() for match in starts), len(source)][1:]
    return [
        _publication(match, source[match.end() : end])
        for match, end in zip(starts, ends, strict=True)
    ]


def bibtex(sources: Mapping[str, str | None]) -> str:
    """A bibliography: pairbench, the paper of its criterion, and what designs are from.

    A publication stands once, however many designs are from it; they are its ``keywords``. Designs
    without publication are keywords of pairbench itself.

    Args:
        sources: of each design, by name; None where it has none.
    """
    found: dict[str, Publication] = {_known_by(PAPER): PAPER}
    designs: dict[str, list[str]] = {_known_by(PAPER): []}
    homeless = []
    for design, source in sources.items():
        named = publications(source or "")
        homeless += [design] * (not named)
        for publication in named:
            known = _known_by(publication)
            found[known] = _merged(found.get(known, publication), publication)
            own = designs.setdefault(known, [])
            own += [design] * (design not in own)
    keys = _keys(found.values())
    entries = [_own(homeless)]
    for key, (known, publication) in zip(keys, found.items(), strict=True):
        entries.append(_entry(key, publication, designs[known]))
    return "\n".join(entries)


def latex(text: str) -> str:
    """Text as LaTeX writes it: accents as commands, what has a meaning there escaped.

    Args:
        text: what LaTeX has no command for is left as it is.
    """
    return "".join(_letter(c) for c in unicodedata.normalize("NFC", text))


def _publication(match: re.Match[str], behind: str) -> Publication:
    """A publication from its authors and year, and the text up to the next one."""
    number = _ARXIV.search(behind)
    if quoted := _QUOTED.match(behind):
        title, rest = quoted["title"], quoted["rest"] or ""
        pieces = _pieces(rest)
    else:
        title, *pieces = _pieces(behind)
        while pieces and pieces[0][:1].islower() and not _REMARK.match(pieces[0]):
            title += f", {pieces.pop(0)}"
    venue = pieces[0] if pieces and not _REMARK.match(pieces[0]) else None
    return Publication(
        authors=tuple(re.split(r",? and |, ", match["authors"])),
        more=match["more"] is not None,
        year=int(match["year"]),
        title="" if _ARXIV.match(title) else _without_aside(title),
        venue=_without_aside(venue) if venue and venue[:1].isupper() else None,
        arxiv=number[1] if number else None,
    )


def _pieces(text: str) -> list[str]:
    """What stands between commas, up to the end of the sentence."""
    return _PIECE.split(_END.split(text, maxsplit=1)[0])


def _without_aside(text: str) -> str:
    """Without what stands in brackets behind it; a volume's, as in ``4(5)``, stay."""
    text = text.partition(" (")[0]
    if text.count(")") > text.count("("):  # the source's own bracket
        text = text.partition(")")[0]
    return text.strip(' ,."“”')


def _known_by(publication: Publication) -> str:
    """What tells a publication from others, however its authors were listed."""
    return publication.arxiv or f"{publication.authors[0]} {publication.year} {publication.title}"


def _merged(one: Publication, other: Publication) -> Publication:
    """The same publication as two sources name it: the longer list of authors, and all that is."""
    fuller, further = (other, one) if one.more and not other.more else (one, other)
    title = max(one.title, other.title, key=len)
    return replace(fuller, title=title, venue=fuller.venue or further.venue)


def _keys(found: Iterable[Publication]) -> list[str]:
    """A key for each: ``han2026which``, with a letter behind it where another has it, too."""
    keys: list[str] = []
    for publication in found:
        words = [w for w in _WORD.findall(_ascii(publication.title)) if w not in _LITTLE]
        author = re.sub(r"[^a-z]", "", _ascii(publication.authors[0]))
        plain = f"{author}{publication.year}{words[0] if words else ''}"
        key, letters = plain, iter("bcdefghijklmnopqrstuvwxyz")
        while key in keys:
            key = plain + next(letters, "z" + str(len(keys)))
        keys.append(key)
    return keys


def _ascii(text: str) -> str:
    plain = text.replace("ı", "i").replace("ł", "l").replace("ø", "o").replace("ß", "ss").lower()
    return unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()


def _entry(key: str, publication: Publication, designs: Iterable[str]) -> str:
    authors = [_surname(name) for name in publication.authors] + ["others"] * publication.more
    fields = {
        "author": " and ".join(authors),
        # In braces twice, so that capitals stay.
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
    return _written(key, fields | _keywords(designs))


def _own(designs: Iterable[str]) -> str:
    fields = {
        "author": "{The pairbench maintainers}",
        "title": "{pairbench: which pairs to compare}",
        "note": f"Python package, version {latex(__version__)}",
    }
    return _written("pairbench", fields | _keywords(designs))


def _keywords(designs: Iterable[str]) -> dict[str, str]:
    text = ", ".join(latex(design) for design in designs)
    return {"keywords": text} if text else {}


def _written(key: str, fields: Mapping[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{key},\n{lines}}}\n"


def _surname(name: str) -> str:
    """A surname that BibTeX takes for one, though it has several words."""
    return f"{{{latex(name)}}}" if " " in name else latex(name)


_MEANING = {
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


def _letter(c: str) -> str:
    if told := _MEANING.get(c) or _LETTERS.get(c):
        return told
    base, *marks = list(unicodedata.normalize("NFD", c))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii() and base.isalpha():
        return rf"{{\{_ACCENTS[marks[0]]}{{{base}}}}}"
    return c
