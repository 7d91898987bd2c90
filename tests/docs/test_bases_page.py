"""The page on bases of one's choice: its code and its commands run as they stand, on a small base."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut
from small_vlms import save_small_vlm

from facekit.models.native.inputs import CONTINUED

PAGE = (Path(__file__).parents[2] / "docs" / "bases.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_pages_code_runs_with_a_small_base_in_place_of_the_hubs(tmp_path, monkeypatch):
    pytest.importorskip("dlib")
    monkeypatch.chdir(tmp_path)
    save_small_vlm("qwen2.5-vl", tmp_path / "base")
    Image.fromarray(astronaut()).save("photo.jpg")
    (code,) = BLOCK.findall(PAGE)
    assert code.count("Qwen/Qwen2.5-VL-3B-Instruct") == 1
    namespace: dict = {}
    exec(compile(code.replace("Qwen/Qwen2.5-VL-3B-Instruct", "base"), "bases.md", "exec"), namespace)
    assert len(namespace["answers"]) == 2
    assert type(namespace["model"].native).__name__ == "Qwen2_5_VLForConditionalGeneration"


def test_every_family_of_the_page_is_one_that_goes_on_from_a_shared_beginning():
    table = PAGE.partition("| family |")[2].partition("\n\n")[0]
    named = re.findall(r"(Qwen[\d.]*-VL|InternVL|LLaVA-[\w.]+|Gemma 3|Idefics3|SmolVLM)", table.partition("Qwen3.5")[0])
    types = {
        "InternVL": "internvl",
        "LLaVA-1.5": "llava",
        "LLaVA-NeXT": "llava_next",
        "LLaVA-OneVision": "llava_onevision",
        "Gemma 3": "gemma3",
    }
    found = {types.get(name, name.lower().replace("-", "_").replace(".", "_")) for name in named}
    assert found == CONTINUED - {"facekit"}
