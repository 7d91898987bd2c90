"""Label files as people have them: byte-order marks, carriage returns, blank lines; and errors with file and line."""

import pytest

from facekit.data.sources.tables import Row, read_table
from facekit.errors import RecordError


def test_marks_returns_blank_lines_and_quotes_are_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbffile, age\r\n\r\n"a, b.jpg",3\r\n')
    (row,) = read_table(path, required=("file", "age"))
    assert (row.number, row.values) == (3, {"file": "a, b.jpg", "age": "3"})


def test_any_run_of_spaces_stands_between_cells(tmp_path):
    (tmp_path / "a.txt").write_text("a.jpg  -1 \t 1\n")
    (row,) = read_table(tmp_path / "a.txt", columns=("file", "x", "y"), delimiter=None)
    assert row.values == {"file": "a.jpg", "x": "-1", "y": "1"}


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"\n\n", "is empty"), (b"\xff\xfe", "not UTF-8")])
def test_an_empty_or_binary_file_is_named(tmp_path, content, words):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(RecordError, match=rf"a\.csv.*{words}"):
        list(read_table(tmp_path / "a.csv"))


@pytest.mark.parametrize("text", ["-1", "6", "2.5", "nan", "inf", "two", "1e3"])
def test_what_is_no_whole_number_in_range_is_named_with_its_line(tmp_path, text):
    row = Row(tmp_path / "a.csv", 7, {"intensity": text})
    with pytest.raises(RecordError, match=r"a\.csv, line 7: 'intensity' must be a whole number from 0 to 5, not"):
        row.integer("intensity", 0, 5)


def test_whole_numbers_are_read_as_tables_write_them(tmp_path):
    assert [Row(tmp_path, 1, {"n": text}).integer("n", 0, 99) for text in ("7", " 07 ", "7.0")] == [7, 7, 7]
