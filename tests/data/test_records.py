"""Records: strict reading with file, line and field; a round trip that loses nothing."""

import codecs
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from facekit.data.labels import ACTION_UNITS, EXPRESSIONS, FaceLabels
from facekit.data.lenient import read_leniently
from facekit.data.records import FaceRecord, Turn, format_record, iterate_records, read_records, write_records
from facekit.data.stored_records import open_stored
from facekit.errors import RecordError

LANDMARKS = [[round(0.2 + 0.008 * i, 4), round(0.9 - 0.01 * i, 4)] for i in range(68)]


def make_record(**changes):
    values = {
        "id": "face-1",
        "image": "images/1.png",
        "landmarks": LANDMARKS,
        "labels": FaceLabels(expression="fear", action_units={"AU1": 3.5}, age=31.5, manipulated=False),
        "groups": {"gender": "woman"},
        "conversations": [Turn(role="user", content="How old?", task="age"), Turn(role="assistant", content="31.")],
        "source": {"dataset": "ours", "seed": 7},
        "split": "train",
    }
    return FaceRecord(**(values | changes))


def write_lines(folder, *lines):
    path = folder / "records.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_records_come_back_as_they_were_written(tmp_path):
    records = [make_record(), make_record(id="face-2", image=None, video=["a.png", "b.png"], landmarks=None)]
    path = write_records(tmp_path / "deep" / "records.jsonl", records)
    assert read_records(path, check_files=False) == records
    assert [entry.name for entry in path.parent.iterdir()] == ["records.jsonl"]


@given(
    expression=st.sampled_from([None, *EXPRESSIONS]),
    units=st.none() | st.dictionaries(st.sampled_from(list(ACTION_UNITS)), st.floats(0, 5)),
    age=st.none() | st.floats(0, 130),
    words=st.text(min_size=1).filter(str.strip),
)
def test_any_labels_and_words_survive_the_line(expression, units, age, words):
    labels = FaceLabels(expression=expression, action_units=units, age=age)
    record = make_record(labels=labels, conversations=[Turn(role="user", content=words)])
    line = format_record(record)
    assert "\n" not in line
    assert FaceRecord.model_validate_json(line) == record


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_records(tmp_path / "records.jsonl", [make_record()])

    def interrupted():
        yield make_record(id="other")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(path, interrupted())
    assert [record.id for record in read_records(path, check_files=False)] == ["face-1"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "b", "image": "x.png", "colour": 1}', ["no field 'colour'"]),
        ('{"id": "b"}', ["give one of 'image', 'images' and 'video'"]),
        ('{"id": "b", "image": "x.png", "video": "y.mp4"}', ["give one of 'image', 'images' and 'video'"]),
        ('{"id": "b", "image": "x.png"', ["JSON"]),
        ('{"image": "x.png"}', ["'id'", "required"]),
        ('{"id": "b", "image": "x.png", "labels": {"expression": "joy"}}', ["'labels.expression'", "joy"]),
        ('{"id": "b", "image": "x.png", "labels": {"action_units": {"AU1": 6}}}', ["AU1", "5"]),
        ('{"id": "b", "image": "x.png", "labels": {"action_units": {"smile": 1}}}', ["smile"]),
        ('{"id": "b", "image": "x.png", "labels": {"age": -1}}', ["'labels.age'", "-1"]),
        ('{"id": "b", "image": "x.png", "conversations": [{"role": "user", "content": " "}]}', ["content", "words"]),
        ('{"id": "b", "image": "x.png", "conversations": [{"role": "human", "content": "a"}]}', ["role", "human"]),
        (json.dumps({"id": "b", "image": "x.png", "landmarks": LANDMARKS[:5]}), ["'landmarks'", "(5, 2)"]),
        (json.dumps({"id": "b", "image": "x.png", "landmarks": [[90, 120]] * 68}), ["divided", "120"]),
        (json.dumps({"id": "b", "image": "x.png", "landmarks": [["a", "b"]] * 68}), ["'landmarks'", "pairs"]),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_field(tmp_path, line, words):
    path = write_lines(tmp_path, {"id": "a", "image": "x.png"}, "", line)
    with pytest.raises(RecordError) as error:
        read_records(path, check_files=False)
    for word in ["records.jsonl, line 3", *words]:
        assert word in str(error.value)


def test_a_missing_picture_is_named_with_its_line(tmp_path):
    (tmp_path / "there.png").write_bytes(b"")
    path = write_lines(tmp_path, {"id": "a", "image": "there.png"}, {"id": "b", "image": "gone.png"})
    with pytest.raises(RecordError, match=r"line 2, field 'image': no file .*gone\.png"):
        read_records(path)
    assert len(read_records(path, check_files=False)) == 2


def test_a_missing_landmark_file_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    path = write_lines(tmp_path, {"id": "a", "image": "a.png", "landmarks": "a.npy"})
    with pytest.raises(RecordError, match="line 1, field 'landmarks'"):
        read_records(path)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(RecordError, match="cannot be opened"):
        read_records(tmp_path / "nowhere.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00\x01\n")
    with pytest.raises(RecordError, match="not UTF-8"):
        read_records(tmp_path / "binary.jsonl")


def test_a_byte_order_mark_is_passed_over_by_every_reader(tmp_path):
    path = write_lines(tmp_path, {"id": "a", "image": "x.png"}, {"id": "b", "image": "y.png"})
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert [record.id for record in read_records(path, check_files=False)] == ["a", "b"]
    assert [record.id for record in read_leniently(path).records] == ["a", "b"]
    assert [record.id for record in open_stored(path, least_bytes=0)] == ["a", "b"]


