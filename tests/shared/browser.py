"""Pages in a real browser: what Chromium lays out at a width, by daylight or in the dark, measured in numbers."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

MEASURE = """
const measure = looks => {
  const page = document.querySelector('iframe').contentDocument
  const shown = element => element !== null && getComputedStyle(element).display !== 'none'
  const split = (node, word) => {
    const range = page.createRange()
    range.setStart(node, word.index)
    range.setEnd(node, word.index + word[0].length)
    return new Set([...range.getClientRects()].map(box => Math.round(box.bottom))).size > 1
  }
  const ordinary = node => [...node.textContent.matchAll(/[^\\s\\/?&=-]+/g)].filter(word => word[0].length < 16)
  const texts = [...page.querySelectorAll('td, th, p, h1, h2, h3, dt, dd, li, figcaption')]
    .flatMap(element => [...element.childNodes]).filter(node => node.nodeType === 3 && node.textContent.trim())
  const boxes = [...page.querySelectorAll('.scroll')]
  const overflows = box => box.scrollWidth > box.clientWidth + 1
  const hinted = box => shown(box.querySelector('.hint'))
  // A box knows that it overflows one frame after its layout; a busy machine draws that frame late.
  if (looks > 0 && boxes.some(box => hinted(box) !== overflows(box))) return setTimeout(measure, 200, looks - 1)
  document.body.dataset.measured = JSON.stringify({
    width: page.documentElement.scrollWidth,
    height: page.documentElement.scrollHeight,
    sections: page.querySelectorAll('section').length,
    images: [...page.images].filter(image => image.complete && image.naturalWidth > 0).length,
    dots: [...page.querySelectorAll('.dot b')].filter(dot => dot.getBoundingClientRect().width > 0).length,
    broken: texts.flatMap(node => ordinary(node).filter(word => split(node, word)).map(word => word[0])),
    overflowing: boxes.filter(overflows).length,
    hints: boxes.filter(hinted).length,
    bare: [...page.querySelectorAll('table')].filter(table => !table.closest('.scroll, .scores')).length,
    background: getComputedStyle(page.body).backgroundColor,
    ink: getComputedStyle(page.body).color,
    smallest: Math.min(...[...page.querySelectorAll('svg text')].map(text => {
      const svg = text.ownerSVGElement
      return parseFloat(getComputedStyle(text).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width
    })),
  })
}
addEventListener('load', () => setTimeout(measure, 500, 10))
"""


@dataclass(frozen=True)
class Layout:
    """What was measured, and the picture.

    Args:
        numbers: By name, see ``MEASURE``.
        pixels: ``(height, width, 3)``.
    """

    numbers: dict
    pixels: np.ndarray

    def __getitem__(self, name: str):
        return self.numbers[name]


def lay_out(page: str, folder: Path, width: int, *, dark: bool = False, height: int = 2400) -> Layout:
    """Let Chromium lay a page out in a frame of a width, which may be narrower than its own windows can be."""
    picture, frame = folder / "page.png", folder / "frame.html"
    inner = html.escape(page.replace(' loading="lazy"', ""))
    frame.write_text(
        f'<!doctype html><meta name="color-scheme" content="light dark"><body style="margin:0">'
        f'<iframe style="width:{width}px;height:{height}px;border:0" srcdoc="{inner}"></iframe>'
        f"<script>{MEASURE}</script></body>"
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
               "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
               f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500)},{height}",
               *(["--blink-settings=preferredColorScheme=0"] if dark else []),
               "--virtual-time-budget=3000", f"--screenshot={picture}", "--dump-dom", f"file://{frame}"]  # fmt: skip
    dumped = subprocess.run(command, check=True, capture_output=True, text=True, timeout=90).stdout
    if not picture.is_file():
        subprocess.run([part for part in command if part != "--dump-dom"], check=True, capture_output=True, timeout=90)
    measured = json.loads(html.unescape(re.search(r'data-measured="([^"]*)"', dumped)[1]))
    return Layout(measured, np.asarray(Image.open(picture).convert("RGB"))[:, :width])


def check_phone(layout: Layout, width: int = 390) -> None:
    """Nothing scrolls sideways but tables in their own boxes, which say so, and no word is broken into letters."""
    assert layout["width"] <= width
    assert layout["broken"] == []
    assert layout["bare"] == 0
    assert layout["hints"] == layout["overflowing"]
