"""Batches that mix images, clips, text, with and without landmarks, with one encoder or two: each as if alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image
from torch import nn

import facekit
from facekit.encoders.base import VisionEncoder
from facekit.encoders.transform import ImageTransform
from facekit.errors import ConfigurationError


class FrameMixingEncoder(VisionEncoder):
    """An encoder of clips in which every frame sees all others, so that padding frames would be noticed."""

    hidden_size, grid, image_size = 32, (3, 3), 48

    def __init__(self, num_prefix_tokens=2, image_size=48, width=32):
        super().__init__()
        self.num_prefix_tokens, self.image_size, self.hidden_size = num_prefix_tokens, image_size, width
        self.transform = ImageTransform(image_size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.embed = nn.Conv2d(3, width, 16, stride=16)
        self.prefix = nn.Parameter(torch.randn(num_prefix_tokens, width))
        self.mix = nn.Linear(width, width)

    @classmethod
    def from_spec(cls, argument=None, **options):
        return cls(**{name: int(value) for name, value in options.items()})

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def to_config(self):
        return {
            "num_prefix_tokens": self.num_prefix_tokens,
            "image_size": self.image_size,
            "width": self.hidden_size,
        }

    def encode_frames(self, frames):
        patches = rearrange(self.embed(frames), "f c rows cols -> f (rows cols) c")
        return torch.cat([self.prefix.expand(len(frames), -1, -1), patches], dim=1)

    def forward(self, pixel_values):
        tokens = super().forward(pixel_values)
        return tokens + self.mix(tokens.mean(dim=1, keepdim=True)) + tokens.cumsum(dim=1)


def picture(seed, size=64):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def shape(seed):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (68, 2)).astype(np.float32)


def frames_of(seed, count):
    return [picture(100 * seed + place) for place in range(count)]


def shapes_of(seed, count):
    return np.stack([shape(100 * seed + place) for place in range(count)])


def ask_about(words, *media):
    return [{"role": "user", "content": [*({"type": kind} for kind in media), {"type": "text", "text": words}]}]


PARTLY = shapes_of(7, 4)
PARTLY[2] = np.nan
SAMPLES = (
    (ask_about("Age?", "image"), {"images": [picture(1)], "landmarks": [shape(1)]}),
    (ask_about("What happens?", "video"), {"videos": [frames_of(2, 3)], "video_landmarks": [shapes_of(2, 3)]}),
    (ask_about("Are you well today?"), {}),
    (ask_about("Is it forged?", "video"), {"videos": [frames_of(4, 5)], "video_landmarks": [None]}),
    (
        ask_about("The same person?", "video", "image", "image"),
        {
            "images": [picture(5), picture(6)],
            "landmarks": [None, shape(6)],
            "videos": [frames_of(5, 2)],
            "video_landmarks": [shapes_of(5, 2)],
        },
    ),
    (ask_about("Smile?", "image"), {"images": [picture(8)], "landmarks": [None]}),
    (ask_about("Sad?", "video"), {"videos": [frames_of(7, 4)], "video_landmarks": [PARTLY]}),
)


def prepare(processor, samples, **options):
    names = ("images", "landmarks", "videos", "video_landmarks")
    given = {name: [each for _, media in samples for each in media.get(name, [])] for name in names}
    given = {name: values or None for name, values in given.items()}
    return processor(text=[chat for chat, _ in samples], **given, **options)


@pytest.fixture
def build(registry, specs):
    registry.register("encoder", "mixing", FrameMixingEncoder)

    def compose(encoders, connector="region", backbone="tiny"):
        image, video = {
            "one": ("tiny?image_size=48&width=32&depth=1", None),
            "one-mixing": ("mixing", None),
            "two": ("tiny?image_size=48&width=32&depth=1", "mixing"),
        }[encoders]
        model, processor = facekit.create(
            encoder=image, video_encoder=video, connector=f"{connector}?keep_prefix_tokens=true",
            backbone=specs[backbone], seed=0,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        for name, value in model.language_model.named_parameters():
            if value.ndim == 2 and "layers" in name:
                value.data.copy_(torch.randn(value.shape, generator=generator) * 2 / value.shape[1] ** 0.5)
        return model, processor

    return compose


def test_the_batch_is_padded_with_frames_that_are_said_not_to_be_real(build):
    model, processor = build("two")
    batch = prepare(processor, SAMPLES)
    assert batch["num_frames"].tolist() == [1, 3, 5, 2, 1, 1, 1, 4]
    assert batch["pixel_values"].shape == (8, 5, 3, 48, 48)
    assert batch["landmarks"].isfinite().all(dim=(2, 3)).sum(dim=1).tolist() == [1, 3, 0, 2, 0, 1, 0, 3]
    assert (processor.tokens_per_frame, processor.tokens_per_video_frame) == (10, 11)
    tokens = (batch["input_ids"] == processor.image_token_id).sum(dim=1).tolist()
    assert tokens == [10, 33, 0, 55, 22 + 20, 10, 44]
    assert tokens == [
        sum(map(model.count_visual_tokens, frames)) for frames in ([1], [3], [], [5], [2, 1, 1], [1], [4])
    ]


@pytest.mark.parametrize("connector", ["mlp", "region"])
@pytest.mark.parametrize("encoders", ["one", "one-mixing", "two"])
def test_every_sample_of_a_training_batch_equals_itself_alone(build, encoders, connector):
    model, processor = build(encoders, connector)
    together, losses = gradients(model, prepare(processor, SAMPLES, padding_side="right"))
    alone = {name: torch.zeros_like(value) for name, value in together.items()}
    for place, sample in enumerate(SAMPLES):
        single, (loss,) = gradients(model, prepare(processor, [sample]))
        torch.testing.assert_close(losses[place], loss, atol=1e-4, rtol=0)
        for name, value in single.items():
            alone[name] += value
    for name, value in together.items():
        torch.testing.assert_close(value, alone[name], atol=1e-4, rtol=1e-3)
    assert any(name.startswith("video_encoder") for name in together) == (encoders == "two")


def gradients(model, batch):
    """Gradients of the sum of the samples' mean losses, and these losses."""
    model.zero_grad()
    logits = model(**batch).logits
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    losses = torch.stack(
        [
            nn.functional.cross_entropy(row[:-1], label[1:], ignore_index=-100)
            for row, label in zip(logits, labels, strict=True)
        ]
    )
    losses.sum().backward()
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return found, losses.detach()


