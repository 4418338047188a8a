import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from pairbench.errors import InvalidData
from pairbench.pool.records import iter_records, read_lines

Write = Callable[..., Path]
RECORDS = [{"a": "é\u2028 ü", "b": [1, 2.5]}, {"a": "second\nline", "b": []}]


def values(path: Path) -> list[dict[str, Any]]:
    return [row.values for row in iter_records(path)]


def jsonl(end: str = "\n") -> str:
    return end.join(json.dumps(record, ensure_ascii=False) for record in RECORDS) + end


@pytest.mark.parametrize(
    "content",
    [
        jsonl(),
        jsonl().rstrip(),
        jsonl("\r\n"),
        jsonl("\n\n  \n"),
        "\ufeff" + jsonl(),
        json.dumps(RECORDS),
        "\ufeff \n" + json.dumps(RECORDS, indent=2),
    ],
    ids=["plain", "no-last-newline", "crlf", "blank-lines", "bom", "list", "indented-list"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a"])
def test_json_is_read_however_it_is_laid_out(write: Write, content: str, name: str) -> None:
    assert values(write(content, name)) == RECORDS


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(min_size=1), st.text()), min_size=1, max_size=5))
def test_any_text_survives_jsonl(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert values(path) == records


def test_rows_know_their_place(write: Write) -> None:
    path = write("\n" + jsonl())
    assert [row.location for row in iter_records(path)] == [f"{path}, line 2", f"{path}, line 3"]


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv")])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_is_read_as_spreadsheets_write_it(
    write: Write, delimiter: str, name: str, mark: bytes
) -> None:
    lines = ["id, note ,text", '1,,"two\r\nlines, ""quoted"""', "2,x,", ",,", "3,y,z"]
    content = "\r\n".join(lines[:1] + lines[1:]).replace(",", delimiter)
    rows = list(iter_records(write(mark + content.encode(), name)))
    assert [row.values for row in rows] == [
        {"id": "1", "text": f'two\r\nlines{delimiter} "quoted"'},
        {"id": "2", "note": "x"},
        {"id": "3", "note": "y", "text": "z"},
    ]
    assert rows[-1].location.endswith("line 6")


def test_a_cell_may_be_huge(write: Write) -> None:
    path = write("id,text\n1," + "x" * 2_000_000, "a.csv")
    assert len(values(path)[0]["text"]) == 2_000_000


def test_parquet_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "data"
    table = pa.table({"p": ["a", None], "v": [[1.0, 2.0], [3.0]], "s": [[{"t": "x"}], []]})
    pq.write_table(table, path)
    assert values(path) == [{"p": "a", "v": [1.0, 2.0], "s": [{"t": "x"}]}, {"v": [3.0], "s": []}]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "a.jsonl", "a.jsonl is empty"),
        (b"\n \n", "a.jsonl", "a.jsonl is empty"),
        (b"\xef\xbb\xbf", "a.jsonl", "a.jsonl is empty"),
        (b"[]", "a.json", "a.json is empty"),
        (b"a,b\n", "a.csv", "a.csv is empty"),
        (b"", "a.csv", "a.csv is empty"),
        (b'{"a": 1}\n{"a": \n', "a.jsonl", "a.jsonl, line 2: this is no JSON"),
        (
            b'{"a": 1}\n[1, 2]\n',
            "a.jsonl",
            r"line 2: expected one JSON object a line, got \[1, 2\]",
        ),
        (b'{\n "a": 1\n}\n', "a.json", "line 1: this is no JSON .* one JSON object a line"),
        (b'[{"a": 1}, 3]', "a.json", "item 2: expected a list of JSON objects, got 3"),
        (b'[{"a": 1},\n {"a" 1}]', "a.json", "at line 2, column 7"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "a.jsonl", "line 2: byte 8 is no UTF-8. Save the file as"),
        (b"\xff\xfea", "a.jsonl", "begins like UTF-16 text and is not"),
        (b"\x1f\x8b\x08", "a.jsonl.gz", "cannot read .*gz: Compressed file ended"),
        (gzip.compress(b"{}", mtime=0)[:-9], "a.jsonl.gz", "cannot read .*Compressed file ended"),
        (bz2.compress(b'{"a": 1}')[:-9], "a.jsonl", "cannot read .*Compressed file ended"),
        (b"\xfd7zXZ\x00no more", "a.jsonl.xz", "cannot read .*xz"),
        (b"\x28\xb5\x2f\xfd no more", "a.jsonl.zst", "cannot read .*zst"),
        (b"text", "a.arrow", "is no Arrow file that can be read"),
        (b"ARROW1 and no more", "a.arrow", "is no Arrow file that can be read"),
        (b"PK\x03\x04..", "a.xlsx", "save the sheet as CSV"),
        (b"[" * 100_000, "a.json", "a.json: this is no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a.jsonl", "line 1: this is no JSON that can be read"),
        (b"a,b\n1,2,3\n", "a.csv", "line 2: there are more cells than the 2 columns"),
        (b'a,b\n1,"2\n', "a.csv", "this is no CSV"),
        (b"a,b\n1,\xe9\n", "a.csv", "byte 7 is no UTF-8"),
        (b"PAR1 and no more", "a.parquet", "is no Parquet file that can be read"),
        (b"text", "a.parquet", "is no Parquet file that can be read"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(
    write: Write, content: bytes, name: str, message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        values(write(content, name))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"cannot read .*nothing\.jsonl: No such file"):
        values(tmp_path / "nothing.jsonl")
    with pytest.raises(InvalidData, match=r"is a folder without pool\.json"):
        values(tmp_path)


def test_lines_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufefffirst \r\n\n  \nse\u2028co\x0bnd\nthird".encode())
    assert read_lines(path) == ["first ", "se\u2028co\x0bnd", "third"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n\n", r"prompts\.txt is empty: it holds no line\."),
        (b"\xff\xfea", "begins like UTF-16 text and is not"),
        (b"ab\xff", "byte 3 is no UTF-8"),
        (None, "cannot read .*No such file"),
    ],
)
def test_what_is_no_text_file_is_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidData, match=message):
        read_lines(path)


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("compress", "suffix"),
    [(gzip.compress, ".gz"), (bz2.compress, ".bz2"), (lzma.compress, ".xz"), (_zstd, ".zst")],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a"])
