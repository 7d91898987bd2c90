"""MAFW: eleven expressions in fold lists."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import RecordError

FOLD = "Train & Test Set/single/no_caption/set_1"


@pytest.fixture
def mafw(miniature):
    miniature.text(f"{FOLD}/train.txt", "00001.mp4 anger", "00002.mp4 helplessness")
    miniature.text(f"{FOLD}/test.txt", "00003.mp4 contempt")
    miniature.clip(*(f"data/clips/0000{number}.mp4" for number in (1, 2, 3)))
    return miniature


def test_clips_have_their_expression_and_split(mafw):
    records = list(read_source("mafw", mafw.root)[0])
    assert [record.labels.expression for record in records] == ["anger", "helplessness", "contempt"]
    assert [record.split for record in records] == ["train", "train", "test"]
    assert records[0].video == "data/clips/00001.mp4"


def test_frames_come_before_videos_where_both_are_there(mafw):
    mafw.picture("data/frames/00003/00001.png", "data/frames/00003/00002.png")
    records, summary = read_source("mafw", mafw.root)
    assert [record.video for record in records] == [[f"data/frames/00003/0000{frame}.png" for frame in (1, 2)]]
    assert summary.missing.count == 2
    assert len(list(read_source("mafw", mafw.root, clips="clips")[0])) == 3


def test_a_wrong_root_and_a_missing_list_are_named(mafw, tmp_path):
    with pytest.raises(RecordError, match=r"no file Train & Test Set/single/no_caption/set_1/train\.txt"):
        read_source("mafw", tmp_path)
    with pytest.raises(RecordError, match=r"no file Train & Test Set/single/no_caption/set_2/train\.txt"):
        read_source("mafw", mafw.root, fold=2)


def test_a_label_out_of_range_is_named_with_file_and_line(mafw):
    mafw.text(f"{FOLD}/train.txt", "00001.mp4 anger", "00002.mp4 boredom")
    with pytest.raises(RecordError, match=r"train\.txt, line 2: 'label' must be one of .* not 'boredom'"):
        list(read_source("mafw", mafw.root)[0])
