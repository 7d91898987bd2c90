"""PEFT's wrapper layers in a model: recognising, reading and forgetting them."""

from __future__ import annotations

from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper, TrainableTokensWrapper
from torch import nn


def is_adapted(module: nn.Module) -> bool:
    """Whether a module is a layer with adapters on it; ``get_base_layer()`` is the layer below.

    Seen: peft 0.19 to 0.21.
    Why: the common base of PEFT's layers is documented for authors of adapters, in a module that is not.
    Until: ``peft`` exports it.
    """
    return isinstance(module, BaseTunerLayer)


def is_copied(module: nn.Module) -> bool:
    """Whether a module holds an original beside a trained copy of it (``modules_to_save``).

    Seen: peft 0.19 to 0.21.
    Why: nothing else distinguishes such a wrapper from other modules.
    Until: PEFT documents it.
    """
    return isinstance(module, ModulesToSaveWrapper)


def active_copy(module: Any) -> tuple[str, nn.Module]:
    """Name and module of the trained copy that such a wrapper uses.

    Seen: peft 0.19 to 0.21.
    Why: as above.
    Until: as above.
    """
    name = next(iter(module.active_adapters), "default")
    return name, module.modules_to_save[name]


def has_trained_rows(module: nn.Module) -> bool:
    """Whether a module holds an embedding, or a head tied to one, of which some rows are trained.

    Its ``token_adapter`` is the layer with adapters on the embedding (``trainable_token_indices``).

    Seen: peft 0.19 to 0.21.
    Why: as for ``is_copied``.
    Until: as there.
    """
    return isinstance(module, TrainableTokensWrapper)


def forget_adapters(model: Any) -> None:
    """Take away the mark by which a model that had adapters injected says that it has some.

    Seen: peft 0.19 to 0.21.
    Why: neither ``unload`` nor ``merge_and_unload`` of a tuner takes it away, and a second injection warns of it.
    Until: they do.
    """
    if hasattr(model, "peft_config"):
        del model.peft_config


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """Layers with adapters by their names, without what is inside them.

    Seen: peft 0.19 to 0.21.
    Why: as for ``is_adapted``.
    Until: as there.
    """
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        if is_adapted(module) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return found


def take_adapters_out(model: nn.Module, *, merge: bool) -> None:
    """Replace the layers with adapters by the layers below them, with the adapters added to them or without.

    Args:
        model: Changed in place.
        merge: Whether to add them.

    Seen: peft 0.19 to 0.21.
    Why: a tuner can take out its own adapters only; what ``inject_adapter_in_model`` put in has none.
    Until: PEFT has a function for it.
    """
    for name, layer in adapted_layers(model).items():
        if merge:
            layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    forget_adapters(model)
