"""``facekit train RECORDS…`` without a recipe: weights, adapters, precision, validation, and what is refused."""

from __future__ import annotations

import json
from functools import partial

import pytest

from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord, Turn, write_records
from facekit.data.synthetic import write_synthetic_dataset

TINY = (
    "--encoder", "tiny?image_size=32&width=32&depth=1", "--connector", "mlp", "--backbone",
    "tiny?width=32&depth=1&heads=2", "--steps", "2", "--batch-size", "4",
)  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 8, seed=3, image_size=32)


@pytest.fixture(scope="module")
def text(faces):
    turns = [Turn(role="user", content="Name a colour."), Turn(role="assistant", content="Red.")]
    return write_records(faces.parent / "text.jsonl", [FaceRecord(id=f"t{n}", conversations=turns) for n in range(4)])


@pytest.fixture
def run(run_facekit, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return partial(run_facekit, "train")


def test_several_files_train_by_weights_with_adapters_and_the_best_model_is_kept(run, faces, text, tmp_path):
    status, out, error = run(
        faces, text, "--weights", "3,1", "--output", tmp_path, *TINY, "--lora-rank", "4", "--precision", "bfloat16",
        "--optimizer", "muon", "--schedule", "linear", "--validation", faces, "--patience", "2", "--device", "cpu",
    )  # fmt: skip
    assert status == 0, error
    assert str(tmp_path) in out
    identity = json.loads((tmp_path / "training" / "run.json").read_text())
    assert identity["records"].endswith("by weights 9 of 8, 3 of 4")
    assert identity["lora"]["rank"] == 4
    assert identity["lora"]["alpha"] == 8
    assert identity["parts"] == ["connector", "language_model.lora"]
    assert (identity["precision"], identity["optimizer"], identity["schedule"]) == ("bfloat16", "muon", "linear")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    losses = json.loads((tmp_path / "training" / "validation-losses.json").read_text())
    assert [each["step"] for each in losses] == [1, 2]


def test_several_files_without_weights_are_seen_once(run, faces, text, tmp_path):
    status, _, error = run(faces, text, "--output", tmp_path, *TINY)
    assert status == 0, error
    identity = json.loads((tmp_path / "training" / "run.json").read_text())
    assert identity["records"].startswith(f"{len(RecordSet.read(faces)) + 4} with the hash")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "1,2"], "2 weights for 1 records file; give each file one"),
        (["--weights", "many"], "--weights are numbers, such as 4,2,1, not 'many'"),
        (["--lora-alpha", "8"], "go with --lora-rank"),
        (["--lora-rank", "0"], "'lora.rank'"),
        (["--precision", "float8"], "'precision'"),
        (["--device", "gpu7"], "the device 'gpu7' cannot be used here"),
        (["--optimizer", "adamv"], "did you mean 'adamw'"),
        (["--schedule", "cosinus"], "'schedule'"),
        (["--patience", "2"], "--patience goes by the loss of --validation records"),
    ],
)
def test_what_does_not_fit_is_one_line(run, faces, tmp_path, options, message):
    status, _, error = run(faces, "--output", tmp_path, *TINY, *options)
    assert status != 0
    assert message in " ".join(error.split())
    assert "Traceback" not in error
