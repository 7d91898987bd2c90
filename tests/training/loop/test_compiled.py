"""``torch_compile``: the losses of a run without it, whatever is trained and packed; one graph; what is refused."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import TrainerCallback

import facekit
from facekit.compat.torch import is_failed_compilation
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.training import LossValidation, TrainingSettings, train
from facekit.training.loop import arguments, compiled


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=2, image_size=32))


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    counters.clear()


def fresh_model():
    return facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1", connector="mlp", backbone="tiny?width=32&depth=3&heads=2", seed=0
    )


def settings(**values):
    return TrainingSettings(
        **{"steps": 2, "batch_size": 4, "log_every": 1, "save_every": 2, "threads": 1, "warmup": 0.0, **values}
    )


class Interrupted(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "values",
    [
        {"gradient_checkpointing": True, "precision": "bfloat16"},
        {"parts": ("connector", "llm.lora"), "lora": {"rank": 2, "dropout": 0.1}, "row_tokens": 700},
    ],
    ids=lambda values: ", ".join(values),
)
def test_losses_are_those_of_a_run_without_and_layers_share_a_graph(records, tmp_path, values):
    plain = train(*fresh_model(), records, tmp_path / "plain", settings(**values))
    assert counters["stats"]["unique_graphs"] == 0
    model, processor = fresh_model()
    layers = train(model, processor, records, tmp_path / "compiled", settings(**values, torch_compile="aot_eager"))
    assert counters["stats"]["unique_graphs"] in (1, 2), "several rows, and one row; three layers"
    assert not counters["graph_break"]
    assert layers.history.losses == plain.history.losses
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("plain", "compiled"))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not any(module._compiled_call_impl for module in model.modules()), "the model is left as it was"


def test_a_run_is_resumed_to_the_same_bits_and_may_change_its_mind(records, tmp_path):
    chosen = settings(steps=4, torch_compile="eager")
    whole = train(*fresh_model(), records, tmp_path / "whole", chosen)
    for name in ("again", "plain"):
        with pytest.raises(KeyboardInterrupt):
            train(*fresh_model(), records, tmp_path / name, chosen, callbacks=[Interrupted()])
    again = train(*fresh_model(), records, tmp_path / "again", chosen, resume=True)
    plain = train(*fresh_model(), records, tmp_path / "plain", settings(steps=4), resume=True)
    assert again.resumed_from == plain.resumed_from == 2
    assert again.history.losses == plain.history.losses == whole.history.losses


def test_validation_compiles_nothing_of_its_own(records, tmp_path):
    watched = LossValidation(records, tmp_path / "losses.json", every=1)
    train(*fresh_model(), records, tmp_path, settings(torch_compile="eager"), callbacks=[watched])
    assert len(watched.points) == 2
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("inductr", "torch_compile: there is no backend 'inductr'; did you mean 'inductor'"), (1.5, "'torch_compile")],
)
def test_a_backend_that_does_not_exist_is_refused(records, tmp_path, name, message):
    with pytest.raises(ConfigurationError, match=message):
        train(*fresh_model(), records, tmp_path, settings(torch_compile=name))


@pytest.mark.parametrize(("reason", "said"), [("shards_weights", "sharded"), ("is_quantized", "packed")])
def test_weights_that_are_not_whole_are_refused(records, tmp_path, monkeypatch, reason, said):
    monkeypatch.setattr(arguments, reason, lambda *given: True)
    with pytest.raises(ConfigurationError, match=f"torch_compile is for whole weights, and here they are {said}"):
        train(*fresh_model(), records, tmp_path, settings(torch_compile=True, parts=("connector",)))


def test_a_compiler_that_fails_is_one_sentence(records, tmp_path, monkeypatch):
    def compile_nothing(graph, inputs):
        raise RuntimeError("no C++ compiler was found")

    names = torch.compiler.list_backends
    monkeypatch.setattr(torch.compiler, "list_backends", lambda **options: [*names(), "broken"])
    torch._dynamo.register_backend(compile_nothing, name="broken")
    with pytest.raises(ConfigurationError, match=r"does not work here .*no C.. compiler.*; set it to false"):
        train(*fresh_model(), records, tmp_path, settings(steps=1, torch_compile="broken"))


def test_errors_of_what_is_compiled_are_its_own():
    assert not is_failed_compilation(RuntimeError("the loss is no number"))
    assert not is_failed_compilation(torch.OutOfMemoryError("full"))


def test_a_language_model_without_layers_of_the_usual_kind_is_refused():
    with (
        pytest.raises(ConfigurationError, match="compiles transformers' layers, and Linear has none"),
        compiled.compiled_layers(torch.nn.Linear(2, 2), settings(torch_compile=True)),
    ):
        pass
