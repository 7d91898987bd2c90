"""rsLoRA, DoRA and PiSSA: each is what PEFT makes of it, saved so that PEFT reads it, and resumed to the bit."""

from __future__ import annotations

import json

import pytest
import torch
from adapter_runs import cut_and_resume
from peft import PeftModel

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.training import TrainingSettings, train
from facekit.training.trainable.adapters import adapters_in_place

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SETTINGS = {
    "steps": 4, "batch_size": 4, "save_every": 2, "log_every": 1, "threads": 1, "warmup": 0.0, "learning_rate": 1e-2,
    "parts": ("llm.lora",),
}  # fmt: skip
KINDS = {
    "rslora": {"rank": 4, "rslora": True},
    "dora": {"rank": 4, "dora": True},
    "pissa": {"rank": 4, "init": "pissa"},
    "pissa and rslora": {"rank": 4, "alpha": 6, "init": "pissa", "rslora": True, "targets": ["q_proj", "down_proj"]},
    "fast pissa": {"rank": 4, "init": "pissa_niter_4"},
    "rslora and dora": {"rank": 2, "dora": True, "rslora": True},
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=2, image_size=48)


def fresh():
    return facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1", connector="mlp", backbone="tiny?width=24&depth=1&heads=2", seed=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_is_saved_merged_and_as_peft_reads_it(records, tmp_path, kind):
    settings = TrainingSettings(**SETTINGS, lora=KINDS[kind])
    train(*fresh(), records, tmp_path, settings)
    ids = torch.randint(10, 500, (2, 20), generator=torch.Generator().manual_seed(0))
    plain = fresh()[0].language_model
    with torch.no_grad():
        unchanged = plain(ids).logits
        adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()(ids).logits
        merged = facekit.load(tmp_path)[0].language_model(ids).logits
    assert (adapted - unchanged).abs().max() > 1e-2
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_run_leaves_the_weights_as_they_were_and_resumes_to_the_bit(records, tmp_path, kind):
    cut_and_resume(fresh, records, tmp_path, TrainingSettings(**SETTINGS, lora=KINDS[kind]))


def test_pissa_begins_at_the_models_own_answers_and_holds_its_largest_singular_values():
    model = fresh()[0]
    ids = torch.randint(10, 500, (2, 20), generator=torch.Generator().manual_seed(0))
    name = "model.layers.0.self_attn.q_proj"
    weight = model.language_model.get_parameter(f"{name}.weight").detach().clone()
    expected = model.language_model(ids).logits
    with adapters_in_place(model, TrainingSettings(**SETTINGS, lora={"rank": 3, "alpha": 3, "init": "pissa"})):
        layer = model.language_model.get_submodule(name)
        own = (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach()
        torch.testing.assert_close(model.language_model(ids).logits, expected, rtol=0, atol=1e-4)
    left, values, right = torch.linalg.svd(weight)
    torch.testing.assert_close(own, left[:, :3] * values[:3] @ right[:3], rtol=0, atol=1e-5)


def test_rslora_divides_by_the_root_of_the_rank():
    model = fresh()[0]
    with adapters_in_place(model, TrainingSettings(**SETTINGS, lora={"rank": 16, "alpha": 8, "rslora": True})):
        layer = model.language_model.get_submodule("model.layers.0.self_attn.q_proj")
        assert layer.scaling["default"] == pytest.approx(2.0)


def test_settings_that_say_nothing_new_are_written_as_before():
    settings = TrainingSettings(**SETTINGS, lora={"rank": 4})
    before = {**settings.decisive(), "lora": {"rank": 4, "alpha": 32, "dropout": 0.0, "targets": "all-linear"}}
    assert json.loads(json.dumps(settings.decisive()["lora"])) == before["lora"]
    assert settings.differences(before) == []
    assert len(TrainingSettings(**SETTINGS, lora={"rank": 4, "dora": True}).differences(before)) == 1


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ({"init": "olora"}, "'lora.init'"),
        ({"init": "pissa", "dora": True}, "choose one"),
        ({"init": "pissa_niter_0"}, "init"),
    ],
)
def test_kinds_that_do_not_exist_or_go_together_are_refused(lora, told):
    with pytest.raises(ConfigurationError, match=told):
        TrainingSettings(**SETTINGS, lora=lora)
