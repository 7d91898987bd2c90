"""The page on video: its code runs as it stands on a clip in which the face is covered for a moment."""

from __future__ import annotations

import re
from pathlib import Path

import skimage.data
from PIL import Image
from video_files import write_video

import facekit.faces.video as video
from facekit.faces.sources import LARGEST_VIDEO

PAGE = (Path(__file__).parents[2] / "docs" / "video.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    portrait = Image.fromarray(skimage.data.astronaut()).crop((96, 0, 352, 256))
    covered = Image.new("RGB", portrait.size, (90, 90, 90))
    write_video(tmp_path / "clip.mp4", [portrait, portrait, covered, covered, portrait, portrait, portrait])
    namespace: dict = {}
    for text in BLOCK.findall(PAGE):
        exec(compile(text, "video.md", "exec"), namespace)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["(0, 2, 4, 6)", "[True, False, True, True]"]
    size = namespace["processor"].image_processor.image_size
    assert printed[2] == str((1, 8, 3, size, size))
    assert int(printed[3]) == 8 * namespace["model"].tokens_per_video_frame
    assert namespace["output"].shape[1] > namespace["inputs"]["input_ids"].shape[1]
    assert len(namespace["answers"]) == 1
    assert Image.open(tmp_path / "overlay.png").size == (4 * 256, 256)


def test_the_limits_on_the_page_are_the_codes():
    assert f"At most {video.LARGEST_CHOICE} frames" in PAGE
    assert f"{video.MAX_FRAMES:,} frames" in PAGE
    assert video.MAX_SECONDS == 4 * 3600
    assert video.MAX_PIXELS == 64_000_000
    assert LARGEST_VIDEO == 1 << 30
