"""The options that say how a model is opened, the same in every verb that opens one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

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
    str | None, typer.Option("--tokenizer", help="For other people's checkpoints: a tokenizer instead of theirs.")
]
TowerRoot = Annotated[
    Path | None,
    typer.Option("--tower-root", help="For released Face-LLaVA: the folder with the towers' configurations."),
]
DeviceMap = Annotated[
    Plan | None, typer.Option("--device-map", help="Divide the model among GPUs, instead of --device.")
]
Revision = Annotated[str, typer.Option("--revision", help="Branch, tag or commit on the hub.")]


@dataclass(frozen=True)
class ModelOptions:
    """The options of a verb that opens a model; a field more here is an option more of all of them."""

    device: Device = None
    dtype: Dtype = None
    load_in: LoadIn = None
    tokenizer: Tokenizer = None
    tower_root: TowerRoot = None
    revision: Revision = "main"
    device_map: DeviceMap = None

    def source(self, model: str, *, device: str | None = None) -> ModelSource:
        """The model that a verb names, opened by these options.

        Args:
            model: Its name.
            device: Where it is put if no option says so.
        """
        from facekit.models.source import ModelSource

        return ModelSource(model, **{"device": device} | self.given)

    @property
    def given(self) -> dict[str, Any]:
        """The options that are given, as ``ModelSource`` takes them."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value.value if isinstance(value, StrEnum) else value
            for name, value in values.items()
            if value is not None
        }


def with_model_options(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the options of ``ModelOptions`` where its parameter ``opening`` stands, which gets their values.

    Args:
        without: Options that mean nothing to the verb.
    """
    hints = get_type_hints(ModelOptions, include_extras=True)
    options = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name])
        for each in fields(ModelOptions)
        if each.name not in without
    ]

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def with_options(**values: Any) -> None:
            chosen = {option.name: values.pop(option.name) for option in options}
            verb(**values, opening=ModelOptions(**chosen))

        signature = inspect.signature(verb, eval_str=True)
        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for own in signature.parameters.values()
            for each in (options if own.name == "opening" else [own])
        ]
        # typer reads a verb's options from its signature.
        with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return with_options

    return decorate
