"""FaceForensics++: pairs of the official splits, methods and compressions."""

import json

import pytest

from facekit.data.sources import read_source
from facekit.data.sources.faceforensics import METHODS
from facekit.errors import ConfigurationError, RecordError


@pytest.fixture
def faceforensics(miniature):
    for name, pair in (("train", ("071", "054")), ("val", ("720", "672")), ("test", ("953", "974"))):
        miniature.text(f"splits/{name}.json", json.dumps([pair]))
        first, second = pair
        miniature.clip(*(f"original_sequences/youtube/c23/videos/{each}.mp4" for each in pair))
        for method in METHODS:
            folder = f"manipulated_sequences/{method}/c23/videos"
            miniature.clip(f"{folder}/{first}_{second}.mp4", f"{folder}/{second}_{first}.mp4")
    return miniature


def test_a_pair_stands_for_two_originals_and_two_manipulations_per_method(faceforensics):
    records, summary = read_source("faceforensics", faceforensics.root, split="test")
    found = list(records)
    assert [record.labels.manipulated for record in found] == [False] * 2 + [True] * 8
    assert found[0].video == "original_sequences/youtube/c23/videos/953.mp4"
    assert found[2].video == "manipulated_sequences/Deepfakes/c23/videos/953_974.mp4"
    assert found[2].source == {
        "dataset": "faceforensics", "compression": "c23", "person": "953", "method": "Deepfakes",
    }  # fmt: skip
    assert [record.source["person"] for record in found[:4]] == ["953", "974", "953", "974"]
    assert summary.counts.splits == {"test": 10}


def test_all_splits_and_chosen_methods_are_read(faceforensics):
    records = list(read_source("faceforensics", faceforensics.root, methods="FaceShifter")[0])
    assert len(records) == 12
    assert {record.split for record in records} == {"train", "validation", "test"}
    assert {record.source.get("method") for record in records} == {None, "FaceShifter"}


def test_a_wrong_root_a_missing_split_file_and_a_missing_compression_are_named(faceforensics, tmp_path):
    with pytest.raises(RecordError, match=r"no file splits/train\.json or .*; faceforensics expects"):
        read_source("faceforensics", tmp_path)
    (faceforensics.root / "splits/val.json").unlink()
    with pytest.raises(RecordError, match=r"no file splits/val\.json"):
        read_source("faceforensics", faceforensics.root, split="val")
    with pytest.raises(RecordError, match="no folder original_sequences/youtube/c40/videos"):
        read_source("faceforensics", faceforensics.root, compression="c40")


def test_unknown_methods_and_compressions_are_refused(faceforensics):
    with pytest.raises(ConfigurationError, match="not 'FaceSwop'"):
        read_source("faceforensics", faceforensics.root, methods="Deepfakes, FaceSwop")
    with pytest.raises(ConfigurationError, match="one of raw, c23, c40, not 'c0'"):
        read_source("faceforensics", faceforensics.root, compression="c0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[["071", "054"], ["71", "054"]]', r"train\.json, entry 2: a pair such as"),
        ('{"071": "054"}', "must be a list of pairs, not dict"),
        ('[["071"', "cannot be read as JSON"),
    ],
)
def test_a_malformed_split_file_is_named_with_its_entry(faceforensics, text, words):
    faceforensics.text("splits/train.json", text)
    with pytest.raises(RecordError, match=words):
        list(read_source("faceforensics", faceforensics.root)[0])
