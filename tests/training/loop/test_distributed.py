"""Two processes with gloo, by DDP and by FSDP2, train what one process trains with the same global batches."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from engine_runs import CONFIGURATIONS, PROJECT, read_configuration
from safetensors.torch import load_file
from small_runs import SEARCH_PATH, At, interrupt, small_model
from transformers import Trainer

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.formats.shards import write_shards
from facekit.data.records import FaceRecord, Turn
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, TrainingError
from facekit.training import LossHistory, LossValidation, TrainingSettings, train
from facekit.training.loop.distributed import check_lockstep, check_plugin, is_main_process, leave_processes
from facekit.training.loop.identity import identify_run
from facekit.training.records.streamed import StreamedDataset
from facekit.training.watching.validation import Measured, PeriodicValidation

COMMON = {"steps": 4, "learning_rate": 3e-4, "log_every": 1, "save_every": 2, "threads": 1, "landmark_noise": 0.01}
PACKED = {"independent_turns": True, "loss_average": "sample", "gradient_checkpointing": True}
RUNS = {
    "whole": {"parts": ["connector", "language_model"], "batch_size": 8, "accumulation": 1},
    "region": {"parts": ["connector.region"], "batch_size": 4, "accumulation": 2, **PACKED},
    "lora": {"parts": ["connector", "llm.lora"], "batch_size": 4, "accumulation": 2, "group_batches": True, **PACKED},
}
MIXED = {"parts": ["connector"], "batch_size": 4, "precision": "bfloat16"}
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT", "FSDP_RESHARD_AFTER_FORWARD": "true",
}  # fmt: skip


def deep_model():
    return small_model("region", depth=2)


def settings_of(run, processes=1):
    values = {**COMMON, **RUNS[run]}
    return TrainingSettings(**{**values, "batch_size": values["batch_size"] // processes})


def total_of(model):
    return sum(weight.detach().double().sum().item() for weight in model.parameters())


def train_in_bfloat16(records, output):
    """Losses, and the types that landmarks and the weights of the connector have where they are used."""
    seen = set()
    model, processor = deep_model()
    model.connector.register_forward_pre_hook(lambda module, given: seen.add(str(given[2].dtype)))
    weights = model.connector.vision_projector
    weights.register_forward_pre_hook(lambda module, given: seen.add(str(next(module.parameters()).dtype)))
    result = train(model, processor, records, output, TrainingSettings(**{**COMMON, **MIXED}))
    return {"losses": result.history.losses, "types": sorted(seen)}


def train_on_shards(records, folder):
    """The samples that came to this process."""
    seen, come = [], StreamedDataset.__iter__

    def watch(self):
        for example in come(self):
            seen.append(example.index)
            yield example

    if is_main_process():
        write_shards(records.records, folder / "shards", media_folder=records.folder, per_shard=7)
    torch.distributed.barrier()
    StreamedDataset.__iter__ = watch
    chosen = TrainingSettings(epochs=1, batch_size=4, threads=1, workers=0)
    result = train(*deep_model(), folder / "shards", folder / "streamed", chosen)
    return {"seen": seen, "steps": result.steps}


def train_with_failures(records, output, rank):
    """What each process says of a run of which one cannot write, and in which another's callback fails at the end."""
    write = Trainer._save_rng_state

    def fail(*_):
        raise OSError(28, "No space left on device")

    Trainer._save_rng_state = fail if rank == 1 else write
    try:
        train(*deep_model(), records, output, settings_of("whole", 2), callbacks=[At(4, fail)] if rank == 0 else [])
    except TrainingError as error:
        return str(error)
    finally:
        Trainer._save_rng_state = write
    return ""


