"""Weights & Biases without a network, and TensorBoard, show the numbers of ``losses.json``, those of each file too."""

from __future__ import annotations

import json
import struct

import pytest

import facekit
from facekit.data import DataSource
from facekit.data.dataset import RecordSet
from facekit.data.records import write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import TrainingSettings, train

BLOCK, WHOLE, LAST = 1 << 15, 1, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on two files that reports to both, and the folder of wandb's files."""
    folder = tmp_path_factory.mktemp("reported")
    drawn = RecordSet.read(write_synthetic_dataset(folder / "faces", 16, seed=2, image_size=32)).records
    parts = {"few": drawn[:4], "many": drawn[4:]}
    records = [DataSource(write_records(folder / "faces" / f"{name}.jsonl", part), 1) for name, part in parts.items()]
    model, processor = facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1", connector="mlp", backbone="tiny?width=48&depth=1&heads=2", seed=0
    )
    settings = TrainingSettings(steps=5, batch_size=8, log_every=1, threads=1, report_to=("wandb", "tensorboard"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_DIR", str(folder))
        patch.setenv("WANDB_SILENT", "true")
        result = train(model, processor, records, folder / "out", settings)
        import wandb

        wandb.finish()
        wandb.teardown()  # which waits for the process that writes
    return result, folder


def iterate_log(content):
    """The entries of wandb's file: a header of 7 bytes, then blocks of LevelDB's log format."""
    position, entry = 7, b""
    while position + 7 <= len(content):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        if kind == 0:
            return
        entry += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (WHOLE, LAST):
            yield entry
            entry = b""


def values_of(point):
    return (point.loss, point.learning_rate, point.sources["few.jsonl"], point.sources["many.jsonl"])


def test_weights_and_biases_has_the_losses_and_the_rates(run):
    from wandb.proto import wandb_internal_pb2

    result, folder = run
    (log,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    rows = []
    for data in iterate_log(log.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
    steps = {row["train/global_step"]: row for row in rows if "train/loss" in row}
    names = ("loss", "learning_rate", "loss/few.jsonl", "loss/many.jsonl")
    assert [(step, *(row[f"train/{name}"] for name in names)) for step, row in sorted(steps.items())] == [
        (point.step, *(pytest.approx(value, rel=1e-12) for value in values_of(point)))
        for point in result.history.points
    ]


def test_tensorboard_has_the_losses_and_the_rates(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result, folder = run
    (events,) = (folder / "out").rglob("events.out.tfevents.*")
    found = EventAccumulator(str(events.parent))
    found.Reload()
    for index, name in enumerate(("loss", "learning_rate", "loss/few.jsonl", "loss/many.jsonl")):
        assert [(event.step, event.value) for event in found.Scalars(f"train/{name}")] == [
            (point.step, pytest.approx(values_of(point)[index], rel=1e-6)) for point in result.history.points
        ]
