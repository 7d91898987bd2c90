"""The pages of a first walk in a real browser: the demo, its training, and an evaluation, at two widths."""

from __future__ import annotations

import subprocess
import sys

import pytest
from browser import lay_out

from facekit.demo import DemoSettings, run_demo

SETTINGS = DemoSettings(
    encoder="tiny?width=32&depth=1", backbone="tiny?width=48&depth=1&heads=2", train_faces=24, test_faces=12, epochs=1,
    batch_size=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    demo = run_demo(folder / "demo", SETTINGS)
    program = "from facekit.cli.main import main; main()"
    records = next((folder / "demo" / "data" / "test").glob("*.jsonl"))
    command = ["eval", str(folder / "demo"), str(records), "--output", str(folder / "eval")]
    subprocess.run([sys.executable, "-c", program, *command], check=True, timeout=240)
    return {"demo": demo.report, "evaluation": folder / "eval" / "report.html"}


@pytest.mark.parametrize("name", ["demo", "evaluation"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_is_as_wide_as_its_window(name, width, pages, tmp_path):
    text = pages[name].read_text(encoding="utf-8")
    layout = lay_out(text, tmp_path, width)
    assert layout["width"] <= width
    assert layout["broken"] == []
    assert layout["bare"] == 0
    assert layout["height"] > 500
    assert layout["images"] == text.count("<img")
    assert layout.pixels.std() > 5, "the page shows something"
