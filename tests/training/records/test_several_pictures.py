"""Records of one picture, of several and of none train together, with every connector, on pixels and on kept tokens."""

from __future__ import annotations

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

import facekit
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.records import FaceRecord, Turn
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import TrainingSettings, train

CONNECTORS = (
    "mlp", "region", "region-released", "landmark-tokens", "pixel-shuffle", "resampler?num_tokens=4&num_heads=2",
)  # fmt: skip


def turns(*said):
    return [Turn(role=("user", "assistant")[index % 2], content=words) for index, words in enumerate(said)]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Six records: pictures, pairs with the pictures in three ways, and text alone."""
    drawn = RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 5, seed=2, image_size=64))
    single = [record.model_copy(update={"id": f"single-{index}"}) for index, record in enumerate(drawn.records[:2])]
    one, other = drawn.records[2:4]
    pair = {"images": [one.image, other.image], "landmarks": [one.landmarks, other.landmarks]}
    return RecordSet(
        (
            *single,
            FaceRecord(id="pair", conversations=turns("Same?", "No.", "Older?", "One."), independent_questions=True,
                       **pair),
            FaceRecord(id="between", conversations=turns("Is <image> like <image>?", "No."), **pair),
            FaceRecord(id="later", conversations=turns("<image>\nSmiling?", "Yes.", "<image>\nHere?", "No."), **pair),
            FaceRecord(id="text", conversations=turns("Name a colour.", "Red.", "Another?", "Blue."),
                       independent_questions=True),
        ),
        drawn.folder,
    )  # fmt: skip


def fresh_model(connector="region"):
    return facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector=connector, backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )  # fmt: skip


def settings(**values):
    return TrainingSettings(**{"steps": 3, "batch_size": 6, "log_every": 1, "threads": 1, "warmup": 0.0, **values})


def plain_losses(records, connector, *, parts=("connector", "language_model")):
    """Losses of a loop that knows nothing of batches: one forward pass per record, AdamW on the sum of token losses."""
    model, processor = fresh_model(connector)
    dataset = FaceDataset(records, processor, DatasetOptions(seed=0))
    groups = [
        {"params": [value for name, value in model.named_parameters() if name.startswith(parts) and keep(value)],
         "weight_decay": decay}
        for keep, decay in ((lambda value: value.ndim > 1, 0.01), (lambda value: value.ndim < 2, 0.0))
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))
    schedule = get_cosine_schedule_with_warmup(optimizer, 0, 3)
    losses = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        batches = [FaceCollator(0)([dataset[index]]) for index in range(len(records))]
        total = sum(int((batch["labels"] != -100).sum()) for batch in batches)
        summed = sum(model(**batch).loss * int((batch["labels"] != -100).sum()) for batch in batches) / total
        optimizer.zero_grad()
        summed.backward()
        torch.nn.utils.clip_grad_norm_([value for group in groups for value in group["params"]], 1.0)
        optimizer.step()
        schedule.step()
        losses.append(summed.item())
    return losses


@pytest.mark.parametrize("connector", CONNECTORS)
def test_losses_are_those_of_a_plain_loop_on_pixels_and_on_kept_tokens(records, tmp_path, connector):
    expected = plain_losses(records, connector)
    kept = {"memory": {"cache_features": True}, "disk": {"feature_cache": tmp_path / "cache"}, "pixels": {}}
    for name, chosen in kept.items():
        result = train(*fresh_model(connector), records, tmp_path / name, settings(**chosen))
        assert result.history.losses == pytest.approx(expected, abs=2e-6), name
        assert result.skipped == {}


@pytest.mark.parametrize("chosen", [{}, {"row_tokens": 400}, {"group_batches": True, "batch_size": 2, "steps": 4}])
def test_packed_questions_learn_alike_on_pixels_and_on_kept_tokens(records, tmp_path, chosen):
    packed = {"independent_turns": True, "landmark_noise": 0.01, **chosen}
    losses = {
        name: train(*fresh_model(), records, tmp_path / name, settings(**packed, **kept)).history.losses
        for name, kept in (("pixels", {}), ("memory", {"cache_features": True}))
    }
    assert losses["memory"] == pytest.approx(losses["pixels"], abs=2e-6)
    assert losses["pixels"][-1] < losses["pixels"][0]


def test_a_batch_of_text_alone_leaves_the_connector_as_it_is(records, tmp_path):
    text = records.select([5])
    model, processor = fresh_model()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    train(model, processor, text, tmp_path / "all", settings(steps=1, batch_size=1))
    changed = {
        name.partition(".")[0] for name, value in model.named_parameters() if not torch.equal(before[name], value)
    }
    assert changed == {"language_model"}
    model, processor = fresh_model()
    result = train(model, processor, text, tmp_path / "alone", settings(steps=1, batch_size=1, parts=("connector",)))
    assert result.steps == 1, "nothing can be learned of it, which ends no run"
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())


def test_spare_pixels_change_nothing_but_that_the_connector_has_gradients(records):
    model, processor = fresh_model()
    batch = FaceCollator(0)([FaceDataset(records, processor)[5]])
    plain = model(**batch)
    spare = model(**batch, spare_pixels=torch.zeros(1, 1, 3, 64, 64))
    assert torch.equal(plain.logits, spare.logits)
    spare.loss.backward()
    gradients = [value.grad for value in model.connector.parameters()]
    assert all(gradient is None or not gradient.any() for gradient in gradients)
    assert any(gradient is not None for gradient in gradients)


def test_clips_have_the_encoder_of_clips_in_memory_too(records, tmp_path):
    frames = records.records[2].images
    clip = FaceRecord(id="clip", video=frames, conversations=turns("Fake?", "No."))
    mixed = RecordSet((*records.records[:3], clip), records.folder)

    def run(name, **chosen):
        model, processor = facekit.create(
            encoder="tiny?image_size=64&width=32&depth=1", connector="mlp", backbone="tiny?width=48&depth=1&heads=2",
            video_encoder="tiny?image_size=64&width=32&depth=2", seed=0,
        )  # fmt: skip
        return train(model, processor, mixed, tmp_path / name, settings(batch_size=4, **chosen)).history.losses

    assert run("memory", cache_features=True) == pytest.approx(run("pixels"), abs=2e-6)
