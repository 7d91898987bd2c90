"""A records file is read to its end: what is malformed is kept apart, by index, id and reason."""

from __future__ import annotations

import json

import pytest

from facekit.data.lenient import read_leniently
from facekit.errors import RecordError

TURNS = [{"role": "user", "content": "Joy?"}, {"role": "assistant", "content": "Yes."}]


def line(name, **fields):
    return json.dumps({"id": name, "image": "a.png", "conversations": TURNS, **fields}).encode()


def write(folder, *lines):
    path = folder / "records.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_every_malformed_line_is_listed_with_its_index_id_and_fault(tmp_path):
    path = write(
        tmp_path, line("a"), b"", line("b", extra=1), b'{"id": "c"', line("d", landmarks=[[0.1, 0.2]] * 67),
        b'{"id": "e\xff"}', line("f"), line("a"), b"[1, 2]", line("g", conversations=[{"role": "bot", "content": "x"}]),
        line("h"),
    )  # fmt: skip
    found = read_leniently(path)
    assert [record.id for record in found.records] == ["a", "f", "h"]
    assert list(found.entry_indices) == [0, 5, 9]
    assert [(entry.index, entry.id) for entry in found.broken] == [
        (1, "b"), (2, "line 4"), (3, "d"), (4, "line 6"), (6, "a"), (7, "line 9"), (8, "g"),
    ]  # fmt: skip
    reasons = [entry.reason for entry in found.broken]
    assert reasons[0].startswith("line 3: there is no field 'extra'")
    assert "Invalid JSON" in reasons[1]
    assert "landmarks must be 68 pairs" in reasons[2]
    assert "same id" in reasons[4]
    assert "conversations.0.role" in reasons[6]


def test_media_are_not_looked_for(tmp_path):
    assert len(read_leniently(write(tmp_path, line("a")))) == 1


@pytest.mark.parametrize("lines", [[b""], [b"{}", b"rubbish"]])
def test_a_file_without_one_record_is_refused(tmp_path, lines):
    with pytest.raises(RecordError, match="has no records that can be used"):
        read_leniently(write(tmp_path, *lines))
    with pytest.raises(RecordError, match="cannot be opened"):
        read_leniently(tmp_path / "nothing.jsonl")


def test_malformed_samples_of_llavas_format_are_listed_too(tmp_path):
    def sample(name, *words, **fields):
        turns = [{"from": ("human", "gpt")[place % 2], "value": each} for place, each in enumerate(words)]
        return {"id": name, "image": "a.png", "conversations": turns, **fields}

    samples = [
        sample("a", "<image>\nJoy?", "Yes."), sample("b", "<image>\nJoy?", ""), sample("c", conversations="none"),
        sample("d", "Joy?", "Yes.", landmarks_2d="points.npy"),
        {**sample("e"), "conversations": [{"from": "robot", "value": "Hello."}]}, sample("f", "Joy?", "No."),
    ]  # fmt: skip
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(samples))
    found = read_leniently(path)
    assert [record.id for record in found.records] == ["a", "f"]
    assert [(entry.index, entry.id) for entry in found.broken] == [(1, "b"), (2, "c"), (3, "d"), (4, "e")]
    for entry, words in zip(found.broken, ("without words", "list of messages", "points.npy", "'robot'"), strict=True):
        assert words in entry.reason
