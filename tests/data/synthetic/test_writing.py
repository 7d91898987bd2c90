"""Data sets on disk: complete, resumable, never mixed, splits without a common face."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facekit.data.labels import TASKS
from facekit.data.records import read_records
from facekit.data.synthetic import draw_face, face_seed, write_synthetic_dataset
from facekit.data.synthetic.writing import SPLITS, SyntheticSettings, synthetic_record
from facekit.errors import ConfigurationError

SETTINGS = {"seed": 5, "image_size": 48}


def test_pictures_and_records_are_those_of_the_seed(tmp_path):
    path = write_synthetic_dataset(tmp_path / "set", 3, **SETTINGS)
    records = read_records(path)
    assert len(records) == 3
    for index, record in enumerate(records):
        face = draw_face(face_seed("train", 5, index), image_size=48)
        np.testing.assert_array_equal(np.asarray(Image.open(record.image_path(path.parent))), face.image)
        np.testing.assert_allclose(record.landmark_array(path.parent), face.landmarks, atol=1e-5)
        assert record.labels == face.labels
        assert record.groups == face.groups
        assert record.source["seed"] == face_seed("train", 5, index)
        assert record.split == "train"


def test_conversations_ask_each_task_once_in_changing_order():
    records = [synthetic_record(SyntheticSettings(count=30, seed=1), index) for index in range(30)]
    orders = [tuple(turn.task for turn in record.conversations if turn.role == "user") for record in records]
    assert all(sorted(order) == sorted(TASKS) for order in orders)
    assert len(set(orders)) > 15
    fewer = synthetic_record(SyntheticSettings(count=1, seed=1, questions_per_image=2), 0)
    assert [turn.role for turn in fewer.conversations] == ["user", "assistant"] * 2


def test_a_finished_data_set_is_left_as_it_is(tmp_path):
    path = write_synthetic_dataset(tmp_path, 2, **SETTINGS)
    before = {entry: entry.stat().st_mtime_ns for entry in tmp_path.rglob("*")}
    calls = []
    assert write_synthetic_dataset(tmp_path, 2, **SETTINGS, on_progress=calls.append) == path
    assert {entry: entry.stat().st_mtime_ns for entry in tmp_path.rglob("*")} == before
    assert calls == []


@pytest.mark.parametrize("name", ["progress", "on_progress"])
def test_callbacks_of_the_earlier_signature_are_called_as_before_with_a_warning(tmp_path, name):
    calls = []
    with pytest.warns(DeprecationWarning, match=r"write_synthetic_dataset .*facekit\.reports\.Progress"):
        write_synthetic_dataset(tmp_path, 2, **SETTINGS, **{name: lambda done, count: calls.append((done, count))})
    assert calls == [(2, 2)]


def test_an_interrupted_data_set_is_completed_and_equals_an_uninterrupted_one(tmp_path):
    def stop(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic_dataset(tmp_path / "a", 40, **SETTINGS, on_progress=stop)
    assert not (tmp_path / "a" / "records.jsonl").exists()
    kept = (tmp_path / "a" / "images" / "000000.png").stat().st_mtime_ns
    calls = []
    write_synthetic_dataset(tmp_path / "a", 40, **SETTINGS, on_progress=calls.append)
    assert [(state.done, state.total) for state in calls] == [(40, 40)]
    assert (calls[0].stage, calls[0].unit) == ("draw train faces", "faces")
    assert (tmp_path / "a" / "images" / "000000.png").stat().st_mtime_ns == kept
    write_synthetic_dataset(tmp_path / "b", 40, **SETTINGS)
    files = [{entry.name: entry.read_bytes() for entry in (tmp_path / name).rglob("*.*")} for name in "ab"]
    assert files[0] == files[1]
    assert len(files[0]) == 42


def test_several_processes_draw_the_same_pictures(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        write_synthetic_dataset(tmp_path / name, 34, seed=2, image_size=32, workers=workers)
    pictures = [
        [entry.read_bytes() for entry in sorted((tmp_path / name / "images").iterdir())] for name in ("one", "two")
    ]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 34


@pytest.mark.parametrize("change", [{"seed": 6}, {"image_size": 64}, {"split": "test"}, {"questions_per_image": 2}])
def test_another_data_set_is_not_overwritten(tmp_path, change):
    write_synthetic_dataset(tmp_path, 2, **SETTINGS)
    with pytest.raises(ConfigurationError, match=f"another synthetic data set .*{next(iter(change))}"):
        write_synthetic_dataset(tmp_path, 2, **(SETTINGS | change))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigurationError, match="not empty"):
        write_synthetic_dataset(tmp_path, 2, **SETTINGS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_settings_that_are_no_json_are_refused(tmp_path):
    (tmp_path / "synthetic.json").write_text("{")
    with pytest.raises(ConfigurationError, match="is not JSON"):
        write_synthetic_dataset(tmp_path, 2, **SETTINGS)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"count": 0, "seed": 1}, "count=0"),
        ({"count": 1, "seed": -1}, "seed=-1"),
        ({"count": 1, "seed": 2**26}, "seed="),
        ({"count": 1, "seed": 1, "split": "dev"}, "no split 'dev'"),
        ({"count": 1, "seed": 1, "questions_per_image": 6}, "questions_per_image=6"),
        ({"count": 1, "seed": 1, "image_size": 7}, "image_size=7"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments, word):
    with pytest.raises(ConfigurationError, match=word):
        write_synthetic_dataset(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


PLACES = st.tuples(st.sampled_from(SPLITS), st.integers(0, 2**26 - 1), st.integers(0, 2**24 - 1))


@given(first=PLACES, second=PLACES)
def test_no_two_places_share_a_face(first, second):
    assert (face_seed(*first) == face_seed(*second)) == (first == second)
    assert face_seed(*first) < 2**53


def test_the_settings_are_kept_beside_the_records(tmp_path):
    write_synthetic_dataset(tmp_path, 2, **SETTINGS, split="validation")
    kept = json.loads((tmp_path / "synthetic.json").read_text())
    assert kept["seed"] == 5
    assert kept["split"] == "validation"
    assert kept["renderer_version"] >= 1
