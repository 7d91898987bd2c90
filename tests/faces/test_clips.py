"""One face through the frames of a clip: followed, cropped, and its place known where it is not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from video_files import write_video

from facekit.errors import ConfigurationError, FaceNotFoundError, VideoError
from facekit.faces import DetectedFace, Landmarker, draw_clip_overlay, prepare_clip
from facekit.faces.clips import follow_face, interpolate_squares, overlap

RED, GREEN = (255, 0, 0), (0, 255, 0)


class ColourLandmarker(Landmarker):
    """Sees a face in each rectangle of pure red or pure green."""

    def __init__(self):
        self.seen = 0

    @classmethod
    def from_spec(cls, argument=None, **options):
        return cls()

    def find_faces(self, image):
        self.seen += 1
        faces = []
        for colour in (RED, GREEN):
            rows, columns = np.nonzero((np.asarray(image) == colour).all(axis=2))
            if len(rows):
                low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
                ramp = np.linspace(0, 1, 68)[:, None]
                faces.append(DetectedFace((*low, *high), 1.0, low + ramp * (high - low)))
        return faces


def frame(*faces, size=(200, 160)):
    """A black frame with faces ``(colour, left, top, side)``."""
    image = Image.new("RGB", size)
    for colour, left, top, side in faces:
        image.paste(colour, (left, top, left + side, top + side))
    return image


def face_at(left, top, side=10.0):
    points = np.linspace([left, top], [left + side, top + side], 68)
    return DetectedFace((left, top, left + side, top + side), 1.0, points)


@pytest.fixture
def landmarker():
    return ColourLandmarker()


def test_every_frame_is_cropped_around_its_own_face(landmarker):
    frames = [frame((RED, 20, 30, 40)), frame((RED, 60, 50, 60))]
    clip = prepare_clip(frames, landmarker, margin=0.25)
    assert [face.box for face in clip.frames] == [(10, 20, 70, 80), (45, 35, 135, 125)]
    for face in clip.frames:
        np.testing.assert_allclose(face.landmarks[[0, -1]], [[1 / 6, 1 / 6], [5 / 6, 5 / 6]], atol=1e-6)
    assert clip.indices == (0, 1)


def test_a_frame_without_the_face_is_cropped_where_it_must_be_and_has_no_landmarks(landmarker):
    frames = [frame((RED, 20, 30, 40)), frame(), frame((RED, 60, 50, 60)), frame()]
    clip = prepare_clip(frames, landmarker, margin=0.25)
    assert clip.frames[1].box == (28, 28, 103, 103)
    assert clip.frames[3].box == clip.frames[2].box
    assert [face.landmarks is None for face in clip.frames] == [False, True, False, True]
    assert np.isnan(clip.frames[1].landmarks_or_absent).all()
    assert clip.frames[1].image.size == (75, 75)


def test_one_square_for_all_frames_shows_the_movement(landmarker):
    frames = [frame((RED, 20, 30, 40)), frame(), frame((RED, 100, 60, 40))]
    clip = prepare_clip(frames, landmarker, margin=0.25, crop_per_frame=False)
    assert {face.box for face in clip.frames} == {(10, -5, 150, 135)}
    np.testing.assert_allclose(clip.frames[0].landmarks[0], [10 / 140, 35 / 140], atol=1e-6)
    np.testing.assert_allclose(clip.frames[2].landmarks[0], [90 / 140, 65 / 140], atol=1e-6)
    assert clip.frames[1].landmarks is None


def test_the_person_who_comes_nearest_is_followed(landmarker):
    """Green is larger at first, but red is the largest of all and is the same face throughout."""
    frames = [
        frame((RED, 10, 10, 30), (GREEN, 120, 60, 50)),
        frame((RED, 15, 15, 50), (GREEN, 125, 60, 50)),
        frame((RED, 20, 20, 70), (GREEN, 130, 60, 50)),
    ]
    clip = prepare_clip(frames, landmarker, margin=0.0)
    assert [face.box[0] for face in clip.frames] == [10, 15, 20]
    assert [face.index for face in clip.frames] == [1, 0, 0]


def test_the_largest_face_is_taken_where_none_overlaps():
    far = [[face_at(0, 0, 30)], [face_at(200, 0, 20), face_at(300, 0, 10)]]
    assert follow_face(far) == [0, 0]
    assert follow_face([[], []]) == [None, None]
    assert follow_face([[], [face_at(0, 0)], []]) == [None, 0, None]


def test_a_face_that_is_too_small_counts_as_not_found(landmarker):
    frames = [frame((RED, 20, 30, 40)), frame((GREEN, 100, 100, 12))]
    assert prepare_clip(frames, landmarker).frames[1].landmarks is None
    assert prepare_clip(frames, landmarker, min_face_size=10).frames[1].landmarks is not None


def test_a_clip_without_any_face_is_an_error_or_whole_frames(landmarker):
    with pytest.raises(FaceNotFoundError, match="was found in any of 2 frames of the given clip"):
        prepare_clip([frame(), frame()], landmarker)
    clip = prepare_clip([frame(), frame()], landmarker, on_no_face="whole-image")
    assert [face.image.size for face in clip.frames] == [(200, 200)] * 2
    assert all(face.landmarks is None for face in clip.frames)


def test_what_cannot_be_prepared_is_refused(landmarker):
    with pytest.raises(VideoError, match=r"frames of \(200, 160\) and \(210, 160\) pixels"):
        prepare_clip([frame(), frame(size=(210, 160))], landmarker)
    with pytest.raises(ConfigurationError, match="on_no_face is one of raise, whole-image"):
        prepare_clip([frame()], landmarker, on_no_face="shrug")
    with pytest.raises(ConfigurationError, match=r"margin is a fraction of the face from 0 to 4.0, not -1"):
        prepare_clip([frame()], landmarker, margin=-1, crop_per_frame=False)


def test_repeated_frames_are_looked_at_once(landmarker, tmp_path):
    path = write_video(tmp_path / "short.mp4", [frame((RED, 20, 30, 40)), frame((RED, 30, 30, 40))])
    clip = prepare_clip(path, landmarker, num_frames=8, on_no_face="whole-image")
    assert len(clip.frames) == 8
    assert landmarker.seen == 2


def test_dlib_finds_the_astronaut_in_a_video_that_loses_sight_of_her(astronaut, tmp_path):
    from facekit.faces.dlib_landmarker import DlibLandmarker

    portrait = astronaut.crop((96, 0, 352, 256))
    moved = [Image.new("RGB", portrait.size, (127, 127, 127)) for _ in range(3)]
    for place in (0, 2):
        moved[place].paste(portrait, (8 * place, 0))
    path = write_video(tmp_path / "astronaut.mp4", moved, crf="5")
    dlib = DlibLandmarker()
    clip = prepare_clip(path, dlib, num_frames=3)
    expected = dlib.detect(portrait)[0].landmarks
    for place in (0, 2):
        found = clip.frames[place].to_picture(clip.frames[place].landmarks)
        assert np.abs(found - expected - [8 * place, 0]).mean() < 2
    assert clip.frames[1].landmarks is None
    assert clip.frames[0].box[0] < clip.frames[1].box[0] < clip.frames[2].box[0]


def test_the_overlay_shows_all_frames_in_rows(landmarker):
    clip = prepare_clip([frame((RED, 20, 30, 40))] * 2 + [frame()], landmarker)
    sheet = draw_clip_overlay(clip, size=64, columns=2)
    assert sheet.size == (128, 128)
    assert draw_clip_overlay(clip, size=64).size == (192, 64)
    with pytest.raises(ConfigurationError, match="at least one column"):
        draw_clip_overlay(clip, columns=0)


def test_overlap_of_boxes():
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0.0


squares = st.tuples(st.integers(-50, 50), st.integers(-50, 50), st.integers(2, 60)).map(
    lambda each: (each[0], each[1], each[0] + each[2], each[1] + each[2])
)


@settings(deadline=None)
@given(st.lists(st.none() | squares, min_size=1, max_size=9).filter(any), st.data())
def test_gaps_are_filled_between_their_neighbours_and_nothing_else_changes(boxes, data):
    steps = data.draw(st.lists(st.integers(1, 5), min_size=len(boxes), max_size=len(boxes)))
    filled = interpolate_squares(boxes, np.cumsum(steps).tolist())
    known = [place for place, box in enumerate(boxes) if box is not None]
    for place, (box, found) in enumerate(zip(boxes, filled, strict=True)):
        assert found[2] - found[0] == found[3] - found[1]
        if box is not None:
            assert found == box
            continue
        before = boxes[max((each for each in known if each < place), default=known[0])]
        after = boxes[min((each for each in known if each > place), default=known[-1])]
        for column in (0, 1):
            assert min(before[column], after[column]) <= found[column] <= max(before[column], after[column])
