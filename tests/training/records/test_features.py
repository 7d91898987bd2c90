"""Training on tokens from disk: as on pixels, over images and clips, to the last bit when resumed, within a bound."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import SEARCH_PATH, At, interrupt, small_model
from transformers import TrainerCallback

from facekit.data.dataset import RecordSet
from facekit.data.records import write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.models.create import set_dtype
from facekit.training import TrainingSettings, train

SETTINGS = {"steps": 6, "batch_size": 4, "log_every": 1, "save_every": 2, "threads": 1, "landmark_noise": 0.01}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Images, and clips of two and three frames."""
    whole = RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 16, seed=2, image_size=64))
    listed = list(whole.records)
    for place, frames in ((1, 2), (4, 3), (5, 2), (9, 3), (10, 2)):
        clip = [listed[(place + step) % 16].image or listed[0].image for step in range(frames)]
        listed[place] = listed[place].model_copy(update={"image": None, "video": clip, "landmarks": None})
    return RecordSet(tuple(listed), whole.folder)


def fresh(towers=2):
    video = "tiny?image_size=64&width=32&depth=2" if towers == 2 else None
    return small_model("region", video_encoder=video)


def run(records, folder, *, towers=2, resume=False, callbacks=(), **values):
    """A run, and how many images and clips its encoders saw."""
    model, processor = fresh(towers)
    seen = [0, 0]
    for place, encoder in enumerate((model.encoder, model.video_encoder)[:towers]):

        def count(module, given, place=place):
            seen[place] += len(given[0])

        encoder.register_forward_pre_hook(count)
    settings = TrainingSettings(**{**SETTINGS, **values})
    return train(model, processor, records, folder, settings, resume=resume, callbacks=callbacks), seen


@pytest.mark.parametrize("towers", [1, 2])
def test_a_run_on_kept_tokens_is_the_run_on_pixels_and_each_medium_is_encoded_once(records, tmp_path, towers):
    plain, _ = run(records, tmp_path / "plain", towers=towers)
    first, seen = run(records, tmp_path / "first", towers=towers, feature_cache=tmp_path / "cache")
    assert first.history.losses == pytest.approx(plain.history.losses, abs=1e-5)
    assert seen == ([11, 5] if towers == 2 else [16, 0])
    second, seen = run(records, tmp_path / "second", towers=towers, feature_cache=tmp_path / "cache")
    assert seen == [0, 0]
    assert second.history.losses == first.history.losses


def test_two_processes_share_a_cache_and_train_what_one_trains(records, tmp_path):
    values = {"batch_size": 4, "learning_rate": 3e-4}
    alone, _ = run(records, tmp_path / "alone", feature_cache=tmp_path / "cache of one", **values)
    written = records.folder / "mixed.jsonl"
    write_records(written, records.records)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": SEARCH_PATH}
    command = [sys.executable, *launch, str(written), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    for name, encoded in (("first", 16), ("second", 0)):
        told = [json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]
        assert sum(sum(each["seen"]) for each in told) == encoded
        assert told[0]["losses"] == pytest.approx(alone.history.losses, abs=1e-5)


def work(path, folder):
    """What each process of the launched test does: a run that fills the cache and one that reads it."""
    records = RecordSet.read(path)
    for name in ("first", "second"):
        result, seen = run(records, folder / name, batch_size=2, learning_rate=3e-4, feature_cache=folder / "cache")
        told = {"losses": result.history.losses, "seen": seen}
        (folder / f"{name}-{os.environ['RANK']}.json").write_text(json.dumps(told))
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_an_interrupted_run_goes_on_to_the_last_bit(records, tmp_path):
    values = {"independent_turns": True, "group_batches": True, "feature_cache_dtype": "bfloat16"}
    straight, _ = run(records, tmp_path / "straight", feature_cache=tmp_path / "one", **values)
    with pytest.raises(KeyboardInterrupt):
        run(records, tmp_path / "cut", feature_cache=tmp_path / "two", callbacks=[At(3, interrupt)], **values)
    resumed, _ = run(records, tmp_path / "cut", feature_cache=tmp_path / "two", resume=True, **values)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == straight.history.losses


def test_the_cache_stays_within_its_bound_and_the_run_goes_on_without_it(records, tmp_path, caplog):
    plain, _ = run(records, tmp_path / "plain")
    limit = 33_000
    bounded, seen = run(records, tmp_path / "run", feature_cache=tmp_path / "cache", feature_cache_bytes=limit)
    assert bounded.history.losses == pytest.approx(plain.history.losses, abs=1e-5)
    assert "no more of an encoder's tokens are kept" in caplog.text
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.safetensors")) <= limit
    assert sum(seen) > len(records)


def test_pictures_are_needed_in_the_first_epoch_only_and_damaged_ones_are_skipped(records, tmp_path):
    folder = tmp_path / "faces"
    shutil.copytree(records.folder, folder)
    (folder / records.records[3].image).write_bytes(b"no picture")

    class Remove(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch:
                shutil.rmtree(folder)

    alone = RecordSet(records.records[2:4] + records.records[6:8], folder)
    values = {"steps": 4, "batch_size": 2, "skip_limit": 0.3, "feature_cache": tmp_path / "cache"}
    result, seen = run(alone, tmp_path / "run", callbacks=[Remove()], **values)
    assert list(result.skipped) == [1]
    assert seen == [3, 0]
    assert not folder.exists()


def test_mixed_precision_trains_on_kept_tokens(records, tmp_path):
    plain, _ = run(records, tmp_path / "plain", precision="bfloat16")
    kept, _ = run(records, tmp_path / "kept", precision="bfloat16", feature_cache=tmp_path / "cache")
    assert kept.history.losses == pytest.approx(plain.history.losses, abs=0.03)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"feature_cache": "cache", "parts": ("encoder",)}, "leave 'encoder' out of the trained parts"),
     ({"feature_cache": "cache", "cache_features": True}, "which keeps them in memory, false"),
     ({"feature_cache_dtype": "float16"}, "name their folder with feature_cache"),
     ({"feature_cache": "cache", "feature_cache_bytes": 0}, "greater than or equal to 1")],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(values, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainingSettings(**{**SETTINGS, **values})


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]))


@pytest.mark.parametrize("kept", ["cache_features", "feature_cache"])
def test_a_model_in_bfloat16_is_trained_on_kept_tokens_in_mixed_precision(records, tmp_path, kept):
    losses = {}
    for name, value in (("plain", None), ("kept", True if kept == "cache_features" else tmp_path / "cache")):
        model, processor = fresh(1)
        set_dtype(model, torch.bfloat16)
        values = {**SETTINGS, "precision": "bfloat16", **({} if value is None else {kept: value})}
        result = train(model, processor, records, tmp_path / name, TrainingSettings(**values))
        losses[name] = result.history.losses
    assert losses["kept"] == pytest.approx(losses["plain"], abs=2e-3)
