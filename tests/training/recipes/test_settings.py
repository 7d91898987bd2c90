"""Settings are checked when they are made, with the name and the value at fault."""

from __future__ import annotations

import pytest

from facekit.errors import ConfigurationError
from facekit.training.recipes.settings import TRAINABLE, TrainingSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either steps or epochs"),
        ({"steps": 1, "epochs": 1}, "either steps or epochs"),
        ({"steps": 0}, "'steps'.*got 0"),
        ({"steps": 1, "learning_rate": -1}, "'learning_rate'.*got -1"),
        ({"steps": 1, "parts": ()}, "at least one of encoder, connector, language_model"),
        ({"steps": 1, "parts": ("head",)}, "'parts.0'.*got 'head'"),
        ({"steps": 1, "parts": ("encoder", "encoder")}, "each once"),
        ({"steps": 1, "encoder_learning_rate": 1e-4}, "'encoder' is not among the trained parts"),
        ({"steps": 1, "parts": ("encoder",), "cache_features": True}, "needs a frozen encoder"),
        ({"steps": 1, "precision": "float8"}, "'precision'.*got 'float8'"),
        ({"steps": 1, "batchsize": 3}, "'batchsize'"),
        ({"steps": 1, "learning_rates": {"encoder": 1e-4}}, "'encoder', which is not among the trained parts"),
        ({"steps": 1, "learning_rates": {"conector": 1e-4}}, r"'learning_rates\.conector"),
        ({"steps": 1, "learning_rates": {"llm": 2.0}}, r"'learning_rates\.language_model'.*got 2\.0"),
        ({"steps": 1, "parts": ("llm", "llm.lora")}, "language model and its adapters"),
        ({"steps": 1, "loss_average": "sample", "logits": "all"}, "need logits='labelled'"),
        ({"steps": 1, "loss_average": "sample", "fused_loss": True}, "needs loss_average='token'"),
        ({"steps": 1, "row_tokens": 10, "max_tokens": 20}, "at least max_tokens"),
        ({"steps": 1, "skip_limit": 1.5}, "'skip_limit'.*got 1.5"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainingSettings(**values)


def test_differences_are_only_of_what_changes_the_learning():
    settings = TrainingSettings(steps=5)
    assert settings.differences(settings.model_dump(mode="json")) == []
    other = TrainingSettings(steps=6, log_every=9, threads=1, keep_checkpoints=7)
    assert other.differences(settings.model_dump(mode="json")) == ["steps was 5 and is 6"]


def test_settings_cannot_change_under_a_run():
    settings = TrainingSettings(steps=5)
    with pytest.raises(ValueError, match="frozen"):
        settings.steps = 6


def test_the_finest_name_decides_a_rate():
    settings = TrainingSettings(
        steps=1, parts=("encoder", "connector", "llm.lora"), learning_rate=1e-3, encoder_learning_rate=1e-6,
        learning_rates={"connector.region": 1e-4, "llm": 1e-5},
    )  # fmt: skip
    rates = {part: settings.rate_of(part) for part in TRAINABLE}
    assert rates == {
        "encoder": 1e-6, "connector": 1e-3, "connector.projector": 1e-3, "connector.region": 1e-4,
        "language_model": 1e-5, "language_model.lora": 1e-5,
    }  # fmt: skip
