"""LanguageBind's towers in one model through ``create``: pictures to the image tower, clips to the video tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

import facekit
from facekit.errors import ConfigurationError

RELEASED = Path(__file__).parents[1] / "data" / "face_llava_tiny"
IMAGE = f"languagebind:{RELEASED / 'LanguageBind' / 'LanguageBind_Image'}?class_token=false"
VIDEO = f"languagebind:{RELEASED / 'LanguageBind' / 'LanguageBind_Video_merge'}"
CONNECTOR = "region-released?num_heads=8&keep_prefix_tokens=true"


@pytest.fixture(scope="module")
def composed():
    return facekit.create(
        encoder=IMAGE, video_encoder=VIDEO, connector=CONNECTOR, backbone="tiny?width=64&depth=1&heads=4", seed=0
    )


@pytest.fixture(scope="module")
def expected():
    return load_file(RELEASED / "expected.safetensors")


def frames(seed, count):
    drawn = np.random.default_rng(seed)
    return [Image.fromarray(drawn.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(count)]


def shapes(seed, count):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (count, 68, 2)).astype(np.float32)


def question(kind):
    return [{"role": "user", "content": [{"type": kind}, {"type": "text", "text": "Age?"}]}]


def test_each_tower_and_the_connector_give_the_released_tensors(composed, expected):
    model, processor = composed
    assert (model.tokens_per_frame, model.tokens_per_video_frame) == (16, 17)
    assert (processor.tokens_per_frame, processor.tokens_per_video_frame) == (16, 17)
    released, _ = facekit.load(RELEASED / "FaceLLaVA-tiny", tower_root=RELEASED)
    before = model.connector.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    model.connector.load_state_dict(released.connector.state_dict())
    with torch.no_grad():
        pictures = model.get_image_features(
            expected["image_pixels"].unsqueeze(1), expected["image_landmarks"].unflatten(-1, (68, 2)).unsqueeze(1)
        )
        clips = model.get_image_features(
            expected["video_pixels"].transpose(1, 2), expected["video_landmarks"].unflatten(-1, (68, 2))
        )
    model.connector.load_state_dict(before)
    torch.testing.assert_close(pictures, expected["enriched_image_tokens"], rtol=0, atol=1e-4)
    torch.testing.assert_close(clips, expected["enriched_video_tokens"].flatten(1, 2), rtol=0, atol=1e-4)


def test_a_clip_of_another_length_gets_its_temporal_embeddings_by_resampling(composed):
    """Seven frames of a tower trained on four: the same as a tower whose tables were resampled before."""
    model, _ = composed
    pixels = torch.randn(1, 7, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    other, _ = facekit.create(
        encoder=IMAGE, video_encoder=VIDEO, connector=CONNECTOR, backbone="tiny?width=64&depth=1&heads=4", seed=0
    )
    for layer in other.video_encoder.tower.encoder.layers:
        assert layer.temporal_embedding.shape == (1, 4, 32)
        table = layer.temporal_embedding.detach().transpose(1, 2)
        table = F.interpolate(table, size=7, mode="linear", align_corners=True).transpose(1, 2)
        layer.temporal_embedding = torch.nn.Parameter(table)
    with torch.no_grad():
        found, wanted = model.get_image_features(pixels), other.get_image_features(pixels)
        alone = torch.cat([model.get_image_features(pixels[:, place : place + 2]) for place in (0, 2)], dim=1)
    assert found.shape == (1, 7 * 17, 64)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert float((found[:, : 4 * 17] - alone).abs().max()) > 1e-3  # frames see one another


def test_a_batch_of_a_picture_and_two_clips_learns_and_equals_its_samples_alone(composed):
    model, processor = composed
    samples = [
        (question("image"), {"images": frames(0, 1), "landmarks": shapes(0, 1)}),
        (question("video"), {"videos": [frames(1, 3)], "video_landmarks": [shapes(1, 3)]}),
        (question("video"), {"videos": [frames(2, 5)], "video_landmarks": [None]}),
    ]
    batch = processor(
        text=[chat for chat, _ in samples],
        images=frames(0, 1),
        landmarks=shapes(0, 1),
        videos=[frames(1, 3), frames(2, 5)],
        video_landmarks=[shapes(1, 3), None],
    )
    assert batch["num_frames"].tolist() == [1, 3, 5]
    logits = model(**batch).logits
    for row, (chat, media) in enumerate(samples):
        inputs = processor(text=[chat], **media)
        alone = model(**inputs).logits[0]
        torch.testing.assert_close(logits[row, -len(alone) :], alone, rtol=0, atol=1e-4)
    model.zero_grad()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model(**batch, labels=labels).loss.backward()
    for part in (model.encoder, model.video_encoder, model.connector):
        assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in part.parameters())
    model.zero_grad()


def test_it_answers_about_clips_and_pictures_and_survives_saving(composed, tmp_path):
    model, processor = composed
    for part in composed:
        part.save_pretrained(tmp_path)
    again, other = facekit.load(tmp_path)
    assert (again.config.encoder["name"], again.config.video_encoder["name"]) == ("languagebind", "languagebind")
    assert again.video_encoder.settings.add_time_attn
    assert not again.encoder.settings.add_time_attn
    clip, picture = frames(3, 4), frames(4, 1)[0]
    for medium, landmarks in ((clip, shapes(3, 4)), (picture, shapes(4, 1)[0])):
        answers = facekit.ask(model, processor, medium, ["Age?", "Smile?"], landmarks=landmarks, max_new_tokens=4)
        assert len(answers) == 2
        assert answers == facekit.ask(again, other, medium, ["Age?", "Smile?"], landmarks=landmarks, max_new_tokens=4)


def test_towers_of_different_pixels_are_refused_with_what_they_see():
    with pytest.raises(ConfigurationError, match=r"the encoder sees 56 px of mean \(0.481, .* video encoder 84 px"):
        facekit.create(encoder=IMAGE, video_encoder=f"{VIDEO}?image_size=84", connector=CONNECTOR, backbone="tiny")
