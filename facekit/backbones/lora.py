"""The LoRA target layers of a language model, found by its structure rather than by names.

They are found in composed models too, and in models that facekit did not load.
"""

from __future__ import annotations

from torch import nn
from transformers import Conv1D, PreTrainedModel

from facekit.errors import ConfigurationError

_ROUTERS = {"gate", "router", "shared_expert_gate"}


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, in either form that transformers has."""
    return isinstance(module, nn.Linear | Conv1D)


def lora_target_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of all linear layers in the attention and MLP of the language model's layers.

    Embeddings, the head, expert routers, and everything outside the language model are left out: a vision encoder
    often has layers of the same short names. Fused projections (``qkv_proj``, ``gate_up_proj``, ``wqkv``) and quantised
    layers are found like any other. This is "all linear layers", what QLoRA (Dettmers et al. 2023, arXiv 2305.14314,
    section 4) and FaceLLM adapt.

    Args:
        model: A causal language model, or a composed model that holds one as ``language_model``.

    Returns:
        Full names as in ``model.named_modules()``, in order, for PEFT's ``LoraConfig(target_modules=...)``.

    Raises:
        ConfigurationError: The language model has no list of as many layers as its configuration says.
    """
    language_model = getattr(model, "language_model", model)
    text_config = language_model.config.get_text_config()
    layers = next(
        (
            module
            for module in language_model.modules()
            if isinstance(module, nn.ModuleList) and len(module) == text_config.num_hidden_layers
        ),
        None,
    )
    if layers is None:
        raise ConfigurationError(
            f"{type(language_model).__name__} has no list of {text_config.num_hidden_layers} layers, so the targets "
            "of LoRA cannot be found; name them in target_modules"
        )
    wanted = {
        id(module)
        for name, module in layers.named_modules()
        if is_linear(module) and name.rpartition(".")[2] not in _ROUTERS
    }
    return [name for name, module in model.named_modules() if id(module) in wanted]
