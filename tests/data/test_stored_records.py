"""Large records files: indexed once beside the file, noticed when they change, read a record at a time."""

import json
import logging
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from facekit.data import record_index, stored_records
from facekit.data.dataset import RecordSet
from facekit.data.lenient import read_leniently
from facekit.data.record_index import index_path
from facekit.data.records import FaceRecord, read_records, write_records
from facekit.data.stored_records import StoredRecords, open_stored
from facekit.errors import RecordError
from tests.data.test_records import LANDMARKS, write_lines


@pytest.fixture(autouse=True)
def every_file_is_large(monkeypatch):
    monkeypatch.setattr(stored_records, "STORED_FROM", 0)


@pytest.fixture
def indexed(monkeypatch):
    """How often a file was gone through line by line."""
    calls, make = [], record_index._make_index
    monkeypatch.setattr(record_index, "_make_index", lambda *given: calls.append(given) or make(*given))
    return calls


def make_records(count, start=0):
    turns = [{"role": "user", "content": "How old?"}, {"role": "assistant", "content": "Thirty."}]
    return [
        FaceRecord(id=f"face-{index}", image=f"{index}.png", landmarks=LANDMARKS, conversations=turns)
        for index in range(start, start + count)
    ]


def write_set(folder, count=6):
    """Records with their pictures, in a folder of their own."""
    records = make_records(count)
    for record in records:
        (folder / record.image).write_bytes(b"picture")
    return write_records(folder / "records.jsonl", records), records


def test_a_stored_set_has_the_records_of_the_file_in_order_by_index_slice_and_selection(tmp_path):
    path, records = write_set(tmp_path)
    stored = RecordSet.read(path).records
    assert isinstance(stored, StoredRecords)
    assert len(stored) == 6
    assert list(stored) == records == read_records(path)
    assert stored == tuple(records)
    assert stored != tuple(records[::-1])
    assert stored[2] == records[2]
    assert stored[-1] == records[-1]
    assert list(stored[1:5:2]) == records[1:5:2]
    assert list(stored[::-1][1:3]) == records[::-1][1:3]
    assert stored[:1] + stored[4:] == (records[0], *records[4:])
    assert list(stored.select([5, 0, -2]).select([1, 2])) == [records[0], records[4]]
    assert records[3] in stored
    assert stored.index(records[3]) == 3
    for wrong in (6, -7):
        with pytest.raises(IndexError, match="of 6 records none has the index"):
            stored[wrong]
        with pytest.raises(IndexError, match="of 6 records none has the index"):
            stored.select([0, wrong])


def test_a_selection_of_a_stored_record_set_stays_in_the_file(tmp_path):
    path, records = write_set(tmp_path)
    chosen = RecordSet.read(path).select([4, 2])
    assert isinstance(chosen.records, StoredRecords)
    assert list(chosen.records) == [records[4], records[2]]


def test_a_file_is_indexed_once_and_small_ones_not_at_all(tmp_path, indexed):
    path, records = write_set(tmp_path)
    assert list(open_stored(path)) == list(open_stored(path)) == list(read_leniently(path).records) == records
    assert len(indexed) == 1
    assert open_stored(path, least_bytes=path.stat().st_size + 1) is None


@pytest.mark.parametrize("keep_times", [False, True], ids=["later", "with its times set back"])
def test_a_changed_line_of_the_same_length_is_noticed(tmp_path, indexed, keep_times):
    path, _ = write_set(tmp_path)
    before = path.stat()
    assert open_stored(path)[1].id == "face-1"
    path.write_bytes(path.read_bytes().replace(b"face-1", b"FACE-1"))
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert open_stored(path)[1].id == "FACE-1"
    assert len(indexed) == 2


def test_lines_that_are_added_are_noticed(tmp_path):
    path, records = write_set(tmp_path)
    assert len(open_stored(path)) == 6
    write_records(path, [*records, *make_records(2, start=6)])
    assert [record.id for record in open_stored(path)] == [f"face-{index}" for index in range(8)]


def test_a_touched_or_copied_file_keeps_its_index(tmp_path, indexed):
    path, records = write_set(tmp_path)
    open_stored(path)
    os.utime(path, (1, 1))
    assert list(open_stored(path)) == records
    assert len(indexed) == 1
    written = index_path(path).stat().st_mtime_ns
    open_stored(path)
    assert index_path(path).stat().st_mtime_ns == written  # its new times are known from then on


@pytest.mark.parametrize("damage", [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:-5], lambda b: b"", bytes])
def test_a_damaged_index_is_made_anew(tmp_path, indexed, damage):
    path, records = write_set(tmp_path)
    open_stored(path)
    index = index_path(path)
    whole = index.read_bytes()
    index.write_bytes(damage(whole) if damage is not bytes else b"\0" * len(whole))
    assert list(open_stored(path)) == records
    assert len(indexed) == 2
    assert index.read_bytes() == whole


def test_a_file_that_is_written_to_while_it_is_in_use_gives_no_wrong_record(tmp_path):
    path, records = write_set(tmp_path)
    stored = open_stored(path)
    with path.open("r+b") as file:
        file.write(b'{"id": "other"')
    with pytest.raises(RecordError, match=r"records\.jsonl was written to while it was in use"):
        stored[0]
    write_records(path, records)
    kept = open_stored(path)
    write_records(path, records[:3])  # another file takes the name; the open one is as it was
    assert list(kept) == records
    with pytest.raises(RecordError, match=r"records\.jsonl was replaced while it was in use"):
        pickle.loads(pickle.dumps(kept))


