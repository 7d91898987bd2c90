"""Killed, told to stop, out of disk, fed with rubbish: a run goes on from where it was, or says why it cannot."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from small_runs import At, interrupt, small_model
from transformers import Trainer

import facekit
from facekit.data.dataset import DatasetOptions, RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import CheckpointError, ConfigurationError, RecordError, TrainingError
from facekit.training import TrainingSettings, train
from facekit.training.loop.checkpoints import (
    SEAL_NAME,
    find_checkpoint,
    find_damage,
    list_checkpoints,
    prune_checkpoints,
)
from facekit.training.loop.face_trainer import FaceTrainer
from facekit.training.records.corrupt import SkippingDataset
from facekit.training.watching.run_watcher import LossGuard

SETTINGS = {"steps": 8, "batch_size": 4, "log_every": 1, "save_every": 2, "threads": 1, "landmark_noise": 0.01}
RUN = """
import sys
from small_runs import small_model
from test_never_lose_a_run import SETTINGS
from facekit.training import TrainingSettings, train
train(*small_model("region"), sys.argv[1], sys.argv[2], TrainingSettings(**SETTINGS))
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=2, image_size=64))


@pytest.fixture(scope="module")
def straight(records, tmp_path_factory):
    """The run that nothing happens to."""
    return train(*small_model("region"), records, tmp_path_factory.mktemp("straight"), TrainingSettings(**SETTINGS))


def weights(folder):
    return facekit.load(folder)[0].state_dict()


def assert_same_run(result, straight):
    assert result.history.losses == straight.history.losses
    expected = weights(straight.model_folder)
    assert all(torch.equal(value, expected[name]) for name, value in weights(result.model_folder).items())


def cut(records, folder, step=7):
    with pytest.raises(KeyboardInterrupt):
        train(*small_model("region"), records, folder, TrainingSettings(**SETTINGS), callbacks=[At(step, interrupt)])
    return folder / "training"


