"""Files of bundles: valid ones are read, others refused within little memory and time."""

import json
import lzma
import pickle
import resource
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from pairbench.cells.plan import PROTOCOL
from pairbench.errors import InvalidSubmission
from pairbench.submission.bundle import pack_bundle, unpack_bundle
from pairbench.submission.submit import Submission
from tests.submission.conftest import PlayedBoard, repacked


@pytest.fixture(scope="module")
def greedy(small: PlayedBoard) -> Submission:
    return small.submitted("greedy-d")


def test_a_bundle_is_the_same_bytes_whoever_packs_it(greedy: Submission) -> None:
    bundle, digest = unpack_bundle(greedy.packed.data, "mine.bundle")
    assert bundle == greedy.bundle
    assert digest == greedy.packed.digest == pack_bundle(bundle).digest
    assert pack_bundle(bundle).data == greedy.packed.data


def refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidSubmission, match=message):
        unpack_bundle(data, "mine.bundle")


def archive(write: Callable[[BytesIO], object]) -> bytes:
    file = BytesIO()
    write(file)
    return file.getvalue()


def tar(file: BytesIO, mode: str = "w", kind: bytes = tarfile.REGTYPE) -> None:
    with tarfile.open(fileobj=file, mode=mode) as members:  # type: ignore[call-overload]
        member = tarfile.TarInfo("../../etc/cron.d/mine")
        member.type, member.linkname = kind, "/etc/passwd"
        members.addfile(member, BytesIO())


def zipped(file: BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("../../etc/cron.d/mine", "x")


class Payload:
    """Its pickle runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/a-pickle-was-loaded"),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no bundle: it is not compressed by xz"),
        (b"{}", "is no bundle"),
        (archive(tar), "archives of files are none"),
        (archive(lambda f: tar(f, "w:gz")), "archives of files are none"),
        (archive(lambda f: tar(f, "w:xz")), "no JSON"),
        (archive(lambda f: tar(f, "w:xz", tarfile.SYMTYPE)), "no JSON"),
        (archive(lambda f: tar(f, "w:xz", tarfile.LNKTYPE)), "no JSON"),
        (archive(zipped), "archives of files are none"),
        (lzma.compress(archive(zipped)), "no JSON"),
        (pickle.dumps(Payload()), "is no bundle"),
        (lzma.compress(pickle.dumps(Payload())), "no JSON"),
        (lzma.compress(b"{}", lzma.FORMAT_ALONE), "is no bundle"),
        (lzma.compress(b""), "no JSON"),
        (lzma.compress(b"{}")[:-1], "is cut off"),
        (lzma.compress(b"{}")[:12], "is cut off"),
        (lzma.compress(b"{}") + b"x", "goes on after the end"),
        (lzma.compress(b"{}") + lzma.compress(b"{}"), "goes on after the end"),
        (b"\xfd7zXZ\x00" + b"x" * 100, "cannot be decompressed"),
        (lzma.compress(b"[]"), "mine.bundle: the whole"),
        (lzma.compress(b"[" * 10**6 + b"]" * 10**6), "nested too deeply"),
        (lzma.compress(b'{"a":' * 10**6), "nested too deeply"),
        (lzma.compress(b"1" * 10**6), "too large a number"),
        (lzma.compress('{"а": "\ud800"}'.encode("utf-8", "surrogatepass")), "no JSON"),
    ],
)
def test_files_that_are_not_bundles_are_refused(data: bytes, message: str) -> None:
    refused(data, message)
    assert not Path("/tmp/a-pickle-was-loaded").exists()


BOMB = """
import lzma, sys
from pairbench.errors import InvalidSubmission
from pairbench.submission.bundle import unpack_bundle
import resource

data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    unpack_bundle(data, "bomb")
except InvalidSubmission as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_decompression_bomb_is_refused_within_little_memory(tmp_path: Path) -> None:
    compressor, size = lzma.LZMACompressor(preset=0), 2**29
    with (tmp_path / "bomb").open("wb") as file:
        for _ in range(size // 2**24):
            file.write(compressor.compress(bytes(2**24)))
        file.write(compressor.flush())
    assert (tmp_path / "bomb").stat().st_size < 10**6
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path / "bomb")],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
    )
    message, kilobytes = done.stdout.splitlines()
    assert "is larger than 64,000,000 bytes once it is decompressed" in message
    assert int(kilobytes) < 300_000


def raw(greedy: Submission, place: str, text: str) -> bytes:
    """Pack the bundle with a value replaced by a JSON text."""
    content = greedy.bundle.model_dump(mode="json")
    *parents, last = place.split(".")
    inner: Any = content
    for name in parents:
        inner = inner[int(name) if name.isdigit() else name]
    inner[last] = "HERE"
    return lzma.compress(rfc8785.dumps(content).replace(b'"HERE"', text.encode(), 1), preset=0)


PLACES = ["cells.0.rounds.0.score.gap", "cells.0.start.more", "manifest.design.params.more"]


@pytest.mark.parametrize("place", [*PLACES, "cells.0.rounds.0.spent"])
@pytest.mark.parametrize(
    "text",
    [
        *("NaN", "Infinity", "-Infinity", "1e400", "-0.0", "1e-400", "1.0", "01", "1e2"),
        *("9007199254740993", "-9007199254740993", "12345678901234567890", "1" * 5000),
        *('"\\ud800"', "[" * 200 + "]" * 200, "[" * 990 + "]" * 990, "[" * 10**5 + "]" * 10**5),
        *('{"a":1,"a":2}', '{"b":1,"a":2}', '{"a": 1}', "1/**/", "1,", "'1'"),
    ],
)
def test_json_that_is_not_canonical_or_finite_is_refused(
    greedy: Submission, place: str, text: str
) -> None:
    refused(raw(greedy, place, text), "mine.bundle")


