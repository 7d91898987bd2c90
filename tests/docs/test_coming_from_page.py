"""The page for those who come from other code: every setting that it translates to is one that a recipe takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import facekit
from facekit.errors import ConfigurationError
from facekit.training import load_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
PLACEHOLDERS = {"FILE": "faces.jsonl", "FOLDER": "runs/adapter", "hf:ID": "hf:some/model"}


def settings_of(text: str) -> list[str]:
    """Overrides of a recipe among the code of a cell: ``key=value`` alone in its code, or several."""
    words = [word for code in re.findall(r"`([^`]+)`", text) for word in code.split()]
    return [
        word for word in words if re.fullmatch(r"[a-z_]+(\.[a-z_.]+)?=\S+", word) and not word.startswith("recipe=")
    ]


SETTINGS = sorted({setting for _, ours in ROWS for setting in settings_of(ours)})


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_recipe_takes_a_setting_of_the_page(setting):
    key, _, value = setting.partition("=")
    value = PLACEHOLDERS.get(value, value).strip('"')
    name = {"stage": "face-llava", "model.image_size": "facellm-any", "model.load_in": "facellm-any"}.get(
        key, "facellm-lora"
    )
    trained = [] if key in ("train", "stage") else ["train=[connector,llm.lora]"]
    held_out = ["validation.records=test.jsonl"] if key.startswith("validation.") else []
    load_recipe(name, ["records=faces.jsonl", "output=runs/x", *trained, *held_out, f"{key}={value}"])


def test_a_key_that_is_not_one_is_refused():
    with pytest.raises(ConfigurationError, match="there is no key 'cutoff_len'"):
        load_recipe("facellm-lora", ["records=faces.jsonl", "output=runs/x", "cutoff_len=2048"])


def test_settings_of_the_page_are_found():
    assert len(SETTINGS) > 40
    assert {"lora.rank=128", "lr.connector=2e-5", "max_tokens=2048", "validation.every=500"} <= set(SETTINGS)


def test_presets_and_connectors_of_the_page_exist():
    assert {"facellm-1b", "facellm-8b", "facellm-38b"} <= set(facekit.list_parts("preset"))
    assert {"region", "region-released", "landmark-tokens", "mlp"} <= set(facekit.list_parts("connector"))
    assert {"faceinstruct", "fairfacegpt", "chat-json"} <= set(facekit.list_parts("dataset"))
