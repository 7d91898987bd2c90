"""Take the pictures of the page of ``facekit serve --web`` that the documentation shows.

python scripts/compose_serving_pictures.py runs/demo docs/images

A server answers with the model, and Chromium is used as the tests use it; the photograph is scikit-image's.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image
from skimage.data import astronaut

import facekit

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "shared"))

from chromium import browsing
from model_server import running

LOOKS = {
    "serve-page-light": {"width": 1100, "dark": False},
    "serve-page-dark": {"width": 1100, "dark": True},
    "serve-page-phone": {"width": 390, "height": 844, "dark": False},
}

folder, output = Path(sys.argv[1]), Path(sys.argv[2])
model, processor = facekit.load(folder)
with tempfile.TemporaryDirectory() as scratch:
    photograph = Path(scratch) / "astronaut.png"
    Image.fromarray(astronaut()).save(photograph)
    with (
        running(model, processor, name=folder.resolve().name, web=True) as address,
        browsing(Path(scratch) / "profile") as browser,
    ):
        tab = browser.tab()
        tab.look(1100)
        tab.open(address)
        tab.wait("document.querySelector('#models li')")
        tab.choose_file("#file", photograph)
        tab.wait("document.querySelector('#maps-panels canvas')")
        tab.click("#ask-button")
        tab.wait("!document.querySelector('#ask-button').disabled && document.querySelectorAll('#answers li').length")
        tab.evaluate("document.activeElement.blur()")
        for name, look in LOOKS.items():
            tab.look(**look)
            tab.picture().save(output / f"{name}.jpg", quality=80, optimize=True, progressive=True)
