"""A plan of preprocessing counts what a run would do, and does none of it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from facekit.cli.main import app
from facekit.data.preprocessing import PreprocessSettings, plan_preprocessing, preprocess
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, RecordError, UnknownPartError

SETTINGS = PreprocessSettings(size=64, records_per_shard=4)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return str(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 10, seed=3, image_size=64))


def test_a_plan_counts_records_and_shards_and_writes_nothing(records, tmp_path):
    plan = plan_preprocessing(records, tmp_path / "out", SETTINGS)
    assert (plan.records, plan.media, plan.shards, plan.noted) == (10, {"image": 10}, 3, 0)
    assert not (tmp_path / "out").exists()


def test_what_an_earlier_run_has_noted_is_counted_unless_settings_differ(records, tmp_path):
    preprocess(records, tmp_path / "out", SETTINGS)
    assert plan_preprocessing(records, tmp_path / "out", SETTINGS).noted == 3
    other = SETTINGS.model_copy(update={"size": 32})
    assert plan_preprocessing(records, tmp_path / "out", other).noted == 0


def test_what_cannot_be_done_is_said_beforehand(records, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"letter\.txt"):
        plan_preprocessing(records, tmp_path, SETTINGS)
    with pytest.raises(UnknownPartError, match="did you mean 'dlib'"):
        plan_preprocessing(records, tmp_path / "out", SETTINGS.model_copy(update={"landmarker": "dlip"}))
    with pytest.raises(RecordError, match="nowhere"):
        plan_preprocessing(str(tmp_path / "nowhere.jsonl"), tmp_path / "out", SETTINGS)


def test_the_command_line_shows_the_plan(records, tmp_path):
    told = ["preprocess", records, str(tmp_path / "out"), "--dry-run", "--records-per-shard", "4"]
    outcome = CliRunner().invoke(app, [*told, "--features", "tiny"])
    assert outcome.exit_code == 0, outcome.output
    assert "10 records would go to" in outcome.stdout
    assert "3 shards, 0 of them noted as done" in outcome.stdout
    assert "landmarker: mesh" in outcome.stdout
    assert "tokens of tiny would go to" in outcome.stdout
    assert not (tmp_path / "out").exists()
