"""The page on sessions: its code runs as it stands on a photograph."""

from __future__ import annotations

import re
from pathlib import Path

import skimage.data
from PIL import Image

PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    portrait = Image.fromarray(skimage.data.astronaut()).crop((96, 0, 352, 256))
    portrait.save("photo.jpg")
    portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("other.jpg")
    namespace: dict = {}
    for text in BLOCK.findall(PAGE):
        exec(compile(text, "sessions.md", "exec"), namespace)
    assert len(namespace["scores"]) == 2
    assert all(score < 0 for score in namespace["scores"])
    assert len(namespace["answers"]) == 3
    assert namespace["pair"].media.frames == (1, 1)
    assert len(namespace["pieces"]) > 1
