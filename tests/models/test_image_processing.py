"""Finding, cropping and normalising faces on the way to the model."""

from __future__ import annotations

import copy
import functools
import http.server
import pickle
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from video_files import write_video

from facekit.encoders.transform import ImageTransform
from facekit.errors import ConfigurationError, FaceNotFoundError, UnknownPartError, VideoError
from facekit.faces import DetectedFace, Landmarker
from facekit.models import FaceKitImageProcessor


class CentreLandmarker(Landmarker):
    """Sees one face in the middle third of a picture that is not black."""

    built = 0

    @classmethod
    def from_spec(cls, argument=None, **options):
        cls.built += 1
        return cls()

    def find_faces(self, image):
        if np.asarray(image).max() == 0:
            return []
        width, height = image.size
        low, high = np.array([width, height]) / 3, np.array([width, height]) * 2 / 3
        ramp = np.linspace(0, 1, 68)[:, None]
        return [DetectedFace((*low, *high), 1.0, low + ramp * (high - low))]


@pytest.fixture
def processor(registry):
    registry.register("landmarker", "centre", CentreLandmarker)
    return FaceKitImageProcessor.from_transform(ImageTransform(32), landmarker="centre")


@pytest.fixture
def photograph():
    pixels = np.random.default_rng(0).integers(1, 256, (180, 240, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_face_is_cropped_and_its_landmarks_go_along(processor, photograph):
    inputs = processor([photograph])
    assert inputs["pixel_values"].shape == (1, 1, 3, 32, 32)
    landmarks = inputs["landmarks"][0, 0]
    face = processor.prepare(photograph)
    np.testing.assert_allclose(landmarks, face.landmarks)
    assert face.image.size[0] == face.image.size[1]
    first = face.to_picture(face.landmarks)[0]
    np.testing.assert_allclose(first, [80, 60], atol=0.1)
    torch.testing.assert_close(inputs["pixel_values"][0, 0], processor.transform(face.image))


def test_every_face_of_a_picture_is_cropped_as_the_largest_is_and_without_one_there_is_none(processor, photograph):
    (face,) = processor.find_faces(photograph)
    prepared = processor.prepare(photograph)
    assert face.box == prepared.box
    assert np.array_equal(face.landmarks, prepared.landmarks)
    assert np.array_equal(np.asarray(face.image), np.asarray(prepared.image))
    assert processor.find_faces(Image.new("RGB", (60, 60))) == []
    processor.landmarker = None
    assert processor.find_faces(photograph) == []


def test_a_larger_margin_takes_in_more_of_the_picture(processor, photograph):
    narrow = processor.prepare(photograph)
    processor.crop_margin = 0.5
    wide = processor.prepare(photograph)
    assert wide.image.size[0] == pytest.approx(narrow.image.size[0] * 2 / 1.5, abs=2)


def test_the_landmarker_is_loaded_once_and_only_when_needed(processor, photograph, points):
    before = CentreLandmarker.built
    processor(photograph.crop((0, 0, 100, 100)), landmarks=[points])
    assert CentreLandmarker.built == before
    processor([photograph, photograph])
    processor([photograph])
    assert CentreLandmarker.built == before + 1


def test_another_landmarker_can_be_set(processor, photograph):
    processor.prepare(photograph)
    processor.landmarker = "centred"
    with pytest.raises(UnknownPartError, match="did you mean 'centre'"):
        processor.prepare(photograph)


def test_a_loaded_landmarker_is_neither_saved_nor_copied(processor, photograph):
    processor.prepare(photograph)
    assert not any(name.startswith("_") for name in processor.to_dict())
    for twin in (copy.deepcopy(processor), pickle.loads(pickle.dumps(processor))):
        assert twin._loaded_landmarker is None
        np.testing.assert_allclose(twin.prepare(photograph).landmarks, processor.prepare(photograph).landmarks)


def test_no_face_is_an_error_or_the_whole_picture(processor):
    black = Image.new("RGB", (60, 40))
    with pytest.raises(FaceNotFoundError, match="no face was found"):
        processor([black])
    processor.on_no_face = "whole-image"
    inputs = processor([black])
    assert inputs["landmarks"].isnan().all()
    assert inputs["pixel_values"].isfinite().all()


def test_nested_lists_are_taken_in_order(processor, picture, points):
    other = picture.rotate(90)
    nested = processor([[picture], [], [other, picture]], landmarks=[points] * 3)["pixel_values"]
    flat = processor([picture, other, picture], landmarks=[points] * 3)["pixel_values"]
    assert torch.equal(nested, flat)


def test_landmarks_on_a_picture_that_is_not_square_are_refused(processor, photograph, points):
    with pytest.raises(ConfigurationError, match="square crop, but the picture is 240 x 180"):
        processor(photograph, landmarks=[points])
    assert processor(photograph, landmarks=[None])["landmarks"].isnan().all()


def test_clips_are_cropped_frame_by_frame_or_by_one_square(processor, photograph):
    black = Image.new("RGB", photograph.size)
    clip = processor.prepare_clip([photograph, black, photograph])
    face = processor.prepare(photograph)
    assert [frame.box for frame in clip.frames] == [face.box] * 3
    assert [frame.landmarks is None for frame in clip.frames] == [False, True, False]
    assert processor.prepare_clip(clip) is clip
    inputs = processor(videos=[[photograph, black, photograph], [photograph]])
    assert inputs["num_frames"].tolist() == [3, 1]
    assert inputs["landmarks"].isfinite().all(dim=(2, 3)).tolist() == [[True, False, True], [True, False, False]]
    processor.crop_per_frame = False
    assert len({frame.box for frame in processor.prepare_clip([photograph, black, photograph]).frames}) == 1
    assert len(processor.prepare_clip([photograph] * 9, 3).frames) == 3
    with pytest.raises(FaceNotFoundError, match="in any of 2 frames"):
        processor(videos=[black, black])


def test_a_video_at_an_address_is_fetched(processor, photograph, tmp_path):
    write_video(tmp_path / "film.mp4", [photograph] * 4)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        fetched = processor(videos=f"{address}/film.mp4", num_frames=2)
        with pytest.raises(VideoError, match=r"missing\.mp4' cannot be fetched"):
            processor(videos=f"{address}/missing.mp4")
        server.shutdown()
    expected = processor(videos=tmp_path / "film.mp4", num_frames=2)
    assert torch.equal(fetched["pixel_values"], expected["pixel_values"])


def test_whole_pictures_stay_whole_through_saving(tmp_path, photograph):
    for landmarker in (None, "none"):
        processor = FaceKitImageProcessor(32, landmarker=landmarker)
        processor.save_pretrained(tmp_path)
        again = FaceKitImageProcessor.from_pretrained(tmp_path)
        assert processor.landmarker is None
        assert again.landmarker is None
        assert again.to_dict() == processor.to_dict()
        assert again.prepare(photograph).box == (0, 0, *photograph.size)
    processor.landmarker = "dlib"
    processor.save_pretrained(tmp_path)
    assert FaceKitImageProcessor.from_pretrained(tmp_path).landmarker == "dlib"


def test_a_processor_is_saved_after_its_landmarker_was_used_though_that_cannot_be_copied(tmp_path):
    processor = FaceKitImageProcessor()
    processor._loaded_landmarker = ("dlib", threading.Lock())
    before = FaceKitImageProcessor().to_dict()
    assert processor.to_dict() == before
    processor.save_pretrained(tmp_path)
    assert processor._loaded_landmarker is not None
