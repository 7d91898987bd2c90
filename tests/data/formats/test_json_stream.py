"""A JSON list as a stream: any layout of it, any cut between chunks."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facekit.data.formats import json_stream
from facekit.errors import RecordError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)
objects = st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=objects, chunk=st.integers(1, 40), indent=st.none() | st.just(2), lines=st.booleans())
def test_objects_come_out_as_they_went_in(tmp_path, monkeypatch, entries, chunk, indent, lines):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    text = "\n".join(json.dumps(entry) for entry in entries) if lines else json.dumps(entries, indent=indent)
    path.write_text(text, encoding="utf-8")
    found = list(json_stream.iterate_json_objects(path))
    assert [entry for _, entry in found] == entries
    assert [number for number, _ in found] == list(range(1, len(entries) + 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"a": 1}, {"a": ', "entry 2: not JSON, or cut off"),
        ('[{"a": 1}, 7]', "entry 2: an object is expected, not '7]'"),
        ('[{"a": 1}] {"b": 2}', "entry 2: an object is expected"),
        ('[{"a": 1}', "ends after entry 1 without the closing"),
        ("nonsense", "entry 1: an object is expected, not 'nonsense'"),
    ],
)
def test_a_malformed_file_is_named_with_the_entry(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=words):
        list(json_stream.iterate_json_objects(path))


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(RecordError, match="cannot be opened"):
        list(json_stream.iterate_json_objects(tmp_path / "nowhere.json"))
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match="not UTF-8"):
        list(json_stream.iterate_json_objects(tmp_path / "a.json"))
