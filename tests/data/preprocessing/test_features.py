"""``facekit preprocess --features``: a run afterwards finds the tokens of every face, and encodes none."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import facekit
from facekit.cli.main import app
from facekit.data.preprocessing import PreprocessSettings, encode_shards, preprocess
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, RecordError
from facekit.training import TrainingSettings, train

pytest.importorskip("webdataset")
ENCODER = "tiny?pretrained=synthetic-faces"
FACES = 7


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), FACES, seed=3)


def test_a_run_encodes_none_of_the_faces_that_preprocessing_did(dataset, tmp_path):
    shards = tmp_path / "shards"
    command = ["preprocess", str(dataset), str(shards), "--size", "64", "--records-per-shard", "3", "--workers", "1"]
    for expected in (f"{FACES} faces encoded, 0 before", f"0 faces encoded, {FACES} before"):
        result = CliRunner().invoke(app, [*command, "--features", ENCODER])
        assert result.exit_code == 0, result.output
        assert expected in " ".join(result.output.split())
    records = tmp_path / "unpacked" / "records.jsonl"
    result = CliRunner().invoke(app, ["convert", str(shards), str(records), "--media", str(records.parent)])
    assert result.exit_code == 0, result.output
    model, processor = facekit.create(
        encoder=ENCODER, connector="mlp", backbone="tiny?width=48&depth=1&heads=2", seed=0
    )
    seen = []
    model.encoder.register_forward_pre_hook(lambda *_: seen.append(1))
    settings = TrainingSettings(steps=2, batch_size=4, threads=1, feature_cache=shards / "features")
    train(model, processor, records, tmp_path / "run", settings)
    assert seen == []


def test_progress_and_the_bound_are_told(dataset, tmp_path):
    preprocess(str(dataset), tmp_path / "out", PreprocessSettings(size=64, records_per_shard=3))
    told = []
    result = encode_shards(tmp_path / "out", ENCODER, limit=100_000, batch_size=2, on_progress=told.append)
    assert {(state.stage, state.unit) for state in told} == {("encode", "faces")}
    assert [(state.done, state.total) for state in told] == [(2, 7), (3, 7), (5, 7), (6, 7), (7, 7)]
    assert result.computed == FACES
    assert "raise the limit" in result.stopped
    assert 0 < sum(path.stat().st_size for path in result.folder.rglob("*.safetensors")) <= 100_000
    # Shards with a folder of tokens beside them are still preprocessing's own.
    assert preprocess(str(dataset), tmp_path / "out", PreprocessSettings(size=64, records_per_shard=3)).reused == FACES


def test_what_cannot_be_encoded_is_told(dataset, tmp_path):
    with pytest.raises(RecordError, match=r"has no \.tar file"):
        encode_shards(tmp_path, ENCODER)
    preprocess(str(dataset), tmp_path / "out", PreprocessSettings(size=64))
    with pytest.raises(ConfigurationError, match="take different pixels, but one processor"):
        encode_shards(tmp_path / "out", ENCODER, "tiny?image_size=64")
    result = CliRunner().invoke(app, ["preprocess", str(dataset), str(tmp_path / "out"), "--video-features", ENCODER])
    assert result.exit_code != 0
    assert "--video-features goes with --features" in " ".join(f"{result.output} {result.exception}".split())
