"""Files of records are opened behind a byte order mark; what is no such file is refused by what it is."""

import codecs
from pathlib import Path

import pytest

from facekit.data.formats.json_stream import iterate_json_objects
from facekit.data.lenient import read_leniently
from facekit.data.record_files import open_record_file, read_text
from facekit.data.records import FaceRecord, iterate_records, read_records, write_records
from facekit.data.sources.tables import read_table
from facekit.data.verification import verify
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
    assert [(each.kind, each.count, each.faults) for each in verify(marked).checked] == [("records", 1, 0)]


def test_a_file_is_read_from_behind_its_mark(marked):
    with open_record_file(marked) as file:
        assert file.read(5) == b'{"id"'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("faces.jsonl", '{"id": "a"}'.encode("utf-16"), "is not UTF-8 but UTF-16 text; save it as UTF-8"),
     ("faces.jsonl", codecs.BOM_UTF16_BE + "{}".encode("utf-16-be"), "is not UTF-8 but UTF-16 text; save it as UTF-8"),
     ("face.JPG", b"", r"is a picture, not a file of records; for a folder of them write folder:"),
     ("clip.mp4", b"", "is a video, not a file of records"),
     ("faces.csv", b"file,age\n", "is a table, not a file of records; write csv:"),
     ("my faces.csv", b"file,age\n", r"is a table, not a file of records; write 'csv:.*my faces\.csv'")],
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


@pytest.mark.parametrize(
    "read", [read_records, lambda path: list(iterate_json_objects(path)), lambda path: list(read_table(path))]
)
def test_text_of_another_encoding_is_told_what_to_do(tmp_path, read):
    path = tmp_path / "faces.txt"
    path.write_bytes('{"id": "Jürgen", "image": "a.png"}\n'.encode("cp1252"))
    with pytest.raises(RecordError, match=r"faces\.txt is not UTF-8 text \(.*\); save it as UTF-8"):
        read(path)


def test_the_mark_of_an_editor_is_no_part_of_a_text(tmp_path):
    (tmp_path / "answers.jsonl").write_bytes(codecs.BOM_UTF8 + b"{}")
    assert read_text(tmp_path / "answers.jsonl", "predictions") == "{}"
    with pytest.raises(RecordError, match=r"predictions .*gone\.jsonl cannot be read \(No such file or directory\)"):
        read_text(tmp_path / "gone.jsonl", "predictions")
    (tmp_path / "answers.jsonl").write_bytes("é".encode("latin-1"))
    with pytest.raises(RecordError, match=r"predictions .* is not UTF-8 text \(.*\); save it as UTF-8"):
        read_text(tmp_path / "answers.jsonl", "predictions")
