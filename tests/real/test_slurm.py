"""The example's Slurm script on a Slurm of one machine: told to end it saves, goes back into the queue, and goes on."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
import torch
from engine_runs import PROJECT
from one_machine_slurm import OneMachineSlurm
from small_runs import SEARCH_PATH

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import LossHistory

SCRIPT = PROJECT / "examples" / "train_multi_node.slurm"
RECIPE = """
model: {{encoder: "tiny?image_size=64&width=32&depth=1", connector: region, backbone: "tiny?width=48&depth=2&heads=2"}}
records: {records}
output: {output}
stages:
  train: {{steps: 6, batch_size: 2, lr: 1e-3, log_every: 1, save_every: 100, train: [connector, llm], workers: 0}}
"""
COMMAND = """#!/bin/sh
# facekit, which waits after step 3 for a signal where the job was not in the queue before.
[ "${{SLURM_RESTART_COUNT:-0}}" = 0 ] && [ -n "$WAITS" ] && export FAULT=wait FAULT_STEP=3 FAULT_RANK=
exec {python} {program} run "$@"
"""
ONE_MACHINE = ("--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=0", "--open-mode=append")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with OneMachineSlurm(tmp_path_factory.mktemp("slurm")) as machine:
        yield machine


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The folder of a ``facekit`` for the jobs."""
    folder = tmp_path_factory.mktemp("command")
    program = Path(__file__).parents[1] / "shared" / "engine_runs.py"
    path = folder / "facekit"
    path.write_text(COMMAND.format(python=sys.executable, program=program))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=2, image_size=64)


class Jobs:
    """Runs of the script, each with a folder for its output."""

    def __init__(self, slurm, command, records):
        self.slurm, self.command, self.records = slurm, command, records

    def submit(self, folder, *options, waits=True, sharding=""):
        """Submit a run and return the job's number; one that waits goes on when a signal comes after step 3."""
        folder.mkdir(exist_ok=True)
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE.format(records=self.records, output=folder / "run"))
        variables = {
            "PATH": f"{self.command}:{self.slurm.environment['PATH']}", "PYTHONPATH": SEARCH_PATH,
            "HF_HUB_OFFLINE": "1", "WAITS": "1" if waits else "", "FACEKIT_SHARDING": sharding,
            "FAULT_FOLDER": folder, "SLURM_CONF": self.slurm.configuration,
        }  # fmt: skip
        exported = f"--export=ALL,{','.join(f'{name}={value}' for name, value in variables.items())}"
        given = (*ONE_MACHINE, *options, f"--output={folder / 'job.out'}", exported, SCRIPT, f"recipe={recipe}")
        return self.slurm.submit(*given)

    def wait_for_step(self, folder):
        """Wait until both processes of a run wait."""
        self.slurm.wait_for("a run that waits", lambda: len(list(folder.glob("waits-*"))) == 2, 600)

    def finish(self, number, folder):
        """Wait for the end of a job; returns what Slurm knows of it, and what it said."""
        job = self.slurm.wait(number, ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"))
        told = (folder / "job.out").read_text()
        assert job["JobState"] == "COMPLETED", told[-4000:]
        return job, told


@pytest.fixture(scope="module")
def jobs(slurm, command, records):
    return Jobs(slurm, command, records)


@pytest.fixture(scope="module")
def straight(jobs, tmp_path_factory):
    """A function from a sharding to the folder of the run that nothing happens to."""
    folders = {}

    def get(sharding):
        if sharding not in folders:
            folder = folders[sharding] = tmp_path_factory.mktemp("straight")
            jobs.finish(jobs.submit(folder, waits=False, sharding=sharding), folder)
        return folders[sharding]

    return get


def assert_put_back_once(finished, folder, expected):
    """The job was put back once, after a checkpoint of step 3, and ended with the weights of another run."""
    job, told = finished
    assert job["Restarts"] == "1"
    assert told.count("signal 15: saving after this step, then stopping") == 2
    assert "facekit: error:" not in told
    states = sorted((folder / "run" / "training").glob("checkpoint-*/trainer_state.json"))
    assert [state.parent.name for state in states] == ["checkpoint-3", "checkpoint-6"]
    losses = [LossHistory.read(each / "run" / "training" / "losses.json").losses for each in (folder, expected)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
    weights, wanted = (facekit.load(each / "run")[0].state_dict() for each in (folder, expected))
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


def test_a_time_limit_puts_the_run_back_before_it_is_reached(jobs, straight, tmp_path):
    number = jobs.submit(tmp_path, "--time=60", "--signal=TERM@60")
    jobs.wait_for_step(tmp_path)
    # However long this machine took to come here, the limit is now near.
    hours, minutes, _ = map(int, jobs.slurm.job(number)["RunTime"].split(":"))
    jobs.slurm.call("scontrol", "update", f"JobId={number}", f"TimeLimit={60 * hours + minutes + 2}")
    jobs.slurm.wait_for("job that was put back", lambda: jobs.slurm.job(number).get("Restarts") == "1", 600)
    jobs.slurm.call("scontrol", "update", f"JobId={number}", "TimeLimit=60")
    assert_put_back_once(jobs.finish(number, tmp_path), tmp_path, straight(""))


def test_a_run_that_is_preempted_goes_on_after_the_urgent_one(jobs, straight, tmp_path):
    number = jobs.submit(tmp_path, "--partition=spare")
    jobs.wait_for_step(tmp_path)
    urgent = jobs.slurm.submit("--partition=urgent", "--ntasks=2", f"--output={tmp_path / 'urgent.out'}", "--wrap=true")
    jobs.slurm.wait(urgent, ("COMPLETED",))
    assert_put_back_once(jobs.finish(number, tmp_path), tmp_path, straight(""))


def test_a_sharded_run_that_is_told_to_end_goes_on(jobs, straight, tmp_path):
    number = jobs.submit(tmp_path, sharding="fsdp2")
    jobs.wait_for_step(tmp_path)
    jobs.slurm.call("scancel", "--signal=TERM", number)
    assert_put_back_once(jobs.finish(number, tmp_path), tmp_path, straight("fsdp2"))
