"""What torch says in words only, and what one of its versions cannot do."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.torch_version import TorchVersion

from facekit import errors

_F = TypeVar("_F", bound=Callable[..., object])

_WRITING_FAILED = ("PytorchStreamWriter", "inline_container", "iostream error", "No space left")
_PROCESS_LOST = (
    "Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe", "Socket closed",
    "Timed out waiting", "Application timeout",
)  # fmt: skip

_OF_WORKER = re.compile(
    r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback .*"
    r"\nfacekit\.errors\.(?P<kind>\w+): (?P<message>.*)",
    re.DOTALL,
)


def is_failed_write(error: BaseException) -> bool:
    """Whether ``torch.save`` raised this because the file could not be written, such as on a full disk.

    Seen: torch 2.11 to 2.14.
    Why: torch's writer raises a bare ``RuntimeError``, not an ``OSError``.
    Until: it raises ``OSError``.
    """
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WRITING_FAILED)


def failure_of_process(error: BaseException) -> BaseException:
    """What a process raised while all were writing a distributed checkpoint; any other error itself.

    Seen: torch 2.11 to 2.14.
    Why: ``CheckpointException`` is a ``BaseException`` whose text is the tracebacks of all processes.
    Until: it is raised from what it stands for.
    """
    module = sys.modules.get("torch.distributed.checkpoint")
    if module is None or not isinstance(error, module.CheckpointException):
        return error
    failures: list[tuple[BaseException, object]] = list(error.failures.values())
    return failures[0][0] if failures else error


@contextmanager
def worker_errors_as_raised() -> Iterator[None]:
    """Raise what facekit raised in a loading process as it was raised there.

    Seen: torch 2.11 to 2.14.
    Why: ``DataLoader`` raises a new error of the same class, or a ``RuntimeError`` where that takes other arguments,
        whose text is the traceback of the process.
    Until: it raises the error itself, or has it as the cause.
    """
    try:
        yield
    except Exception as error:
        told = _OF_WORKER.fullmatch(str(error))
        if told is None:
            raise
        kind = getattr(errors, told["kind"])
        raise _make(kind, told["message"].strip()) from error


def _make(kind: type[errors.FaceKitError], message: str) -> errors.FaceKitError:
    try:
        return kind(message)
    except TypeError:  # a class whose message is made of parts
        return errors.FaceKitError(message)


def is_lost_process(error: BaseException) -> bool:
    """Whether an operation of several processes failed because another process is gone, or does not answer.

    Seen: torch 2.11 to 2.14, gloo.
    Why: gloo's operations raise a bare ``RuntimeError``; the store and NCCL raise ``torch.distributed.DistError``.
    Until: all raise ``DistError``.
    """
    kind = getattr(torch.distributed, "DistError", ())
    lost = isinstance(error, RuntimeError) and any(words in str(error) for words in _PROCESS_LOST)
    return isinstance(error, kind) or lost


def constant_while_traced(function: _F) -> _F:
    """Let ``torch.compile`` take what a function returns as constant, where it cannot trace ``ContextVar.get``.

    Seen: torch 2.11 to 2.14, which cannot; 2.15 can.
    Why: without it the graph breaks at a function that reads a context variable.
    Until: torch 2.15 is the oldest supported version.
    """
    return torch.compiler.assume_constant_result(function) if TorchVersion(torch.__version__) < "2.15" else function


@contextmanager
def compiled_in_place(modules: Sequence[nn.Module], backend: str) -> Iterator[None]:
    """Run modules as ``Module.compile`` makes them, with dynamic shapes, and as they were after the ``with`` block.

    Args:
        modules: The modules.
        backend: Of ``torch.compile``.

    Seen: torch 2.11 to 2.14.
    Why: ``Module.compile`` has no way back, and what it leaves behind does not survive a copy of the module.
    Until: there is one.
    """
    changed: list[Any] = list(modules)
    before = [module._compiled_call_impl for module in changed]
    try:
        for module in changed:
            module.compile(backend=backend, dynamic=True)
        yield
    finally:
        for module, call in zip(changed, before, strict=True):
            module._compiled_call_impl = call


def is_failed_compilation(error: BaseException) -> bool:
    """Whether ``torch.compile`` raised this, because a compiler is missing or fails, and not what it compiled.

    Seen: torch 2.11 to 2.14.
    Why: its errors are of many classes in private modules.
    Until: they have a public base class.
    """
    return type(error).__module__.partition(".")[2].startswith(("_dynamo", "_inductor"))
