"""FERV39k: lists of clip folders over all scenes."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import RecordError


@pytest.fixture
def ferv39k(miniature):
    miniature.text("4_setups/All_scenes/train_All.csv", "Action/Happy/0267 Happy", "Crime/Angry/0001 Angry")
    miniature.text("4_setups/All_scenes/test_All.csv", "War/Sad/0010 Sad")
    for clip in ("Action/Happy/0267", "Crime/Angry/0001", "War/Sad/0010"):
        miniature.picture(f"2_ClipsforFaceCrop/{clip}/1.jpg", f"2_ClipsforFaceCrop/{clip}/2.jpg")
    return miniature


def test_clips_have_label_split_and_scene(ferv39k):
    first, second, third = list(read_source("ferv39k", ferv39k.root)[0])
    assert [record.labels.expression for record in (first, second, third)] == ["happiness", "anger", "sadness"]
    assert [record.split for record in (first, second, third)] == ["train", "train", "test"]
    assert first.source == {"dataset": "ferv39k", "scene": "Action"}
    assert first.video == [f"2_ClipsforFaceCrop/Action/Happy/0267/{frame}.jpg" for frame in (1, 2)]


def test_a_wrong_root_and_a_missing_list_are_named(ferv39k, tmp_path):
    with pytest.raises(RecordError, match=r"no file 4_setups/All_scenes/train_All\.csv .*ferv39k expects"):
        read_source("ferv39k", tmp_path)
    (ferv39k.root / "4_setups/All_scenes/test_All.csv").unlink()
    with pytest.raises(RecordError, match=r"no file 4_setups/All_scenes/test_All\.csv"):
        read_source("ferv39k", ferv39k.root, split="test")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Action/Happy/0267 Joyful", "line 1: 'label' must be one of 'Angry', .* not 'Joyful'"),
        ("../../secret Happy", "line 1: the clip '../../secret' leaves the dataset's folder"),
    ],
)
def test_a_label_out_of_range_or_a_path_that_leaves_is_named(ferv39k, line, words):
    ferv39k.text("4_setups/All_scenes/train_All.csv", line)
    with pytest.raises(RecordError, match=rf"train_All\.csv, {words}"):
        list(read_source("ferv39k", ferv39k.root)[0])
