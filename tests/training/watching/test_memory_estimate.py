"""The estimate of a run's memory follows its settings, and what it suggests needs less."""

from __future__ import annotations

import pytest
import torch

from facekit.models.memory import ModelShape, estimate_training, format_bytes
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.watching.memory_estimate import (
    estimate_memory,
    explain_memory,
    is_out_of_memory,
    suggest_changes,
)

SHAPE = ModelShape(
    frozen_bytes=1_000_000, trained=1000, trained_bytes=4, width=64, layers=2, mlp_width=160, kv_width=64,
    vocabulary=500, visual_tokens=16,
)  # fmt: skip


def run(**values):
    return TrainingSettings(**{"steps": 1, "batch_size": 8, "max_tokens": 100, **values})


def test_the_settings_of_a_run_reach_the_estimate():
    estimate = estimate_memory(SHAPE, run(precision="bfloat16", gradient_checkpointing=True, logits="all"))
    assert estimate == estimate_training(
        SHAPE, batch_size=8, tokens=100, precision="bfloat16", gradient_checkpointing=True, all_logits=True
    )
    assert estimate_memory(SHAPE, run(fused_loss=True)).logits == 0
    assert estimate_memory(SHAPE, run(max_tokens=None)).tokens == 16 + 512


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
    heavy = ModelShape(10, 1000, 4, 64, 2, 160, 64, 500, 16)
    assert "train=[connector,llm.lora]" in explain_memory(heavy, run())
    assert "llm.lora" not in explain_memory(SHAPE, run())


def test_running_out_of_memory_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
