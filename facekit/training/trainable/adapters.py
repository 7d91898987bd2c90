"""LoRA adapters of the language model: injected for a run, saved in PEFT's layout, merged at its end.

They are put into the language model where it stands, so that the names of all other weights stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, LoraModel, get_peft_model_state_dict
from safetensors.torch import save_file

from facekit.backbones.lora import lora_target_modules
from facekit.compat.peft import forget_adapters
from facekit.hub import cached_source
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.parts import is_of

ADAPTER_FOLDER = "adapter"
_NAME = "default"
_PEFT_PREFIX = "base_model.model."


class Adapters:
    """The adapters of a model.

    Args:
        model: The composed model; adapters are put into its language model.
        settings: The run's settings; its seed decides the adapters' first weights.
    """

    def __init__(self, model: FaceKitForConditionalGeneration, settings: TrainingSettings) -> None:
        lora = settings.lora
        base, revision = _name_base(model)
        self.config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=(
                lora_target_modules(model.language_model) if isinstance(lora.targets, str) else list(lora.targets)
            ),
            task_type="CAUSAL_LM",
            base_model_name_or_path=base,
            revision=revision,
        )
        self._model, self._parts = model, settings.parts
        self.language_model = model.language_model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._tuner: LoraModel | None = LoraModel(self.language_model, self.config, _NAME)

    def save(self, folder: Path) -> None:
        """Write ``adapter_model.safetensors`` and ``adapter_config.json``, as ``PeftModel.from_pretrained`` reads.

        What else learned, such as the connector, is in the file too, for ``facekit.load``; PEFT passes over it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        state = get_peft_model_state_dict(self.language_model, adapter_name=_NAME, save_embedding_layers=False)
        others = [part for part in self._parts if part != "language_model.lora"]
        for name, value in self._model.named_parameters():
            if any(is_of(name, part) for part in others):
                state[name] = value.detach()
        weights = {f"{_PEFT_PREFIX}{name}": value.contiguous().cpu() for name, value in state.items()}
        save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        self.config.save_pretrained(str(folder))

    def merge(self) -> None:
        """Add the adapters to the weights that they adapt, and take them out."""
        if self._tuner is not None:
            self._tuner.merge_and_unload()
        self._leave()

    def remove(self) -> None:
        """Take the adapters out; the language model is as it was before."""
        if self._tuner is not None:
            self._tuner.unload()
        self._leave()

    def _leave(self) -> None:
        self._tuner = None
        forget_adapters(self.language_model)


def _name_base(model: FaceKitForConditionalGeneration) -> tuple[str | None, str | None]:
    """The model's folder, or hub id and commit, if its parts are still those; else what the language model's was."""
    folder = Path(model.config.name_or_path or "")
    if model.config.name_or_path and (folder / "config.json").is_file():
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        here = json.loads(model.config.to_json_string(use_diff=False))
        if all(saved.get(part) == here.get(part) for part in ("model_type", "encoder", "video_encoder", "connector")):
            return cached_source(folder) or (str(folder.resolve()), None)
    return model.language_model.config.name_or_path or None, None


@contextmanager
def adapters_in_place(model: FaceKitForConditionalGeneration, settings: TrainingSettings) -> Iterator[Adapters | None]:
    """Put adapters in inside the ``with`` block where they are trained; those not merged by its end are taken out."""
    if "language_model.lora" not in settings.parts:
        yield None
        return
    adapters = Adapters(model, settings)
    try:
        yield adapters
    finally:
        adapters.remove()
