import os
import pickle
from collections import OrderedDict, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pairbench._util.pickles import read_plain_pickle
from pairbench.errors import InvalidData

values = st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
plain = st.recursive(
    values | st.sets(st.text()) | st.frozensets(st.integers()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(plain, st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "plain.pkl"
    file.write_bytes(pickle.dumps(value, protocol))
    assert read_plain_pickle(file) == value


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        np.float64(1 / 3),
        np.float32(-2.5),
        np.float16(0.5),
        np.int64(-7),
        np.uint8(200),
        np.bool_(True),
        np.float64(np.nan),
        np.dtype(">f8").type(4.25),
    ],
)
def test_numpys_numbers_come_back_as_pythons(tmp_path: Path, value: Any, protocol: int) -> None:
    file = tmp_path / "numbers.pkl"
    file.write_bytes(pickle.dumps({"a": [value, value]}, protocol))
    for read in read_plain_pickle(file)["a"]:
        assert type(read) is type(value.item())
        np.testing.assert_equal(read, value.item())


def test_names_of_older_numpy_and_foreign_byte_order_are_read(tmp_path: Path) -> None:
    file = tmp_path / "old.pkl"
    content = pickle.dumps(np.float64(1.5), 3)
    assert b"numpy._core.multiarray" in content
    content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    file.write_bytes(content)
    assert read_plain_pickle(file) == 1.5
    swapped = np.array([1.5], dtype=">f8").tobytes()
    content = content.replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00>")
    file.write_bytes(content.replace(np.array([1.5]).tobytes(), swapped))
    assert read_plain_pickle(file) == 1.5


def test_ordered_and_default_dictionaries_are_dictionaries(tmp_path: Path) -> None:
    file = tmp_path / "dicts.pkl"
    value = OrderedDict(b=defaultdict(list, {1: [2]}), a=defaultdict(dict))
    file.write_bytes(pickle.dumps(value))
    assert read_plain_pickle(file) == value


class Call:
    """What pickles as a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        function, *arguments = self.call
        return function, tuple(arguments)


MARK = "was-here"


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (partial(Call, os.system, f"touch {MARK}"), "system"),
        (partial(Call, exec, f"open({MARK!r}, 'w')"), "exec"),
        (partial(Call, eval, f"open({MARK!r}, 'w')"), "eval"),
        (partial(Call, open, MARK, "w"), "open"),
        (partial(Call, getattr, dict, "fromkeys"), "getattr"),
        (partial(Call, __import__, "antigravity"), "__import__"),
        (lambda: {"src": "fine", "scores": [1.0, Call(os.mkdir, MARK)]}, "mkdir"),
        (lambda: Path(MARK), "Path"),
        (lambda: np.ones(3), "_reconstruct"),
        (lambda: OrderedDict.fromkeys, "getattr"),
    ],
)
def test_what_would_run_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, name: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps(make(), protocol))
    with pytest.raises(InvalidData, match=rf"evil\.pkl asks for .*{name}.* Nothing of it was run"):
        read_plain_pickle(file)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pkl"]


def test_a_pickle_can_do_what_is_refused_here(tmp_path: Path) -> None:
    # Or the test above could not fail.
    pickle.loads(pickle.dumps(Call(os.mkdir, str(tmp_path / MARK))))
    assert (tmp_path / MARK).is_dir()


@pytest.mark.parametrize("code", ["O8", "O", "V8", "U2", "S4", "M8", "f16", "(2,)f8", "f8,f8"])
def test_a_number_of_no_numbers_type_is_refused(tmp_path: Path, code: str) -> None:
    file = tmp_path / "type.pkl"
    content = pickle.dumps(np.float64(1.5), 3)
    text = code.encode()
    content = content.replace(b"X\x02\x00\x00\x00f8", b"X" + bytes([len(text), 0, 0, 0]) + text)
    file.write_bytes(content)
    with pytest.raises(InvalidData, match=r"type\.pkl holds a numpy value of type .*no number"):
        read_plain_pickle(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x04",
        b"\x80\xff.",
        b".",
        pickle.dumps({"a": 1})[:-2],
        pickle.dumps(np.float64(1.5), 3).replace(b"C\x08", b"C\x01"),
        b"ccollections\n.",
        b"(S'persistent'\ntQ.",
        b"\x82\x01.",
    ],
)
def test_damaged_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.pkl"
    file.write_bytes(content)
    with pytest.raises(InvalidData, match=r"bad\.pkl"):
        read_plain_pickle(file)


def test_a_byte_changed_anywhere_is_refused_or_harmless(tmp_path: Path) -> None:
    file = tmp_path / "changed.pkl"
    content = pickle.dumps({"a": [np.float64(1.5), "text"], 3: (1.0, {2, 3})})
    refused = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x5A
        file.write_bytes(changed)
        try:
            read_plain_pickle(file)
        except InvalidData:
            refused += 1
    assert 0 < refused < len(content)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "absent.pkl"):
        with pytest.raises(InvalidData, match="cannot read"):
            read_plain_pickle(file)
