"""``ModelSource``: a model by name with all that decides how it is opened, the same wherever a model is named."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from facekit.errors import ConfigurationError
from facekit.models.load import check_opening, load
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.placement import DeviceMap
from facekit.models.processing import FaceKitProcessor

__all__ = ["ModelSource"]


@dataclass(frozen=True)
class ModelSource:
    """A model by name, with the options that open it.

    Args:
        path: A folder or hub id, as for ``facekit.load``; in evaluation also ``hf:ID``, ``openai:MODEL`` and
            ``predictions:FILE``.
        device: Where the model is put; by default a GPU where there is one.
        dtype: Floating type; by default as saved.
        load_in: ``4bit`` or ``8bit`` packs the language model's linear layers (extra ``quantization``); encoder,
            connector and output head stay as they are.
        tokenizer: For other people's checkpoints: a tokenizer instead of theirs.
        tower_root: For released Face-LLaVA: the folder with the towers' configurations.
        revision: Branch, tag or commit on the hub.
        device_map: Instead of ``device``, divides the model among devices; see ``facekit.load``.
    """

    path: str | Path
    device: str | torch.device | None = None
    dtype: str | torch.dtype | None = None
    load_in: Literal["4bit", "8bit"] | None = None
    tokenizer: str | Path | None = None
    tower_root: str | Path | None = None
    revision: str = "main"
    device_map: DeviceMap | None = None

    def load(self) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
        """Load the model and its processor; see ``facekit.load``, also for what it raises."""
        return load(self.path, **self.options)

    def check(self) -> None:
        """Make sure that ``load`` would find the checkpoint and take the options; see it for what this raises."""
        check_opening(self.path, **self.options)

    @property
    def options(self) -> dict[str, Any]:
        """The options that say something else than by default, as keyword arguments of ``facekit.load``."""
        return {name: getattr(self, name) for name in self.given}

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the options that say something else than by default."""
        return tuple(
            each.name for each in fields(self) if each.name != "path" and getattr(self, each.name) != each.default
        )

    def refuse(self, why: str, *, allowed: tuple[str, ...] = ()) -> None:
        """Make sure that no option is given where it means nothing.

        Args:
            why: What the model is, for the message, such as ``runs at an endpoint``.
            allowed: Options that mean something there.

        Raises:
            ConfigurationError: One is given.
        """
        wrong = [name for name in self.given if name not in allowed]
        if wrong:
            raise ConfigurationError(f"'{self.path}' {why}, so {wrong[0]} means nothing there; leave it out")
