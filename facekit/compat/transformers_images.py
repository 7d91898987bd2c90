"""Loading images for transformers' pipelines."""

from __future__ import annotations

from PIL import Image
from transformers.image_utils import load_image


def download_image(url: str) -> Image.Image:
    """Download the picture at an http(s) address.

    Seen: transformers 5.17 and 5.24.
    Why: a picture named in a chat is then the same whether facekit or a pipeline of transformers downloads it; the
        function is used in its documentation, but has no page there.
    Until: ``transformers`` exports it.
    """
    return load_image(url)
