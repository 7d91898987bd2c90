import pytest
import torch

from facekit.encoders.tiny import TinyEncoder
from facekit.training.preferences.repeated_pictures import encoded_once


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TinyEncoder(image_size=32, width=32, depth=1).requires_grad_(False).eval()


@pytest.fixture
def seen(encoder, monkeypatch):
    """How many pictures the encoder has seen at a time."""
    counts, encode = [], encoder.encode_clips
    monkeypatch.setattr(encoder, "encode_clips", lambda clips: counts.append(len(clips)) or encode(clips))
    return counts


def test_a_picture_that_stands_in_a_batch_eight_times_is_encoded_once(encoder, seen):
    faces = torch.randn(3, 1, 3, 32, 32)
    order = torch.tensor([2, 0, 0, 1, 2, 1, 0, 2])
    expected = encoder(faces)[order]
    with encoded_once(encoder):
        tokens = encoder(faces[order])
        again = encoder(faces[order.flip(0)])
    assert seen == [3, 3]
    torch.testing.assert_close(tokens, expected)
    torch.testing.assert_close(again, expected.flip(0))


def test_other_pictures_are_encoded_anew(encoder, seen):
    first, second = torch.randn(2, 2, 1, 3, 32, 32)
    with encoded_once(encoder):
        encoder(first)
        tokens = encoder(second)
    torch.testing.assert_close(tokens, encoder(second))
    assert seen == [2, 2, 2]


def test_pictures_that_differ_in_one_pixel_are_two(encoder):
    faces = torch.randn(1, 1, 3, 32, 32).repeat(3, 1, 1, 1, 1)
    faces[1, 0, 0, 0, 1] += 5.0  # none of the pixels by which they are told apart at first
    expected = encoder(faces)
    with encoded_once(encoder):
        torch.testing.assert_close(encoder(faces), expected)
    assert not torch.equal(expected[0], expected[1])


def test_an_encoder_that_learns_sees_every_picture_and_gets_its_gradients(encoder, seen):
    encoder.requires_grad_(True)
    with encoded_once(encoder):
        tokens = encoder(torch.ones(4, 1, 3, 32, 32))
    assert seen == [4]
    assert tokens.requires_grad


def test_an_encoder_is_as_it_was_afterwards(encoder, seen):
    with pytest.raises(RuntimeError, match="stop"), encoded_once(encoder):
        raise RuntimeError("stop")
    encoder(torch.ones(4, 1, 3, 32, 32))
    assert seen == [4]


def test_what_is_no_encoder_of_pictures_is_left_alone():
    layer = torch.nn.Linear(2, 2)
    with encoded_once(layer):
        assert "forward" not in vars(layer)
