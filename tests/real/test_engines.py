"""DDP, FSDP2 and DeepSpeed under the same faults: nothing hangs, what is wrong is told, and the weights stay the same.

Of each, two processes go on with one run after each fault: a NaN loss, NaN gradients, SIGKILL, SIGTERM, a full disk;
then, from the same checkpoint, a process that cannot write to the end, and a callback that fails after the last step.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from engine_runs import ENGINES, Ended, Engines, Fault

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import LossHistory
from facekit.training.loop.checkpoints import find_damage, list_checkpoints

COUNT = 24
BROKEN = (5, 17)
RECIPE = """
model: {{encoder: "tiny?image_size=64&width=32&depth=1", connector: region, backbone: "tiny?width=48&depth=2&heads=2"}}
records: {records}
output: {output}
stages:
  train:
    {{steps: 8, batch_size: 2, accumulation: 2, lr: 1e-3, log_every: 1, save_every: 2, train: [connector, llm],
    independent_turns: true, loss_average: sample, gradient_checkpointing: true, group_batches: true, workers: 0,
    landmark_noise: 0.01, skip_limit: 0.1}}
"""
LOST = "another process of this run has ended or does not answer"


@dataclass(frozen=True)
class Run:
    """How the processes of a run ended, and what is in its folder then.

    Args:
        ended: Of each process.
        steps: Of its checkpoints, all of them.
        damaged: Those of them that are not whole.
        files: What is in the folder itself.
    """

    ended: list[Ended]
    steps: tuple[int, ...]
    damaged: tuple[int, ...]
    files: frozenset[str]

    @property
    def statuses(self) -> list[int]:
        """The exit statuses."""
        return [each.status for each in self.ended]

    @property
    def has_model(self) -> bool:
        """Whether a model is in the folder."""
        return {"config.json", "model.safetensors"} <= self.files


@pytest.fixture(scope="module")
def engines():
    running = Engines()
    yield running
    running.close()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Faces of which two cannot be opened."""
    path = write_synthetic_dataset(tmp_path_factory.mktemp("faces"), COUNT, seed=2, image_size=64)
    lines = path.read_text().splitlines()
    for index in BROKEN:
        (path.parent / json.loads(lines[index])["image"]).write_bytes(b"\x89PNG, cut off")
    return path


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A folder on a small disk of its own, where this user may mount one."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)]
    is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield folder, is_mounted
    if is_mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def start(engines, records, tmp_path_factory):
    """A function that runs a recipe in two processes."""

    def call(engine, output, fault=None, *overrides):
        recipe = tmp_path_factory.mktemp("recipe") / "faults.yaml"
        recipe.write_text(RECIPE.format(records=records, output=output))
        ended = engines.run(
            ["train", f"recipe={recipe}", "--resume", *overrides], engine, recipe.parent, fault=fault,
            environment={"FAULT_FOLDER": str(output.parent)},
        )  # fmt: skip
        listed = list_checkpoints(output / "training")
        damaged = tuple(step for step, path in listed if find_damage(path, step) is not None)
        files = frozenset(path.name for path in output.glob("*"))
        return Run(ended, tuple(step for step, _ in listed), damaged, files)

    return call


@pytest.fixture(scope="module", params=ENGINES)
def runs(request, start, disk, tmp_path_factory):
    """All runs of an engine by their fault, and the folders of those that ended."""
    engine, (place, is_own) = request.param, disk
    straight, folder = tmp_path_factory.mktemp(f"straight-{engine}") / "run", place / engine
    output, cannot_write, late = (folder / name / "run" for name in ("first", "cannot-write", "late"))
    output.parent.mkdir(parents=True)
    found = {
        "none": start(engine, straight),
        "nan": start(engine, output, Fault("nan", 3, rank=1)),
        "gradient": start(engine, output, Fault("gradient", 3, rank=1)),
        "kill": start(engine, output, Fault("kill", 3, rank=1)),
        "term": start(engine, output, Fault("term", 3, rank=0)),
        "full": start(engine, output, Fault("full", 5, rank=0) if is_own else Fault("limit", 5)),
    }
    (output.parent / "filler").unlink(missing_ok=True)
    for copy in (cannot_write, late):
        shutil.copytree(output, copy)
    found["limit"] = start(engine, cannot_write, Fault("limit", 5, rank=1))
    found["callback"] = start(engine, late, Fault("callback", 8, rank=0))
    kept = tmp_path_factory.mktemp(f"kept-{engine}")
    folders = {"none": straight, "callback": kept / "callback", "limit": kept / "limit", "full": kept / "full"}
    shutil.copytree(late, folders["callback"])
    found["again"] = start(engine, late)
    found["resumed"] = start(engine, output)
    shutil.copytree(cannot_write, folders["limit"])
    shutil.copytree(output, folders["full"])
    shutil.rmtree(folder)
    return engine, found, folders


