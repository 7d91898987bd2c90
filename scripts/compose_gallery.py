"""Make the small pictures of the gallery from what facekit wrote.

    python scripts/compose_gallery.py FOLDER docs/images/gallery

``FOLDER`` holds pictures (``overlay.png``, ``maps.png``) and pages (``datagen.html``) as facekit writes them. Of a page
Chromium, used as the tests use it, shows the upper end in a window on a desk and, in the dark, on a phone.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "shared"))

from chromium import Tab, browsing

DESK, PHONE, HEIGHT, GAP = 860, 390, 1120, 20
SCALE = 0.9
LARGEST = (480, 620)
QUALITY = 82


def show_page(tab: Tab, page: Path) -> Image.Image:
    """The upper end of a page on a desk beside the same page on a phone."""
    tab.open(page.resolve().as_uri())
    canvas = Image.new("RGB", (DESK + GAP + PHONE, HEIGHT), "#8a8f98")
    for width, left, dark in ((DESK, 0, False), (PHONE, DESK + GAP, True)):
        tab.look(width, HEIGHT, dark=dark)
        tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        canvas.paste(tab.picture(whole=False), (left, 0))
    return canvas.resize((round(canvas.width * SCALE), round(HEIGHT * SCALE)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/compose_gallery.py FOLDER OUTPUT")
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.png")):
        picture = Image.open(path).convert("RGB")
        picture.thumbnail(LARGEST, Image.Resampling.LANCZOS)
        picture.save(output / f"{path.stem}.jpg", quality=QUALITY, optimize=True)
    with tempfile.TemporaryDirectory() as scratch, browsing(Path(scratch) / "profile") as browser:
        tab = browser.tab()
        for path in sorted(folder.glob("*.html")):
            show_page(tab, path).save(output / f"{path.stem}.jpg", quality=QUALITY, optimize=True)
