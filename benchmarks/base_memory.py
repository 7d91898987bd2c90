"""Estimated memory of face models on bases of today, from their configurations alone: no weights are needed.

``python -m benchmarks.base_memory`` prints the table of docs/bases.md. The widths and depths are those of the published
``config.json``; parameters are counted on the meta device, and memory is what ``facekit.models.memory`` estimates for
the recipes ``facellm-any`` and ``facellm-region``. Nothing is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from facekit.backbones.lora import lora_target_modules
from facekit.connectors.region_gated import RegionEnrichment
from facekit.models.memory import ModelShape, estimate_generation, text_shape
from facekit.training.recipes.recipe import load_recipe
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.watching.memory_estimate import estimate_memory

TOKENS = 2048
_BYTES = 2  # bfloat16


@dataclass(frozen=True)
class Base:
    """A base as published.

    Args:
        hub_id: Its name on the hub.
        licence: As its model card states it.
        visual_tokens: Of a face at the size that the recipe or the base's processor has.
        config: What its ``config.json`` says of widths and depths.
    """

    hub_id: str
    licence: str
    visual_tokens: int
    config: dict[str, Any]


def _text(kind: str, width: int, mlp: int, layers: int, heads: int, kv: int, vocabulary: int, **more: Any) -> Any:
    return {
        "model_type": kind, "hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": vocabulary, **more,
    }  # fmt: skip


def _qwen3_vl(text: Any, tied: bool, width: int, mlp: int, depth: int, levels: tuple[int, ...]) -> dict[str, Any]:
    vision = {"depth": depth, "hidden_size": width, "intermediate_size": mlp, "num_heads": 16,
              "out_hidden_size": text["hidden_size"], "deepstack_visual_indexes": list(levels)}  # fmt: skip
    return {"model_type": "qwen3_vl", "vision_config": vision, "text_config": text, "tie_word_embeddings": tied}


def _internvl(text: Any, tied: bool) -> dict[str, Any]:
    vision = {"model_type": "internvl_vision", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
              "num_attention_heads": 16, "image_size": [448, 448], "patch_size": [14, 14]}  # fmt: skip
    return {"model_type": "internvl", "vision_config": vision, "text_config": text, "tie_word_embeddings": tied}


_SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
           "patch_size": 14}  # fmt: skip
_HEADS = {"head_dim": 128}

BASES = (
    Base("OpenGVLab/InternVL3-1B-hf", "Apache-2.0", 256,
         _internvl(_text("qwen2", 896, 4864, 24, 14, 2, 151_674, tie_word_embeddings=False), False)),
    Base("OpenGVLab/InternVL3-8B-hf", "Apache-2.0", 256,
         _internvl(_text("qwen2", 3584, 18_944, 28, 28, 4, 151_674, tie_word_embeddings=False), False)),
    Base("Qwen/Qwen3-VL-2B-Instruct", "Apache-2.0", 196,
         _qwen3_vl(_text("qwen3_vl_text", 2048, 6144, 28, 16, 8, 151_936, **_HEADS), True, 1024, 4096, 24,
                   (5, 11, 17))),
    Base("Qwen/Qwen3-VL-4B-Instruct", "Apache-2.0", 196,
         _qwen3_vl(_text("qwen3_vl_text", 2560, 9728, 36, 32, 8, 151_936, **_HEADS), True, 1024, 4096, 24,
                   (5, 11, 17))),
    Base("Qwen/Qwen3-VL-8B-Instruct", "Apache-2.0", 196,
         _qwen3_vl(_text("qwen3_vl_text", 4096, 12_288, 36, 32, 8, 151_936, **_HEADS), False, 1152, 4304, 27,
                   (8, 16, 24))),
    Base("OpenGVLab/InternVL3_5-4B-HF", "Apache-2.0", 256,
         _internvl(_text("qwen3", 2560, 9728, 36, 32, 8, 151_936, tie_word_embeddings=False, **_HEADS), False)),
    Base("google/gemma-3-4b-it", "Gemma Terms of Use", 256,
         {"model_type": "gemma3", "vision_config": {"model_type": "siglip_vision_model", "image_size": 896,
                                                    "vision_use_head": False, **_SIGLIP},
          "text_config": _text("gemma3_text", 2560, 10_240, 34, 8, 4, 262_208, head_dim=256)}),
    Base("HuggingFaceTB/SmolVLM2-2.2B-Instruct", "Apache-2.0", 17 * 81,
         {"model_type": "smolvlm", "vision_config": {"model_type": "smolvlm_vision", "image_size": 384, **_SIGLIP},
          "text_config": _text("llama", 2048, 8192, 24, 32, 32, 49_280, head_dim=64), "scale_factor": 3,
          "tie_word_embeddings": False}),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A base in the table.

    Args:
        base: The base.
        parameters: Of the base.
        region: Parameters of region attention on it.
        adapters: Bytes that training adapters is estimated to need.
        with_region: Bytes that training adapters and region attention is.
        answering: Bytes that answering one prompt of ``TOKENS`` tokens is.
    """

    base: Base
    parameters: int
    region: int
    adapters: int
    with_region: int
    answering: int


def build(base: Base) -> PreTrainedModel:
    """The base on the meta device, without weights."""
    config = AutoConfig.for_model(**base.config)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config)
    return model


def shapes_of(base: Base, settings: TrainingSettings) -> tuple[ModelShape, int]:
    """The base with adapters of a recipe, and how many parameters region attention has on it."""
    model = build(base)
    decoder: Any = model.get_decoder()
    modules = dict(decoder.named_modules())
    linear = [modules[name] for name in lora_target_modules(decoder)]
    rank = settings.lora.rank
    with torch.device("meta"):
        region = RegionEnrichment(decoder.config.get_text_config().hidden_size)
    shape = ModelShape(
        frozen_bytes=_BYTES * sum(value.numel() for value in model.parameters()),
        trained=sum(rank * (layer.in_features + layer.out_features) for layer in linear),
        trained_bytes=_BYTES,
        **text_shape(decoder.config.get_text_config()),
        visual_tokens=base.visual_tokens,
        text_bytes=_BYTES,
    )
    return shape, sum(value.numel() for value in region.parameters())


def measure(base: Base) -> Row:
    """Estimate one row of the table."""
    settings = {name: load_recipe(name, ["records=x.jsonl", "output=x"]).stages[0].settings
                for name in ("facellm-any", "facellm-region")}  # fmt: skip
    shape, region = shapes_of(base, settings["facellm-any"])
    answering = replace(shape, trained=0)
    return Row(
        base,
        shape.frozen_bytes // _BYTES,
        region,
        estimate_memory(shape, settings["facellm-any"]).total,
        estimate_memory(replace(shape, trained=shape.trained + region), settings["facellm-region"]).total,
        estimate_generation(answering, batch_size=1, tokens=TOKENS, bytes_per_value=_BYTES),
    )


def table() -> str:
    """The table in Markdown."""
    lines = [
        "| base | licence | parameters | tokens a face | answering | adapters | adapters and `region` |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in map(measure, BASES):
        sizes = " | ".join(f"{size / 1e9:.0f} GB" for size in (row.answering, row.adapters, row.with_region))
        base, space = row.base, "\N{NO-BREAK SPACE}"  # a number stays in one line with its unit
        count = f"{row.parameters / 1e9:.1f}{space}B +{space}{row.region / 1e6:.0f}{space}M"
        lines.append(f"| `{base.hub_id}` | {base.licence} | {count} | {base.visual_tokens} | {sizes} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
