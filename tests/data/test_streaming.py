"""A stream of shards gives every sample once, as the record data set would, and goes on exactly where it was."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from PIL import Image

import facekit
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.formats.shards import MANIFEST, read_shards, write_shards
from facekit.data.records import FaceRecord, Turn
from facekit.data.shard_index import count_samples, list_samples
from facekit.data.streaming import ShardLoader, ShardStream, StreamState
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, RecordError

SAMPLES = 22


@pytest.fixture(scope="module")
def processor():
    return facekit.create(encoder="tiny?image_size=32&width=32&depth=1", connector="mlp", backbone="tiny")[1]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Pictures, of which some have landmarks in a file or none, and a clip of frames."""
    folder = tmp_path_factory.mktemp("faces")
    drawn = list(RecordSet.read(write_synthetic_dataset(folder, SAMPLES, seed=1, image_size=32)).records)
    np.save(folder / "points.npy", np.asarray(drawn[3].landmarks, np.float32))
    drawn[3] = drawn[3].model_copy(update={"landmarks": "points.npy"})
    drawn[4] = drawn[4].model_copy(update={"landmarks": None})
    for name in ("0.png", "1.png"):
        Image.new("RGB", (32, 24), (200, 10, 10)).save(folder / name)
    np.save(folder / "clip.npy", np.full((2, 68, 2), 0.25, np.float32))
    turns = [Turn(role="user", content="q?"), Turn(role="assistant", content="a.")]
    drawn[5] = FaceRecord(id="clip", video=["0.png", "1.png"], landmarks="clip.npy", conversations=turns)
    return RecordSet(tuple(drawn), folder)


@pytest.fixture(scope="module")
def shards(records, tmp_path_factory):
    """Four shards of 6, 6, 6 and 4 samples."""
    folder = tmp_path_factory.mktemp("shards") / "all"
    write_shards(records.records, folder, media_folder=records.folder, per_shard=6)
    return folder


def indices(loader):
    return [batch["example_indices"].tolist() for batch in loader]


def loader_of(shards, processor, batch_size=4, workers=0, **options):
    collator = FaceCollator(processor.tokenizer.pad_token_id or 0, with_indices=True)
    return ShardLoader(ShardStream(shards, processor, **options), collator, batch_size, workers=workers)


@pytest.mark.parametrize("options", [{}, {"landmark_noise": 0.02, "independent_turns": True, "turns_per_example": 2}])
def test_an_example_is_what_the_record_data_set_makes_of_the_record(shards, records, processor, options):
    chosen = DatasetOptions(**options, seed=3)
    stream, dataset = ShardStream(shards, processor, chosen), FaceDataset(records, processor, chosen)
    stream.set_epoch(2)
    dataset.set_epoch(2)
    seen = 0
    for example in stream:
        for name, value in vars(dataset[example.index]).items():
            found = getattr(example, name)
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(found, value, atol=0, rtol=0, equal_nan=True)
            else:
                assert found == value
        seen += 1
    assert seen == SAMPLES


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (2, 0), (1, 2), (2, 2)])
def test_processes_and_workers_share_the_samples(shards, processor, processes, workers):
    dealt = [
        indices(loader_of(shards, processor, 3, workers, rank=rank, processes=processes)) for rank in range(processes)
    ]
    counts = Counter(index for batches in dealt for batch in batches for index in batch)
    assert set(counts) == set(range(SAMPLES))
    assert sum(counts.values()) - SAMPLES == -SAMPLES % processes
    alone = [indices(loader_of(shards, processor, 3, rank=rank, processes=processes)) for rank in range(processes)]
    assert dealt == alone, "the number of loading processes changes nothing"
    assert len({len(batches) for batches in dealt}) == 1
    assert len(dealt[0]) == len(loader_of(shards, processor, 3, workers, processes=processes))


