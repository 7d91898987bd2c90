"""Adapters learn, are saved as PEFT reads them, merge to the same logits, and leave a model that failed as it was."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import TrainingSettings, train

SETTINGS = {
    "steps": 4, "batch_size": 4, "save_every": 2, "log_every": 1, "threads": 1, "warmup": 0.0, "learning_rate": 1e-2,
    "parts": ("llm.lora",), "lora": {"rank": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=2, image_size=64)


def fresh():
    return facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="mlp", backbone="tiny?width=48&depth=1&heads=2", seed=0
    )


def test_an_adapter_merges_to_the_logits_that_it_had(records, tmp_path):
    before, (model, processor) = fresh()[0].state_dict(), fresh()
    result = train(model, processor, records, tmp_path, TrainingSettings(**SETTINGS))
    assert result.history.losses[-1] < result.history.losses[0]
    trained, _ = facekit.load(tmp_path)
    learned = {name for name, value in trained.state_dict().items() if not torch.equal(value, before[name])}
    kinds = {name.rpartition(".weight")[0].rpartition(".")[2] for name in learned}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    ids = torch.randint(10, 500, (2, 20), generator=torch.Generator().manual_seed(0))
    plain = fresh()[0].language_model
    with torch.no_grad():
        unchanged = plain(ids).logits
        adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter")(ids).logits
        merged = trained.language_model(ids).logits
    assert (adapted - unchanged).abs().max() > 1e-2
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-5)


def test_adapters_leave_a_run_that_fails_and_go_on_when_it_is_resumed(records, tmp_path):
    settings = TrainingSettings(**SETTINGS)
    whole = train(*fresh(), records, tmp_path / "whole", settings)
    model, processor = fresh()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, processor, records, tmp_path / "cut", settings, on_progress=stop)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(before) == len(model.state_dict())
    resumed = train(*fresh(), records, tmp_path / "cut", settings, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == whole.history.losses
    assert train(*fresh(), records, tmp_path / "cut", settings, resume=True).resumed_from == 4
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_named_modules_alone_are_adapted(records, tmp_path):
    model, processor = fresh()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lora = {"rank": 2, "targets": ["q_proj"]}
    train(model, processor, records, tmp_path, TrainingSettings(**{**SETTINGS, "steps": 2, "lora": lora}))
    learned = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert learned == {"language_model.model.layers.0.self_attn.q_proj.weight"}
