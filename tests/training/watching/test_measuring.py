"""What a run cost: steps, examples, and time in steps without the validation that stands between them."""

from types import SimpleNamespace

import pytest
import torch

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
