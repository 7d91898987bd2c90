"""Formulas of the documentation: a fenced block ``math`` of LaTeX becomes MathML when the site is built.

Browsers lay MathML out themselves, so that a page loads no script and no font for it; GitHub shows the same blocks.
"""

from __future__ import annotations

from typing import Any


def write_formula(source: str, *_: Any, **__: Any) -> str:
    """Return the HTML of a block.

    Args:
        source: LaTeX, as between dollar signs; several lines are aligned in the environment ``split``.

    Raises:
        ValueError: It is not LaTeX that can be read.
    """
    from latex2mathml.converter import convert

    try:
        markup = convert(source.strip(), display="block")
    except Exception as error:
        raise ValueError(f"the formula cannot be read: {source.strip()} ({error!r})") from error
    if "<mi>&</mi>" in markup or "<mi>\\" in markup:
        raise ValueError(f"the formula has a command or an environment that is not known: {source.strip()}")
    return f'<div class="formula" role="math">{markup}</div>'
