"""What a run cost: steps, examples, and time in steps without the validation that stands between them."""

from types import SimpleNamespace

import pytest
import torch
from small_runs import small_model
from torch import nn

from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import TrainingSettings, train
from facekit.training.watching import measuring
from facekit.training.watching.measuring import CostMeter


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now.seconds)
    return now


def _run(clock, paused, *, before=0.0, during=0.0, after=0.0):
    """Two steps of one second each, with validation before them, after the second one, and after the run."""
    meter = CostMeter(pauses=lambda: paused.seconds)
    args = SimpleNamespace(world_size=1, train_batch_size=4, gradient_accumulation_steps=2, device=torch.device("cpu"))
    state = SimpleNamespace(global_step=0)

    def pause(seconds):
        clock.seconds += seconds
        paused.seconds += seconds

    pause(before)
    meter.on_train_begin(args, state, None)
    for step in (1, 2):
        clock.seconds += 1.0
        state.global_step = step
        if step == 2:
            pause(during)
        meter.on_step_end(args, state, None)
    pause(after)
    return meter.cost()


@pytest.mark.parametrize(
    "pauses", [{}, {"before": 5.0}, {"during": 7.0}, {"after": 9.0}, {"before": 5.0, "during": 7.0, "after": 9.0}]
)
def test_time_in_steps_leaves_out_validation_wherever_it_falls(clock, pauses):
    cost = _run(clock, SimpleNamespace(seconds=0.0), **pauses)
    assert cost.seconds == pytest.approx(2.0)
    assert (cost.steps, cost.examples) == (2, 16)
    assert cost.samples_per_second == pytest.approx(8.0)


def test_pauses_of_an_earlier_stage_are_not_taken_off(clock):
    assert _run(clock, SimpleNamespace(seconds=30.0), after=1.0).seconds == pytest.approx(2.0)


def test_tokens_are_counted_through_a_frozen_language_model(tmp_path):
    records = write_synthetic_dataset(tmp_path / "faces", 4, seed=2, image_size=64)
    reports = []
    settings = TrainingSettings(steps=2, batch_size=2, parts=("connector",), threads=1)
    train(*small_model("region"), records, tmp_path / "run", settings, on_progress=reports.append)
    assert all(report.tokens_per_second > 0 for report in reports)


def test_tokens_of_what_is_only_looked_at_are_not_counted(clock):
    class Words(nn.Module):
        def forward(self, inputs_embeds):
            return inputs_embeds

    model, meter = SimpleNamespace(language_model=Words()), CostMeter()
    args = SimpleNamespace(world_size=1, train_batch_size=4, gradient_accumulation_steps=2, device=torch.device("cpu"))
    meter.on_train_begin(args, SimpleNamespace(global_step=0), None, model=model)
    model.language_model(inputs_embeds=torch.zeros(2, 5, 3))
    with torch.no_grad():
        model.language_model(inputs_embeds=torch.zeros(2, 7, 3))
    meter.close()
    assert meter.cost().tokens == 10
