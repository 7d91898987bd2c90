"""What is known of records without reading them is what reading them says, from memory, index and several files."""

import json
import pickle

import numpy as np
import pytest

import facekit
from facekit.data import stored_records
from facekit.data.dataset import FaceDataset, RecordSet
from facekit.data.identity import describe_records
from facekit.data.lazy_records import LazyRecords
from facekit.data.lenient import read_leniently
from facekit.data.mixing import DataSource, mix_records
from facekit.data.record_facts import FACTS, facts_of, frame_counts, hash_id, identity_line, is_dialogue, shows_several
from facekit.data.record_media import count_frames, media_frames
from facekit.data.records import FaceRecord, Turn, write_records
from facekit.data.stored_records import StoredRecords
from facekit.errors import RecordError
from facekit.training.loop.batching import group_records

QUESTION, ANSWER = Turn(role="user", content="How  old?"), Turn(role="assistant", content="About thirty.")


def record(name, *, exchanges=1, **fields):
    return FaceRecord(id=name, conversations=[QUESTION, ANSWER] * exchanges, **fields)


RECORDS = [
    record("picture", image="a.png"),
    record("pictures", images=["a.png", "b.png", "c.png"], exchanges=2),
    record("clip", video="a.mp4", exchanges=2, independent_questions=True),
    record("some", video="a.mp4", frames=[3, 5]),
    record("many", video="a.mp4", frames=list(range(20))),
    record("frames", video=[f"{index}.png" for index in range(12)]),
    record("text", exchanges=3),
]


def test_a_record_that_does_not_say_same_is_identified_as_before_there_was_that_field():
    pair = record("pair", images=["a.png", "b.png"], license="cc0")
    values = json.loads(identity_line(pair))
    assert list(values) == [name for name in FaceRecord.model_fields if name not in ("same", "license", "consent")]
    said = [identity_line(pair.model_copy(update={"same": same})) for same in (True, False)]
    assert len({identity_line(pair), *said}) == 3


@pytest.fixture(scope="module")
def processor():
    return facekit.create(encoder="tiny", connector="mlp", backbone="tiny")[1]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_records, "STORED_FROM", 0)
    path = write_records(tmp_path / "records.jsonl", RECORDS)
    return read_leniently(path)


@pytest.fixture
def unread(monkeypatch):
    """Records that are read from their file fail."""

    def refuse(self, row):
        raise AssertionError(f"record {row} was read")

    return lambda: monkeypatch.setattr(StoredRecords, "_read", refuse)


def test_facts_are_counted_from_records_and_kept_in_the_index(stored):
    facts = facts_of(stored.records)
    assert facts.dtype == FACTS
    assert facts.tolist() == facts_of(RECORDS).tolist()
    assert facts["turns"].tolist() == [2, 4, 4, 2, 2, 2, 6]
    assert facts["words"].tolist() == [4, 8, 8, 4, 4, 4, 12]
    assert facts["id"].tolist() == [hash_id(each.id) for each in RECORDS]
    assert frame_counts(facts, 8).tolist() == [count_frames(each, 8) for each in RECORDS] == [1, 3, 8, 2, 8, 12, 0]
    assert shows_several(facts).tolist() == [False, True, *[False] * 5]
    assert is_dialogue(facts).tolist() == [False, True, False, False, False, False, True]


def test_facts_of_a_selection_are_in_its_order(stored):
    assert facts_of(stored.records.select([4, 0]))["frames"].tolist() == [20, 1]
    assert facts_of(()).tolist() == []


def test_counts_that_are_too_large_are_cut_off():
    long = FaceRecord(id="long", image="a.png", conversations=[QUESTION] * 70_000)
    assert facts_of([long])["turns"].tolist() == [65_535]


def test_a_run_over_stored_records_begins_without_reading_one(stored, unread, processor):
    kept = describe_records(RecordSet(tuple(RECORDS), stored.folder))
    unread()
    dataset = FaceDataset(stored, processor)
    assert len(dataset) == 7
    assert dataset.keeps_pictures
    assert describe_records(stored) == kept  # so that a run goes on, whichever way its records were read
    mixed = mix_records([DataSource(stored, 1.0, "a"), DataSource(stored.select([0, 2]), 1.0, "b")])
    assert isinstance(mixed.records, LazyRecords)
    assert len(FaceDataset(mixed, processor)) == 9
    assert mixed.mixture.sizes == (7, 2)
    assert len({describe_records(each) for each in (stored, mixed, stored.select([1, 0]), stored.select([0, 1]))}) == 4
    assert list(stored.entry_indices) == list(range(7))


def test_the_first_stored_record_without_a_conversation_is_named(tmp_path, monkeypatch, processor):
    monkeypatch.setattr(stored_records, "STORED_FROM", 0)
    silent = [FaceRecord(id=name, image="a.png") for name in ("first", "second")]
    found = read_leniently(write_records(tmp_path / "records.jsonl", [RECORDS[0], *silent]))
    with pytest.raises(RecordError, match="record 'first' has no conversation"):
        FaceDataset(found, processor)


def test_stored_files_mixed_are_what_small_ones_are(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    paths = [
        write_records(tmp_path / "a.jsonl", RECORDS[:3]),
        write_records(tmp_path / "b" / "b.jsonl", [record("clip", image="x.png"), record("new", image="/y.png")]),
        write_records(tmp_path / "c.jsonl", [record("clip", image="z.png"), record("new", image="w.png")]),
    ]
    sources = [DataSource(path) for path in paths]
    small = mix_records(sources)
    monkeypatch.setattr(stored_records, "STORED_FROM", 0)
    large = mix_records(sources)
    assert isinstance(small.records, tuple)
    assert isinstance(large.records, LazyRecords)
    assert large.records == small.records
    ids = [each.id for each in large.records]
    assert ids == ["picture", "pictures", "clip", "b.jsonl/clip", "new", "c.jsonl/clip", "c.jsonl/new"]
    assert len(set(facts_of(large.records)["id"].tolist())) == 7
    assert [each.image for each in large.records[3:]] == ["b/x.png", "/y.png", "z.png", "w.png"]
    assert large.mixture == small.mixture
    chosen = large.select([5, 0])
    assert [each.id for each in chosen.records] == ["c.jsonl/clip", "picture"]
    again = pickle.loads(pickle.dumps(chosen.records))
    assert again == chosen.records
    assert chosen.mixture.sources == (2, 0)


def test_batches_are_grouped_alike_by_facts_and_by_records(stored, processor):
    sampler = group_records(stored.records, processor, 2)
    counts = [count_frames(each, processor.image_processor.num_frames) for each in RECORDS]
    expected = []
    for each, count in zip(RECORDS, counts, strict=True):
        media = media_frames(each, count)
        cost = processor.count_visual_tokens(max(media, default=0)) if media else 0
        words = sum(len(turn.content.split()) for turn in each.conversations)
        expected.append(len(media) * cost + words)
    assert np.asarray(sampler.lengths).tolist() == expected
