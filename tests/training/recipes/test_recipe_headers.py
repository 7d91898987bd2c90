"""What built-in recipes say at their head: commands that are accepted, and the memory that the estimate gives."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

import pytest
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionConfig,
)

from benchmarks.base_memory import BASES, shapes_of
from facekit.connectors.region import RegionConnector
from facekit.models.memory import ModelShape, format_bytes
from facekit.training.recipes.recipe import RECIPE_FOLDER, list_recipes, load_recipe
from facekit.training.recipes.stages import plan_recipe
from facekit.training.watching.memory_estimate import estimate_memory

GIVEN = ["records=faces.jsonl", "output=runs/x"]
VIT_LARGE = 304_000_000
LANGUAGEBIND_VIDEO = 405_000_000  # ViT-L/14 with attention over time in each of its 24 layers


class Decoder:
    """Sizes of a Llama or Qwen2 by its published configuration."""

    def __init__(self, width, layers, mlp, key_value_width, vocabulary, tied=False):
        self.width, self.layers, self.vocabulary = width, layers, vocabulary
        self.mlp, self.key_value_width = mlp, key_value_width
        self.embeddings = vocabulary * width * (1 if tied else 2)
        self.linear = [(width, width), (width, key_value_width), (width, key_value_width), (width, width),
                       (width, mlp), (width, mlp), (mlp, width)]  # fmt: skip

    @property
    def in_layers(self):
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear)

    def adapters(self, rank):
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linear)

    def shape(self, visual_tokens, frozen_bytes, trained, trains_text=False):
        return ModelShape(
            frozen_bytes=frozen_bytes, trained=trained, trained_bytes=2, width=self.width, layers=self.layers,
            mlp_width=self.mlp, kv_width=self.key_value_width, vocabulary=self.vocabulary, visual_tokens=visual_tokens,
            text_bytes=2, trains_text=trains_text,
        )  # fmt: skip


VICUNA = Decoder(4096, 32, 11008, 4096, 32_000)
QWEN_HALF = Decoder(896, 24, 4864, 128, 151_674, tied=True)
QWEN_SEVEN = Decoder(3584, 28, 18_944, 512, 152_064)


QWEN_VL_THREE = Decoder(2048, 36, 11_008, 256, 151_936, tied=True)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def needed():
    """Estimated gigabytes by recipe and what the header calls them."""
    with torch.device("meta"):
        face_llava, qlora = RegionConnector(1024, 4096), RegionConnector(1024, 3584)
    vicuna = VICUNA.embeddings + VICUNA.in_layers
    region = count(face_llava.landmark_projector) + count(face_llava.cross_attention)
    towers = VIT_LARGE + LANGUAGEBIND_VIDEO
    projector = count(face_llava) - region
    with torch.device("meta"):
        vision = Qwen2_5_VLVisionConfig(hidden_size=1280, intermediate_size=3420, out_hidden_size=2048)
        qwen_vision = count(Qwen2_5_VisionTransformerPretrainedModel(vision))
    base = next(base for base in BASES if base.hub_id == "Qwen/Qwen3-VL-4B-Instruct")
    qwen_four, region_of_qwen = shapes_of(base, load_recipe("facellm-region", GIVEN).stages[0].settings)
    shapes = {
        ("face-llava", "region"): VICUNA.shape(256, 2 * (towers + vicuna + projector), region),
        ("face-llava", "finetune"): VICUNA.shape(256, 2 * towers, vicuna + count(face_llava), trains_text=True),
        ("facellm-lora", "1B"): QWEN_HALF.shape(
            256, 2 * (VIT_LARGE + QWEN_HALF.embeddings + QWEN_HALF.in_layers), QWEN_HALF.adapters(16)
        ),
        **dict.fromkeys(
            [("face-grpo", ""), ("face-dpo", "")],
            QWEN_HALF.shape(256, 2 * (VIT_LARGE + QWEN_HALF.embeddings + QWEN_HALF.in_layers), QWEN_HALF.adapters(16)),
        ),
        ("facellm-lora", "8B"): QWEN_SEVEN.shape(
            256, 2 * (VIT_LARGE + QWEN_SEVEN.embeddings + QWEN_SEVEN.in_layers), QWEN_SEVEN.adapters(16)
        ),
        ("facellm-any", ""): QWEN_VL_THREE.shape(
            256, 2 * (qwen_vision + QWEN_VL_THREE.embeddings + QWEN_VL_THREE.in_layers), QWEN_VL_THREE.adapters(16)
        ),
        ("facellm-region", ""): replace(qwen_four, trained=qwen_four.trained + region_of_qwen),
        ("qlora-single-gpu", ""): QWEN_SEVEN.shape(
            256,
            2 * (VIT_LARGE + QWEN_SEVEN.embeddings) + int(QWEN_SEVEN.in_layers * (4 + 0.127) / 8),
            QWEN_SEVEN.adapters(64) + count(qlora),
        ),
    }
    estimates = {}
    for (name, label), shape in shapes.items():
        stages = {stage.name: stage for stage in load_recipe(name, GIVEN).stages}
        stage = stages.get(label) or next(iter(stages.values()))
        estimates[name, label] = estimate_memory(shape, stage.settings).total / 1e9
    return estimates


def head(name):
    lines = (RECIPE_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))


@pytest.mark.parametrize(
    "name", ["face-llava", "facellm-any", "facellm-lora", "facellm-region", "qlora-single-gpu", "face-grpo", "face-dpo"]
)
def test_the_memory_in_the_header_is_the_estimate(name, needed):
    paragraph = head(name).partition("Memory, an estimate")[2].partition("Where that is")[0]
    told = re.findall(r"(?:(\w+) )?(\d+) GB", paragraph.partition("):")[2])
    expected = {label: gigabytes for (recipe, label), gigabytes in needed.items() if recipe == name}
    assert len(told) == len(expected)
    for word, number in told:
        assert float(number) == pytest.approx(expected[word if word in expected else ""], abs=0.5), word


def test_the_memory_of_the_tiny_recipe_is_the_estimate_for_its_model():
    plans = plan_recipe(load_recipe("tiny-cpu", [*GIVEN, "records=faces.jsonl"]))
    assert f"--dry-run): {format_bytes(plans[-1].estimate.total)}" in head("tiny-cpu")


@pytest.mark.parametrize("name", list_recipes())
def test_the_commands_in_the_header_name_this_recipe_and_are_accepted(name):
    text = head(name).replace("\\\n", " ")
    commands = [line for line in text.splitlines() if line.startswith("facekit train ")]
    assert commands
    for command in commands:
        words = shlex.split(command)[2:]
        assert words[0] == f"recipe={name}"
        recipe = load_recipe(name, words[1:])
        assert recipe.chosen


def test_there_are_eight_recipes_and_each_has_needs_and_memory():
    assert list_recipes() == [
        "face-dpo", "face-grpo", "face-llava", "facellm-any", "facellm-lora", "facellm-region",
        "qlora-single-gpu", "tiny-cpu",
    ]  # fmt: skip
    for name in list_recipes():
        assert "Needs:" in head(name)
        assert "Memory, an estimate" in head(name)
