"""A run that validation ends because a metric fell, and one that a damaged picture does not end."""

from __future__ import annotations

import pytest
from small_runs import small_model

from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import RecordError
from facekit.training import TrainingSettings, train
from facekit.training.watching.validation import Measured, PeriodicValidation

CHOSEN = {"steps": 4, "batch_size": 4, "log_every": 1, "save_every": 4, "threads": 1}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 8, seed=2, image_size=64))


@pytest.fixture
def watch(records, tmp_path):
    """A function that makes a validation, at every step, of a metric that falls by 0.3 a look."""

    def make(**options):
        looks = iter(range(9))

        def measure(model, processor, records, tasks):
            value = 0.9 - 0.3 * next(looks)
            return Measured({"expression": value}, {"expression": (value - 0.4, value + 0.4)})

        path = tmp_path / "validation.jsonl"
        _, processor = small_model("region")
        return PeriodicValidation(
            processor, records, path, every=1, faces=0, metrics=measure, tasks=["expression"], **options
        )

    return make


def run(records, folder, watched, *, resume=False):
    return train(
        *small_model("region"), records, folder, TrainingSettings(**CHOSEN), callbacks=[watched], resume=resume
    )


def test_the_step_of_a_fall_is_saved_and_a_run_that_ended_there_is_not_trained_on(records, tmp_path, watch):
    assert run(records, tmp_path / "run", watch(stop_on_fall=True)).steps == 3
    again = watch(stop_on_fall=True)
    result = run(records, tmp_path / "run", again, resume=True)
    assert (result.resumed_from, result.steps) == (3, 3)
    assert [point.fallen for point in again.points] == [(), (), ("expression",)]


def test_a_run_that_is_over_still_knows_what_validation_saw(records, tmp_path, watch):
    first, again = watch(), watch()
    run(records, tmp_path / "run", first)
    run(records, tmp_path / "run", again, resume=True)
    assert [point.step for point in again.points] == [1, 2, 3, 4]
    assert again.points == first.points


def test_held_out_pictures_that_cannot_be_opened_are_left_out(records, tmp_path, caplog):
    held_out = RecordSet.read(write_synthetic_dataset(tmp_path / "held-out", 3, seed=4, image_size=64))
    lost = held_out.records[1]
    (held_out.folder / lost.image).write_bytes(b"no picture")
    measured = []

    def measure(model, processor, found, tasks):
        measured.append([record.id for record in found.records])
        return {"age": 1.0}

    def validation():
        _, processor = small_model("region")
        path = tmp_path / "validation.jsonl"
        return PeriodicValidation(processor, held_out, path, every=2, metrics=measure, tasks=["age"])

    watched = validation()
    assert run(records, tmp_path / "run", watched).steps == 4
    assert measured == [[held_out.records[0].id, held_out.records[2].id]] * 2
    assert {answer.record for point in watched.points for answer in point.answers} == set(measured[0])
    assert f"validation record '{lost.id}' is left out" in caplog.text
    for record in held_out.records:
        (held_out.folder / record.image).write_bytes(b"no picture")
    with pytest.raises(RecordError, match="not one of the validation records can be opened"):
        run(records, tmp_path / "none", validation())