def test_compressed_files_are_read(
    tmp_path: Path, compress: Callable[[bytes], bytes], suffix: str, name: str
) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": ["1", "é"]}), buffer)
    contents = {
        "a.jsonl": '{"a": "1"}\n{"a": "é"}\n'.encode(),
        "a": '{"a": "1"}\n{"a": "é"}\n'.encode(),
        "a.json": '[{"a": "1"}, {"a": "é"}]'.encode(),
        "a.csv": "a\n1\né\n".encode(),
        "a.parquet": buffer.getvalue(),
    }
    path = tmp_path / (name + suffix)
    path.write_bytes(compress(contents[name]))
    assert values(path) == [{"a": "1"}, {"a": "é"}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    for name, text in {
        "a.jsonl": '{"a": "é"}',
        "a.csv": "a;b\r\né;\r\n",
        "a.json": '[{"a": "é"}]',
    }.items():
        (tmp_path / name).write_bytes((mark + text).encode(encoding))
        assert values(tmp_path / name) == [{"a": "é"}]


def test_a_spreadsheets_line_that_names_the_separator_is_read(write: Write) -> None:
    path = write("sep=;\r\na;b\r\n1,5;2\r\n", "a.csv")
    assert values(path) == [{"a": "1,5", "b": "2"}]
    with pytest.raises(InvalidData, match="line 3: there are more cells"):
        values(write("sep=;\na;b\n1;2;3\n", "b.csv"))


def test_arrow_files_and_data_sets_that_were_saved_are_read(tmp_path: Path) -> None:
    rows = [{"a": "1", "b": [1, 2]}, {"a": None, "b": []}]
    expected = [{"a": "1", "b": [1, 2]}, {"b": []}]
    data = datasets.Dataset.from_list(rows)
    data.save_to_disk(tmp_path / "saved", num_shards=2)
    assert values(tmp_path / "saved") == expected
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "splits")
    with pytest.raises(InvalidData, match=r"several splits\. Name one of them: .*train, "):
        values(tmp_path / "splits")
    assert values(tmp_path / "splits" / "train") == expected
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(tmp_path / "file.arrow", table.schema) as writer:
        writer.write_table(table)
    assert values(tmp_path / "file.arrow") == expected
    next((tmp_path / "saved").glob("*.arrow")).unlink()
    with pytest.raises(InvalidData, match=r"of its 2 files, 1 are missing.*Save the data set"):
        values(tmp_path / "saved")
