"""DFEW: fold files, and clips as frames or as videos."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import ConfigurationError, RecordError


@pytest.fixture
def dfew(miniature):
    for fold in (1, 2):
        miniature.text(f"EmoLabel_DataSplit/train(single-labeled)/set_{fold}.csv", "video_name,label", "1,1", "23,7")
        miniature.text(f"EmoLabel_DataSplit/test(single-labeled)/set_{fold}.csv", "video_name,label", f"{fold + 4},3")
    miniature.picture(*(f"Clip/clip_224x224_16f/00001/{frame}.jpg" for frame in (1, 2, 10)))
    miniature.picture("Clip/clip_224x224_16f/00023/1.jpg", "Clip/clip_224x224_16f/00006/1.jpg")
    return miniature


def test_clips_are_frames_in_order_with_the_label_of_the_fold(dfew):
    records, summary = read_source("dfew", dfew.root, fold="2")
    first, second, third = list(records)
    assert first.id == "dfew/00001"
    assert first.video == [f"Clip/clip_224x224_16f/00001/{frame}.jpg" for frame in (1, 2, 10)]
    assert [record.labels.expression for record in (first, second, third)] == ["happiness", "fear", "neutral"]
    assert [record.split for record in (first, second, third)] == ["train", "train", "test"]
    assert third.source == {"dataset": "dfew", "fold": 2}
    assert summary.counts.media == {"video": 3}


def test_a_clip_without_frames_is_counted_as_missing(dfew):
    records, summary = read_source("dfew", dfew.root, fold=1, split="test")
    assert list(records) == []
    assert summary.missing.examples == [str(dfew.root / "Clip/clip_224x224_16f/00005")]


def test_original_videos_are_found_by_number(dfew):
    dfew.clip("Clip/original/1.mp4", "Clip/original/23.mp4")
    records = list(read_source("dfew", dfew.root, split="train", clips="original")[0])
    assert [record.video for record in records] == ["Clip/original/1.mp4", "Clip/original/23.mp4"]


def test_a_wrong_root_a_missing_fold_file_and_a_wrong_fold_are_refused(dfew, tmp_path):
    with pytest.raises(RecordError, match=r"no file EmoLabel_DataSplit/train\(single-labeled\)/set_1\.csv or"):
        read_source("dfew", tmp_path)
    with pytest.raises(RecordError, match=r"no file .*test\(single-labeled\)/set_5\.csv; dfew expects"):
        read_source("dfew", dfew.root, fold=5, split="test")
    with pytest.raises(ConfigurationError, match="fold=6 cannot be used: it takes an integer from 1 to 5"):
        read_source("dfew", dfew.root, fold=6)


@pytest.mark.parametrize(
    ("line", "words"), [("1,8", "'label' must be one of '1'"), ("one,1", "'video_name' must be a whole number")]
)
def test_a_label_out_of_range_is_named_with_file_and_line(dfew, line, words):
    dfew.text("EmoLabel_DataSplit/train(single-labeled)/set_1.csv", "video_name,label", line)
    with pytest.raises(RecordError, match=rf"set_1\.csv, line 2: {words}"):
        list(read_source("dfew", dfew.root)[0])
