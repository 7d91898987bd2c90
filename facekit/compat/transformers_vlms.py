"""What vision-language models of transformers are made of, whatever each family calls it."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from facekit.errors import ConfigurationError

_CONNECTORS = ("multi_modal_projector", "connector", "visual.merger", "visual.deepstack_merger_list")


def is_image_text_to_text(model_type: str) -> bool:
    """Whether ``AutoModelForImageTextToText`` knows a model by the ``model_type`` of its configuration.

    Seen: transformers 5.17 and 5.24.
    Why: a folder is recognised before anything is loaded, and the table of names is in an undocumented module.
    Until: a public way to ask for the classes of a model type.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def find_parts(model: PreTrainedModel) -> tuple[nn.Module, dict[str, nn.Module], PreTrainedModel]:
    """Return a model's vision encoder, the modules of its connector by name, and its language model without the head.

    Raises:
        ConfigurationError: One cannot be found.

    Seen: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, InternVL, LLaVA-1.5 and OneVision, Gemma 3, Idefics3 and SmolVLM in
        transformers 5.24.
    Why: encoder and language model have public getters; what stands between them has a name of its own in each family.
    Until: a public getter of the projector.
    """
    inner: Any = getattr(model, "model", model)
    modules = dict(inner.named_modules())
    connectors = {name.rpartition(".")[2]: modules[name] for name in _CONNECTORS if name in modules}
    decoder, encoder = model.get_decoder(), model.get_encoder(modality="image")
    name = type(model).__name__
    if not isinstance(decoder, PreTrainedModel) or decoder is model:
        raise ConfigurationError(f"{name} has no language model apart from its vision, so facekit cannot train it")
    if not isinstance(encoder, nn.Module) or encoder is model or not connectors:
        raise ConfigurationError(
            f"{name} has no vision encoder and projector that facekit finds (looked for {', '.join(_CONNECTORS)}); "
            "choose a base of another family"
        )
    return encoder, connectors, decoder
