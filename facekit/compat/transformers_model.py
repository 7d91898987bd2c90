"""Base classes of transformers for composed models, and their construction."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.initialization import no_init_weights
from transformers.modeling_layers import GradientCheckpointingLayer

ACTIVATIONS = ACT2FN
"""Activation modules by the names that configurations give them; missing names raise ``KeyError``.

Seen: transformers 5.17 and 5.24.
Why: the names in a checkpoint's configuration (``quick_gelu``, ``gelu_new``) are transformers' own.
Until: the table is documented.
"""


class ComposedModel(PreTrainedModel, GenerationMixin):
    """Base of a model that hands everything about attention and devices on to a language model inside it.

    Seen: transformers 5.17 and 5.24, peft 0.19 to 0.21.
    Why: whether ``attn_implementation`` and ``device_map`` are taken is declared by private class attributes only; and
        PEFT asks a model for the weights that its language model shares only where it declares some, if none, itself.
    Until: transformers asks the inner models, or has public declarations.
    """

    _tied_weights_keys: dict[str, str] = {}  # noqa: RUF012 - a plain attribute in the base class
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values", "cache"]  # noqa: RUF012 - a plain attribute in the base class

    if TYPE_CHECKING:
        # Its own is declared as an unbound function, and that of the loader does not say what it returns when.
        def to(self, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override]
            """As in ``torch.nn.Module``."""

        def eval(self) -> Self:
            """As in ``torch.nn.Module``."""

        def post_init(self) -> None:
            """As in transformers."""

        @classmethod
        def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
            """As in transformers; a pair with ``output_loading_info``."""

    def keep_whole(self, kinds: Iterable[type[nn.Module]]) -> None:
        """Say which modules a ``device_map`` must not divide among devices; call it before ``post_init``."""
        self._no_split_modules = sorted({kind.__name__ for kind in kinds})

    @property
    def kept_whole(self) -> frozenset[str]:
        """Names of the classes that a ``device_map`` must not divide, those of the language model included."""
        return frozenset(self._no_split_modules or ())

    @property
    def kept_in_place(self) -> list[str]:
        """Names of the arguments that stay where they are when a module's inputs are moved to its device: caches."""
        return sorted(self._skip_keys_device_placement or ())


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_building = threading.RLock()


def one_at_a_time(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorate a function that builds models, so that threads take turns.

    Seen: transformers 5.17 and 5.24.
    Why: ``from_pretrained`` replaces methods of its base class, functions of ``torch.nn.init`` and the default type of
        tensors for as long as it runs, and puts back what it found: of two threads the second finds the replacements of
        the first, after which no model of the process has its output head tied to its embeddings.
    Until: a model is built without changing what all threads see.
    """

    @functools.wraps(function)
    def taking_turns(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with _building:
            return function(*args, **kwargs)

    return taking_turns


def without_initialisation() -> AbstractContextManager[None]:
    """Build models of transformers whose weights hold anything, where all of them will be copied from a file.

    Seen: transformers 5.17 and 5.24.
    Why: the public ways to leave out random weights either read a checkpoint in transformers' own layout or build on
        the meta device, where parts that compute tables of their own cannot be built.
    Until: ``transformers.initialization`` is documented.
    """
    return no_init_weights()


def attention_implementation(config: PreTrainedConfig) -> str | None:
    """The attention that a model of this configuration computes with; ``set_attn_implementation`` changes it.

    Seen: transformers 5.17 and 5.24.
    Why: it can be set publicly but not read.
    Until: a public way to read it.
    """
    implementation: str | None = config._attn_implementation
    return implementation


@contextmanager
def activation_checkpointing(roots: Iterable[nn.Module]) -> Iterator[None]:
    """Compute activations again in the backward pass of all modules that can, and leave them as they were.

    Checkpoints are not reentrant: they need no input that asks for gradients.

    Args:
        roots: Models of transformers, or modules that hold some.

    Seen: transformers 5.17 and 5.24.
    Why: ``gradient_checkpointing_enable`` (to 5.23), whose name warns from 5.24 on, and its successor
        ``activation_checkpointing_enable`` also make embeddings ask for gradients, which keeps the activations of
        frozen layers, and refuse models of which only parts can do it.
    Until: 5.24 is the oldest supported version, and a public way leaves the embeddings alone.
    """
    modules: list[Any] = [
        module for root in roots for module in root.modules() if hasattr(module, "gradient_checkpointing")
    ]
    before = [(module, module.gradient_checkpointing) for module in modules]
    function = functools.partial(checkpoint, use_reentrant=False)
    try:
        for module in modules:
            module.gradient_checkpointing = True
            module._gradient_checkpointing_func = function
        yield
    finally:
        for module, was_on in before:
            module.gradient_checkpointing = was_on


def set_evaluation_mode(module: nn.Module) -> None:
    """Put a frozen module into evaluation mode inside ``activation_checkpointing``; it goes on with its checkpoints.

    Args:
        module: A model of transformers, or any other module.

    Seen: transformers 5.17 and 5.24.
    Why: a layer checkpoints only while it is in training mode, though gradients to what comes before a frozen model go
        through its activations all the same.
    Until: layers in evaluation mode checkpoint where a gradient is asked for.
    """
    module.eval()
    layers: list[Any] = [layer for layer in module.modules() if isinstance(layer, GradientCheckpointingLayer)]
    for layer in layers:
        if layer.gradient_checkpointing:
            layer.training = True
            layer._gradient_checkpointing_func = functools.partial(_checkpoint_in_evaluation_mode, layer)


def _checkpoint_in_evaluation_mode(layer: nn.Module, function: Callable[..., Any], *given: Any) -> Any:
    def compute(*values: Any) -> Any:
        layer.training = False
        try:
            return function(*values)
        finally:
            layer.training = True

    return checkpoint(compute, *given, use_reentrant=False)


def forget_tied_weights(model: nn.Module) -> None:
    """Make a model whose output head has got a weight of its own save and load it as such.

    Seen: transformers 5.17 and 5.24.
    Why: which weights are the same is remembered by every model when it is built, and left out of what it saves.
    Until: transformers looks at the weights.
    """
    for module in model.modules():
        if not isinstance(module, PreTrainedModel):
            continue
        module.all_tied_weights_keys = {}
        for config in (module.config, module.config.get_text_config()):
            config.tie_word_embeddings = False
