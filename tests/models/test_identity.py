"""A model is known by its parts' configuration and shapes, and by a sample of its weights."""

from __future__ import annotations

import pytest
import torch

import facekit
from facekit.models.identity import describe_parts, sample_weights


def fresh(seed=0, **parts):
    chosen = {
        "encoder": "tiny?image_size=64&width=32&depth=1", "connector": "region",
        "backbone": "tiny?width=48&depth=1&heads=2", **parts,
    }  # fmt: skip
    return facekit.create(**chosen, seed=seed)[0]


def test_parts_are_known_by_configuration_and_shapes_and_not_by_weights():
    described = describe_parts(fresh())
    assert described["connector"].startswith("RegionConnector with ")
    assert describe_parts(fresh(seed=1)) == described
    other = describe_parts(fresh(connector="region?num_heads=1"))
    assert other["connector"] != described["connector"]
    assert {name: other[name] for name in ("encoder", "language_model")} == {
        name: described[name] for name in ("encoder", "language_model")
    }


def test_weights_are_known_by_a_sample():
    assert sample_weights(fresh()) == sample_weights(fresh())
    assert sample_weights(fresh()) != sample_weights(fresh(seed=1))


@pytest.mark.parametrize(
    "name", ["encoder.class_token", "connector.cross_attention.output_weight", "language_model.model.norm.weight"]
)
def test_a_step_on_any_parameter_changes_the_sample(name):
    model = fresh()
    before = sample_weights(model)
    with torch.no_grad():
        model.get_parameter(name).add_(1e-4)
    assert sample_weights(model) != before


def test_another_float_type_is_another_model():
    assert sample_weights(fresh()) != sample_weights(fresh().to(torch.bfloat16))
