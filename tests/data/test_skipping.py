"""Skipped records are listed once with their reason, known to all processes, and bounded."""

from __future__ import annotations

import json

import pytest

from facekit.data.skipping import SkippedRecord, SkippedRecords
from facekit.errors import RecordError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "skipped.jsonl"


def test_a_skipped_record_is_known_by_index_and_by_id(path):
    skipped = SkippedRecords(path, 10, 0.2)
    skipped.add(3, "anna", RecordError("no picture"))
    skipped.add(None, "shard/foreign", OSError("cut off"))
    assert 3 in skipped
    assert "anna" in skipped
    assert "shard/foreign" in skipped
    assert 4 not in skipped
    assert "3" not in skipped
    assert skipped.reasons() == {3: "no picture"}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"index": 3, "id": "anna", "reason": "no picture"},
        {"index": None, "id": "shard/foreign", "reason": "cut off"},
    ]


def test_processes_and_later_runs_share_the_list_and_count_a_record_once(path):
    one, two = SkippedRecords(path, 4, 0.5), SkippedRecords(path, 4, 0.5)
    one.add(0, "a", RecordError("of one"))
    two.add(0, "a", RecordError("of two"))
    two.add(1, "b", RecordError("b"))
    assert one.entries() == [SkippedRecord(0, "a", "of one"), SkippedRecord(1, "b", "b")]
    assert 1 in SkippedRecords(path, 4, 0.5)
    with pytest.raises(RecordError, match=r"3 of 4 records cannot be used, more than skip_limit=0\.5 allows.*'c': no"):
        one.add(2, "c", RecordError("no"))
    assert 2 not in SkippedRecords(path, 4, 0.5)


def test_two_records_of_one_id_are_two(path):
    skipped = SkippedRecords(path, 2, 1.0)
    skipped.add(0, "same", RecordError("x"))
    assert 1 not in skipped
    skipped.add(1, "same", RecordError("y"))
    assert skipped.reasons() == {0: "x", 1: "y"}


def test_a_new_list_forgets_the_old_one(path):
    skipped = SkippedRecords(path, 2, 0.5)
    skipped.add(0, "a", RecordError("x"))
    skipped.forget()
    assert 0 not in skipped
    assert not path.exists()
    skipped.add(1, "b", RecordError("y"))
    assert skipped.reasons() == {1: "y"}


def test_without_a_file_nothing_may_be_skipped():
    with pytest.raises(RecordError, match="1 of 9 samples cannot be used, more than skip_limit=0 allows"):
        SkippedRecords(None, 9, 0.5, noun="samples").add(0, "a", RecordError("x"))


@pytest.mark.parametrize("line", ["rubbish", "[]", '{"index": 1}', '{"index": "x", "id": "a", "reason": "b"}'])
def test_a_damaged_list_is_told(path, line):
    path.parent.mkdir()
    path.write_text(line + "\n")
    with pytest.raises(RecordError, match=r"is damaged .*; remove it to try all records again"):
        SkippedRecords(path, 9, 0.5)


def test_records_that_are_found_together_are_listed_together_and_once(path, caplog):
    found = [SkippedRecord(index, f"r{index}", f"reason {index}") for index in range(7)]
    skipped = SkippedRecords(path, 70, 0.1)
    skipped.add_all(found)
    assert "7 of 70 records cannot be used and are skipped: 'r0': reason 0; " in caplog.text
    assert f"and 2 more, all in {path}" in caplog.text
    SkippedRecords(path, 70, 0.1).add_all(found)
    assert SkippedRecords(path, 70, 0.1).entries() == found
    assert len(path.read_text().splitlines()) == 7
    with pytest.raises(
        RecordError, match=r"8 of 70 records cannot be used, more than skip_limit=0\.1 allows: 'new': x"
    ):
        skipped.add_all([SkippedRecord(9, "new", "x")])
    assert "new" in path.read_text(), "whoever repairs them needs all"
    other = path.with_name("other.jsonl")
    SkippedRecords(other, 70, 0.1).add_all(found, write=False)
    assert not other.exists()
