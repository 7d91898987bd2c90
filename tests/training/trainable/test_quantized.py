"""Training on packed weights: only what learns is saved on the way, and the end computes what was trained."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from language_families import FAMILIES
from safetensors.torch import load_file
from transformers import TrainerCallback

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import Listeners, load_recipe, run_recipe
from facekit.training.recipes.stages import open_model
from facekit.training.trainable.quantized import is_quantized, unpack

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="the extra 'quantization' is not installed"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistral")
    torch.manual_seed(0)
    FAMILIES["mistral"].save(folder, hidden_size=64, intermediate_size=128)  # blocks of 64 weights share a scale
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=4, image_size=64)


@pytest.fixture
def recipe_for(checkpoint, records, tmp_path):
    def make(folder, *overrides, load_in="4bit"):
        return load_recipe(
            "qlora-single-gpu",
            [f"records={records}", f"output={tmp_path / folder}", "model.encoder=tiny?image_size=64&width=32&depth=1",
             f"model.backbone=hf:{checkpoint}?load_in={load_in}&dtype=float32", "model.dtype=float32",
             "precision=float32", "batch_size=2", "accumulation=1", "steps=4", "save_every=2", "threads=1",
             "lora.rank=4", "log_every=1", *overrides],
        )  # fmt: skip

    return make


@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
def test_the_saved_model_is_whole_and_computes_what_was_trained(recipe_for, load_in):
    logits = {}

    class Compute(TrainerCallback):
        def on_train_end(self, args, state, control, model=None, **kwargs):
            with torch.no_grad():
                logits["trained"] = model.language_model(torch.arange(6, 15)[None]).logits.float()

    recipe = recipe_for("run", "lora.dropout=0", load_in=load_in)
    run_recipe(recipe, listeners=Listeners(callbacks=[Compute()]))
    saved, _ = facekit.load(recipe.output)
    assert not is_quantized(saved)
    with torch.no_grad():
        loaded = saved.language_model(torch.arange(6, 15)[None]).logits
    error = (loaded - logits["trained"]).norm() / logits["trained"].norm()
    assert error < (1e-5 if load_in == "4bit" else 0.02)  # 8 bits round activations too
    start, _ = open_model(recipe.model)
    unpack(start.language_model)
    with torch.no_grad():
        before = start.language_model(torch.arange(6, 15)[None]).logits
    assert (loaded - before).norm() / before.norm() > 1e-3
    assert (recipe.output / "adapter" / "adapter_model.safetensors").is_file()


def test_checkpoints_hold_only_what_learns_and_an_interrupted_run_goes_on_as_if_nothing_had_happened(recipe_for):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise KeyboardInterrupt

    (whole,) = run_recipe(recipe_for("whole"))
    cut = recipe_for("cut")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(cut, listeners=Listeners(callbacks=[Stop()]))
    names = load_file(cut.output / "training" / "checkpoint-2" / "model.safetensors").keys()
    assert names
    assert all(name.startswith("connector.") or ".lora_" in name for name in names)
    (resumed,) = run_recipe(cut, resume=True)
    assert resumed.training.resumed_from == 2
    assert resumed.training.history.losses == whole.training.history.losses
    first, second = (facekit.load(each.training.model_folder)[0].state_dict() for each in (whole, resumed))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_look_at_the_answers_leaves_the_packed_weights_fit_for_training(recipe_for, records):
    (alone,) = run_recipe(recipe_for("alone"))
    (looked,) = run_recipe(
        recipe_for("looked", f"validation.records={records}", "validation.every=2", "validation.faces=1")
    )
    assert [point.step for point in looked.report.points] == [2, 4]
    # On some CPUs bitsandbytes rounds the scales to 16 bits at the first pass in evaluation mode.
    assert looked.training.history.losses == pytest.approx(alone.training.history.losses, rel=1e-3)


def test_packed_weights_unpack_alike_before_and_after_a_pass_in_evaluation_mode(recipe_for):
    weights = []
    for passes in (0, 1):
        model = open_model(recipe_for("run").model)[0].language_model.eval()
        with torch.no_grad():
            for _ in range(passes):
                model(torch.arange(6, 15)[None])
        unpack(model)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        assert (value - weights[1][name]).norm() <= 0.01 * value.norm(), name