def test_a_duplicate_key_is_refused(greedy: Submission) -> None:
    text = rfc8785.dumps(greedy.bundle.model_dump(mode="json"))
    twice = text.replace(b'"author":', b'"author":"Somebody","author":', 1)
    refused(lzma.compress(twice), "the key 'author' occurs twice")


def test_a_bundle_that_is_not_canonical_json_is_refused(greedy: Submission) -> None:
    content = greedy.bundle.model_dump(mode="json")
    for text in (
        json.dumps(content, sort_keys=True).encode(),
        rfc8785.dumps(content) + b"\n",
        json.dumps({"x": 0, **content}).encode(),
    ):
        refused(lzma.compress(text), "canonical JSON|Extra inputs")


def test_a_source_of_another_digest_is_refused(small: PlayedBoard) -> None:
    made = small.submitted("greedy-d")
    content = made.bundle.model_dump(mode="json")
    content["source"] = "def select(view, n): ..."
    refused(lzma.compress(rfc8785.dumps(content)), "its digest is not the one in the manifest")


def with_source(greedy: Submission, source: str) -> bytes:
    """Pack the bundle with the source of another design."""
    content = greedy.bundle.model_dump(mode="json")
    content["source"] = source
    return lzma.compress(rfc8785.dumps(content), preset=0)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def select(view, n:", "source: it is no Python"),
        ("x = '\0'", "source: .*null bytes"),
        ("-" * 499_000 + "1", "source: it is nested too deeply to be parsed"),
        ("(" * 499_000, "source: it is no Python: too many nested parentheses"),
        ("a" + ".b" * 249_000, "source: it is nested too deeply"),
        ("x = " + "9" * 5_000, "source: it is no Python"),
        ("# coding: latin-1\nx = 'é'", "source: it declares iso-8859-1, where bundles are UTF-8"),
        ("# coding: punycode\n" + "x" * 400_000, "source: it declares punycode"),
        ("# coding: none-of-all", "source: it is no Python: unknown encoding"),
        ("a," * 200_000, "its digest is not the one in the manifest"),
        ("x" * 500_001, "source: .*at most 500000 characters"),
    ],
    ids=range(11),
)
def test_a_source_that_cannot_be_digested_is_refused(
    greedy: Submission, source: str, message: str
) -> None:
    refused(with_source(greedy, source), message)


def of_protocol(greedy: Submission, protocol: object) -> bytes:
    """Pack the bundle under another protocol, None to state none."""
    content = greedy.bundle.model_dump(mode="json")
    content["manifest"]["protocol"] = protocol
    if protocol is None:
        del content["manifest"]["protocol"]
    return lzma.compress(rfc8785.dumps(content), preset=0)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (
            None,
            rf"mine.bundle was made under protocol 3, where {PROTOCOL} is known: verify it with "
            r"pairbench 0\.1\.0: pip install pairbench==0\.1\.0$",
        ),
        (3, r"protocol 3, .*: verify it with pairbench 0\.1\.0: pip install pairbench==0\.1\.0$"),
        (2, "protocol 2, .* an older pairbench$"),
        (PROTOCOL + 1, "verify it with a newer pairbench: pip install --upgrade pairbench$"),
        ("4", "manifest.protocol: .*valid integer"),
        (True, "manifest.protocol"),
        ([], "manifest.protocol"),
    ],
)
def test_a_bundle_of_another_protocol_names_the_version_that_verifies_it(
    greedy: Submission, protocol: object, message: str
) -> None:
    refused(of_protocol(greedy, protocol), message)


SCRIPT = "<script>alert(1)</script>"
FIELDS = [
    *("author", "link", "machine", "board", "commit", "date", "division"),
    *("design.name", "design.slug", "design.family", "design.source"),
]


def refused_as(submission: Submission, field: str, text: str) -> None:
    """Check that a field of the manifest cannot be a text, and that the message names the field."""
    *parents, last = field.split(".")

    def change(content: dict[str, Any]) -> None:
        place = content["manifest"]
        for parent in parents:
            place = place[parent]
        place[last] = text

    with pytest.raises(InvalidSubmission, match=last):
        repacked(submission.bundle, change)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "text", [SCRIPT, "a\x1b[2Jb", "a\u202eb", "a\u200bb", "a\u2028b", "а\ufe0fb", "a\u3164b"]
)
def test_markup_and_invisible_characters_are_refused_in_names(
    greedy: Submission, field: str, text: str
) -> None:
    refused_as(greedy, field, text)


@pytest.mark.parametrize("field", ["author", "design.name", "design.label"])
@pytest.mark.parametrize("text", ["grееdy-d", "Αda Lovelace", "ｇreedy", "gr\u0131edуd"])
def test_letters_that_only_look_alike_are_refused(
    greedy: Submission, field: str, text: str
) -> None:
    refused_as(greedy, field, text)


@pytest.mark.parametrize(
    "author",
    [
        "Жуковский, Николай",
        "Ελένη Γ.",
        "山田 太郎とカナ",
        "José Ñandú & Søren Ågård",
        "محمد",
    ],
)
def test_names_in_other_scripts_are_accepted(greedy: Submission, author: str) -> None:
    made = repacked(greedy.bundle, lambda c: c["manifest"].__setitem__("author", author))
    assert unpack_bundle(made.data, "mine.bundle")[0].manifest.author == author


def test_prose_may_contain_markup(greedy: Submission) -> None:
    """Markup in prose is text: pages escape it."""
    made = repacked(greedy.bundle, lambda c: c["manifest"]["design"].__setitem__("summary", SCRIPT))
    assert unpack_bundle(made.data, "mine.bundle")[0].manifest.design.summary == SCRIPT