def train_sundry(records, output, processes):
    """A run on faces, a pair of pictures and text alone, in batches of their own, and its validation losses."""
    found = RecordSet.of(records)
    turns = [Turn(role="user", content="Name a colour."), Turn(role="assistant", content="Red.")]
    text = [FaceRecord(id=f"text-{index}", conversations=turns) for index in range(3)]
    pair = FaceRecord(id="pair", images=[found.records[0].image, found.records[1].image], conversations=turns)
    sundry = RecordSet((*found.records[:12], pair, *text), found.folder)
    held_out = RecordSet((*found.records[12:17], text[0]), found.folder)
    watched = LossValidation(held_out, output / "losses.json", every=1, keep_best=True)
    chosen = {**COMMON, "batch_size": 4 // processes, "group_batches": True, "steps": 6}
    result = train(*deep_model(), sundry, output, TrainingSettings(**chosen), callbacks=[watched])
    return {"losses": result.history.losses, "validation": [point.loss for point in watched.points]}


def train_until_a_fall(records, output):
    """The step at which a run ends because what the first process measures has fallen."""
    values = iter((0.9, 0.1))

    def metrics(*_):
        value = next(values)
        return Measured({"age": value}, {"age": (value - 0.1, value + 0.1)})

    model, processor = deep_model()
    found = RecordSet.of(records)
    watched = PeriodicValidation(
        processor, found, output / "seen.jsonl", every=1, faces=0, metrics=metrics, tasks=["age"], stop_on_fall=True
    )
    return train(model, processor, found, output, settings_of("whole", 2), callbacks=[watched]).steps


def work(records, folder):
    """What each process of the launched test does: all scenarios, one after the other."""
    rank, told = int(os.environ["RANK"]), {}
    for kind in ("ddp", "fsdp"):
        os.environ.update(FSDP2 if kind == "fsdp" else {})
        for run in RUNS:
            reports = []
            model, processor = deep_model()
            output = folder / f"{kind}-{run}"
            train(model, processor, records, output, settings_of(run, 2), on_progress=reports.append)
            told[output.name] = {
                "reports": [report.step for report in reports],
                "held": total_of(model),
                "learning": sum(weight.requires_grad for weight in model.parameters()),
            }
        told[f"{kind}-sundry"] = train_sundry(records, folder / f"{kind}-sundry", 2)
        told[f"{kind}-mixed"] = train_in_bfloat16(records, folder / f"{kind}-mixed")
        output = folder / f"{kind}-resumed"
        try:
            train(*deep_model(), records, output, settings_of("lora", 2), callbacks=[At(3, interrupt)])
        except KeyboardInterrupt:
            told[output.name] = {
                "resumed": train(*deep_model(), records, output, settings_of("lora", 2), resume=True).resumed_from
            }
            again, processor = deep_model()
            result = train(again, processor, records, output, settings_of("lora", 2), resume=True)
            told[output.name] |= {"finished": result.resumed_from, "steps": result.steps}
        if kind == "ddp":
            told["fallen"] = train_until_a_fall(records, folder / "fallen")
    told["late"] = train_with_failures(records, folder / "late", rank)
    told["streamed"] = train_on_shards(records, folder)
    signal.signal(signal.SIGTERM, lambda *_: None)
    callbacks = [At(1, lambda: signal.raise_signal(signal.SIGTERM))] if rank == 1 else []
    try:
        train(*deep_model(), records, folder / "signal", settings_of("whole", 2), callbacks=callbacks)
    except TrainingError as error:
        told["signal"] = str(error)
    torch.manual_seed(rank)
    try:
        model, processor = deep_model()
        torch.nn.init.normal_(next(model.parameters()))
        train(model, processor, records, folder / "different", settings_of("whole", 2))
    except ConfigurationError as error:
        told["different"] = str(error)
    (folder / f"told-{rank}.json").write_text(json.dumps(told))
    leave_processes()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=2, image_size=64)


