"""Files of records are opened behind a byte order mark; what is no such file is refused by what it is."""

import codecs
from pathlib import Path

import pytest

from facekit.data.lenient import read_leniently
from facekit.data.record_files import open_record_file
from facekit.data.records import FaceRecord, iterate_records, read_records, write_records
from facekit.datagen.plan import iterate_ids
from facekit.errors import RecordError

RECORD = FaceRecord(id="a", image="a.png", labels={"age": 30})


@pytest.fixture
def marked(tmp_path):
    """A records file as editors of Windows save it: a byte order mark, and lines that end in carriage returns."""
    (tmp_path / "a.png").touch()
    path = write_records(tmp_path / "faces.jsonl", [RECORD])
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    return path


def test_every_reader_takes_a_byte_order_mark_and_line_ends_of_windows(marked):
    assert read_records(marked) == [RECORD]
    assert list(read_leniently(marked).records) == [RECORD]
    assert [(number, name) for number, name, _ in iterate_ids(marked)] == [(1, "a")]


def test_a_file_is_read_from_behind_its_mark(marked):
    with open_record_file(marked) as file:
        assert file.read(5) == b'{"id"'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("faces.jsonl", '{"id": "a"}'.encode("utf-16"), "is not UTF-8 but UTF-16 text; save it as UTF-8"),
     ("faces.jsonl", codecs.BOM_UTF16_BE + "{}".encode("utf-16-be"), "is not UTF-8 but UTF-16 text; save it as UTF-8"),
     ("face.JPG", b"", r"is a picture, not a file of records; for a folder of them write folder:"),
     ("clip.mp4", b"", "is a video, not a file of records"),
     ("faces.csv", b"file,age\n", "is a table, not a file of records; write csv:")],
)  # fmt: skip
def test_what_is_no_file_of_records_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordError, match=message):
        open_record_file(tmp_path / name)


@pytest.mark.parametrize("read", [read_leniently, lambda path: list(iterate_records(path)), open_record_file])
def test_a_dataset_in_place_of_a_file_is_named_with_the_command_that_makes_records_of_it(read):
    with pytest.raises(RecordError, match=r"it is a dataset.*facekit convert 'folder:/data/faces' records.jsonl"):
        read(Path("folder:/data/faces"))
    with pytest.raises(RecordError, match="check the path"):
        read(Path("nowhere:/data/faces"))
