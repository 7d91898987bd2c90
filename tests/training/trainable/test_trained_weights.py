"""Checkpoints of what learns are small, go on to the last bit, and only from the base that they were trained on."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from small_runs import At, interrupt, small_model

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import CheckpointError
from facekit.training import TrainingSettings, train
from facekit.training.trainable.parts import trainable_parts
from facekit.training.trainable.trained_weights import hash_base, holds_trained_only, load_trained, save_trained

SETTINGS = {
    "steps": 4, "batch_size": 4, "save_every": 2, "log_every": 1, "threads": 1, "warmup": 0.0, "learning_rate": 1e-2,
    "lora": {"rank": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=2, image_size=64)


@pytest.mark.parametrize("parts", [("connector", "llm.lora"), ("connector.region",), ("encoder", "connector")])
def test_a_run_goes_on_from_what_it_learned_to_the_last_bit(records, tmp_path, parts):
    settings = TrainingSettings(**SETTINGS, parts=parts)
    straight = train(*small_model("region"), records, tmp_path / "straight", settings)
    with pytest.raises(KeyboardInterrupt):
        train(*small_model("region"), records, tmp_path / "cut", settings, callbacks=[At(3, interrupt)])
    checkpoint = tmp_path / "cut" / "training" / "checkpoint-2"
    held = load_file(checkpoint / "model.safetensors")
    kinds = {"lora" if ".lora_" in name else name.partition(".")[0] for name in held}
    assert kinds == {part.partition(".")[0] if part != "llm.lora" else "lora" for part in parts}
    assert not (checkpoint / "config.json").exists()
    resumed = train(*small_model("region"), records, tmp_path / "cut", settings, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == straight.history.losses
    finished = train(*small_model("region"), records, tmp_path / "cut", settings, resume=True)
    assert finished.resumed_from == 4
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("straight", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_another_base_is_refused(records, tmp_path):
    settings = TrainingSettings(**SETTINGS, parts=("connector", "llm.lora"))
    with pytest.raises(KeyboardInterrupt):
        train(*small_model("region"), records, tmp_path, settings, callbacks=[At(3, interrupt)])
    with pytest.raises(CheckpointError, match="on top of other weights than those that the model has now"):
        train(*small_model("region", seed=1), records, tmp_path, settings, resume=True)


def test_a_run_that_trains_the_language_model_saves_all_of_it(records, tmp_path):
    train(*small_model("region"), records, tmp_path, TrainingSettings(**{**SETTINGS, "steps": 2}))
    checkpoint = tmp_path / "training" / "checkpoint-2"
    assert not holds_trained_only(checkpoint)
    assert facekit.load(checkpoint)[0].num_parameters() == small_model("region")[0].num_parameters()


def test_other_parameters_than_those_that_learn_are_refused(tmp_path):
    model, _ = small_model("region")
    with trainable_parts(model, ["connector.region"]):
        base = hash_base(model)
        save_trained(model, tmp_path)
        with torch.no_grad():
            next(model.language_model.parameters()).mul_(1.0)
        assert hash_base(model) == base
        load_trained(model, tmp_path, base)
    with trainable_parts(model, ["connector"]):
        assert hash_base(model) != base
        with pytest.raises(CheckpointError, match="does not hold the trainable weights of this run, such as connector"):
            load_trained(model, tmp_path, base)
    with trainable_parts(model, ["connector.region"]):
        with torch.no_grad():
            next(model.encoder.parameters()).add_(1e-3)
        assert hash_base(model) != base
