"""A run is the same where all its facts are; what differs is said by name, with both values."""

from __future__ import annotations

import pytest

from facekit.data.dataset import RecordSet
from facekit.data.identity import RunIdentity, describe_items, describe_records, list_differences
from facekit.data.records import FaceRecord
from facekit.errors import CheckpointError


def test_differences_name_the_fact_and_both_values():
    before = RunIdentity({"seed": 0, "parts": ["encoder"], "records": "3 faces", "gone": 1})
    now = RunIdentity({"seed": 1, "parts": ("encoder",), "records": "3 faces", "new": True})
    assert now.differences(before) == ["seed was 0 and is 1", "new was None and is True"]
    assert now.differences(before, {"new": True, "seed": 1}) == ["seed was 0 and is 1"]
    assert now.differences(now) == []


def test_values_are_compared_as_json_has_them():
    assert list_differences({"a": (1, 2), "b": 1.0, 3: "x"}, {"a": [1, 2], "b": 1, "3": "x"}) == []
    assert list_differences({}, {"a": None}) == []


def test_an_identity_is_read_as_it_was_written(tmp_path):
    identity = RunIdentity({"settings": {"steps": 3}, "model": "Größe"})
    identity.write(tmp_path / "run.json")
    assert RunIdentity.read(tmp_path / "run.json") == identity


@pytest.mark.parametrize("content", [None, "{", "3"])
def test_one_that_cannot_be_read_is_told(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"run\.json of the run to be resumed cannot be read"):
        RunIdentity.read(tmp_path / "run.json")


def test_records_are_known_by_number_content_and_order(tmp_path):
    records = [FaceRecord(id=name, image=f"{name}.png") for name in "abc"]

    def describe(chosen):
        return describe_records(RecordSet(tuple(chosen), tmp_path))

    assert describe(records).startswith("3 with the hash ")
    assert describe(records) == describe_records(RecordSet(tuple(records), tmp_path / "elsewhere"))
    changed = [records[0].model_copy(update={"groups": {"sex": "f"}}), *records[1:]]
    assert len({describe(each) for each in (records, records[::-1], records[:2], changed)}) == 4


def test_the_edges_of_items_count():
    assert describe_items(["ab", "c"]) != describe_items(["a", "bc"])


def test_terms_of_use_are_no_part_of_what_a_model_learns(tmp_path):
    record = FaceRecord(id="a", image="a.png")
    licensed = record.model_copy(update={"license": "mit", "consent": "research"})
    assert describe_records(RecordSet((record,), tmp_path)) == describe_records(RecordSet((licensed,), tmp_path))
