"""Training learns, trains only what it is told to, and goes on after an interruption as if nothing had happened."""

from __future__ import annotations

import shutil

import pytest
import torch
from small_runs import At, interrupt, small_model
from transformers import TrainerCallback

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, RecordError, TrainingError
from facekit.models.create import set_dtype
from facekit.training import LossHistory, TrainingSettings, train


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 64, seed=2, image_size=64))


def quick(**values):
    return TrainingSettings(**{"steps": 6, "batch_size": 8, "log_every": 1, "save_every": 2, "threads": 1, **values})


def snapshot(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def changed_parts(before, model):
    return {name.partition(".")[0] for name, value in model.named_parameters() if not torch.equal(before[name], value)}


def test_a_few_steps_on_64_faces_bring_the_loss_down(records, tmp_path):
    model, processor = small_model("region")
    seen = []
    settings = quick(steps=30, batch_size=16, learning_rate=1e-2, save_every=30, cache_features=True)
    result = train(model, processor, records, tmp_path, settings, on_progress=seen.append)
    assert result.history.losses[0] > 6.0
    assert result.history.losses[-1] < 3.0
    seen = [progress for progress in seen if progress.stage != "check records"]  # told on a busy machine only
    assert [progress.step for progress in seen] == list(range(1, 31))
    assert seen[-1].seconds_left == 0.0
    assert seen[-1].tokens_per_second > 16 * seen[-1].samples_per_second > 0
    assert seen[-1].peak_memory > 2**20
    assert not model.language_model._forward_pre_hooks
    assert result.plot_path.read_bytes().startswith(b"\x89PNG")
    assert LossHistory.read(result.history_path) == result.history


def test_the_saved_model_is_the_trained_one(records, tmp_path):
    model, processor = small_model()
    train(model, processor, records, tmp_path, quick(steps=2))
    loaded, _ = facekit.load(tmp_path)
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize(
    "parts", [("connector",), ("language_model",), ("connector", "language_model"), ("encoder", "connector")]
)
def test_only_the_named_parts_learn(records, tmp_path, parts):
    model, processor = small_model()
    before = snapshot(model)
    train(model, processor, records, tmp_path, quick(steps=1, parts=parts, warmup=0.0))
    assert changed_parts(before, model) == set(parts)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(records, tmp_path):
    settings = quick(steps=12, landmark_noise=0.01, batch_size=16)
    whole = train(*small_model("region"), records, tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        train(*small_model("region"), records, tmp_path / "cut", settings, callbacks=[At(7, interrupt)])
    resumed = train(*small_model("region"), records, tmp_path / "cut", settings, resume=True)
    assert resumed.resumed_from == 6
    assert resumed.history.steps == list(range(1, 13))
    assert resumed.history.losses == whole.history.losses
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_resuming_a_finished_run_only_loads_it(records, tmp_path):
    settings = quick(steps=2)
    model, processor = small_model()
    train(model, processor, records, tmp_path, settings)
    again, _ = small_model()
    result = train(again, processor, records, tmp_path, settings, resume=True)
    assert (result.resumed_from, result.steps) == (2, 2)
    assert len(result.history.points) == 2
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_resuming_with_other_settings_is_refused_naming_them(records, tmp_path):
    train(*small_model(), records, tmp_path, quick(steps=2))
    with pytest.raises(ConfigurationError, match=r"learning_rate was 0\.001 and is 0\.002"):
        train(*small_model(), records, tmp_path, quick(steps=2, learning_rate=2e-3), resume=True)
    with pytest.raises(ConfigurationError, match="seed was 0 and is 7"):
        train(*small_model(), records, tmp_path, quick(steps=2, seed=7), resume=True)
    result = train(*small_model(), records, tmp_path, quick(steps=2, log_every=2), resume=True)
    assert result.resumed_from == 2


def test_a_fresh_start_never_deletes_an_earlier_run(records, tmp_path):
    train(*small_model(), records, tmp_path, quick(steps=4))
    before = sorted(path.name for path in (tmp_path / "training").glob("checkpoint-*"))
    with pytest.raises(ConfigurationError, match="resume it, or choose another folder"):
        train(*small_model(), records, tmp_path, quick(steps=3))
    assert sorted(path.name for path in (tmp_path / "training").glob("checkpoint-*")) == before


def test_kept_tokens_train_as_pixels_do(records, tmp_path):
    with_pixels = train(*small_model("region"), records, tmp_path / "a", quick(steps=3))
    with_tokens = train(*small_model("region"), records, tmp_path / "b", quick(steps=3, cache_features=True))
    assert with_tokens.history.losses == pytest.approx(with_pixels.history.losses, abs=1e-5)


def test_the_seed_decides_the_run(records, tmp_path):
    losses = [
        train(*small_model(), records, tmp_path / str(n), quick(steps=3, seed=seed)).history.losses
        for n, seed in enumerate((0, 0, 1))
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_encoder_may_have_its_own_rate(records, tmp_path):
    model, processor = small_model()
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


@pytest.mark.parametrize("accumulation", [1, 2])
def test_gradients_are_clipped_to_their_largest_norm(records, tmp_path, accumulation):
    def norms(name, **values):
        found = []

        class Measure(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
                gradients = [value.grad for value in model.parameters() if value.grad is not None]
                found.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())

        settings = quick(steps=2, batch_size=4, accumulation=accumulation, warmup=0.0, **values)
        train(*small_model(), records, tmp_path / name, settings, callbacks=[Measure()])
        return found

    free = norms("free", gradient_clipping=0.0)
    assert norms("clipped", gradient_clipping=0.01) == pytest.approx([0.01, 0.01], rel=1e-3)
    assert min(free) > 0.1
    assert norms("loose", gradient_clipping=1000.0) == pytest.approx(free, rel=1e-5)


def test_the_rate_warms_up_and_falls_on_a_cosine(records, tmp_path):
    result = train(*small_model(), records, tmp_path, quick(steps=10, warmup=0.2))
    rates = [point.learning_rate for point in result.history.points]
    assert rates.index(max(rates)) == 2
    assert rates[0] == 0.0
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.1 * rates[2]


def test_epochs_count_passes_over_the_records(records, tmp_path):
    settings = TrainingSettings(epochs=0.5, batch_size=16, log_every=1, threads=1)
    assert train(*small_model(), records, tmp_path, settings).steps == 2


def test_records_are_taken_by_path_and_bad_ones_refused(records, tmp_path):
    path = shutil.copytree(records.folder, tmp_path / "faces") / "records.jsonl"
    assert train(*small_model(), path, tmp_path / "run", quick(steps=1)).steps == 1
    with pytest.raises(RecordError, match="no records"):
        train(*small_model(), RecordSet((), tmp_path), tmp_path / "run", quick())
    with pytest.raises(RecordError, match="missing"):
        train(*small_model(), tmp_path / "missing.jsonl", tmp_path / "run", quick())


def test_packed_rows_train_as_rows_of_one_example_do(records, tmp_path):
    options = {"steps": 3, "independent_turns": True}
    apart = train(*small_model("region"), records, tmp_path / "a", quick(**options))
    rows = train(*small_model("region"), records, tmp_path / "b", quick(row_tokens=700, **options))
    assert rows.history.losses == pytest.approx(apart.history.losses, abs=1e-5)


@pytest.mark.parametrize("independent", [False, True])
def test_logits_of_all_tokens_train_as_those_of_labelled_ones_do(records, tmp_path, independent):
    options = {"steps": 3, "independent_turns": independent}
    some = train(*small_model(), records, tmp_path / "a", quick(**options))
    all_of_them = train(*small_model(), records, tmp_path / "b", quick(logits="all", **options))
    assert some.history.losses == pytest.approx(all_of_them.history.losses, abs=1e-5)


@pytest.mark.parametrize("average", ["token", "sample"])
def test_accumulated_batches_train_as_one_batch_does(records, tmp_path, average):
    options = {"steps": 3, "independent_turns": True, "loss_average": average}
    one = train(*small_model(), records, tmp_path / "a", quick(batch_size=8, **options))
    four = train(*small_model(), records, tmp_path / "b", quick(batch_size=2, accumulation=4, **options))
    assert four.history.losses == pytest.approx(one.history.losses, abs=1e-5)


def test_gradient_checkpointing_trains_the_same_and_is_switched_off_again(records, tmp_path):
    model, processor = small_model()
    plain = train(*small_model(), records, tmp_path / "a", quick(steps=3))
    sparing = train(model, processor, records, tmp_path / "b", quick(steps=3, gradient_checkpointing=True))
    assert sparing.history.losses == pytest.approx(plain.history.losses, abs=1e-6)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_what_packing_cannot_do_is_told_before_training(records, tmp_path):
    model, processor = small_model()
    model.config.text_config._attn_implementation = "flash_attention_2"
    with pytest.raises(ConfigurationError, match="flash_attention_2"):
        train(model, processor, records, tmp_path, quick(independent_turns=True))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="fused_loss needs a GPU"):
            train(*small_model(), records, tmp_path, quick(fused_loss=True))


def test_a_device_without_enough_memory_says_what_to_change(records, tmp_path):
    class Exhausted(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingError, match="batch_size to 4 and accumulation to 2, or set gradient_checkpointing"):
        train(*small_model(), records, tmp_path, quick(), callbacks=[Exhausted()])
    odd = quick(batch_size=3, max_tokens=500)
    with pytest.raises(TrainingError, match=r"batch_size to 1 and accumulation to 3, .* or lower max_tokens \(500\)"):
        train(*small_model(), records, tmp_path / "odd", odd, callbacks=[Exhausted()])


def test_parts_of_parts_learn_at_their_own_rates(records, tmp_path):
    model, processor = small_model("region")
    before, tables = snapshot(model), []
    rates = {"connector.region": 1e-4, "language_model": 1e-6}
    settings = quick(steps=1, warmup=0.0, learning_rate=1e-2, learning_rates=rates)
    train(model, processor, records, tmp_path, settings, on_parts=tables.append)
    largest = {}
    for name, value in model.named_parameters():
        part = ".".join(name.split(".")[:2])
        largest[part] = max(largest.get(part, 0.0), (value - before[name]).abs().max().item())
    assert largest["connector.vision_projector"] == pytest.approx(1e-2, rel=0.1)
    assert largest["connector.cross_attention"] == pytest.approx(1e-4, rel=0.1)
    assert 0 < largest["language_model.model"] < 1e-5
    shown = {part.name: part.learning_rate for part in tables[0]}
    assert shown == {"encoder": None, "connector": None, "language_model": 1e-6, "connector.region": 1e-4}


@pytest.mark.parametrize("parts", [("connector", "language_model"), ("connector.region",), ("llm.lora",)])
def test_a_bfloat16_model_learns_in_float32_and_keeps_its_type(records, tmp_path, parts):
    model, processor = small_model("region")
    set_dtype(model, torch.bfloat16)
    seen = set()

    class LookAtTypes(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen.update((value.requires_grad, value.dtype) for value in model.parameters())

    settings = quick(steps=2, precision="bfloat16", parts=parts, independent_turns=True)
    result = train(model, processor, records, tmp_path, settings, callbacks=[LookAtTypes()])
    assert seen == {(True, torch.float32), (False, torch.bfloat16)}
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert result.history.losses[-1] < 10.0


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json"])
def test_a_model_that_was_not_trained_there_is_never_replaced(records, tmp_path, name):
    (tmp_path / name).write_text("{}")
    for resume in (False, True):
        with pytest.raises(ConfigurationError, match="holds a model that was not trained there"):
            train(*small_model(), records, tmp_path, quick(), resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("values", "steps"), [({}, 20), ({"group_batches": True}, 20), ({"accumulation": 2}, 10)])
def test_the_rate_rises_over_its_share_of_the_steps_where_batches_are_not_full(records, tmp_path, values, steps):
    settings = quick(steps=None, epochs=10, batch_size=32, warmup=0.5, schedule="linear", **values)
    result = train(*small_model(), records.select(range(33)), tmp_path, settings)
    rates = [point.learning_rate for point in result.history.points]
    assert result.steps == len(rates) == steps
    assert rates.index(max(rates)) in (steps // 2 - 1, steps // 2)


def test_a_tenth_of_the_run_lies_between_checkpoints_where_batches_are_not_full(records, tmp_path):
    settings = quick(steps=None, epochs=10, batch_size=32, save_every=None, keep_checkpoints=50)
    train(*small_model(), records.select(range(33)), tmp_path, settings)
    assert len(list((tmp_path / "training").glob("checkpoint-*"))) == 10