@pytest.mark.parametrize("backbone", ["tiny", "hf-gemma3"])
@pytest.mark.parametrize("encoders", ["one-mixing", "two"])
def test_every_sample_of_a_generated_batch_equals_itself_alone(build, encoders, backbone):
    model, processor = build(encoders, backbone=backbone)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    batch = prepare(processor, SAMPLES)
    with torch.no_grad():
        logits = model(**batch).logits
        answers = model.generate(**batch, **options)[:, -6:]
        assert len({tuple(answer) for answer in answers.tolist()}) >= 5
        for place, sample in enumerate(SAMPLES):
            single = prepare(processor, [sample])
            length = single["input_ids"].shape[1]
            torch.testing.assert_close(logits[place, -length:], model(**single).logits[0], atol=1e-4, rtol=0)
            assert torch.equal(model.generate(**single, **options)[0, -6:], answers[place])


def test_beams_keep_their_own_clips(build):
    model, processor = build("two")
    options = {"do_sample": False, "num_beams": 2, "max_new_tokens": 4, "min_new_tokens": 4}
    together = model.generate(**prepare(processor, SAMPLES), **options)[:, -4:]
    for place, sample in enumerate(SAMPLES):
        alone = model.generate(**prepare(processor, [sample]), **options)[:, -4:]
        assert torch.equal(alone[0], together[place])