def test_strict_reading_names_the_file_and_line_that_is_malformed(tmp_path):
    good = {"id": "a", "image": "a.png"}
    path = write_lines(tmp_path, good, "", {"id": "b", "image": "a.png", "labels": {"age": 300}})
    (tmp_path / "a.png").touch()
    with pytest.raises(RecordError, match=r"records\.jsonl, line 3: field 'labels\.age'.*300"):
        RecordSet.read(path)
    write_lines(tmp_path, good, good)
    with pytest.raises(RecordError, match=r"records\.jsonl, record 'a': an earlier record has the same id"):
        RecordSet.read(path)
    with pytest.raises(RecordError, match=r"nowhere\.jsonl cannot be opened"):
        RecordSet.read(tmp_path / "nowhere.jsonl")
    path.write_text("\n\n")
    with pytest.raises(RecordError, match="has no records"):
        RecordSet.read(path)


def test_lenient_reading_of_a_stored_file_keeps_apart_what_that_of_a_small_one_does(tmp_path, monkeypatch):
    lines = [
        {"id": "a", "image": "a.png"},
        "{",
        {"id": "a", "image": "b.png"},
        "",
        {"id": "b"},
        {"id": "c", "image": "c"},
    ]
    path = write_lines(tmp_path, *lines)
    stored = read_leniently(path)
    monkeypatch.setattr(stored_records, "STORED_FROM", 1 << 30)
    whole = read_leniently(path)
    assert isinstance(stored.records, StoredRecords)
    assert isinstance(whole.records, tuple)
    assert list(stored.records) == list(whole.records)
    assert stored.broken == whole.broken
    assert [entry.index for entry in stored.broken] == [1, 2, 3]
    assert list(stored.entry_indices) == list(whole.entry_indices) == [0, 4]


def test_a_picture_that_went_away_is_missed_at_the_next_opening(tmp_path):
    path, _ = write_set(tmp_path)
    RecordSet.read(path)
    (tmp_path / "4.png").unlink()
    with pytest.raises(RecordError, match=r"record 'face-4', field 'image': no file .*4\.png"):
        RecordSet.read(path)


def test_pictures_are_looked_for_once_while_their_folder_stays_as_it_is(tmp_path, monkeypatch):
    path, _ = write_set(tmp_path)
    RecordSet.read(path)
    looked = []
    monkeypatch.setattr("facekit.data.stored_files.require_files", lambda *given: looked.append(given))
    RecordSet.read(path)
    assert not looked
    (tmp_path / "another.png").touch()
    RecordSet.read(path)
    assert len(looked) == 6


def test_a_path_that_leads_outside_is_refused_though_it_was_allowed_before(tmp_path, monkeypatch):
    (tmp_path / "private.png").touch()
    folder = tmp_path / "set"
    folder.mkdir()
    path = write_lines(folder, {"id": "a", "image": "../private.png"})
    monkeypatch.setenv("FACEKIT_ALLOW_OUTSIDE", "1")
    assert len(RecordSet.read(path)) == 1
    monkeypatch.delenv("FACEKIT_ALLOW_OUTSIDE")
    with pytest.raises(RecordError, match=r"record 'a': the path '\.\./private\.png' leads out"):
        RecordSet.read(path)


def test_a_folder_that_cannot_be_written_to_is_read_whole(tmp_path, caplog):
    path, records = write_set(tmp_path)
    (tmp_path / ".facekit").write_text("a file in the way")
    with caplog.at_level(logging.WARNING):
        found = RecordSet.read(path)
    assert found.records == tuple(records)
    assert "is read whole into memory" in caplog.text


def test_of_two_that_open_a_new_file_at_once_one_makes_the_index(tmp_path, indexed):
    path, records = write_set(tmp_path)
    with ThreadPoolExecutor(4) as pool:  # each opens the file itself, as processes do, and locks belong to open files
        opened = list(pool.map(open_stored, [path] * 4))
    assert all(list(stored) == records for stored in opened)
    assert len(indexed) == 1
    assert [entry.name for entry in index_path(path).parent.iterdir()] == ["records.jsonl.index"]


def test_a_worker_gets_the_path_and_its_memory_does_not_grow_with_the_set(tmp_path):
    path = tmp_path / "records.jsonl"
    turns = json.dumps([turn.model_dump() for turn in make_records(1)[0].conversations])
    with path.open("w") as file:
        file.writelines(f'{{"id": "{index}", "image": "a.png", "conversations": {turns}}}\n' for index in range(50_000))
    stored = open_stored(path)
    (tmp_path / "one.pickle").write_bytes(pickle.dumps(stored[:1]))
    (tmp_path / "all.pickle").write_bytes(pickle.dumps(stored))
    assert (tmp_path / "all.pickle").stat().st_size < 1000
    script = """
import pathlib, pickle, resource, sys
one = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())[0]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
records = pickle.loads(pathlib.Path(sys.argv[2]).read_bytes())
names = [record.id for record in records[::7]]
print(len(records), names[-1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "one.pickle"), str(tmp_path / "all.pickle")]
    count, last, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert (count, last) == ("50000", "49994")
    assert int(grown) < 10 << 10, f"{grown} KiB more for 50,000 records than for one"
