"""Peak rates by part: every parameter that learns is in one group, at the rate of the finest part that names it."""

from __future__ import annotations

import pytest
import torch

import facekit
from facekit.errors import ConfigurationError
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.parts import list_trained_parts, parameter_groups, trainable_parts


@pytest.fixture(scope="module")
def model():
    return facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="region",
        backbone="tiny?width=48&depth=1&heads=2", seed=0,
    )[0]  # fmt: skip


def rates_by_name(model, settings):
    with trainable_parts(model, settings.parts):
        groups = parameter_groups(model, settings)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(parameter)], group["lr"]) for group in groups for parameter in group["params"]]
    assert len(found) == len(dict(found))
    return dict(found)


def test_the_finest_part_that_has_a_rate_counts(model):
    settings = TrainingSettings(
        steps=1, parts=("encoder", "connector", "llm"), learning_rate=1e-3, encoder_learning_rate=1e-5,
        learning_rates={"connector": 2e-3, "connector.region": 3e-3},
    )  # fmt: skip
    rates = rates_by_name(model, settings)
    assert set(rates) == {name for name, _ in model.named_parameters()}
    for name, rate in rates.items():
        expected = {"encoder": 1e-5, "language_model": 1e-3, "connector": 2e-3}[name.partition(".")[0]]
        is_region = name.startswith(("connector.landmark_projector", "connector.cross_attention"))
        assert rate == (3e-3 if is_region else expected), name


def test_matrices_decay_and_norms_and_biases_do_not(model):
    settings = TrainingSettings(steps=1, parts=("encoder", "connector", "llm"), weight_decay=0.3)
    with trainable_parts(model, settings.parts):
        groups = parameter_groups(model, settings)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {names[id(each)]: group["weight_decay"] for group in groups for each in group["params"]}
    assert set(decays.values()) == {0.3, 0.0}
    assert {name for name, decay in decays.items() if decay == 0.0} == {
        name for name, value in model.named_parameters() if value.ndim == 1
    }
    kept = {
        "encoder.norm.weight", "encoder.norm.bias", "connector.vision_projector.0.bias",
        "connector.cross_attention.query_bias", "language_model.model.norm.weight",
    }  # fmt: skip
    assert {decays[name] for name in kept} == {0.0}
    assert decays["connector.cross_attention.query_weight"] == 0.3


def test_a_step_without_a_gradient_shrinks_matrices_only(model):
    settings = TrainingSettings(steps=1, parts=("connector",), weight_decay=0.3, learning_rate=0.1)
    before = {name: value.detach().clone() for name, value in model.connector.named_parameters()}
    with trainable_parts(model, settings.parts):
        optimizer = torch.optim.AdamW(parameter_groups(model, settings))
        for value in model.connector.parameters():
            value.grad = torch.zeros_like(value)
        optimizer.step()
        optimizer.zero_grad()
    for name, value in model.connector.named_parameters():
        torch.testing.assert_close(value, before[name] * (0.97 if value.ndim > 1 else 1.0))
    model.connector.load_state_dict(before)


def test_the_table_shows_finer_rates_and_none_where_they_differ(model):
    settings = TrainingSettings(steps=1, parts=("connector",), learning_rates={"connector.region": 3e-3})
    with trainable_parts(model, settings.parts):
        table = {part.name: part.learning_rate for part in list_trained_parts(model, settings)}
    assert table == {"encoder": None, "connector": None, "language_model": None, "connector.region": 3e-3}


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"encoder": 1e-4}, "'encoder', which is not among the trained parts"),
        ({"llm.lora": 1e-4}, "'language_model.lora', which is not among the trained parts"),
        ({"connector": 0.0}, r"'learning_rates.connector'.*got 0.0"),
        ({"conector": 1e-4}, "conector"),
    ],
)
def test_rates_of_what_does_not_learn_are_refused(rates, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainingSettings(steps=1, parts=("connector",), learning_rates=rates)
