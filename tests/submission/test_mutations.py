"""Random mutations of bundles: no crash, and no changed result that passes."""

import copy
import json
import lzma
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, example, given, settings, strategies as st

from pairbench.errors import InvalidSubmission
from pairbench.submission.bundle import pack_bundle, unpack_bundle
from pairbench.submission.recompute import EXACT
from pairbench.submission.submit import Submission
from tests.submission.conftest import PlayedBoard, played_board, verify_bundle

Path = tuple[str | int, ...]

METADATA = {
    *("author", "link", "date", "versions", "machine", "commit", "dirty"),
    *("deterministic", "family", "summary", "citation", "selection", "policy"),
}
"""Metadata, on which no verified figure depends: author, date and machine; times; fingerprints of
policies, which hold for one machine only. The digest covers it all the same."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> PlayedBoard:
    """A board of one seed, since it is played thousands of times."""
    return played_board(tmp_path_factory.mktemp("boards"), "100:101", "[6, 12]")


@pytest.fixture(scope="module")
def greedy(small: PlayedBoard) -> Submission:
    return small.submitted("greedy-d")


def outcome(small: PlayedBoard, data: bytes, entry: bytes | None = None) -> str | None:
    """Return the digest of a bundle that is recomputed, None if it is refused in any way."""
    try:
        verdict = verify_bundle(
            data,
            "mine.bundle",
            entry=entry,
            board_root=small.root,
            level="recomputed",
            jobs=1,
        )
    except InvalidSubmission:
        return None
    return verdict.digest if verdict.passed else None


# -- the bytes of the file -----------------------------------------------------------------------

edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "cut", "double"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, steps: list[tuple[str, float, int]]) -> bytes:
    found = bytearray(data)
    for what, where, value in steps:
        at = int(where * len(found))
        if what == "set" and found:
            found[at] = value
        elif what == "insert":
            found.insert(at, value)
        elif what == "delete":
            del found[at : at + 1 + value % 8]
        elif what == "cut":
            del found[at:]
        else:
            found[at:at] = found[at : at + value]
    return bytes(found)


def check_bytes(greedy: Submission, data: bytes) -> None:
    try:
        bundle, digest = unpack_bundle(data, "mine.bundle")
    except InvalidSubmission:
        return
    assert (bundle, digest) == (greedy.bundle, greedy.packed.digest)


@pytest.mark.parametrize("number", [200, pytest.param(2500, marks=pytest.mark.slow)])
def test_bytes_that_were_changed_are_refused(greedy: Submission, number: int) -> None:
    @settings(max_examples=number)
    @given(edits)
    def check(steps: list[tuple[str, float, int]]) -> None:
        check_bytes(greedy, edited(greedy.packed.data, steps))

    @settings(max_examples=number)
    @given(edits)
    def check_inside(steps: list[tuple[str, float, int]]) -> None:
        text = lzma.decompress(greedy.packed.data)
        changed = edited(text, steps)
        try:
            _, digest = unpack_bundle(lzma.compress(changed, preset=0), "mine.bundle")
        except InvalidSubmission:
            return
        # A changed letter of the metadata may pass, but then it changes the digest.
        assert (digest == greedy.packed.digest) == (changed == text)

    check()
    check_inside()


# -- its content, in proper form -----------------------------------------------------------------

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.integers(-3, 3),
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(-2, 2),
        st.text(max_size=12),
        st.sampled_from(["closed", "open", "money", "labels", "uniform", "greedy-d", "0" * 64]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=4,
)


def places(content: Any, at: Path = ()) -> list[Path]:
    """List the paths of all values in a JSON tree, of long lists only some."""
    found = [at] if at else []
    if isinstance(content, dict):
        for key, inner in content.items():
            found += places(inner, (*at, key))
    elif isinstance(content, list):
        for i in {0, 1, len(content) // 2, len(content) - 1} & set(range(len(content))):
            found += places(content[i], (*at, i))
    return found


def changed(content: Any, place: Path, other: Path, what: str, value: Any) -> Any:
    """Copy the content with one mutation at a path."""
    found = copy.deepcopy(content)

    def inside(at: Path) -> Any:
        inner = found
        for step in at[:-1]:
            inner = inner[step]
        return inner

    holder, last = inside(place), place[-1]
    if what == "set":
        holder[last] = value
    elif what == "delete":
        del holder[last]
    elif what == "copy":  # from elsewhere in the bundle
        holder[last] = copy.deepcopy(inside(other)[other[-1]])
    elif what == "add":
        if isinstance(holder, list):
            holder.insert(int(last), value)
        else:
            holder["more"] = value
    elif what == "double" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[int(last)]))
    elif what == "nudge" and isinstance(holder[last], int | float):
        holder[last] *= 1 + 1e-6
    return found


def within_tolerance(before: Any, after: Any, place: Path) -> bool:
    """Tell whether a path is a figure of a score that stays within the verifier's tolerance."""
    for step in place:
        before, after = before[step], after[step]
    figures = [type(value) in (int, float) for value in (before, after)]
    is_score = bool({"start", "score"} & set(place))
    return is_score and all(figures) and abs(after - before) <= EXACT * (1 + abs(before))


