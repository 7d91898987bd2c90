"""The estimate of a run's memory follows its formula, and what it suggests needs less."""

from __future__ import annotations

import pytest
import torch

import facekit
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.parts import trainable_parts
from facekit.training.watching.memory_estimate import (
    ModelShape,
    estimate_memory,
    explain_memory,
    format_bytes,
    is_out_of_memory,
    suggest_changes,
)

SHAPE = ModelShape(
    frozen_bytes=1_000_000, trained=1000, trained_bytes=4, width=64, layers=2, vocabulary=500, visual_tokens=16
)


def run(**values):
    return TrainingSettings(**{"steps": 1, "batch_size": 8, "max_tokens": 100, **values})


def test_in_float32_each_parameter_that_learns_costs_sixteen_bytes():
    estimate = estimate_memory(SHAPE, run())
    assert (estimate.weights, estimate.gradients, estimate.moments) == (1_004_000, 4000, 8000)
    assert estimate.activations == 2 * (34 * 8 * 100 * 64 * 2)
    assert estimate.logits == 8 * 8 * (100 - 16) * 500
    assert estimate.total == 1_016_000 + estimate.activations + estimate.logits


def test_in_mixed_precision_what_learns_is_float32_with_a_copy_in_16_bits():
    estimate = estimate_memory(SHAPE, run(precision="bfloat16"))
    assert (estimate.weights, estimate.gradients, estimate.moments) == (1_006_000, 4000, 8000)
    assert estimate.activations == 2 * (34 * 8 * 100 * 64)


def test_checkpointing_keeps_inputs_and_one_layer():
    estimate = estimate_memory(SHAPE, run(gradient_checkpointing=True, precision="bfloat16"))
    assert estimate.activations == 34 * 8 * 100 * 64 + 2 * 8 * 100 * 64 * 2


def test_logits_follow_the_settings():
    assert estimate_memory(SHAPE, run(logits="all")).logits == 8 * 8 * 100 * 500
    assert estimate_memory(SHAPE, run(fused_loss=True)).logits == 0
    assert estimate_memory(SHAPE, run(max_tokens=None)).tokens == 16 + 512


def test_a_model_is_measured_by_what_learns():
    model, _ = facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="region",
        backbone="tiny?width=48&depth=1&heads=2", seed=0,
    )  # fmt: skip
    every = sum(parameter.numel() for parameter in model.parameters())
    with trainable_parts(model, ("connector",)):
        shape = ModelShape.of(model)
    learning = sum(parameter.numel() for parameter in model.connector.parameters())
    assert (shape.trained, shape.frozen_bytes) == (learning, 4 * (every - learning))
    assert (shape.width, shape.layers, shape.visual_tokens) == (48, 1, model.tokens_per_frame)
    assert shape.encoder_layers == 0
    with trainable_parts(model, ("encoder",)):
        assert ModelShape.of(model).encoder_layers >= 1


def test_suggestions_keep_the_step_and_need_less():
    settings = run(batch_size=9, accumulation=2)
    suggested = dict(suggest_changes(SHAPE, settings))
    assert list(suggested) == [
        "batch_size=4 accumulation=6", "gradient_checkpointing=true",
        "batch_size=1 accumulation=18 gradient_checkpointing=true", "precision=bfloat16",
    ]  # fmt: skip
    now = estimate_memory(SHAPE, settings).total
    assert all(estimate.total < now for estimate in suggested.values())
    story = explain_memory(SHAPE, settings, capacity=24_000_000_000)
    assert "the device has 24 GB" in story
    assert (
        f"gradient_checkpointing=true (about {format_bytes(suggested['gradient_checkpointing=true'].total)})" in story
    )


def test_whole_weights_that_do_not_fit_get_adapters_suggested():
    heavy = ModelShape(10, 1000, 4, 64, 2, 500, 16)
    assert "train=[connector,llm.lora]" in explain_memory(heavy, run())
    assert "llm.lora" not in explain_memory(SHAPE, run())


@pytest.mark.parametrize(
    ("size", "words"), [(900, "0.0 MB"), (2_500_000, "2.5 MB"), (1_500_000_000, "1.5 GB"), (61_400_000_000, "61 GB")]
)
def test_sizes_in_words(size, words):
    assert format_bytes(size) == words


def test_running_out_of_memory_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