def sentences(run: Run) -> list[str]:
    """What each process said was wrong, one sentence each."""
    assert all(len(each.sentences) == 1 for each in run.ended), [each.errors[-2000:] for each in run.ended]
    assert not any("Traceback" in each.errors for each in run.ended), [each.errors[-4000:] for each in run.ended]
    return [each.sentences[0] for each in run.ended]


def assert_same_model(folder: Path, expected: Path) -> None:
    weights, wanted = (facekit.load(each)[0].state_dict() for each in (folder, expected))
    assert weights.keys() == wanted.keys()
    different = [name for name, value in wanted.items() if not torch.equal(weights[name], value)]
    assert different == []


def losses(folder: Path) -> list[float]:
    return LossHistory.read(folder / "training" / "losses.json").losses


def test_broken_records_are_left_out_once_for_all_processes(runs):
    _, found, folders = runs
    assert found["none"].statuses == [0, 0]
    listed = [json.loads(line) for line in (folders["none"] / "training" / "skipped.jsonl").read_text().splitlines()]
    assert [entry["index"] for entry in listed] == list(BROKEN)
    assert found["none"].steps[-1] == 8


def test_more_broken_records_than_allowed_end_all_processes(runs, start, tmp_path):
    run = start(runs[0], tmp_path / "run", None, "skip_limit=0.05")
    assert run.statuses == [2, 2]
    assert all("2 of 24" in sentence or "skip_limit" in sentence for sentence in sentences(run))
    assert run.steps == ()


def test_a_nan_loss_in_one_process_ends_both_and_leaves_the_checkpoint_before(runs):
    run = runs[1]["nan"]
    assert run.statuses == [2, 2]
    first, second = sentences(run)
    assert "the loss is nan in step 4, in a batch of the records" in second
    assert LOST in first or "the loss is nan in step 4" in first
    assert (run.steps, run.damaged, run.has_model) == ((2,), (), False)


def test_weights_that_one_process_made_nan_are_not_saved(runs):
    run = runs[1]["gradient"]
    assert run.statuses == [2, 2]
    for sentence in sentences(run):
        assert "step 4" in sentence
        assert "NaN or infinite" in sentence
        assert "so nothing is saved" in sentence
    assert (run.steps, run.damaged, run.has_model) == ((2,), (), False)


def test_a_process_that_outlives_a_killed_one_says_so(runs):
    run = runs[1]["kill"]
    assert run.statuses == [2, -9]
    assert [LOST in sentence for sentence in run.ended[0].sentences] == [True]
    assert "Traceback" not in run.ended[0].errors
    assert (run.steps, run.damaged, run.has_model) == ((2,), (), False)


def test_sigterm_to_one_process_saves_the_step_and_ends_both_by_the_signal(runs):
    run = runs[1]["term"]
    assert run.statuses == [-15, -15]
    assert not any("Traceback" in each.errors for each in run.ended)
    assert (run.steps[-1], run.damaged, run.has_model) == (3, (), False)


def test_a_full_disk_leaves_nothing_half_written_and_says_what_is_whole(runs):
    run = runs[1]["full"]
    assert run.statuses == [2, 2]
    for sentence in sentences(run):
        assert "the trained model could not be saved" in sentence
        assert "checkpoint-4 is whole; make room on the disk and resume" in sentence
    assert (run.steps[-1], run.damaged, run.has_model) == (4, (), False)
    assert not any(name.startswith(".saving") for name in run.files)
    assert "checkpoint-6 could not be saved" in run.ended[0].errors


def test_with_room_again_the_run_ends_as_if_nothing_had_happened(runs):
    _, found, folders = runs
    assert found["resumed"].statuses == [0, 0]
    assert losses(folders["full"]) == losses(folders["none"])
    assert_same_model(folders["full"], folders["none"])


def test_a_process_that_cannot_write_its_part_costs_checkpoints_but_not_the_model(runs):
    _, found, folders = runs
    run = found["limit"]
    assert run.statuses == [0, 0]
    assert (run.steps[-1], run.damaged) == (4, ())
    assert all(f"checkpoint-{step} could not be saved" in run.ended[0].errors for step in (6, 8))
    assert_same_model(folders["limit"], folders["none"])


def test_a_callback_that_fails_after_the_last_step_costs_nothing(runs):
    _, found, folders = runs
    run = found["callback"]
    assert run.statuses == [2, 0]
    (sentence,) = run.ended[0].sentences
    assert "the model is saved in" in sentence
    assert "failed after the last step" in sentence
    assert (run.steps[-1], run.damaged, run.has_model) == (8, (), True)
    assert_same_model(folders["callback"], folders["none"])
    assert found["again"].statuses == [0, 0]
