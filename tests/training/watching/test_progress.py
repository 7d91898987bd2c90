"""Progress is plain numbers; the drawing shows them."""

from __future__ import annotations

import io

from rich.console import Console

from facekit.training.watching.progress import RichProgress, TrainingProgress


def test_the_detail_names_loss_speed_and_memory():
    assert TrainingProgress(1, 10, 0.5, 81.7, 9.0).detail == "loss 0.500, 82 samples/s"
    assert TrainingProgress(1, 10, None, 81.7, 9.0).detail == "82 samples/s"
    measured = TrainingProgress(1, 10, 0.5, 81.7, 9.0, 12345.6, 3 * 2**29)
    assert measured.detail == "loss 0.500, 82 samples/s, 12,346 tokens/s, 1.5 GiB"


def test_bars_show_every_stage_with_its_amount():
    stream = io.StringIO()
    with RichProgress(Console(file=stream, width=120, force_terminal=True)) as progress:
        progress.for_stage("render")(3, 4)
        progress.for_training("train")(TrainingProgress(5, 10, 0.25, 40.0, 2.0))
    text = stream.getvalue()
    assert "render" in text
    assert "3/4" in text
    assert "5/10" in text
    assert "loss 0.250, 40 samples/s" in text
