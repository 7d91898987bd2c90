"""Selection of an encoder's layer by the option ``layer``, counted from either end."""

from __future__ import annotations

from facekit.errors import InvalidSpecError


def resolve_layer(encoder: str, layer: int, count: int) -> int:
    """Return the index, counted from 0, of the block whose output a ``layer`` option selects.

    Args:
        encoder: The encoder and model, for messages.
        layer: 1 is the output of the first block and ``count`` that of the last; -1 is the last, -2 the one before.
        count: The number of blocks.

    Raises:
        InvalidSpecError: The model has no such layer.
    """
    if layer == 0 or not -count <= layer <= count:
        raise InvalidSpecError(
            f"encoder '{encoder}' has layers 1 to {count}, or -{count} to -1 counted from the end, but no layer {layer}"
        )
    return layer - 1 if layer > 0 else count + layer
