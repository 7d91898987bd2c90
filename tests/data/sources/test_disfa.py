"""DISFA: intensities per unit and frame, for frames of a video and for pictures."""

import pytest

from facekit.data.labels import ACTION_UNITS
from facekit.data.sources import read_source
from facekit.errors import ConfigurationError, RecordError


@pytest.fixture
def disfa(miniature):
    for person in ("SN001", "SN002"):
        for place, code in enumerate(ACTION_UNITS):
            lines = [f"{frame},{(frame + place) % 6}" for frame in (1, 2, 3)]
            miniature.text(f"ActionUnit_Labels/{person}/{person}_{code.lower()}.txt", *lines)
        miniature.clip(f"Videos_LeftCamera/LeftVideo{person}_comp.avi")
    return miniature


def test_every_frame_of_the_video_has_twelve_intensities(disfa):
    records, summary = read_source("disfa", disfa.root)
    found = list(records)
    assert len(found) == 6
    assert found[0].id == "disfa/SN001/1"
    assert found[0].video == "Videos_LeftCamera/LeftVideoSN001_comp.avi"
    assert [record.frames for record in found] == [[0], [1], [2]] * 2
    assert list(found[0].labels.action_units) == list(ACTION_UNITS)
    assert list(found[0].labels.action_units.values()) == [1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0]
    assert found[0].source == {"dataset": "disfa", "person": "SN001", "frame": 1}
    assert summary.counts.tasks == {"action_units": 6}


def test_extracted_frames_are_found_by_their_number(disfa):
    disfa.picture("frames/LeftVideoSN001_comp/LeftVideoSN001_comp_0001.jpg", "frames/SN002/00003.png")
    records, summary = read_source("disfa", disfa.root, frames="frames")
    first, second = list(records)
    assert first.image == "frames/LeftVideoSN001_comp/LeftVideoSN001_comp_0001.jpg"
    assert second.labels.action_units["AU1"] == 3.0
    assert summary.missing.count == 4


def test_only_every_n_th_frame_is_taken_on_demand(disfa):
    records = list(read_source("disfa", disfa.root, every="2")[0])
    assert [record.frames for record in records] == [[0], [2]] * 2
    with pytest.raises(ConfigurationError, match="every=0 cannot be used: it takes an integer from 1"):
        read_source("disfa", disfa.root, every=0)


def test_a_wrong_root_a_missing_camera_and_a_missing_label_file_are_named(disfa, tmp_path):
    with pytest.raises(RecordError, match="has no folder ActionUnit_Labels; disfa expects"):
        read_source("disfa", tmp_path)
    with pytest.raises(RecordError, match="has no folder Video_RightCamera"):
        read_source("disfa", disfa.root, camera="right")
    (disfa.root / "ActionUnit_Labels/SN001/SN001_au12.txt").unlink()
    with pytest.raises(RecordError, match=r"label file .*SN001_au12\.txt cannot be opened"):
        list(read_source("disfa", disfa.root)[0])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["1,0", "2,6", "3,0"], r"SN001_au9\.txt, line 2: 'intensity' must be a whole number from 0 to 5, not '6'"),
        (["1,0", "3,0", "2,0"], r"SN001_au9\.txt, line 2: frame 3 where SN001_au1\.txt has 2"),
        (["1,0", "2,0"], "SN001: its files have different numbers of lines"),
    ],
)
def test_intensities_out_of_range_or_out_of_step_are_named(disfa, lines, words):
    disfa.text("ActionUnit_Labels/SN001/SN001_au9.txt", *lines)
    with pytest.raises(RecordError, match=words):
        list(read_source("disfa", disfa.root)[0])


def test_pictures_numbered_from_0_pair_with_the_labels_that_count_from_1(disfa):
    disfa.picture("img/SN001/0.png", "img/SN001/1.png", "img/SN001/2.png", "img/SN002/1.png")
    records, summary = read_source("disfa", disfa.root, frames="img")
    found = {record.image: record for record in records}
    assert {name: record.labels.action_units["AU1"] for name, record in found.items()} == {
        "img/SN001/0.png": 1, "img/SN001/1.png": 2, "img/SN001/2.png": 3, "img/SN002/1.png": 2,
    }, "one person's picture 0 decides for all, because a set is counted alike"  # fmt: skip
    assert found["img/SN002/1.png"].source["frame"] == 2
    assert summary.missing.count == 2


def test_the_first_number_may_be_given_and_may_not_contradict_a_picture(disfa):
    disfa.picture("img/SN001/1.png", "img/SN002/2.png")
    first, second = list(read_source("disfa", disfa.root, frames="img", first="0")[0])
    assert (first.source["frame"], second.source["frame"]) == (2, 3)
    disfa.picture("img/SN002/0.png")
    with pytest.raises(RecordError, match=r"SN002/0\.png is numbered 0, so first=1 cannot be right"):
        list(read_source("disfa", disfa.root, frames="img", first=1)[0])
    with pytest.raises(ConfigurationError, match="first=2 cannot be used"):
        read_source("disfa", disfa.root, frames="img", first=2)


def test_pictures_of_both_cameras_are_told_apart_and_a_number_twice_is_an_error(disfa):
    disfa.picture("img/LeftVideoSN001_comp/1.png", "img/RightVideoSN001_comp/1.png", "img/LeftVideoSN002_comp/1.png")
    left = list(read_source("disfa", disfa.root, frames="img")[0])
    assert [record.image for record in left] == ["img/LeftVideoSN001_comp/1.png", "img/LeftVideoSN002_comp/1.png"]
    right = next(iter(read_source("disfa", disfa.root, frames="img", camera="right")[0]))
    assert right.image == "img/RightVideoSN001_comp/1.png"
    disfa.picture("img/LeftVideoSN001_comp/0001.jpg")
    with pytest.raises(RecordError, match="have the same frame number"):
        list(read_source("disfa", disfa.root, frames="img")[0])
