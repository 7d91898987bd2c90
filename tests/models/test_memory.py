"""The memory estimate: its terms, and whole training steps measured against it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import facekit
from facekit.models.create import set_dtype
from facekit.models.interoperability import inspect_checkpoint
from facekit.models.memory import EncoderShape, ModelShape, estimate_generation, estimate_training, format_bytes

SHAPE = ModelShape(
    frozen_bytes=1_000_000, trained=1000, trained_bytes=4, width=64, layers=2, mlp_width=160, kv_width=32,
    vocabulary=500, visual_tokens=16, trains_text=True,
)  # fmt: skip
HALF = replace(SHAPE, frozen_bytes=500_000, trained_bytes=2, text_bytes=2)
RUN = {"batch_size": 8, "tokens": 100}


def test_in_float32_each_trained_parameter_costs_sixteen_bytes():
    estimate = estimate_training(SHAPE, **RUN)
    assert (estimate.weights, estimate.gradients, estimate.moments) == (1_004_000, 4000, 8000)
    assert estimate.activations == 2 * 800 * (32 * 64 + 8 * 32 + 16 * 160)
    assert estimate.logits == 12 * 8 * (100 - 16) * 500
    assert estimate.total == 1_016_000 + estimate.activations + estimate.logits


def test_in_mixed_precision_what_is_trained_is_float32_with_a_copy_in_16_bits():
    for shape, frozen in ((SHAPE, 1_000_000), (HALF, 500_000)):
        estimate = estimate_training(shape, precision="bfloat16", **RUN)
        assert (estimate.weights, estimate.gradients, estimate.moments) == (frozen + 6000, 4000, 8000)
        assert estimate.activations == 2 * 800 * (30 * 64 + 4 * 32 + 8 * 160)


def test_beside_a_frozen_language_model_of_16_bits_mixed_precision_keeps_activations_of_16_bits():
    estimate = estimate_training(replace(HALF, trains_text=False), precision="bfloat16", **RUN)
    assert estimate.activations == 2 * 800 * (20 * 64 + 4 * 32 + 8 * 160)


def test_weights_of_16_bits_trained_as_they_are_cost_eight_bytes():
    estimate = estimate_training(HALF, **RUN)
    assert (estimate.weights, estimate.gradients, estimate.moments) == (502_000, 2000, 4000)
    assert estimate.activations == 2 * 800 * (20 * 64 + 4 * 32 + 8 * 160)


def test_checkpointing_keeps_inputs_and_one_layer():
    estimate = estimate_training(SHAPE, gradient_checkpointing=True, **RUN)
    assert estimate.activations == 800 * (32 * 64 + 8 * 32 + 16 * 160) + 2 * 800 * 64 * 4


def test_an_encoder_that_is_trained_keeps_activations_too():
    trained = replace(SHAPE, encoder=EncoderShape(width=48, layers=3, tokens=20))
    more = estimate_training(trained, **RUN).activations - estimate_training(SHAPE, **RUN).activations
    assert more == 3 * 34 * 8 * 20 * 48 * 2


def test_logits_follow_the_loss():
    assert estimate_training(SHAPE, all_logits=True, **RUN).logits == 12 * 8 * 100 * 500
    assert estimate_training(SHAPE, fused_loss=True, **RUN).logits == 0


def test_generation_holds_keys_and_values_of_every_layer():
    needed = estimate_generation(HALF, batch_size=3, tokens=100, bytes_per_value=2)
    assert needed == 502_000 + 300 * (2 * 2 * 32 + 8 * 64 + 3 * 160) * 2 + 4 * 3 * 500


@pytest.fixture(scope="module")
def composed():
    return facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="region", backbone="tiny?width=96&depth=3", seed=0
    )


def test_a_model_is_measured_by_what_is_trained(composed):
    model, _ = composed
    try:
        model.requires_grad_(False)
        model.connector.requires_grad_(True)
        shape = ModelShape.of(model)
        learning = sum(parameter.numel() for parameter in model.connector.parameters())
        every = sum(parameter.numel() for parameter in model.parameters())
        assert (shape.trained, shape.frozen_bytes) == (learning, 4 * (every - learning))
        assert (shape.width, shape.layers, shape.mlp_width, shape.kv_width) == (96, 3, 256, 96)
        assert shape.visual_tokens == model.tokens_per_frame
        assert shape.encoder is None
        model.encoder.requires_grad_(True)
        assert ModelShape.of(model).encoder == EncoderShape(32, 6, 17)
    finally:
        model.requires_grad_(True)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_inspecting_a_folder_gives_the_estimate_of_the_loaded_model(composed, tmp_path, precision, checkpointing):
    for part in composed:
        part.save_pretrained(tmp_path)
    model, _ = facekit.load(tmp_path)
    model.encoder.requires_grad_(False)
    settings = {"precision": precision, "gradient_checkpointing": checkpointing}
    loaded = estimate_training(ModelShape.of(model), batch_size=32, tokens=128, **settings)
    assert inspect_checkpoint(tmp_path).training_memory(32, 128, **settings) == loaded


def peak_of_step(model, optimizer, inputs, is_mixed):
    """Bytes that a training step holds at its peak, beside weights and moments, by the allocations of PyTorch."""

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_mixed):
            model(**inputs, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = sorted(
        (event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"),
        key=lambda event: event.start_ns(),
    )
    held = peak = 0
    for event in events:
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize(
    ("weights", "precision", "checkpointing"),
    [("float32", "float32", False), ("float32", "bfloat16", False), ("bfloat16", "float32", False),
     ("float32", "bfloat16", True)],
)  # fmt: skip
def test_a_training_step_holds_what_is_estimated(weights, precision, checkpointing):
    model, _ = facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="mlp", backbone="tiny?width=96&depth=6", seed=0
    )
    set_dtype(model, getattr(torch, weights))
    model.encoder.requires_grad_(False)
    model.train()
    if checkpointing:
        language = model.language_model  # the first name is that of transformers 5.24
        getattr(language, "activation_checkpointing_enable", language.gradient_checkpointing_enable)()
    batch, tokens, visual = 8, 96, model.tokens_per_frame
    ids = torch.randint(5, 100, (batch, tokens), generator=torch.Generator().manual_seed(0))
    ids[:, :visual] = model.config.image_token_id
    inputs = {"input_ids": ids, "pixel_values": torch.rand(batch, 1, 3, 64, 64), "labels": ids}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, foreach=False)
    step = peak_of_step(model, optimizer, inputs, precision == "bfloat16")
    moments = sum(value.nbytes for state in optimizer.state.values() for value in state.values())
    measured = step + moments + sum(parameter.nbytes for parameter in model.parameters())
    estimate = estimate_training(
        ModelShape.of(model), batch_size=batch, tokens=tokens, precision=precision,
        gradient_checkpointing=checkpointing, all_logits=True,
    )  # fmt: skip
    # The sum is an upper bound: gradients come while activations go, and a layer is computed again without the logits.
    at_once = estimate.total - estimate.gradients
    assert measured <= 1.02 * estimate.total
    assert measured >= (0.8 if checkpointing else 0.98) * at_once


@pytest.mark.parametrize(
    ("size", "words"), [(900, "0.0 MB"), (2_500_000, "2.5 MB"), (1_500_000_000, "1.5 GB"), (61_400_000_000, "61 GB")]
)
def test_sizes_in_words(size, words):
    assert format_bytes(size) == words
