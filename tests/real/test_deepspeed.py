"""DeepSpeed ZeRO-2 and ZeRO-3 in two processes train what one trains, and go on from where they were."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from engine_runs import Engines, Fault
from safetensors.torch import load_file

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import LossHistory

RECIPE = """
model: {{encoder: "tiny?image_size=64&width=32&depth=1", connector: region, backbone: "tiny?width=48&depth=2&heads=2"}}
records: {records}
output: {output}
stages:
  train:
    {{steps: 4, batch_size: {batch_size}, accumulation: 2, lr: 3e-4, log_every: 1, save_every: 2, train: [{parts}],
    independent_turns: true, loss_average: sample, gradient_checkpointing: true, group_batches: true, workers: 0,
    landmark_noise: 0.01, precision: {precision}}}
"""
PARTS = {"full": "connector, llm", "lora": "connector, llm.lora"}
STAGES = ("zero2", "zero3")
CASES = [(stage, kind) for stage in STAGES for kind in PARTS]
CLOSE = 1e-6
CLOSE_WEIGHTS = 3e-6
"""A hundredth of what one step changes: Adam does not see how small a gradient is, so its last digits count."""


@pytest.fixture(scope="module")
def engines():
    running = Engines()
    yield running
    running.close()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=2, image_size=64)


@pytest.fixture(scope="module")
def train(engines, records, tmp_path_factory):
    """A function that trains in one process, or in two by a stage of ZeRO."""

    def call(stage, kind, output, fault=None, precision="float32"):
        recipe = tmp_path_factory.mktemp("recipe") / "small.yaml"
        processes = 1 if stage is None else 2
        values = {"records": records, "output": output, "batch_size": 4 // processes, "parts": PARTS[kind]}
        values["precision"] = precision
        recipe.write_text(RECIPE.format(**values))
        words = ["train", f"recipe={recipe}", "--resume"]
        return engines.run(words, stage or "ddp", recipe.parent, processes=processes, fault=fault)

    return call


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    """A function from a stage, or None for one process, and what is trained to the folder of the run."""
    folders = {}

    def get(stage, kind):
        if (stage, kind) not in folders:
            output = folders[stage, kind] = tmp_path_factory.mktemp(f"{stage}-{kind}") / "run"
            ended = train(stage, kind, output)
            assert {each.status for each in ended} == {0}, ended[0].errors[-4000:]
        return folders[stage, kind]

    return get


def losses(folder):
    return LossHistory.read(folder / "training" / "losses.json").losses


def gradient_norms(folder):
    state = json.loads((folder / "training" / "checkpoint-4" / "trainer_state.json").read_text())
    return [entry["grad_norm"] for entry in state["log_history"] if "grad_norm" in entry]


def widest(found, wanted):
    """The largest difference between weights of two files."""
    assert found.keys() == wanted.keys()
    return max((found[name] - value).abs().max().item() for name, value in wanted.items())


@pytest.mark.parametrize(("stage", "kind"), CASES)
def test_two_processes_train_what_one_trains(finished, stage, kind):
    folder, alone = finished(stage, kind), finished(None, kind)
    assert len(losses(folder)) == 4
    assert losses(folder) == pytest.approx(losses(alone), abs=CLOSE)
    assert gradient_norms(folder) == pytest.approx(gradient_norms(alone), rel=1e-5)
    assert widest(load_file(folder / "model.safetensors"), load_file(alone / "model.safetensors")) < CLOSE_WEIGHTS
    if kind == "lora":
        name = "adapter/adapter_model.safetensors"
        assert widest(load_file(folder / name), load_file(alone / name)) < CLOSE_WEIGHTS


@pytest.mark.parametrize("kind", PARTS)
def test_both_stages_leave_a_model_that_loads(finished, kind):
    first, second = (facekit.load(finished(stage, kind))[0] for stage in STAGES)
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        words = [model(input_ids=tokens).logits for model in (first, second)]
    torch.testing.assert_close(words[0], words[1], atol=1e-5, rtol=0)
    assert not first.training


@pytest.mark.parametrize(("stage", "kind"), CASES)
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(train, finished, stage, kind, tmp_path):
    output = tmp_path / "run"
    assert [each.status for each in train(stage, kind, output, Fault("term", 3, rank=1))] == [-15, -15]
    assert sorted(path.name for path in (output / "training").glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-3"]
    ended = train(stage, kind, output)
    assert [each.status for each in ended] == [0, 0], ended[0].errors[-4000:]
    assert losses(output) == losses(finished(stage, kind))
    found, wanted = (load_file(folder / "model.safetensors") for folder in (output, finished(stage, kind)))
    assert widest(found, wanted) == 0


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_whose_model_is_gone_is_ended_again_from_its_last_checkpoint(train, finished, stage, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished(stage, "full"), output)
    for path in (output / "model.safetensors", output / "training" / "report.json"):
        path.unlink()
    ended = train(stage, "full", output)
    assert [each.status for each in ended] == [0, 0], ended[0].errors[-4000:]
    again, before = (load_file(folder / "model.safetensors") for folder in (output, finished(stage, "full")))
    assert widest(again, before) == 0


@pytest.mark.parametrize("stage", STAGES)
def test_half_precision_trains_to_about_the_same_losses(train, finished, stage, tmp_path):
    ended = train(stage, "full", tmp_path / "run", precision="bfloat16")
    assert [each.status for each in ended] == [0, 0], ended[0].errors[-4000:]
    assert losses(tmp_path / "run") == pytest.approx(losses(finished(None, "full")), abs=0.03)
    assert facekit.load(tmp_path / "run")[0].dtype == torch.float32
