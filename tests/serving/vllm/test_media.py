"""Pictures and clips of an engine's requests: faces found, or landmarks of the request; no engine is needed."""

from __future__ import annotations

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

from facekit.errors import ConfigurationError, FaceNotFoundError
from facekit.models.image_processing import FaceKitImageProcessor
from facekit.models.sessions import MediumTensors
from facekit.serving.vllm.media import blank_landmarks, prepare_media, read_landmarks

POINTS = np.random.default_rng(0).uniform(0.2, 0.8, (68, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def processor():
    return FaceKitImageProcessor(image_size=48, num_frames=3)


@pytest.fixture(scope="module")
def portrait():
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture
def blank():
    return Image.new("RGB", (64, 64), "white")


def test_faces_are_found_as_the_checkpoints_own_processor_finds_them(processor, portrait):
    found = prepare_media(processor, "image", [portrait], {})
    expected = processor(portrait)
    assert torch.equal(found["pixel_values"][0], expected["pixel_values"][0])
    assert torch.equal(found["landmarks"][0], expected["landmarks"][0])
    assert found["pixel_values"][0].shape == (1, 3, 48, 48)


def test_landmarks_of_a_request_belong_to_their_picture_and_null_asks_for_the_landmarker(processor, portrait, blank):
    found = prepare_media(processor, "image", [blank, portrait], {"landmarks": [POINTS.tolist(), None]})
    assert np.array_equal(found["landmarks"][0][0], POINTS)
    assert torch.equal(found["landmarks"][1], processor(portrait)["landmarks"][0])


def test_a_clip_has_as_many_frames_as_the_checkpoint_or_the_request_says(processor, portrait):
    clip = np.stack([np.asarray(portrait.resize((128, 128)))] * 6)
    shapes = POINTS[None].repeat(6, axis=0)
    for options, frames in ({}, 3), ({"num_frames": 2}, 2):
        given = {"video_landmarks": [shapes.tolist()], **options}
        found = prepare_media(processor, "video", [torch.from_numpy(clip)], given)
        assert found["pixel_values"][0].shape == (frames, 3, 48, 48)
        assert np.array_equal(found["landmarks"][0], shapes[:frames])


def test_a_picture_without_a_face_follows_the_rule_of_the_checkpoint_or_the_request(processor, blank, caplog):
    with pytest.raises(FaceNotFoundError, match="no face was found"):
        prepare_media(processor, "image", [blank], {})
    found = prepare_media(processor, "image", [blank], {"on_no_face": "whole-image"})
    assert torch.isnan(found["landmarks"][0]).all()
    assert "no face was found in picture [1] of a request; it is seen whole" in caplog.text
    assert processor.on_no_face == "raise", "one request's rule is not the next one's"


def test_nothing_is_looked_for_in_what_memory_is_measured_with(processor, blank, caplog):
    found = prepare_media(processor, "image", [blank], {"landmarks": [blank_landmarks("image", 1)]})
    assert torch.isnan(found["landmarks"][0]).all()
    clip = np.full((3, 64, 64, 3), 255, dtype=np.uint8)
    found = prepare_media(processor, "video", [clip], {"video_landmarks": [blank_landmarks("video", 3)]})
    assert found["pixel_values"][0].shape == (3, 3, 48, 48)
    assert not caplog.records


def test_what_is_prepared_already_is_taken_as_it_is(processor):
    tensors = MediumTensors(torch.rand(1, 3, 48, 48), torch.rand(1, 68, 2))
    found = prepare_media(processor, "image", [tensors], {})
    assert found["pixel_values"][0] is tensors.pixel_values


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"landmark": []}, "there is no option 'landmark' of pictures"),
        ({"on_no_face": "guess"}, "on_no_face is one of raise, whole-image, not 'guess'"),
        ({"landmarks": [None, None]}, "there are 1 pictures and landmarks for 2"),
        ({"landmarks": [[0.5, 0.5]]}, "an entry of landmarks has shape"),
        ({"landmarks": ["nose"]}, "an entry of landmarks is null or 68 points"),
        ({"landmarks": [(100 * POINTS).tolist()]}, "landmarks must be in"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_one_sentence(processor, blank, options, words):
    with pytest.raises(ConfigurationError, match=words):
        prepare_media(processor, "image", [blank], options)


def test_equal_landmarks_have_equal_bytes_however_they_were_written():
    assert read_landmarks("image", POINTS.tolist()).tobytes() == POINTS.tobytes()
    assert read_landmarks("video", [POINTS.tolist()] * 2).shape == (2, 68, 2)
    assert read_landmarks("image", None) is None