def check_content(small: PlayedBoard, greedy: Submission, content: Any, place: Path) -> None:
    try:
        text = rfc8785.dumps(content)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return
    data = lzma.compress(text, preset=0)
    digest = outcome(small, data)
    if digest is None or digest == greedy.packed.digest:
        return
    assert METADATA & set(map(str, place)), f"{place} was changed and nobody noticed"
    assert outcome(small, data, greedy.entry.to_bytes()) is None


@pytest.mark.parametrize("number", [100, pytest.param(5000, marks=pytest.mark.slow)])
def test_content_that_was_changed_is_refused(
    small: PlayedBoard, greedy: Submission, number: int
) -> None:
    content = json.loads(lzma.decompress(greedy.packed.data))
    everywhere = st.sampled_from(places(content))
    kinds = st.sampled_from(["set", "delete", "copy", "add", "double", "nudge"])

    @settings(max_examples=number, suppress_health_check=list(HealthCheck), database=None)
    @given(everywhere, everywhere, kinds, values)
    @example(("cells", 0, "rounds", 0, "score", "gap"), ("format",), "nudge", None)
    @example(("manifest", "design", "deterministic"), ("format",), "set", False)
    @example(("cells", 0, "start", "design_efficiency"), ("format",), "set", 2.5e-42)
    @example(("cells", 0, "start", "design_efficiency"), ("format",), "set", 1e-8)
    def check(place: Path, other: Path, what: str, value: Any) -> None:
        try:
            found = changed(content, place, other, what, value)
        except OverflowError:
            return
        if what in ("set", "copy") and within_tolerance(content, found, place):
            return
        check_content(small, greedy, found, place)

    check()


@pytest.mark.slow
def test_every_value_is_either_checked_or_metadata(small: PlayedBoard, greedy: Submission) -> None:
    """Mutate the values of one cell one by one: only changes of metadata may pass."""
    content = json.loads(lzma.decompress(greedy.packed.data))
    passed = set()
    for place in places(content):
        if place[0] == "cells" and place[1:2] != (0,):
            continue
        for what, value in (("nudge", None), ("delete", None), ("set", "x"), ("set", 3)):
            found = changed(content, place, place, what, value)
            if found == content:
                continue
            if outcome(small, lzma.compress(rfc8785.dumps(found), preset=0)) is not None:
                passed.add(place)
    assert passed
    assert all(METADATA & set(map(str, place)) for place in passed), passed


def test_the_same_content_is_the_same_bundle(small: PlayedBoard, greedy: Submission) -> None:
    text = lzma.decompress(greedy.packed.data)
    again = lzma.compress(text, preset=0)  # other bytes
    assert again != greedy.packed.data
    assert outcome(small, again, greedy.entry.to_bytes()) == greedy.packed.digest
    assert pack_bundle(unpack_bundle(again, "x")[0]) == greedy.packed
