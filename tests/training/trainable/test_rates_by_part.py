"""Peak rates by part: every parameter that learns is in one group, at the rate of the finest part that names it."""

from __future__ import annotations

import pytest

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
