"""Optimizers and schedules by name: what they update, that they resume to the same bits, and what is refused."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, MissingExtraError
from facekit.training import TrainingSettings, train
from facekit.training.loop.optimizers import MuonWithAdamW, divide_matrices, list_optimizers
from facekit.training.trainable.parts import parameter_groups

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="the extra 'quantization' is not installed"
)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 16, seed=2, image_size=32))


def fresh_model():
    return facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1", connector="mlp", backbone="tiny?width=48&depth=1&heads=2", seed=0
    )


def settings(**values):
    return TrainingSettings(
        **{"steps": 6, "batch_size": 8, "log_every": 1, "save_every": 2, "threads": 1, "warmup": 0.0, **values}
    )


class Seen(TrainerCallback):
    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        self.optimizer = getattr(optimizer, "optimizer", optimizer)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == getattr(self, "stop", None):
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["adamw", "muon", "adafactor", "sgd", "rmsprop"])
def test_a_run_learns_with_it_and_goes_on_as_if_nothing_had_happened(records, tmp_path, name):
    chosen = settings(optimizer=name, learning_rate=1e-2)
    whole = train(*fresh_model(), records, tmp_path / "whole", chosen)
    assert whole.history.losses[-1] < whole.history.losses[0]
    stop = Seen()
    stop.stop = 3
    with pytest.raises(KeyboardInterrupt):
        train(*fresh_model(), records, tmp_path / "cut", chosen, callbacks=[stop])
    resumed = train(*fresh_model(), records, tmp_path / "cut", chosen, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == whole.history.losses
    first, second = (facekit.load(tmp_path / each)[0].state_dict() for each in ("whole", "cut"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@needs_bitsandbytes
@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit", "paged_lion_8bit"])
def test_moments_are_kept_in_eight_bits_and_come_back(records, tmp_path, name):
    seen, stop = Seen(), Seen()
    stop.stop = 3
    chosen = settings(optimizer=name, learning_rate=3e-3, steps=4)
    model, processor = fresh_model()
    whole = train(model, processor, records, tmp_path / "whole", chosen, callbacks=[seen])
    assert whole.history.losses[-1] < whole.history.losses[0]
    moments = {key: state["state1"].dtype for key, state in seen.optimizer.state.items()}
    large = [weight for weight in moments if weight.ndim == 2 and weight.numel() >= 4096]
    embedding = model.get_input_embeddings().weight
    assert {moments[weight] for weight in large if weight is not embedding} == {torch.uint8}
    assert moments[embedding] == torch.float32, "gradients of embeddings are sparse"
    with pytest.raises(KeyboardInterrupt):
        train(*fresh_model(), records, tmp_path / "cut", chosen, callbacks=[stop])
    resumed = train(*fresh_model(), records, tmp_path / "cut", chosen, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == whole.history.losses


def test_muon_takes_the_matrices_inside_the_network_at_the_rates_of_their_parts():
    model, _ = fresh_model()
    chosen = settings(optimizer="muon", learning_rates={"connector": 3e-3})
    matrices, others = divide_matrices(model, parameter_groups(model, chosen))
    names = {id(value): name for name, value in model.named_parameters()}
    inner = {names[id(value)]: group["lr"] for group in matrices for value in group["params"]}
    outer = {names[id(value)] for group in others for value in group["params"]}
    assert not any("embed_tokens" in name or "lm_head" in name or "norm" in name for name in inner)
    assert {rate for name, rate in inner.items() if name.startswith("connector")} == {3e-3}
    assert {rate for name, rate in inner.items() if name.startswith("language_model")} == {1e-3}
    assert any("embed_tokens" in name for name in outer)
    total = sum(len(group["params"]) for group in parameter_groups(model, chosen))
    assert len(inner) + len(outer) == total


def test_muon_and_adamw_update_as_each_alone_would():
    torch.manual_seed(0)
    layer, twin = nn.Linear(6, 4), nn.Linear(6, 4)
    twin.load_state_dict(layer.state_dict())
    both = MuonWithAdamW(
        [{"params": [layer.weight], "lr": 0.1, "weight_decay": 0.01}],
        [{"params": [layer.bias], "lr": 0.2, "weight_decay": 0.0}],
        betas=(0.9, 0.99),
    )
    muon = torch.optim.Muon([twin.weight], lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([twin.bias], lr=0.2, weight_decay=0.0, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(both, lambda step: 0.5**step)
    for step in range(3):
        inputs = torch.randn(5, 6)
        for module in (layer, twin):
            module.zero_grad()
            module(inputs).square().mean().backward()
        both.step()
        for other, rate in ((muon, 0.1), (adamw, 0.2)):
            other.param_groups[0]["lr"] = rate * 0.5**step
            other.step()
        schedule.step()
        assert torch.equal(layer.weight, twin.weight)
        assert torch.equal(layer.bias, twin.bias)


@pytest.mark.parametrize(
    ("schedule", "options", "rates"),
    [
        ("constant", {}, [1.0] * 4),
        ("linear", {}, [1.0, 0.75, 0.5, 0.25]),
        ("polynomial", {"power": 2, "lr_end": 0.0}, [1.0, 0.5625, 0.25, 0.0625]),
        ("cosine_with_min_lr", {"min_lr_rate": 0.5}, [1.0, 0.926777, 0.75, 0.573223]),
    ],
)
def test_the_rate_follows_the_schedule(records, tmp_path, schedule, options, rates):
    chosen = settings(steps=4, schedule=schedule, schedule_options=options)
    result = train(*fresh_model(), records, tmp_path, chosen)
    assert [point.learning_rate / 1e-3 for point in result.history.points] == pytest.approx(rates, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"optimizer": "adamv"}, ConfigurationError, "there is no optimizer 'adamv'; did you mean 'adamw'"),
        ({"optimizer": "galore_adamw"}, ConfigurationError, "there is no optimizer 'galore_adamw'"),
        ({"schedule": "cosine_with_min_lr"}, ConfigurationError, "schedule 'cosine_with_min_lr' does not take"),
        ({"schedule_options": {"slope": 2}}, ConfigurationError, "does not take schedule_options={'slope': 2}"),
        ({"report_to": ("wanbd",)}, ConfigurationError, "there is no reporter 'wanbd'; did you mean 'wandb'"),
        ({"report_to": ("neptune",)}, MissingExtraError, "'neptune' is not installed"),
        ({"optimizer": "ademamix"}, (MissingExtraError, ConfigurationError), "optimizer 'ademamix'"),
    ],
)
def test_what_cannot_be_is_one_sentence(records, tmp_path, monkeypatch, values, error, message):
    if values.get("optimizer") == "ademamix":
        monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.optim", None)
    with pytest.raises(error, match=message):
        train(*fresh_model(), records, tmp_path, settings(**values))


def test_another_optimizer_is_another_run(records, tmp_path):
    train(*fresh_model(), records, tmp_path, settings(steps=2))
    with pytest.raises(ConfigurationError, match="optimizer was 'adamw' and is 'muon'"):
        train(*fresh_model(), records, tmp_path, settings(steps=2, optimizer="muon"), resume=True)


def test_eight_bits_and_paged_are_among_the_names():
    assert {"adamw", "muon", "adamw_8bit", "paged_adamw_8bit", "lion_8bit"} <= set(list_optimizers())
    assert len(set(list_optimizers())) == len(list_optimizers())
