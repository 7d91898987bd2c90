"""Training learns, trains only what it is told to, and goes on after an interruption as if nothing had happened."""

from __future__ import annotations

import gc
import shutil

import pytest
import torch
from transformers import TrainerCallback

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, RecordError
from facekit.training import LossHistory, TrainingSettings, train


@pytest.fixture(scope="module", autouse=True)
def _spare_the_collector():
    # The trainer collects garbage after every run, which takes a second where torch and transformers are loaded.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 64, seed=2, image_size=64))


def fresh_model(connector="mlp"):
    return facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector=connector, backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )  # fmt: skip


def quick(**values):
    return TrainingSettings(**{"steps": 6, "batch_size": 8, "log_every": 1, "save_every": 2, "threads": 1, **values})


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def snapshot(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def changed_parts(before, model):
    return {name.partition(".")[0] for name, value in model.named_parameters() if not torch.equal(before[name], value)}


def test_a_few_steps_on_64_faces_bring_the_loss_down(records, tmp_path):
    model, processor = fresh_model("region")
    seen = []
    settings = quick(steps=30, batch_size=16, learning_rate=1e-2, save_every=30, cache_features=True)
    result = train(model, processor, records, tmp_path, settings, on_progress=seen.append)
    assert result.history.losses[0] > 6.0
    assert result.history.losses[-1] < 3.0
    assert [progress.step for progress in seen] == list(range(1, 31))
    assert seen[-1].seconds_left == 0.0
    assert result.plot_path.read_bytes().startswith(b"\x89PNG")
    assert LossHistory.read(result.history_path) == result.history


def test_the_saved_model_is_the_trained_one(records, tmp_path):
    model, processor = fresh_model()
    train(model, processor, records, tmp_path, quick(steps=2))
    loaded, _ = facekit.load(tmp_path)
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize(
    "parts", [("connector",), ("language_model",), ("connector", "language_model"), ("encoder", "connector")]
)
def test_only_the_named_parts_learn(records, tmp_path, parts):
    model, processor = fresh_model()
    before = snapshot(model)
    train(model, processor, records, tmp_path, quick(steps=1, parts=parts, warmup=0.0))
    assert changed_parts(before, model) == set(parts)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(records, tmp_path):
    settings = quick(steps=12, landmark_noise=0.01, batch_size=16)
    whole = train(*fresh_model(), records, tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        train(*fresh_model(), records, tmp_path / "cut", settings, callbacks=[StopAt(7)])
    resumed = train(*fresh_model(), records, tmp_path / "cut", settings, resume=True)
    assert resumed.resumed_from == 6
    assert resumed.history.steps == list(range(1, 13))
    assert resumed.history.losses == whole.history.losses


def test_resuming_passes_over_a_checkpoint_that_was_cut_off(records, tmp_path):
    settings = quick(steps=6)
    with pytest.raises(KeyboardInterrupt):
        train(*fresh_model(), records, tmp_path, settings, callbacks=[StopAt(5)])
    (tmp_path / "training" / "checkpoint-4" / "trainer_state.json").unlink()
    assert train(*fresh_model(), records, tmp_path, settings, resume=True).resumed_from == 2


def test_resuming_a_finished_run_only_loads_it(records, tmp_path):
    settings = quick(steps=2)
    model, processor = fresh_model()
    train(model, processor, records, tmp_path, settings)
    again, _ = fresh_model()
    result = train(again, processor, records, tmp_path, settings, resume=True)
    assert (result.resumed_from, result.steps) == (2, 2)
    assert len(result.history.points) == 2
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_resuming_with_other_settings_is_refused_naming_them(records, tmp_path):
    train(*fresh_model(), records, tmp_path, quick(steps=2))
    with pytest.raises(ConfigurationError, match=r"learning_rate was 0\.001 and is 0\.002"):
        train(*fresh_model(), records, tmp_path, quick(steps=2, learning_rate=2e-3), resume=True)
    result = train(*fresh_model(), records, tmp_path, quick(steps=2, log_every=2), resume=True)
    assert result.resumed_from == 2


def test_a_fresh_start_never_deletes_an_earlier_run(records, tmp_path):
    train(*fresh_model(), records, tmp_path, quick(steps=4))
    before = sorted(path.name for path in (tmp_path / "training").glob("checkpoint-*"))
    with pytest.raises(ConfigurationError, match="resume it, or choose another folder"):
        train(*fresh_model(), records, tmp_path, quick(steps=3))
    assert sorted(path.name for path in (tmp_path / "training").glob("checkpoint-*")) == before


def test_kept_tokens_train_as_pixels_do(records, tmp_path):
    with_pixels = train(*fresh_model("region"), records, tmp_path / "a", quick(steps=3))
    with_tokens = train(*fresh_model("region"), records, tmp_path / "b", quick(steps=3, cache_features=True))
    assert with_tokens.history.losses == pytest.approx(with_pixels.history.losses, abs=1e-5)


def test_the_seed_decides_the_run(records, tmp_path):
    losses = [
        train(*fresh_model(), records, tmp_path / str(n), quick(steps=3, seed=seed)).history.losses
        for n, seed in enumerate((0, 0, 1))
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_encoder_may_have_its_own_rate(records, tmp_path):
    model, processor = fresh_model()
    before = snapshot(model)
    parts = ("encoder", "connector", "language_model")
    settings = quick(steps=1, parts=parts, encoder_learning_rate=1e-6, learning_rate=1e-2, warmup=0.0)
    result = train(model, processor, records, tmp_path, settings)
    largest = dict.fromkeys(parts, 0.0)
    for name, value in model.named_parameters():
        part = name.partition(".")[0]
        largest[part] = max(largest[part], (value - before[name]).abs().max().item())
    assert 0 < largest["encoder"] < 1e-5
    assert largest["language_model"] == pytest.approx(1e-2, rel=0.1)
    assert result.history.points[0].learning_rate == pytest.approx(1e-2)


def test_the_rate_warms_up_and_falls_on_a_cosine(records, tmp_path):
    result = train(*fresh_model(), records, tmp_path, quick(steps=10, warmup=0.2))
    rates = [point.learning_rate for point in result.history.points]
    assert rates.index(max(rates)) == 2
    assert rates[0] == 0.0
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.1 * rates[2]


def test_epochs_count_passes_over_the_records(records, tmp_path):
    settings = TrainingSettings(epochs=0.5, batch_size=16, log_every=1, threads=1)
    assert train(*fresh_model(), records, tmp_path, settings).steps == 2


def test_records_are_taken_by_path_and_bad_ones_refused(records, tmp_path):
    path = shutil.copytree(records.folder, tmp_path / "faces") / "records.jsonl"
    assert train(*fresh_model(), path, tmp_path / "run", quick(steps=1)).steps == 1
    with pytest.raises(RecordError, match="no records"):
        train(*fresh_model(), RecordSet((), tmp_path), tmp_path / "run", quick())
    with pytest.raises(RecordError, match="missing"):
        train(*fresh_model(), tmp_path / "missing.jsonl", tmp_path / "run", quick())
