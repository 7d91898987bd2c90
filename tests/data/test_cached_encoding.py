"""Media are known by content, tokens are those of the encoder, and what was kept is not computed again."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from facekit.data.cached_encoding import CachedEncoding, MediaIdentifier, Medium
from facekit.data.feature_cache import FeatureStorage
from facekit.data.records import FaceRecord, Turn
from facekit.encoders.tiny import TinyEncoder
from facekit.errors import ImageError


def encoder(seed):
    torch.manual_seed(seed)
    return TinyEncoder(image_size=32, width=32, depth=1).train()


TRANSFORM = encoder(0).transform


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(b"some bytes")
    (tmp_path / "b.png").write_bytes(b"some other bytes")
    return tmp_path


def key(folder, *, transform=TRANSFORM, num_frames=8, **values):
    return MediaIdentifier(transform, num_frames).identify(FaceRecord(id="x", **values), folder)[0].key


def test_a_medium_is_known_by_its_content_and_how_it_is_seen(folder, tmp_path):
    known = key(folder, image="a.png")
    shutil.copy(folder / "a.png", folder / "moved.png")
    assert key(folder, image="moved.png") == known
    assert key(folder, image="a.png", landmarks=[[0.5, 0.5]] * 68) == known
    others = {
        key(folder, image="b.png"),
        key(folder, image="a.png", transform=replace(TRANSFORM, interpolation="bilinear")),
        key(folder, video="a.png"),
        key(folder, video="a.png", num_frames=4),
        key(folder, video="a.png", frames=[0, 2]),
        key(folder, video=["a.png", "b.png"]),
        key(folder, video=["b.png", "a.png"]),
    }
    assert len(others | {known}) == 8
    assert key(folder, video=["a.png", "b.png"], num_frames=4) in others


def test_a_file_that_changes_is_another_medium_and_one_that_is_missing_is_told(folder):
    identifier = MediaIdentifier(TRANSFORM, 8)
    record = FaceRecord(id="x", image="a.png")
    before = identifier.identify(record, folder)
    assert identifier.identify(record, folder) == before == [Medium(before[0].key, is_clip=False)]
    several = identifier.identify(FaceRecord(id="y", images=["b.png", "a.png"]), folder)
    assert several[1:] == before, "a picture among several is the picture alone"
    assert identifier.identify(FaceRecord(id="z", conversations=[Turn(role="user", content="Hi?")]), folder) == []
    (folder / "a.png").write_bytes(b"something new")
    assert identifier.identify(record, folder) != before
    with pytest.raises(ImageError, match=r"c\.png cannot be read \(No such file"):
        identifier.identify(FaceRecord(id="y", image="c.png"), folder)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_tokens_are_those_of_the_encoder_for_each_length_whether_kept_or_not(tmp_path, dtype):
    image, video = encoder(0), encoder(1)
    pixels = [torch.randn(frames, 3, 32, 32) for frames in (1, 3, 1, 2, 3)]
    media = [Medium(f"{place:032x}", is_clip=len(each) > 1) for place, each in enumerate(pixels)]
    opened = []

    def open_pixels(place):
        opened.append(place)
        return pixels[place]

    encoding = CachedEncoding(image, video, FeatureStorage(tmp_path, 1 << 30, dtype))
    first = encoding.encode(media, open_pixels)
    assert sorted(opened) == [0, 1, 2, 3, 4]
    assert image.training
    with torch.no_grad():
        expected = [(image if len(each) == 1 else video).eval()(each[None])[0] for each in pixels]
    for found, wanted in zip(first, expected, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 if dtype is None else 3e-2)
    encoding.flush()
    again = CachedEncoding(encoder(0), encoder(1), FeatureStorage(tmp_path, 1 << 30, dtype))
    second = again.encode(media, open_pixels)
    assert len(opened) == 5
    assert (encoding.found, encoding.computed, again.found, again.computed) == (0, 5, 5, 0)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    images_alone = CachedEncoding(encoder(0), None, FeatureStorage(tmp_path, 1 << 30, dtype))
    assert len(images_alone.caches[0]) == 2


def test_a_picture_that_a_batch_has_twice_is_encoded_once(tmp_path):
    encoding = CachedEncoding(encoder(0), None, FeatureStorage(tmp_path, 1 << 30))
    pixels = {"a": torch.randn(1, 3, 32, 32), "b": torch.randn(1, 3, 32, 32)}
    names = ["a", "b", "a"]
    first, second, third = encoding.encode(
        [Medium(name, is_clip=False) for name in names], lambda place: pixels[names[place]]
    )
    assert encoding.computed == 2
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


def test_a_video_of_a_single_frame_is_not_kept_among_the_clips_of_another_encoder(tmp_path):
    encoding = CachedEncoding(encoder(0), encoder(1), FeatureStorage(tmp_path, 1 << 30))
    pixels = torch.randn(1, 3, 32, 32)
    (found,) = encoding.encode([Medium("a", is_clip=True)], lambda place: pixels)
    torch.testing.assert_close(found, encoding.encoder.eval()(pixels[None])[0], rtol=0, atol=1e-6)
    assert [len(cache) for cache in encoding.caches] == [0, 0]
    alone = CachedEncoding(encoder(0), None, FeatureStorage(tmp_path, 1 << 30))
    alone.encode([Medium("a", is_clip=True)], lambda place: pixels)
    assert len(alone.caches[0]) == 1
