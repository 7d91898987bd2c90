"""Progress of training is plain numbers; earlier names for drawing it go on working."""

from __future__ import annotations

import io
import warnings

import pytest
from rich.console import Console

from facekit.reports import Progress, ProgressState, under_stage
from facekit.reports.display import describe_progress
from facekit.training import Listeners, RichProgress, TrainingProgress
from facekit.training.recipes.stages import _with_progress


def test_the_detail_names_loss_speed_and_memory():
    assert TrainingProgress(1, 10, 0.5, 81.7, 9.0).detail == "loss 0.500, 82 samples/s"
    assert TrainingProgress(1, 10, None, 81.7, 9.0).detail == "82 samples/s"
    measured = TrainingProgress(1, 10, 0.5, 81.7, 9.0, 12345.6, 3 * 2**29)
    assert measured.detail == "loss 0.500, 82 samples/s, 12,346 tokens/s, 1.5 GiB"


def test_a_line_of_a_log_has_steps_loss_rate_and_time_left():
    state = TrainingProgress(40, 200, 0.5124, 81.7, 125.0)
    assert isinstance(state, ProgressState)
    line = "train: 40 of 200 steps (20 %), loss 0.512, 82 samples/s, 2 min 5 s left"
    assert describe_progress(state) == line


def test_a_stage_can_be_reported_under_another_name():
    seen = []
    under_stage(seen.append, "region")(TrainingProgress(1, 10, 0.5, 81.7, 9.0))
    assert seen == [TrainingProgress(1, 10, 0.5, 81.7, 9.0, stage="region")]
    assert under_stage(None, "region") is None


def test_the_earlier_display_and_its_callbacks_go_on_working_with_a_warning():
    stream = io.StringIO()
    with pytest.warns(DeprecationWarning, match=r"use facekit\.reports\.ProgressDisplay"):
        display = RichProgress(Console(file=stream, width=120, force_terminal=True))
    with display as progress:
        progress.for_stage("render")(3, 4)
        progress.for_training("train")(TrainingProgress(5, 10, 0.25, 40.0, 2.0))
        progress("other", 1, 7, "words")
        progress(Progress("new", 2, 9))
    text = stream.getvalue()
    for words in ("render", "3/4", "5/10", "loss 0.250, 40 samples/s", "1/7", "words", "2/9"):
        assert words in text


def test_a_recipes_listener_by_stage_goes_on_working_with_a_warning():
    seen = []
    listeners = Listeners(on_progress=lambda stage: lambda state: seen.append((stage, state.step)))
    with pytest.warns(DeprecationWarning, match=r"pass run_recipe\(on_progress=...\)"):
        taken = _with_progress(listeners, None)
    taken.on_progress("region")(TrainingProgress(5, 10, 0.25, 40.0, 2.0))
    assert seen == [("region", 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _with_progress(Listeners(), None).on_progress("region") is None
