"""Options of a spec as arguments of a function, with unknown ones refused by name.

Encoders and connectors check theirs themselves; backbones are plain functions, so it is done for them here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from facekit.errors import InvalidSpecError
from facekit.registry import PartSpec, closest_match_hint


def call_with_options(function: Callable[..., Any], spec: PartSpec) -> Any:
    """Call ``function(argument, **options)``.

    Raises:
        InvalidSpecError: The function has no argument of an option's name.
    """
    parameters = inspect.signature(function).parameters.values()
    names = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    unknown = [] if takes_any else [name for name in spec.options if name not in names]
    if unknown:
        raise InvalidSpecError(f"'{spec.name}' has no option '{unknown[0]}'{closest_match_hint(unknown[0], names)}")
    return function(spec.argument, **spec.options)
