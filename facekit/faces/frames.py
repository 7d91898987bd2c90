"""Choosing the frames of a clip, independent of decoding, so that every video reader chooses the same ones."""

from __future__ import annotations

import numpy as np

from facekit.errors import ConfigurationError

FRAMES_PER_CLIP = 8


def choose_frames(num_frames: int, count: int = FRAMES_PER_CLIP) -> list[int]:
    """Return evenly spaced frame indices, the first and the last frame included.

    Source: Face-LLaVA (arXiv 2504.07198), released code: ``linspace(0, frames - 1, count)`` truncated to integers.

    Args:
        num_frames: Frames in the clip.
        count: Frames to choose. A clip with fewer has some of them repeated.

    Returns:
        ``count`` indices in ascending order, from 0.

    Raises:
        ConfigurationError: The clip has no frame, or none is asked for.

    Examples:
        >>> from facekit.faces import choose_frames
        >>> choose_frames(100, 5)
        [0, 24, 49, 74, 99]
    """
    if num_frames < 1 or count < 1:
        raise ConfigurationError(f"a clip of {num_frames} frames cannot give {count}; both must be at least 1")
    return np.linspace(0, num_frames - 1, count).astype(int).tolist()
