"""What torch says in words only, and what one of its versions cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.torch_version import TorchVersion

_F = TypeVar("_F", bound=Callable[..., object])

_WRITING_FAILED = ("PytorchStreamWriter", "inline_container", "iostream error", "No space left")


def is_failed_write(error: RuntimeError) -> bool:
    """Whether ``torch.save`` raised this because the file could not be written, such as on a full disk.

    Seen: torch 2.11 to 2.14.
    Why: torch's writer raises a bare ``RuntimeError``, not an ``OSError``.
    Until: it raises ``OSError``.
    """
    return any(words in str(error) for words in _WRITING_FAILED)


def constant_while_traced(function: _F) -> _F:
    """Let ``torch.compile`` take what a function returns as constant, where it cannot trace ``ContextVar.get``.

    Seen: torch 2.11 to 2.14, which cannot; 2.15 can.
    Why: without it the graph breaks at a function that reads a context variable.
    Until: torch 2.15 is the oldest supported version.
    """
    return torch.compiler.assume_constant_result(function) if TorchVersion(torch.__version__) < "2.15" else function
