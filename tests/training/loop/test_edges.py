"""A full disk, a folder that cannot be written to, Ctrl-C: one sentence, nothing half written, nothing lost."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from small_runs import At, small_model
from transformers import PreTrainedModel, Trainer

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import CheckpointError, ConfigurationError, OutputError, TrainingInterrupted
from facekit.training import LossHistory, TrainingSettings, train
from facekit.training.loop.checkpoints import list_checkpoints
from facekit.training.loop.interruption import SaveOnSignal

SETTINGS = {"steps": 6, "batch_size": 4, "log_every": 1, "save_every": 3, "threads": 1}
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=2, image_size=64))


@pytest.fixture(scope="module")
def straight(records, tmp_path_factory):
    """The run that nothing happens to."""
    return run(records, tmp_path_factory.mktemp("straight"))


def run(records, folder, *callbacks, resume=False, **settings):
    chosen = TrainingSettings(**{**SETTINGS, **settings})
    return train(*small_model(), records, folder, chosen, callbacks=callbacks, resume=resume)


def contents(folder):
    """Everything in a folder, the folders of unfinished saves too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_weights(one, other):
    first, second = (facekit.load(folder)[0].state_dict() for folder in (one, other))
    return all(torch.equal(value, second[name]) for name, value in first.items())


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "error", [FULL, SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")]
)
@pytest.mark.parametrize("parts", [("connector", "language_model"), ("llm.lora",)])
def test_a_full_disk_at_the_last_save_keeps_the_model_before_and_the_checkpoint(
    records, tmp_path, monkeypatch, error, parts
):
    (tmp_path / "model.safetensors").write_bytes(b"the model of an earlier run")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")

    def fail_half_way(self, folder, **options):
        if Path(folder).parent == tmp_path:
            (Path(folder) / "model.safetensors").write_bytes(b"half")
            raise error
        save(self, folder, **options)

    save = PreTrainedModel.save_pretrained
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", fail_half_way)
        with pytest.raises(CheckpointError) as told:
            run(records, tmp_path, parts=parts)
    assert str(told.value).count("\n") == 0
    assert str(told.value).startswith(f"the trained model could not be saved in {tmp_path} (")
    assert str(told.value).endswith("checkpoint-6 is whole; make room on the disk and resume")
    left = {name: value for name, value in contents(tmp_path).items() if not name.startswith("training/")}
    assert left == {"model.safetensors": b"the model of an earlier run", "adapter/adapter_config.json": b"{}"}
    resumed = run(records, tmp_path, parts=parts, resume=True)
    assert resumed.resumed_from == 6
    whole = run(records, tmp_path / "whole", parts=parts)
    assert same_weights(tmp_path, whole.model_folder)


def test_a_checkpoint_that_fails_after_the_last_step_costs_no_model(records, straight, tmp_path, monkeypatch, caplog):
    save = Trainer._save_optimizer_and_scheduler

    def fail_at_the_end(self, folder):
        if self.state.global_step == 6:
            raise FULL
        save(self, folder)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", fail_at_the_end)
    result = run(records, tmp_path)
    assert "checkpoint-6 could not be saved" in caplog.text
    assert "checkpoint-3 is whole; make room on the disk; the model is saved next" in caplog.text
    assert same_weights(result.model_folder, straight.model_folder)
    assert [step for step, _ in list_checkpoints(tmp_path / "training")] == [3]


