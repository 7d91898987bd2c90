"""Old names that go on working: renamed arguments and functions, and defaults that change, each with a warning.

An old name works for two minor versions. The warning names the new one, and the line outside facekit that used the old.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def warn_deprecated(message: str) -> None:
    """Warn of a deprecation at the first line outside facekit that led here.

    Args:
        message: What is deprecated, and what to use instead.
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "facekit":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, DeprecationWarning, stacklevel=level)


def renamed_arguments(**names: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function whose arguments had other names.

    Args:
        **names: New names by old ones.

    Returns:
        The decorator. The function's signature has the new names only; called with an old one, it warns. An old name
        and its new one together are a ``TypeError``, as any argument that is given twice.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        label = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            for old, new in names.items():
                if old not in kwargs:
                    continue
                if new in kwargs:
                    raise TypeError(f"{label}() got both {old!r} and {new!r}, of which the former is the old name")
                warn_deprecated(f"{label}({old}=...) is deprecated; use {label}({new}=...)")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_function(old: str, function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """What a function's old name stands for.

    Args:
        old: The old name.
        function: The function under its new name.

    Returns:
        A function that warns, and does the same.
    """

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        warn_deprecated(f"{old}() is deprecated; use {function.__name__}()")
        return function(*args, **kwargs)

    return call


def changed_default(
    name: str, before: Any, *, matters: Callable[[dict[str, Any]], bool]
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function with an argument whose default was another.

    Args:
        name: The argument.
        before: Its earlier default.
        matters: Given all arguments, whether the defaults make a difference.

    Returns:
        The decorator. Where the argument is left out and it matters, the earlier default holds, with a warning.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            bound = signature.bind(*args, **kwargs)
            if name not in bound.arguments:
                bound.apply_defaults()
                if matters(bound.arguments):
                    after = bound.arguments[name]
                    warn_deprecated(
                        f"{function.__qualname__} will take {name}={after!r} by default, not {name}={before!r}; say "
                        "which you mean"
                    )
                    kwargs[name] = before
            return function(*args, **kwargs)

        return call

    return decorate
