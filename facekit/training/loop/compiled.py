"""``compiled_layers``: the language model's layers under ``torch.compile`` while a run goes on.

They are compiled one by one and in place: weights keep their names, so checkpoints and adapters are what they are
without; all layers of a kind share one graph; and the encoder, whose tokens are often kept, costs no compiling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from facekit.compat.torch import compiled_in_place, is_failed_compilation
from facekit.errors import ConfigurationError, first_line
from facekit.spec import closest_match_hint
from facekit.training.recipes.settings import TrainingSettings

_DEFAULT = "inductor"


@contextmanager
def compiled_layers(language_model: PreTrainedModel, settings: TrainingSettings) -> Iterator[None]:
    """Compile a language model's layers inside the ``with`` block, where the settings ask for it.

    Shapes are dynamic from the first batch on, so that a run that is resumed computes what the whole one would have.

    Args:
        language_model: The language model, with its adapters in place.
        settings: The run's settings.

    Raises:
        ConfigurationError: It has no layers of transformers' kind, or what compiles is missing or fails here.
    """
    backend = name_backend(settings)
    if backend is None:
        yield
        return
    layers = [module for module in language_model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        kind = type(language_model).__name__
        raise ConfigurationError(f"torch_compile compiles transformers' layers, and {kind} has none; set it to false")
    try:
        with compiled_in_place(layers, backend):
            yield
    except Exception as error:
        if not is_failed_compilation(error):
            raise
        raise ConfigurationError(
            f"torch_compile does not work here ({first_line(error)}); set it to false, or install what is missing: a "
            "C++ compiler for the CPU, Triton for a GPU"
        ) from error


def name_backend(settings: TrainingSettings) -> str | None:
    """The backend that settings name; None where they compile nothing."""
    if isinstance(settings.torch_compile, str):
        return settings.torch_compile
    return _DEFAULT if settings.torch_compile else None


def require_backend(settings: TrainingSettings) -> None:
    """Raise ``ConfigurationError``, with the closest name, where ``torch.compile`` has no such backend."""
    name, known = name_backend(settings), torch.compiler.list_backends(exclude_tags=())
    if name is not None and name not in known:
        raise ConfigurationError(f"torch_compile: there is no backend '{name}'{closest_match_hint(name, known)}")