def test_two_records_with_one_id_are_refused(tmp_path):
    path = write_lines(tmp_path, {"id": "a", "image": "x.png"}, {"id": "a", "image": "y.png"})
    with pytest.raises(RecordError, match="two records have the id 'a'"):
        read_records(path, check_files=False)


def test_iteration_yields_good_records_before_the_bad_one(tmp_path):
    path = write_lines(tmp_path, {"id": "a", "image": "x.png"}, "nonsense")
    records = iterate_records(path, check_files=False)
    assert next(records).id == "a"
    with pytest.raises(RecordError, match="line 2"):
        next(records)


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path):
    assert make_record().image_path(tmp_path) == tmp_path / "images" / "1.png"
    clip = make_record(image=None, video=["1.png", "2.png"])
    assert clip.media_paths(tmp_path) == [tmp_path / "1.png", tmp_path / "2.png"]
    with pytest.raises(RecordError, match="has a video"):
        clip.image_path(tmp_path)


def test_landmarks_come_as_an_array_from_the_line_or_from_a_file(tmp_path):
    inline = make_record().landmark_array(tmp_path)
    assert inline.shape == (68, 2)
    assert inline.dtype == np.float32
    np.save(tmp_path / "a.npy", np.asarray(LANDMARKS))
    np.testing.assert_array_equal(make_record(landmarks="a.npy").landmark_array(tmp_path), inline)
    np.save(tmp_path / "clip.npy", np.asarray([LANDMARKS] * 3))
    assert make_record(landmarks="clip.npy").landmark_array(tmp_path).shape == (3, 68, 2)
    assert make_record(landmarks=None).landmark_array(tmp_path) is None


@pytest.mark.parametrize(
    ("array", "words"),
    [(np.zeros((5, 2)), r"\(5, 2\)"), (np.full((68, 2), 200.0), "divided"), (np.full((68, 2), np.nan), "finite")],
)
def test_a_landmark_file_with_other_numbers_is_refused(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(RecordError, match=words):
        make_record(landmarks="a.npy").landmark_array(tmp_path)


def test_a_landmark_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(RecordError, match="cannot be read"):
        make_record(landmarks="a.npy").landmark_array(tmp_path)
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(RecordError, match="cannot be read"):
        make_record(landmarks="b.npy").landmark_array(tmp_path)


def test_active_units_are_those_from_intensity_one_on_in_numeric_order():
    labels = FaceLabels(action_units={"AU12": 1.0, "AU9": 0.9, "AU6": 5.0, "AU1": 2.0})
    assert labels.active_units() == ["AU1", "AU6", "AU12"]
    assert FaceLabels().active_units() == []
    assert FaceLabels(attributes={"Bangs": True, "Bald": False}).present_attributes() == ["Bangs"]


def test_paths_are_rebased_to_another_folder(tmp_path):
    record = make_record(image=None, video=["a/1.png", "/there/2.png"], landmarks="a/1.npy")
    moved = record.rebased(tmp_path / "one", tmp_path / "two" / "three")
    assert moved.video == ["../../one/a/1.png", "/there/2.png"]
    assert moved.landmarks == "../../one/a/1.npy"
    assert moved.rebased(tmp_path / "two" / "three", tmp_path / "one") == record
    assert make_record().rebased(tmp_path, tmp_path) == make_record()


def test_same_is_the_truth_about_two_pictures(tmp_path):
    pair = FaceRecord(id="one", images=["a.png", "b.png"], same=False)
    assert read_records(write_records(tmp_path / "pairs.jsonl", [pair]), check_files=False) == [pair]
    for media in (
        {"image": "a.png"},
        {"images": ["a.png"]},
        {"images": ["a.png", "b.png", "c.png"]},
        {"video": "a.mp4"},
    ):
        with pytest.raises(
            ValidationError, match="'same' says whether two pictures show one person; give two 'images'"
        ):
            FaceRecord(id="one", same=True, **media)


def test_frames_belong_to_a_video_file():
    assert make_record(image=None, video="a.mp4", landmarks=None, frames=[0, 7]).frames == [0, 7]
    for changes in ({"frames": [0]}, {"image": None, "video": ["a.png"], "landmarks": None, "frames": [0]}):
        with pytest.raises(ValueError, match="'frames' counts the frames of a video file"):
            make_record(**changes)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"age": 34}, "there is no field 'age'; did you mean 'labels.age'?"),
        ({"expresion": "fear"}, "there is no field 'expresion'; did you mean 'labels.expression'?"),
        ({"lables": {}}, "there is no field 'lables'; did you mean 'labels'?"),
        ({"labels": {"agee": 3}}, "there is no field 'labels.agee'; did you mean 'age'?"),
        ({"conversations": [{"role": "user", "content": "?", "taks": "age"}]}, "0.taks'; did you mean 'task'?"),
        ({"colour": "red"}, "there is no field 'colour'"),
    ],
)
def test_a_field_that_there_is_not_is_told_with_the_one_that_was_meant_where_it_stands(tmp_path, entry, told):
    with pytest.raises(RecordError) as raised:
        read_records(write_lines(tmp_path, {"id": "a", "image": "a.png"} | entry), check_files=False)
    assert str(raised.value).endswith(told)
