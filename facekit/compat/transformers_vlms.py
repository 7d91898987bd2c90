"""What vision-language models of transformers are made of, whatever each family calls it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
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


_Hook = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]


def hook_image_tokens(model: PreTrainedModel, hook: _Hook) -> RemovableHandle:
    """Let a function change the image tokens of a model wherever it encodes pictures: projected, not yet merged.

    Tokens are ``(tiles, n, D)``, tile by tile as the image processor gives them; or, of encoders that take patches,
    ``(n, D)`` over all pictures, each row by row. Deepstack features have the same shape.

    Args:
        model: The model.
        hook: Takes image tokens and deepstack features, and returns what stands in their place; a copy of the model
            calls the same one.

    Seen: Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5 (which project inside their encoder, Qwen2.5-VL in the order of its
        windows), InternVL, LLaVA, LLaVA-NeXT and -OneVision, Gemma 3, Idefics3 and SmolVLM in transformers 5.17 and
        5.24.
    Why: ``get_image_features`` of some families has newlines between the tokens already, and is called as a method,
        which only a changed class would catch.
    Until: a public way to process image tokens before they are merged.
    """
    inner: Any = getattr(model, "model", model)
    name = next((name for name in _CONNECTORS[:2] if hasattr(inner, name)), None)

    place: nn.Module = model.get_encoder(modality="image") if name is None else getattr(inner, name)
    return place.register_forward_hook(partial(_of_encoder if name is None else _of_projector, hook))


def _of_projector(hook: _Hook, module: nn.Module, given: Any, tokens: Tensor) -> Tensor:
    return hook(tokens, ())[0]


def _of_encoder(hook: _Hook, module: nn.Module, given: Any, output: Any) -> Any:
    deepstack = tuple(getattr(output, "deepstack_features", None) or ())
    output.pooler_output, changed = hook(output.pooler_output, deepstack)
    if deepstack:
        output.deepstack_features = list(changed)
    return output


def deepstack_levels(model: PreTrainedModel) -> int:
    """How many deepstack features a model adds to its first layers beside its image tokens; most have none.

    Seen: Qwen3-VL in transformers 5.17 and 5.24.
    Why: only its vision configuration says so, under a name of its own.
    Until: another family has them, or a common name.
    """
    vision: Any = getattr(model.config, "vision_config", None)
    return len(getattr(vision, "deepstack_visual_indexes", None) or ())
