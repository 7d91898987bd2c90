"""A recipe is trained from the command line, and mistakes in it are told before anything is loaded."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import facekit
from facekit.cli.main import app
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError


def test_a_recipe_trains_its_stages_and_prints_what_learns(tmp_path):
    records = write_synthetic_dataset(tmp_path / "faces", 8, seed=2, image_size=64)
    given = [
        "recipe=tiny-cpu", f"records={records}", f"output={tmp_path / 'run'}", "epochs=null", "steps=1", "threads=1",
        "batch_size=4", "model.preset=null", "model.encoder='tiny?image_size=64&width=32&depth=1'",
        "model.connector=region", "model.backbone='tiny?width=48&depth=1&heads=2'",
    ]  # fmt: skip
    result = CliRunner().invoke(app, ["train", *given], catch_exceptions=False)
    assert result.exit_code == 0
    assert "connector.region" in result.output
    assert all(name in result.output for name in ("region", "finetune", "learning rate"))
    facekit.load(tmp_path / "run" / "finetune")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["recipe=tiny-cpu", "records=x", "output=y", "stge=region"], "did you mean 'stage'"),
        (["faces.jsonl"], "one records file and --output"),
        (["faces.jsonl", "lr=1", "--output", "x"], "one records file and --output"),
    ],
)
def test_mistakes_are_told(given, message):
    with pytest.raises(ConfigurationError, match=message):
        CliRunner().invoke(app, ["train", *given], catch_exceptions=False)