@pytest.mark.parametrize(("ends", "expected"), [("repeat", 5), ("drop", 4)])
def test_processes_end_together(shards, processor, ends, expected):
    streams = [ShardStream(shards, processor, rank=rank, processes=5, ends=ends) for rank in range(5)]
    found = [[example.index for example in stream] for stream in streams]
    assert [len(each) for each in found] == [expected] * 5
    distinct = set(sum(found, []))  # noqa: RUF017
    assert len(distinct) == (SAMPLES if ends == "repeat" else 20)


def test_order_is_a_matter_of_seed_and_epoch(shards, processor):
    def order(epoch=0, **options):
        stream = ShardStream(shards, processor, **options)
        stream.set_epoch(epoch)
        return [example.index for example in stream]

    assert order() == order()
    assert order() != order(epoch=1)
    assert order() != order(seed=1)
    assert sorted(order(epoch=1)) == list(range(SAMPLES))
    unbuffered = order(buffer=1)
    assert sum(after - before != 1 for before, after in pairwise(unbuffered)) <= 3
    assert order(buffer=8) != unbuffered


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_stream_goes_on_with_the_samples_of_an_uninterrupted_one(shards, processor, tmp_path, workers):
    def make():
        return loader_of(shards, processor, 4, workers, buffer=5, rank=1, processes=2)

    straight = make()
    before = torch.random.get_rng_state()
    whole = [indices(straight) for _ in range(3)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len({str(epoch) for epoch in whole}) == 3
    for stop in range(len(straight) + 1) if workers == 0 else (1,):
        cut = make()
        assert indices(cut) == whole[0]
        assert [batch["example_indices"].tolist() for batch in islice(cut, stop)] == whole[1][:stop]
        cut.state().write(tmp_path / "state.json")
        resumed = make()
        resumed.go_on_from(StreamState.read(tmp_path / "state.json"))
        assert indices(resumed) == whole[1][stop:]
        assert indices(resumed) == whole[2]


def test_a_state_of_another_order_is_refused(shards, processor, tmp_path):
    state = loader_of(shards, processor).state()
    for changed in ({"seed": 1}, {"buffer": 7}, {"processes": 2}, {"ends": "drop"}):
        with pytest.raises(ConfigurationError, match=f"{next(iter(changed))} was"):
            loader_of(shards, processor, **changed).go_on_from(state)
    with pytest.raises(ConfigurationError, match="batch_size was 4 and is 5"):
        loader_of(shards, processor, 5).go_on_from(state)
    with pytest.raises(RecordError, match="cannot be read as the state"):
        StreamState.read(tmp_path / "state.json")


def damage(shards, folder, changes):
    """Copy shards with some members changed: a function of the bytes, or None to leave the member out."""
    folder.mkdir()
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as source, tarfile.open(folder / shard.name, "w") as target:
            for member in source:
                content = source.extractfile(member).read()
                change = changes.get(member.name, lambda content: content)
                if change is not None:
                    content = change(content)
                    member.size = len(content)
                    target.addfile(member, io.BytesIO(content))
    return folder


@pytest.fixture(scope="module")
def damaged(shards, tmp_path_factory):
    changes = {
        "000000002.png": lambda content: content[: len(content) // 2],
        "000000003.landmarks.npy": lambda content: b"pickle",
        "000000009.json": lambda content: b'{"id": 1}',
        "000000020.png": None,
    }
    names = {
        f"{each.key}.{field}" for shard in shards.glob("*.tar") for each in list_samples(shard) for field in each.fields
    }
    assert changes.keys() <= names
    return damage(shards, tmp_path_factory.mktemp("damaged") / "shards", changes)


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_that_cannot_be_used_are_left_out_and_listed(damaged, processor, tmp_path, workers):
    def make():
        log_path = tmp_path / "skipped.jsonl"
        return loader_of(damaged, processor, 4, workers, buffer=4, log_path=log_path, skip_limit=0.2)

    first = make()
    found = indices(first)
    skipped = first.stream.skipped
    assert {each.id.partition("/")[2] for each in skipped.entries()} == {
        "000000002", "000000003", "000000009", "000000020",
    }  # fmt: skip
    assert set(skipped.reasons()) == {2, 3, 9, 20}
    assert "has no .png" in skipped.reasons()[20]
    counts = Counter(sum(found, []))  # noqa: RUF017
    assert set(counts) == set(range(SAMPLES)) - {2, 3, 9, 20}
    assert sum(counts.values()) == SAMPLES
    assert indices(make()) == found, "a list that is there already changes nothing"
    (tmp_path / "skipped.jsonl").unlink()
    cut = make()
    assert [batch["example_indices"].tolist() for batch in islice(cut, 4)] == found[:4]
    resumed = make()
    resumed.go_on_from(cut.state())
    assert indices(resumed) == found[4:]


def test_more_of_them_than_allowed_end_the_stream(damaged, processor, tmp_path):
    with pytest.raises(RecordError, match=r"2 of 22 samples cannot be used, more than skip_limit=0\.05 allows"):
        list(ShardStream(damaged, processor, log_path=tmp_path / "skipped.jsonl", skip_limit=0.05))
    with pytest.raises(RecordError, match="1 of 22 samples cannot be used, more than skip_limit=0 allows"):
        list(ShardStream(damaged, processor, skip_limit=0.5))
    (tmp_path / "skipped.jsonl").write_text("rubbish\n")
    with pytest.raises(RecordError, match="is damaged"):
        next(iter(ShardStream(damaged, processor, log_path=tmp_path / "skipped.jsonl")))


def test_a_record_that_names_files_elsewhere_reaches_none_of_them(shards, processor, tmp_path):
    def escape(content):
        return json.dumps({**json.loads(content), "image": "../../../../etc/hostname.png"}).encode()

    folder = damage(shards, tmp_path / "shards", {"000000000.json": escape})
    examples = {example.index: example for example in ShardStream(folder, processor)}
    expected = {example.index: example for example in ShardStream(shards, processor)}
    assert torch.equal(examples[0].pixel_values, expected[0].pixel_values)


def test_shards_that_are_not_whole_are_refused(shards, processor, tmp_path):
    with pytest.raises(RecordError, match=r"has no \.tar file with samples"):
        ShardStream(tmp_path, processor)
    folder = damage(shards, tmp_path / "shards", {})
    cut = sorted(folder.glob("*.tar"))[1]
    whole = cut.read_bytes()
    for length in (len(whole) // 2, len(whole) // 2 + 300, list(list_samples(cut))[3].fields["json"][0] - 512):
        cut.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=f"{cut.name}.*copy it again"):
            ShardStream(folder, processor)
    (folder / MANIFEST).write_text(json.dumps({"shards": [{"name": cut.name, "bytes": len(whole), "records": 6}]}))
    with pytest.raises(RecordError, match=f"{cut.name} has {length} bytes, not {len(whole)}; copy it again"):
        ShardStream(folder, processor)
    cut.write_bytes(whole)
    manifest = {"shards": [{"name": shard.name, "records": 6} for shard in sorted(folder.glob("*.tar"))]}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RecordError, match="has fewer samples than the 6 announced"):
        list(ShardStream(folder, processor))
    cut.unlink()
    with pytest.raises(RecordError, match=f"names {cut.name}, which is not there"):
        ShardStream(folder, processor)


@pytest.mark.parametrize(
    "options", [{"rank": 2, "processes": 2}, {"buffer": 0}, {"skip_limit": 1.5}, {"processes": SAMPLES + 1}]
)
def test_options_out_of_range_are_refused(shards, processor, options):
    with pytest.raises(ConfigurationError):
        loader_of(shards, processor, **options)


def test_samples_are_found_where_webdataset_finds_them(shards, records):
    found = [sample for shard in sorted(shards.glob("*.tar")) for sample in list_samples(shard)]
    assert [int(sample.key) for sample in found] == list(range(SAMPLES))
    assert [FaceRecord.model_validate_json(sample.read()["json"]) for sample in found] == list(read_shards(shards))
    assert list(count_samples(shards).values()) == [6, 6, 6, 4]
    image = records.folder / records.records[0].image
    assert found[0].read()["png"] == image.read_bytes()
