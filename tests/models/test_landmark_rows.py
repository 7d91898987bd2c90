"""Landmarks inside pixel_values: exact there and back, and the model answers the same."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facekit.errors import ConfigurationError
from facekit.models.landmark_rows import add_landmark_rows, count_landmark_rows, split_landmark_rows


@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from([16, 32, 45, 46, 48, 224]), st.data())
def test_rows_hold_landmarks_and_lengths_to_the_bit(media, frames, size, data):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(media, frames, 3, size, size, generator=generator)
    landmarks = torch.rand(media, frames, 68, 2, generator=generator)
    landmarks[0, 0] = float("nan")
    lengths = torch.tensor([data.draw(st.integers(1, frames)) for _ in range(media)])
    packed = add_landmark_rows(pixels, landmarks, lengths)
    assert packed.shape[-2:] == (size + count_landmark_rows(size), size)
    split = split_landmark_rows(packed)
    assert torch.equal(split.pixel_values, pixels)
    torch.testing.assert_close(split.landmarks, landmarks, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(lengths if split.num_frames is None else split.num_frames, lengths)
    assert (split.num_frames is None) == bool((lengths == frames).all())


def test_square_pixels_have_no_rows():
    pixels = torch.zeros(1, 1, 3, 48, 48)
    assert split_landmark_rows(pixels) == (pixels, None, None)


def test_pixels_of_another_height_are_refused():
    with pytest.raises(ConfigurationError, match="50 by 48; a picture is square, or has 1 rows of landmarks below it"):
        split_landmark_rows(torch.zeros(1, 1, 3, 50, 48))


@pytest.fixture
def pair(small, picture, points, chat):
    """A model, and the same prompt with landmarks beside the pixels and inside them."""
    model, processor = small
    chats = [chat("Old?"), chat("Which expression does this face show?")]
    options = {"images": [picture, picture], "text": chats, "landmarks": [points, None]}
    beside = processor(**options)
    processor.landmarks_in_pixels = True
    return model.eval(), beside, processor(**options)


def test_the_processor_writes_them_where_it_is_asked(pair):
    _, beside, inside = pair
    assert set(inside) == {"input_ids", "attention_mask", "pixel_values"}
    split = split_landmark_rows(inside["pixel_values"])
    torch.testing.assert_close(split.landmarks, beside["landmarks"], rtol=0, atol=0, equal_nan=True)


def test_the_model_reads_them_in_forward_and_in_generate(pair):
    model, beside, inside = pair
    with torch.no_grad():
        assert torch.equal(model(**inside).logits, model(**beside).logits)
        options = {"max_new_tokens": 6, "do_sample": False, "num_return_sequences": 2, "num_beams": 2}
        assert torch.equal(model.generate(**inside, **options), model.generate(**beside, **options))
        without = model(**{name: value for name, value in beside.items() if name != "landmarks"}).logits
    assert not torch.equal(without[0], model(**inside).logits[0])


def test_clips_keep_their_lengths(compose, frames):
    model, processor = compose()
    texts = ["<video> Who?", "<image> Old?"]
    options = {"images": [frames[0]], "videos": [frames], "landmarks": [None], "video_landmarks": [None], "text": texts}
    beside = processor(**options)
    processor.landmarks_in_pixels = True
    with torch.no_grad():
        assert torch.equal(model(**processor(**options)).logits, model(**beside).logits)


def test_lost_landmarks_are_said_in_one_line_once(pair, caplog):
    model, beside, inside = pair
    lost = {name: value for name, value in beside.items() if name != "landmarks"}
    with caplog.at_level(logging.WARNING), torch.no_grad():
        model(**beside)
        model(**inside)
        assert caplog.text == ""
        model(**lost)
        model(**lost)
    (record,) = caplog.records
    assert "without landmarks, so RegionConnector sees no face geometry" in record.getMessage()
    assert "processor.landmarks_in_pixels = True" in record.getMessage()


def test_a_connector_without_geometry_misses_none(compose, picture, chat, caplog):
    model, processor = compose(connector="mlp")
    inputs = processor(images=picture, text=chat(), landmarks=[None])
    with caplog.at_level(logging.WARNING), torch.no_grad():
        model(**{name: value for name, value in inputs.items() if name != "landmarks"})
    assert caplog.text == ""


@pytest.fixture(scope="module")
def frames():
    return [np.random.default_rng(index).integers(0, 255, (48, 48, 3), dtype=np.uint8) for index in range(3)]
