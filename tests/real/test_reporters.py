"""Weights & Biases without a network, and TensorBoard, show the numbers of ``losses.json``."""

from __future__ import annotations

import json
import struct

import pytest

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import TrainingSettings, train

BLOCK, WHOLE, LAST = 1 << 15, 1, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that reports to both, and the folder of wandb's files."""
    folder = tmp_path_factory.mktemp("reported")
    records = RecordSet.read(write_synthetic_dataset(folder / "faces", 16, seed=2, image_size=32))
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
    assert [(step, row["train/loss"], row["train/learning_rate"]) for step, row in sorted(steps.items())] == [
        (point.step, pytest.approx(point.loss, rel=1e-12), pytest.approx(point.learning_rate, rel=1e-12))
        for point in result.history.points
    ]


def test_tensorboard_has_the_losses_and_the_rates(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result, folder = run
    (events,) = (folder / "out").rglob("events.out.tfevents.*")
    found = EventAccumulator(str(events.parent))
    found.Reload()
    for name, expected in (("loss", "loss"), ("learning_rate", "learning_rate")):
        assert [(event.step, event.value) for event in found.Scalars(f"train/{name}")] == [
            (point.step, pytest.approx(getattr(point, expected), rel=1e-6)) for point in result.history.points
        ]