def test_features_of_mixed_media_replace_their_pixels(build):
    model, processor = build("two")
    batch = prepare(processor, SAMPLES)
    features = model.get_image_features(batch["pixel_values"], batch["landmarks"], batch["num_frames"])
    assert features.shape[:2] == (8, 55)
    assert features[0, 10:].abs().max() == 0
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    given = model(**text, image_features=features, num_frames=batch["num_frames"]).logits
    torch.testing.assert_close(given, model(**batch).logits)
    with pytest.raises(ConfigurationError, match="image_features hold 44 tokens each, fewer than num_frames says"):
        model(**text, image_features=features[:, :44], num_frames=batch["num_frames"])


def test_kept_tokens_of_a_frozen_encoder_are_projected_as_pixels_are(build):
    model, _ = build("two")
    for frames in (1, 3):
        pixels, points = torch.randn(2, frames, 3, 48, 48), torch.rand(2, frames, 68, 2)
        tokens = model.encoder_for(frames)(pixels)
        torch.testing.assert_close(model.project_tokens(tokens, points), model.get_image_features(pixels, points))


def test_images_go_to_one_encoder_and_clips_to_the_other(build):
    model, processor = build("two")
    seen = {"encoder": [], "video_encoder": []}
    for name, calls in seen.items():
        getattr(model, name).register_forward_hook(
            lambda _, given, __, calls=calls: calls.append(tuple(given[0].shape[:2]))
        )
    model(**prepare(processor, SAMPLES))
    assert seen == {"encoder": [(4, 1)], "video_encoder": [(1, 2), (1, 3), (1, 4), (1, 5)]}


def test_a_wrong_number_of_frames_is_refused_with_both_costs(build):
    model, processor = build("two")
    batch = prepare(processor, SAMPLES)
    with pytest.raises(ConfigurationError, match=r"\(10 an image, 11 a frame of a clip\)"):
        model(**{**batch, "num_frames": batch["num_frames"].clamp(max=4)})
    with pytest.raises(ConfigurationError, match="num_frames has 6; an image or clip has from 1 to 5"):
        model(**{**batch, "num_frames": batch["num_frames"] + 1})


def test_two_encoders_survive_saving(build, tmp_path):
    model, processor = build("two")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, other = facekit.load(tmp_path)
    assert isinstance(again.video_encoder, FrameMixingEncoder)
    assert other.tokens_per_video_frame == 11
    batch = prepare(other, SAMPLES)
    for name, value in prepare(processor, SAMPLES).items():
        torch.testing.assert_close(batch[name], value, rtol=0, atol=0, equal_nan=True)
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, model(**batch).logits)


def test_checkpoints_from_before_clips_had_an_encoder_load(build, tmp_path):
    model, processor = build("one")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for file, names in (
        ("config.json", ["video_encoder"]),
        ("processor_config.json", ["tokens_per_video_frame", "video_token"]),
    ):
        values = json.loads((tmp_path / file).read_text())
        settings = values.get("image_processor", {})
        for table, keys in ((values, names), (settings, ["num_frames", "crop_per_frame"])):
            for name in keys:
                table.pop(name, None)
        (tmp_path / file).write_text(json.dumps(values))
    again, other = facekit.load(tmp_path)
    assert again.video_encoder is None
    assert other.tokens_per_video_frame == other.tokens_per_frame == 10
    assert (other.video_token, other.image_processor.num_frames, other.image_processor.crop_per_frame) == (
        "<video>",
        8,
        True,
    )
    batch = prepare(other, SAMPLES)
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize(
    ("video_encoder", "message"),
    [
        ("mixing?width=64", "the video encoder has width 64 but the connector's input has width 32"),
        ("mixing?image_size=64", "one processor serves both, so choose two that take the same pixels"),
    ],
)
def test_encoders_that_do_not_fit_each_other_are_refused(registry, video_encoder, message):
    registry.register("encoder", "mixing", FrameMixingEncoder)
    with pytest.raises(ConfigurationError, match=message):
        facekit.create(
            encoder="tiny?image_size=48&width=32&depth=1", video_encoder=video_encoder, connector="mlp", backbone="tiny"
        )