def resume(records, folder, **values):
    return train(*small_model("region"), records, folder, TrainingSettings(**{**SETTINGS, **values}), resume=True)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(records, straight, tmp_path):
    command = [sys.executable, "-c", RUN, str(records.folder / "records.jsonl"), str(tmp_path)]
    path = [str(__file__).rpartition("/")[0], *sys.path]
    process = subprocess.Popen(command, env={"PYTHONPATH": ":".join(path), "OMP_NUM_THREADS": "1"})
    wanted = random.choice([2, 4, 6])
    while process.poll() is None and not (tmp_path / "training" / f"checkpoint-{wanted}").exists():
        time.sleep(0.005)
    time.sleep(random.uniform(0.0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = resume(records, tmp_path)
    assert result.resumed_from in {0, 2, 4, 6, 8}
    assert_same_run(result, straight)


def test_sigterm_saves_the_step_and_then_does_what_it_would_have_done(records, straight, tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(list_checkpoints(tmp_path / "training")[-1][0]))
    try:
        model, processor = small_model("region")
        passes = []

        def in_the_third_step(*_):
            passes.append(1)
            if len(passes) == 3:
                signal.raise_signal(signal.SIGTERM)

        model.connector.register_forward_hook(in_the_third_step)
        with pytest.raises(TrainingError, match="after step 3, which is saved"):
            train(model, processor, records, tmp_path, TrainingSettings(**SETTINGS))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [3]
    assert not (tmp_path / "model.safetensors").exists()
    result = resume(records, tmp_path)
    assert result.resumed_from == 3
    assert_same_run(result, straight)


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors"])
def test_a_truncated_file_is_told_and_the_checkpoint_before_is_used(records, straight, tmp_path, caplog, name):
    run = cut(records, tmp_path)
    file = run / "checkpoint-6" / name
    size = file.stat().st_size
    with file.open("r+b") as handle:
        handle.truncate(size // 2)
    result = resume(records, tmp_path)
    assert f"checkpoint-6 is passed over: {name} has {size // 2} bytes, not {size}" in caplog.text
    assert result.resumed_from == 4
    assert_same_run(result, straight)


def test_damage_is_named(records, tmp_path):
    run = cut(records, tmp_path, step=5)
    assert find_damage(run / "checkpoint-4", 4) is None
    assert find_damage(run / "checkpoint-4", 6) == "trainer_state.json is of step 4"
    (run / "checkpoint-4" / "scheduler.pt").unlink()
    assert find_damage(run / "checkpoint-4", 4) == "scheduler.pt is missing"
    (run / "checkpoint-2" / SEAL_NAME).unlink()
    assert "not saved to its end" in find_damage(run / "checkpoint-2", 2)
    assert find_checkpoint(run) is None


def test_only_whole_checkpoints_count_when_old_ones_are_deleted(tmp_path):
    for step in (2, 4, 6):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        if step != 6:
            size = (folder / "trainer_state.json").stat().st_size
            (folder / SEAL_NAME).write_text(json.dumps({"trainer_state.json": size}))
    prune_checkpoints(tmp_path, keep=2)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [2, 4, 6]
    prune_checkpoints(tmp_path, keep=1)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [4, 6]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"),
              RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 704 vs 598")]
)  # fmt: skip
def test_a_failed_save_leaves_the_one_before_and_the_training_goes_on(
    records, straight, tmp_path, monkeypatch, caplog, error
):
    save = Trainer._save_optimizer_and_scheduler

    def fail_at_four(self, folder):
        if self.state.global_step == 4:
            raise error
        save(self, folder)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", fail_at_four)
    stopped = At(5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(*small_model("region"), records, tmp_path, TrainingSettings(**SETTINGS), callbacks=[stopped])
    assert "checkpoint-4 could not be saved" in caplog.text
    assert "checkpoint-2 is whole" in caplog.text
    assert [step for step, _ in list_checkpoints(tmp_path / "training")] == [2]
    result = resume(records, tmp_path)
    assert result.resumed_from == 2
    assert_same_run(result, straight)


@pytest.mark.parametrize(
    ("method", "name"), [("save_model", "model.safetensors"), ("_save_optimizer_and_scheduler", "optimizer.pt")]
)
def test_a_file_that_the_system_cuts_off_leaves_the_checkpoint_before(
    records, straight, tmp_path, monkeypatch, caplog, method, name
):
    room = (straight.plot_path.parent / "checkpoint-8" / name).stat().st_size - 1000
    save, (soft, hard) = getattr(Trainer, method), resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_without_room_at_four(self, *given, **named):
        if self.state.global_step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        save(self, *given, **named)

    try:
        monkeypatch.setattr(Trainer, method, save_without_room_at_four)
        with pytest.raises(KeyboardInterrupt):
            train(*small_model("region"), records, tmp_path, TrainingSettings(**SETTINGS), callbacks=[At(5, interrupt)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        monkeypatch.undo()
    assert "checkpoint-4 could not be saved" in caplog.text
    assert [step for step, _ in list_checkpoints(tmp_path / "training")] == [2]
    result = resume(records, tmp_path)
    assert result.resumed_from == 2
    assert_same_run(result, straight)


def test_saves_that_keep_failing_end_the_run(records, tmp_path, monkeypatch):
    def fail(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", fail)
    seen = []
    with pytest.raises(CheckpointError, match=r"checkpoint-6 could not be saved.*make room on the disk and resume"):
        train(*small_model("region"), records, tmp_path, TrainingSettings(**SETTINGS), on_progress=seen.append)
    assert seen[-1].step == 6


def test_a_callback_that_fails_after_the_last_step_costs_nothing(records, straight, tmp_path):
    def fail():
        raise ValueError("the reporter is not there")

    stop = [At(8, fail), At(8, lambda: seen.append("later")), At(7, lambda: seen.append("earlier"))]
    seen = []
    with pytest.raises(TrainingError, match=r"the model is saved in .*, but At failed after the last step \(the repor"):
        train(*small_model("region"), records, tmp_path, TrainingSettings(**SETTINGS), callbacks=stop)
    assert seen == ["earlier", "later"]
    before, after = weights(straight.model_folder), weights(tmp_path)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert_same_run(resume(records, tmp_path), straight)


def test_a_callback_that_fails_on_the_way_ends_the_run(records, tmp_path):
    def fail():
        raise ValueError("the reporter is not there")

    with pytest.raises(ValueError, match="the reporter"):
        train(*small_model("region"), records, tmp_path, TrainingSettings(**SETTINGS), callbacks=[At(3, fail)])
    assert [step for step, _ in list_checkpoints(tmp_path / "training")] == [2]


def test_another_error_while_saving_is_not_taken_for_a_full_disk(records, tmp_path, monkeypatch):
    def fail(self, folder):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        train(*small_model("region"), records, tmp_path, TrainingSettings(**SETTINGS))


def test_a_run_is_resumed_with_its_own_records_and_parts_only(records, tmp_path):
    cut(records, tmp_path, step=3)
    other = RecordSet((replace_answer(records.records[0]), *records.records[1:]), records.folder)
    with pytest.raises(ConfigurationError, match=r"records was '24 with the hash .* and is '24 with the hash"):
        resume(other, tmp_path)
    model, processor = facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="region?num_heads=1",
        backbone="tiny?width=48&depth=1&heads=2", seed=0,
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="connector was 'RegionConnector"):
        train(model, processor, records, tmp_path, TrainingSettings(**SETTINGS), resume=True)


def replace_answer(record):
    first, answer, *rest = record.conversations
    return record.model_copy(update={"conversations": [first, answer.model_copy(update={"content": "No."}), *rest]})


def test_a_loss_that_is_no_number_ends_the_run_with_the_records_of_its_batch(records, tmp_path):
    model, processor = small_model("region")

    def poison():
        with torch.no_grad():
            next(model.connector.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"the loss is nan in step 4, in a batch of the records '") as caught:
        train(model, processor, records, tmp_path, TrainingSettings(**SETTINGS), callbacks=[At(3, poison)])
    named = [record.id for record in records.records if repr(record.id) in str(caught.value)]
    assert len(named) == 4
    assert [step for step, _ in list_checkpoints(tmp_path / "training")] == [2]


def test_weights_that_gradients_made_nan_are_not_saved_though_the_loss_was_a_number(records, tmp_path, monkeypatch):
    compute = FaceTrainer.compute_loss

    def lose_gradients(self, *given, **named):
        return compute(self, *given, **named) * (float("nan") if self.state.global_step == 3 else 1)

    monkeypatch.setattr(FaceTrainer, "compute_loss", lose_gradients)
    with pytest.raises(TrainingError, match=r"the weights 'connector\..*' are NaN or infinite after step 4, so noth"):
        train(*small_model("region"), records, tmp_path, TrainingSettings(**SETTINGS))
    assert [step for step, _ in list_checkpoints(tmp_path / "training")] == [2]


def test_a_guard_names_some_records_and_counts_the_rest():
    guard = LossGuard([f"r{index}" for index in range(20)])
    guard.watch(torch.tensor(1.0), torch.arange(20), 0)
    with pytest.raises(TrainingError, match=r"loss is inf in step 6.*'r0', .*'r15' and 4 more"):
        guard.watch(torch.tensor(float("inf")), torch.arange(20), 5)


@pytest.fixture
def damaged(records, tmp_path):
    """The records, of which the third and the fourth have no picture to open."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    listed = list(records.records)
    for index in (2, 3):
        listed[index] = listed[index].model_copy(update={"image": str(broken)})
    return RecordSet(tuple(listed), records.folder)


@pytest.mark.parametrize("cached", [False, True])
def test_records_that_cannot_be_used_are_skipped_counted_and_listed(damaged, tmp_path, cached):
    settings = TrainingSettings(**{**SETTINGS, "steps": 6, "skip_limit": 0.1, "cache_features": cached})
    result = train(*small_model("region"), damaged, tmp_path / "run", settings)
    assert sorted(result.skipped) == [2, 3]
    lines = (tmp_path / "run" / "training" / "skipped.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(damaged.records[index].id for index in (2, 3))
    assert all("broken.png" in reason for reason in result.skipped.values())


def test_more_unusable_records_than_the_limit_end_the_run(damaged, tmp_path):
    settings = TrainingSettings(**{**SETTINGS, "skip_limit": 0.05})
    with pytest.raises(RecordError, match=r"2 of 24 records cannot be used, more than skip_limit=0\.05 allows"):
        train(*small_model("region"), damaged, tmp_path / "run", settings)


def test_the_next_usable_record_takes_the_place_of_one_that_is_not(damaged, tmp_path):
    processor = small_model("region")[1]
    dataset = SkippingDataset(damaged, processor, DatasetOptions(), log_path=tmp_path / "skipped.jsonl", limit=1.0)
    assert [dataset[index].index for index in (1, 2, 3, 4)] == [1, 4, 4, 4]
    again = SkippingDataset(damaged, processor, DatasetOptions(), log_path=tmp_path / "skipped.jsonl", limit=0.0)
    assert again[2].index == 4
    again.skipped.forget()
    with pytest.raises(RecordError, match="1 of 24 records"):
        again[2]
    useless = replace(damaged, records=damaged.records[2:4])
    nothing = SkippingDataset(useless, processor, DatasetOptions(), log_path=tmp_path / "other.jsonl", limit=1.0)
    with pytest.raises(RecordError, match="not one of 2 records"):
        nothing[0]
