"""Shrink what facekit made into the small pictures of the gallery.

    python scripts/compose_gallery.py FOLDER docs/images/gallery

``FOLDER`` holds pictures as facekit writes them (``overlay.png``, ``maps.png``) and screenshots of its pages, called
after them, taken at 1280 and 390 pixels in the light and in the dark (``datagen-1280.jpg``, ``datagen-390.jpg``).
"""

import sys
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT, GAP = 960, 620, 12
QUALITY = 82


def compose_page(wide: Image.Image, narrow: Image.Image) -> Image.Image:
    """The upper end of a page on a desk beside the same page on a phone."""
    scale = (WIDTH - GAP) / (wide.width + narrow.width)
    parts = [each.crop((0, 0, each.width, round(HEIGHT / scale))) for each in (wide, narrow)]
    small = [each.resize((round(each.width * scale), HEIGHT), Image.Resampling.LANCZOS) for each in parts]
    canvas = Image.new("RGB", (small[0].width + GAP + small[1].width, HEIGHT), "#8a8f98")
    canvas.paste(small[0], (0, 0))
    canvas.paste(small[1], (small[0].width + GAP, 0))
    return canvas


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/compose_gallery.py FOLDER OUTPUT")
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.png")):
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((WIDTH // 2, HEIGHT), Image.Resampling.LANCZOS)
        picture.save(output / f"{path.stem}.jpg", quality=QUALITY, optimize=True)
    for path in sorted(folder.glob("*-1280.jpg")):
        name = path.stem.removesuffix("-1280")
        page = compose_page(Image.open(path), Image.open(folder / f"{name}-390.jpg"))
        page.save(output / f"{name}.jpg", quality=QUALITY, optimize=True)
