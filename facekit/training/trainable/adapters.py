"""LoRA adapters of the language model: injected for a run, saved in PEFT's layout, merged at its end.

They are put into the language model where it stands, so that the names of all other weights stay as they are. A model
that was loaded with adapters is trained on with those.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, LoraModel, get_peft_model_state_dict
from torch import Tensor, nn

from facekit.backbones.lora import is_linear, lora_target_modules
from facekit.compat.peft import forget_adapters, take_adapters_out
from facekit.compat.safetensors import save_file
from facekit.errors import ConfigurationError, first_line
from facekit.hub import cached_source
from facekit.models.interoperability.merging import untie_adapted
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import is_native
from facekit.spec import closest_match_hint
from facekit.training.recipes.settings import LoraSettings, TrainingSettings
from facekit.training.trainable.decomposed import DecomposedWeights
from facekit.training.trainable.found_adapters import merge_found, take_found
from facekit.training.trainable.parts import is_of
from facekit.training.trainable.quantized import is_quantized

ADAPTER_FOLDER = "adapter"
_NAME = "default"
_PEFT_PREFIX = "base_model.model."


class Adapters:
    """The adapters of a model: new ones, or those that it was loaded with.

    Args:
        model: The composed model; adapters are put into its language model.
        settings: The run's settings; its seed decides the first weights of new adapters.

    Raises:
        ConfigurationError: The model has adapters that cannot be trained on, or of another kind than the settings say;
            or adapters of the chosen kind cannot be put onto packed weights; or a target is no module, or takes none.
    """

    def __init__(self, model: FaceKitForConditionalGeneration, settings: TrainingSettings) -> None:
        _check_kind(model, settings.lora)
        self._found = take_found(model, settings.lora)
        base, revision = _name_base(model)
        self.config = _new_config(model, settings.lora) if self._found is None else self._found.own_config()
        self.config.base_model_name_or_path, self.config.revision = base, revision
        self._model, self._parts = model, settings.parts
        self.language_model = model.language_model
        self._decomposed = DecomposedWeights(self.language_model, self.config)
        self._asked = {name: value.requires_grad for name, value in self.language_model.named_parameters()}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(settings.seed)
            try:
                self._tuner: LoraModel | None = LoraModel(self.language_model, self.config, _NAME)
                self._require_lengths()
            except (ValueError, ConfigurationError) as error:
                self._take_back()
                if isinstance(error, ConfigurationError):
                    raise
                raise ConfigurationError(f"these modules take no adapters: {first_line(error)}") from error
        self._decomposed.remember_first()
        if self._found is not None:
            self._found.write_weights(self.language_model)

    def _require_lengths(self) -> None:
        """Refuse columns of zeros, such as that of the padding token in a head, whose length DoRA would divide by."""
        for name, weight in self.language_model.named_parameters():
            if ".lora_magnitude_vector." in name and not bool(weight.all()):
                target = name.partition(".lora_magnitude_vector.")[0]
                raise ConfigurationError(f"lora dora: {target} has a column of zeros; leave it out of targets, or dora")

    def _take_back(self) -> None:
        """Leave the language model as it was found where its adapters are refused."""
        take_adapters_out(self.language_model, merge=False)
        self._leave()
        self._decomposed.restore()
        if self._found is not None:
            self._found.put_back()

    def save(self, folder: Path) -> None:
        """Write ``adapter_model.safetensors`` and ``adapter_config.json``, as ``PeftModel.from_pretrained`` reads.

        What else learned, such as the connector, is in the file too, for ``facekit.load``; PEFT passes over it. So is
        what an adapter that the run began with had brought. The region attention of a base in its own class is not: it
        lies beside the file, see ``NativeModel.save_region``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        state = get_peft_model_state_dict(self.language_model, adapter_name=_NAME, save_embedding_layers=False)
        state, config = self._decomposed.as_ordinary(state, self.config)
        if is_native(self._model):
            state, config = self._as_of_own_class(state, config)
        others = [part for part in self._parts if part != "language_model.lora"]
        own_names = self._model.native_names() if is_native(self._model) else {}
        for name, value in self._model.named_parameters():
            if any(is_of(name, part) for part in others) and not (own_names and name not in own_names):
                state[own_names.get(name, name)] = value.detach()
        if self._found is not None:
            brought, config.modules_to_save = self._found.brought_whole()
            state |= brought
        weights = {f"{_PEFT_PREFIX}{name}": value.contiguous().cpu() for name, value in state.items()}
        save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(folder))

    def _as_of_own_class(self, state: dict[str, Tensor], config: LoraConfig) -> tuple[dict[str, Tensor], LoraConfig]:
        """Adapters under the names of the whole model's own class, with every adapted layer by its full name."""
        assert is_native(self._model)
        prefix = f"{self._model.language_model_name}."
        config = copy.deepcopy(config)
        config.target_modules = {  # type: ignore[assignment]  # PEFT keeps a set of what was given as a list
            prefix + name.partition(".lora_")[0] for name in state if ".lora_" in name
        }
        return {prefix + name: value for name, value in state.items()}, config

    def merge(self) -> None:
        """Add the adapters to the weights that they adapt, and take them out."""
        if self._tuner is not None:
            untie_adapted(self._model)
            self._tuner.merge_and_unload()
        self._found = None
        self._leave()

    def remove(self) -> None:
        """Take the adapters out; the language model is as it was before, with the adapters that it was loaded with."""
        if self._tuner is not None:
            self._tuner.unload()
            self._decomposed.restore()
        self._leave()
        if self._found is not None:
            self._found.put_back()
            self._found = None

    def _leave(self) -> None:
        self._tuner = None
        forget_adapters(self.language_model)
        for name, value in self.language_model.named_parameters():  # PEFT has frozen what lies below adapters
            value.requires_grad_(self._asked.get(name, value.requires_grad))


def _new_config(model: FaceKitForConditionalGeneration, lora: LoraSettings) -> LoraConfig:
    if isinstance(lora.targets, str):
        targets = lora_target_modules(model.language_model)
    else:
        targets = list(lora.targets)
        _check_targets(model.language_model, targets)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        init_lora_weights=True if lora.init == "default" else lora.init,  # type: ignore[arg-type]
        task_type="CAUSAL_LM",
    )


def _check_targets(language_model: nn.Module, targets: Sequence[str]) -> None:
    """Refuse a name that no module has; PEFT passes over one as long as another fits."""
    names = [f".{name}" for name, _ in language_model.named_modules()]
    for target in targets:
        if not any(name.endswith(f".{target}") for name in names):
            linear = {name.rpartition(".")[2] for name, each in language_model.named_modules() if is_linear(each)}
            hint = closest_match_hint(target, linear)
            raise ConfigurationError(f"lora targets: the language model has no module '{target}'{hint}")


def _check_kind(model: FaceKitForConditionalGeneration, lora: LoraSettings) -> None:
    if (lora.dora or lora.init != "default") and is_quantized(model):
        kind = "dora" if lora.dora else f"init='{lora.init}'"
        raise ConfigurationError(f"lora {kind} needs whole weights, but the language model's are packed; leave one out")


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
    """Put adapters in inside the ``with`` block where they are trained; those not merged by its end are taken out.

    Where they are not trained, those that the model was loaded with are merged into it.
    """
    if "language_model.lora" not in settings.parts:
        merge_found(model)
        yield None
        return
    adapters = Adapters(model, settings)
    try:
        yield adapters
    finally:
        adapters.remove()