def test_a_model_replaces_one_of_more_files_and_leaves_none_of_them(records, straight, tmp_path):
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "notes.txt"):
        (tmp_path / name).write_text("old")
    (tmp_path / ".saving-killed").mkdir()
    (tmp_path / ".saving-killed" / "model.safetensors").write_text("half")
    run(records, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "old"
    names = {name.partition("/")[0] for name in contents(tmp_path)}
    assert not {name for name in names if name.startswith((".saving", "model-", "model.safetensors.index"))}
    assert same_weights(tmp_path, straight.model_folder)


@pytest.mark.parametrize("writes", ["losses.json", "loss.png"])
def test_a_full_disk_behind_the_model_is_one_sentence_and_keeps_the_old_file(records, tmp_path, monkeypatch, writes):
    import facekit.training.watching.history as history

    (tmp_path / "training").mkdir()
    (tmp_path / "training" / writes).write_bytes(b"old")

    def fail(path, content):
        if Path(path).name == writes:
            raise FULL
        return original[type(content)](path, content)

    original = {str: history.write_text_atomically, bytes: history.write_bytes_atomically}
    monkeypatch.setattr(history, "write_text_atomically", fail)
    monkeypatch.setattr(history, "write_bytes_atomically", fail)
    with pytest.raises(OutputError, match=r"the model is saved in .*, but its losses cannot be written \(No space"):
        run(records, tmp_path)
    assert (tmp_path / "training" / writes).read_bytes() == b"old"
    assert facekit.load(tmp_path)


def test_a_history_that_cannot_be_written_meanwhile_does_not_end_the_run(
    records, straight, tmp_path, monkeypatch, caplog
):
    write = LossHistory.write
    failing = [FULL] * 3

    def fail_at_first(self, path):
        if failing:
            raise failing.pop()
        return write(self, path)

    monkeypatch.setattr(LossHistory, "write", fail_at_first)
    result = run(records, tmp_path)
    assert caplog.text.count("losses.json cannot be written") == 3
    assert LossHistory.read(result.history_path).losses == straight.history.losses


def test_a_folder_that_cannot_be_is_told_before_anything_is_done(records, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/no/run"), tmp_path / ("long" * 99)):
        with pytest.raises(OutputError, match=r"cannot be written to \(.*\); choose another output folder"):
            train(*small_model(), tmp_path / "no records are read", folder, TrainingSettings(**SETTINGS))
    assert contents(tmp_path) == {"file": b""}


def test_ctrl_c_saves_the_step_that_it_came_in_and_says_so(records, straight, tmp_path, caplog):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted) as told, caplog.at_level(logging.WARNING):
        run(records, tmp_path, At(2, press))
    assert signal.getsignal(signal.SIGINT) is handler
    assert "saving after this step, then stopping; Ctrl-C again stops at once" in caplog.text
    checkpoint = tmp_path / "training" / "checkpoint-2"
    assert str(told.value) == f"interrupted; {checkpoint} is saved; resume=True goes on from there"
    assert isinstance(told.value, KeyboardInterrupt)
    assert not (tmp_path / "model.safetensors").exists()
    resumed = run(records, tmp_path, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == straight.history.losses
    assert same_weights(tmp_path, straight.model_folder)


def test_a_second_ctrl_c_does_not_wait(records, tmp_path, monkeypatch):
    monkeypatch.setattr("facekit.training.loop.interruption._REPEATED", 0.0)

    def press_twice():
        press()
        time.sleep(0.01)
        press()

    with pytest.raises(TrainingInterrupted, match=r"checkpoint-3 is saved; resume=True"):
        run(records, tmp_path, At(5, press_twice))
    assert [step for step, _ in list_checkpoints(tmp_path / "training")] == [3]


def test_the_same_ctrl_c_from_terminal_and_launcher_counts_once(records, tmp_path):
    with pytest.raises(TrainingInterrupted, match="checkpoint-4 is saved"):
        run(records, tmp_path, At(4, lambda: (press(), press())))


def test_ctrl_c_in_the_last_step_saves_the_model_and_still_stops_what_comes_next(records, straight, tmp_path):
    with pytest.raises(TrainingInterrupted, match=f"interrupted after the last step; the model is saved in {tmp_path}"):
        run(records, tmp_path, At(6, press))
    assert same_weights(tmp_path, straight.model_folder)
    assert LossHistory.read(tmp_path / "training" / "losses.json").losses == straight.history.losses


def test_ctrl_c_before_the_first_step_stops_at_once_and_leaves_nothing_to_resume(records, tmp_path):
    with pytest.raises(TrainingInterrupted, match="interrupted before anything was saved; start again"):
        train(*small_model(), records, tmp_path, TrainingSettings(**SETTINGS), on_parts=lambda parts: press())
    assert list_checkpoints(tmp_path / "training") == []


def test_a_program_that_handles_or_ignores_ctrl_c_itself_is_left_alone():
    for own in (signal.SIG_IGN, lambda *_: None):
        before = signal.signal(signal.SIGINT, own)
        try:
            with SaveOnSignal().listening():
                assert signal.getsignal(signal.SIGINT) is own
        finally:
            signal.signal(signal.SIGINT, before)


def test_flex_attention_on_the_cpu_is_refused_before_the_first_step(records, tmp_path):
    model, processor = small_model()
    model.language_model.set_attn_implementation("flex_attention")
    if torch.cuda.is_available():
        pytest.skip("a GPU has gradients of it")
    for packed in (False, True):
        with pytest.raises(ConfigurationError, match="flex_attention has no gradients on the CPU; load"):
            train(model, processor, records, tmp_path, TrainingSettings(**SETTINGS, independent_turns=packed))
    assert not (tmp_path / "training").exists()


def test_losses_can_be_read_at_any_time(tmp_path, monkeypatch):
    """Whoever reads while they are written sees the old ones or the new ones."""
    path, seen = tmp_path / "losses.json", []
    replace = Path.replace

    def read_then_replace(self, target):
        seen.append(json.loads(path.read_text()))
        return replace(self, target)

    path.write_text("[]")
    monkeypatch.setattr(Path, "replace", read_then_replace)
    LossHistory.from_log([{"step": 1, "epoch": 0.1, "loss": 2.0, "learning_rate": 1e-3}]).write(path)
    assert seen == [[]]
    assert LossHistory.read(path).losses == [2.0]
