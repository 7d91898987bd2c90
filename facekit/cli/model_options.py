"""The options that say how a model is opened, the same in every verb that opens one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from facekit.models.source import ModelSource


class Packing(StrEnum):
    """Bits of the language model's weights."""

    four_bits = "4bit"
    eight_bits = "8bit"


class Plan(StrEnum):
    """How a model is divided among devices, as transformers names it."""

    auto = "auto"
    balanced = "balanced"
    balanced_low_0 = "balanced_low_0"
    sequential = "sequential"


Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda or another; by default a GPU where there is one.")
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Floating type, such as bfloat16; by default as saved.")]
LoadIn = Annotated[
    Packing | None, typer.Option("--load-in", help="Pack the language model's weights (extra quantization).")
]
Tokenizer = Annotated[
    str | None, typer.Option("--tokenizer", help="For other people's checkpoints: a tokenizer in place of theirs.")
]
TowerRoot = Annotated[
    Path | None,
    typer.Option("--tower-root", help="For released Face-LLaVA: the folder with the towers' configurations."),
]
DeviceMap = Annotated[
    Plan | None, typer.Option("--device-map", help="Divide the model among GPUs, in place of --device.")
]
Revision = Annotated[str, typer.Option("--revision", help="Branch, tag or commit on the hub.")]


def model_source(
    model: str,
    *,
    device: str | None,
    dtype: str | None,
    load_in: Packing | None,
    tokenizer: str | None,
    tower_root: Path | None,
    revision: str,
    device_map: Plan | None = None,
) -> ModelSource:
    """The model that a verb names, with how it is opened."""
    from facekit.models.source import ModelSource

    packing: Any = None if load_in is None else load_in.value
    plan = None if device_map is None else device_map.value
    return ModelSource(model, device, dtype, packing, tokenizer, tower_root, revision, plan)
