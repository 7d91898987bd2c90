"""RAF-DB: the misspelled list, codes from 1, and the manual annotation."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import RecordError

LIST = "basic/EmoLabel/list_patition_label.txt"


@pytest.fixture
def rafdb(miniature):
    miniature.text(LIST, "train_00001.jpg 5", "train_00002.jpg 7", "test_0001.jpg 1")
    miniature.picture(
        *(f"basic/Image/aligned/{stem}_aligned.jpg" for stem in ("train_00001", "train_00002", "test_0001"))
    )
    landmarks = ["10.0\t20.0"] * 5
    miniature.text("basic/Annotation/manual/train_00001_manu_attri.txt", *landmarks, "1", "0", "2")
    miniature.text("basic/Annotation/manual/test_0001_manu_attri.txt", *landmarks, "2", "2", "4")
    return miniature


def test_expressions_splits_and_groups_are_read(rafdb):
    first, second, third = list(read_source("raf-db", rafdb.root)[0])
    assert [record.labels.expression for record in (first, second, third)] == ["sadness", "neutral", "surprise"]
    assert [record.split for record in (first, second, third)] == ["train", "train", "test"]
    assert first.groups == {"age_group": "20-39", "gender": "woman", "race": "Caucasian"}
    assert second.groups == {}
    assert third.groups == {"age_group": "70+", "race": "Asian"}, "an unsure gender is unknown"
    assert first.image == "basic/Image/aligned/train_00001_aligned.jpg"


def test_the_root_may_be_the_folder_basic_and_pictures_the_originals(rafdb):
    rafdb.picture("basic/Image/original/test_0001.jpg")
    records, summary = read_source("raf-db", rafdb.root / "basic", split="test", pictures="original")
    assert [record.image for record in records] == ["Image/original/test_0001.jpg"]
    assert summary.missing.count == 0


def test_a_wrong_root_a_missing_list_and_missing_pictures_are_named(rafdb, tmp_path):
    with pytest.raises(RecordError, match=r"has no file basic/EmoLabel/list_patition_label\.txt .*raf-db expects"):
        read_source("raf-db", tmp_path)
    with pytest.raises(RecordError, match="has no folder basic/Image/original"):
        read_source("raf-db", rafdb.root, pictures="original")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train_00001.jpg 8", "line 1: 'label' must be one of '1', .* not '8'"),
        ("other_00001.jpg 1", "line 1: 'file' must be one of 'train', 'test', not 'other'"),
        ("train_00001.jpg", "line 1: 1 cells where 2 are expected"),
    ],
)
def test_a_label_out_of_range_is_named_with_file_and_line(rafdb, line, words):
    rafdb.text(LIST, line)
    with pytest.raises(RecordError, match=rf"list_patition_label\.txt, {words}"):
        list(read_source("raf-db", rafdb.root)[0])


def test_a_group_code_out_of_range_is_named_with_file_and_line(rafdb):
    rafdb.text("basic/Annotation/manual/train_00001_manu_attri.txt", *["1 2"] * 5, "1", "3", "2")
    with pytest.raises(RecordError, match=r"train_00001_manu_attri\.txt, line 7: 'code' must be one of '0', '1', '2'"):
        list(read_source("raf-db", rafdb.root)[0])


def test_crops_sorted_into_folders_by_code_are_read_with_their_split(miniature):
    miniature.picture(
        "DATASET/train/5/train_00001_aligned.jpg", "DATASET/train/7/train_00002_aligned.jpg",
        "DATASET/test/1/test_0001_aligned.jpg",
    )  # fmt: skip
    records = list(read_source("raf-db", miniature.root)[0])
    assert [(record.labels.expression, record.split) for record in records] == [
        ("sadness", "train"), ("neutral", "train"), ("surprise", "test")
    ]  # fmt: skip
    assert [record.image for record in read_source("raf-db", miniature.root / "DATASET", split="test")[0]] == [
        "test/1/test_0001_aligned.jpg"
    ]
    with pytest.raises(RecordError, match="has the aligned pictures alone; leave out pictures=original"):
        read_source("raf-db", miniature.root, pictures="original")


def test_a_folder_that_is_no_code_and_a_picture_of_the_other_split_are_named(miniature):
    miniature.picture("DATASET/train/1/train_00001_aligned.jpg", "DATASET/train/8/train_00002_aligned.jpg")
    with pytest.raises(RecordError, match=r"DATASET/train/8: 'label' must be one of '1', .*not '8'"):
        list(read_source("raf-db", miniature.root)[0])
    with pytest.raises(RecordError, match="has no folder DATASET/test"):
        read_source("raf-db", miniature.root, split="test")
    miniature.picture("DATASET/train/1/test_0001_aligned.jpg")
    with pytest.raises(RecordError, match=r"test_0001_aligned\.jpg: a picture of the other split is in train"):
        list(read_source("raf-db", miniature.root)[0])