@pytest.fixture(scope="module")
def together(records, tmp_path_factory):
    """The folder of the runs in two processes."""
    folder = tmp_path_factory.mktemp("two")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": SEARCH_PATH,
    }
    done = subprocess.run(
        [sys.executable, *launch, str(records), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def alone(records, tmp_path_factory):
    """A function from a run to its result in one process."""
    results = {}

    def get(run):
        if run not in results:
            results[run] = train(*deep_model(), records, tmp_path_factory.mktemp(run), settings_of(run))
        return results[run]

    return get


def told(together, rank, name):
    return json.loads((together / f"told-{rank}.json").read_text())[name]


def gradient_norms(folder):
    state = json.loads((folder / "training" / "checkpoint-4" / "trainer_state.json").read_text())
    return [entry["grad_norm"] for entry in state["log_history"]]


def assert_same(folder, expected):
    found = LossHistory.read(folder / "training" / "losses.json").losses
    assert found == pytest.approx(expected.history.losses, abs=1e-5)
    # Adam does not see how large gradients are, so the weights alone would not show a loss of the wrong scale.
    assert gradient_norms(folder) == pytest.approx(gradient_norms(expected.model_folder), rel=1e-4)
    assert_same_weights(folder, expected)


def assert_same_weights(folder, expected):
    weights = load_file(folder / "model.safetensors")
    wanted = load_file(expected.model_folder / "model.safetensors")
    assert weights.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(weights[name], weight, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_what_one_trains(together, alone, kind, run):
    assert_same(together / f"{kind}-{run}", alone(run))


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_text_alone_and_a_validation_loss_are_the_same_in_two_processes(together, records, tmp_path, kind):
    expected = train_sundry(records, tmp_path, 1)
    for rank in (0, 1):
        found = told(together, rank, f"{kind}-sundry")
        assert found["validation"] == pytest.approx(expected["validation"], abs=1e-5)
    assert told(together, 0, f"{kind}-sundry")["losses"] == pytest.approx(expected["losses"], abs=1e-5)
    weights, wanted = (load_file(each / "model.safetensors") for each in (together / f"{kind}-sundry", tmp_path))
    for name, weight in wanted.items():
        torch.testing.assert_close(weights[name], weight, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_run_of_two_processes_is_resumed(together, alone, kind):
    assert_same(together / f"{kind}-resumed", alone("lora"))
    assert told(together, 1, f"{kind}-resumed") == {"resumed": 2, "finished": 4, "steps": 4}


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_one_process_writes_and_reports_and_both_hold_the_whole_model(together, kind):
    first, second = (told(together, rank, f"{kind}-whole") for rank in (0, 1))
    assert first["reports"] == [1, 2, 3, 4]
    assert second["reports"] == []
    model, _ = facekit.load(together / f"{kind}-whole")
    total = total_of(model)
    assert first["held"] == second["held"] == pytest.approx(total, abs=1e-9)
    assert first["learning"] == len(list(model.parameters()))


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_frozen_parts_stay_as_they_were(together, kind):
    before = deep_model()[0].state_dict()
    after = facekit.load(together / f"{kind}-region")[0].state_dict()
    changed = {name.rpartition(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(("connector.landmark_projector", "connector.cross_attention")) for name in changed)


def test_adapters_are_saved_beside_the_merged_model(together, alone):
    for kind in ("ddp", "fsdp"):
        found, expected = (
            load_file(folder / "adapter" / "adapter_model.safetensors")
            for folder in (together / f"{kind}-lora", alone("lora").model_folder)
        )
        assert found.keys() == expected.keys()
        assert all(torch.allclose(found[name], expected[name], atol=1e-5, rtol=0) for name in expected)


def test_two_processes_share_the_samples_of_shards(together):
    first, second = (told(together, rank, "streamed") for rank in (0, 1))
    assert first["steps"] == second["steps"] == 3
    assert sorted([*first["seen"], *second["seen"]]) == list(range(24))


@pytest.mark.parametrize(("kind", "gathered"), [("ddp", "torch.float32"), ("fsdp", "torch.bfloat16")])
def test_landmarks_stay_exact_in_mixed_precision(together, alone, kind, gathered):
    mixed = told(together, 0, f"{kind}-mixed")
    assert mixed["types"] == sorted({"torch.float32", gathered})
    assert mixed["losses"] == pytest.approx(told(together, 0, "ddp-mixed")["losses"], abs=0.01)
    assert mixed["losses"][0] == pytest.approx(alone("whole").history.losses[0], abs=0.02)


def test_a_run_is_not_resumed_with_another_number_of_processes(records, monkeypatch):
    identity = [identify_run(settings_of("whole"), RecordSet.read(records), deep_model()[0])]
    monkeypatch.setenv("WORLD_SIZE", "2")
    identity.append(identify_run(settings_of("whole"), RecordSet.read(records), deep_model()[0]))
    assert identity[1].differences(identity[0]) == ["processes was 1 and is 2"]


def test_what_one_process_measures_ends_the_run_of_all(together):
    assert [told(together, rank, "fallen") for rank in (0, 1)] == [2, 2]
    assert (together / "fallen" / "training" / "checkpoint-2" / "files.json").is_file()


def test_a_signal_to_one_process_stops_all_after_the_same_step(together):
    for rank in (0, 1):
        assert "after step 1, which is saved" in told(together, rank, "signal")


def test_a_write_that_fails_in_one_process_and_a_callback_that_fails_at_the_end_cost_nothing(together, alone):
    assert_same_weights(together / "late", alone("whole"))
    assert list((together / "late" / "training").glob("checkpoint-*")) == []
    first, second = (told(together, rank, "late") for rank in (0, 1))
    assert re.search(r"the model is saved in .*late, but At failed after the last step \(.*No space left", first)
    assert second == ""


def test_weights_that_differ_between_processes_are_refused(together):
    for rank in (0, 1):
        assert "begin with different weights" in told(together, rank, "different")


def test_media_of_different_length_are_refused_where_weights_are_sharded():
    check_lockstep({"num_frames": None})
    with pytest.raises(ConfigurationError, match=r"mixes media of \[1, 8\] frames"):
        check_lockstep({"num_frames": torch.tensor([8, 1, 8])})


def sharding_variables(environment):
    names = ("ACCELERATE_USE_", *FSDP2)
    return {name: value for name, value in environment.items() if name.startswith(names)}


def test_the_configuration_of_fsdp2_is_the_one_tested_here_and_the_one_of_slurm(monkeypatch):
    arguments, environment = read_configuration("fsdp2")
    assert arguments.num_processes == 8
    assert sharding_variables(environment) == FSDP2
    script = (CONFIGURATIONS.parent / "train_multi_node.slurm").read_text()
    exported = dict(re.findall(r"^  export (\w+)=(\w+)$", script, re.MULTILINE))
    assert exported.keys() >= FSDP2.keys()
    assert exported == {name: environment[name] for name in exported}
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    check_plugin(plugin)
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [("FSDP_VERSION", "1", "fsdp_version must be 2"),
     ("FSDP_ACTIVATION_CHECKPOINTING", "true", "set gradient_checkpointing in the recipe"),
     ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "cpu_ram_efficient_loading must be false")],
)  # fmt: skip
def test_what_does_not_fit_composed_models_is_refused(monkeypatch, variable, value, message):
    for name, usual in {**FSDP2, variable: value}.items():
        monkeypatch.setenv(name, usual)
    monkeypatch.delenv("FSDP_RESHARD_AFTER_FORWARD")
    with pytest.raises(ConfigurationError, match=message):
        check_plugin(FullyShardedDataParallelPlugin())


def test_the_other_configurations_are_what_their_names_say(monkeypatch):
    assert read_configuration("ddp")[0].multi_gpu
    monkeypatch.chdir(PROJECT)
    for stage in (2, 3):
        _, environment = read_configuration(f"zero{stage}")
        assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
        config = HfDeepSpeedConfig(environment["ACCELERATE_DEEPSPEED_CONFIG_FILE"])
        assert config.get_value("zero_optimization.stage") == stage
        assert config.is_zero3() == (stage == 3)


if __name__ == "__main__":
    work(RecordSet.read(sys.argv[1]), Path(sys.argv[2]))
