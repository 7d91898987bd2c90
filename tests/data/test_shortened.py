"""Questions that are left out are listed by record, once, with their reasons."""

from __future__ import annotations

import pytest

from facekit.data.shortened import ShortenedRecord, ShortenedRecords
from facekit.data.usable import LeftOut
from facekit.errors import RecordError

FIRST = ShortenedRecord(4, "a", (0, 2), (LeftOut(2, "it has no answer"),))
SECOND = ShortenedRecord(1, "b", (), (LeftOut(1, "too long"), LeftOut(2, "too long")))


def test_a_record_is_listed_once_by_whoever_meets_it(tmp_path):
    path = tmp_path / "run" / "shortened.jsonl"
    one, two = ShortenedRecords(path), ShortenedRecords(path)
    for each in (one, two, one):
        each.add(FIRST)
    two.add(SECOND)
    assert one.entries() == [SECOND, FIRST]
    assert len(path.read_text().splitlines()) == 3
    one.forget()
    assert (one.entries(), path.exists()) == ([], False)
    one.add(FIRST)
    assert one.entries() == [FIRST]


def test_a_list_is_replaced_and_its_questions_are_counted(tmp_path, caplog):
    records = ShortenedRecords(tmp_path / "shortened.jsonl")
    records.add(FIRST)
    records.replace([SECOND])
    assert records.entries() == [SECOND]
    assert "left out 2 questions of 1 record: 'b', question 1: too long; all in" in caplog.text


def test_a_damaged_list_is_told_and_no_list_is_none(tmp_path):
    path = tmp_path / "shortened.jsonl"
    path.write_text('{"index": 1}\n')
    with pytest.raises(RecordError, match=r"is damaged .*; remove it"):
        ShortenedRecords(path).entries()
    nowhere = ShortenedRecords(None)
    nowhere.add(FIRST)
    assert nowhere.entries() == []
