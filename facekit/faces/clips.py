"""Face crops of a clip: detect, track one person, crop every frame.

Unlike pictures, frames know of each other: one face is followed through them, and where it is not found its position is
interpolated from the frames around.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from facekit.counted import counted
from facekit.errors import ConfigurationError, FaceNotFoundError, VideoError
from facekit.faces.crop import DEFAULT_MARGIN, LARGEST_MARGIN, CroppedFace, crop_face, cut_square, pad_to_square
from facekit.faces.frames import FRAMES_PER_CLIP
from facekit.faces.images import NEUTRAL_COLOUR
from facekit.faces.landmarker import DetectedFace, Landmarker, landmark_bounds
from facekit.faces.overlay import draw_overlay
from facekit.faces.prepare import MIN_FACE_SIZE, ON_NO_FACE
from facekit.faces.video import Clip, ClipSource, read_clip

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class CroppedClip:
    """Square pictures of one face through a clip.

    Args:
        frames: One crop per frame. Where the face was not found, ``landmarks`` and ``index`` are None, and the box is
            that of the frames around.
        indices: The index of each frame in the whole clip, from 0.
        most_faces: The most faces that were found in one frame.
    """

    frames: tuple[CroppedFace, ...]
    indices: tuple[int, ...]
    most_faces: int = 0


def prepare_clip(
    source: ClipSource,
    landmarker: Landmarker,
    *,
    num_frames: int = FRAMES_PER_CLIP,
    margin: float = DEFAULT_MARGIN,
    crop_per_frame: bool = True,
    on_no_face: str = "raise",
    min_face_size: float = MIN_FACE_SIZE,
) -> CroppedClip:
    """Open a clip and return square crops of one face in evenly spaced frames, with its landmarks.

    Of several faces the largest in any frame is followed: to each side, the face that overlaps most with the one in
    the frame next to it, or the largest where none overlaps.

    Args:
        source: What ``read_clip`` takes.
        landmarker: What finds faces and landmarks.
        num_frames: Frames to look at.
        margin: Added on each side of the face, as a fraction of it.
        crop_per_frame: Crop every frame around its own face, as the data of Face-LLaVA are; otherwise all frames are
            cut by one square that holds the face in all of them, so that the head's movement can be seen.
        on_no_face: What is done if no frame shows a face: ``raise``, or ``whole-image``: whole frames, padded to
            squares, without landmarks.
        min_face_size: A face whose box is smaller, in pixels on its longer side, counts as not found.

    Returns:
        A crop per frame. A frame without the face is cropped where the face must be, by the frames before and after,
        and has no landmarks.

    Raises:
        VideoError: The clip cannot be read, or its frames differ in size.
        ImageError: A picture of a list cannot be opened.
        FaceNotFoundError: No frame shows a face and ``on_no_face`` is ``raise``.
        ConfigurationError: An argument is out of its range.
    """
    if on_no_face not in ON_NO_FACE:
        raise ConfigurationError(f"on_no_face is one of {', '.join(ON_NO_FACE)}, not '{on_no_face}'")
    if not 0 <= margin <= LARGEST_MARGIN:
        raise ConfigurationError(
            f"the crop's margin is a fraction of the face from 0 to {LARGEST_MARGIN}, not {margin}"
        )
    clip = read_clip(source, num_frames)
    sizes = sorted({frame.size for frame in clip.frames})
    if len(sizes) > 1:
        raise VideoError(f"{clip.name} has frames of {sizes[0]} and {sizes[-1]} pixels; give frames of one size")
    faces = _detect_faces(clip, landmarker, min_face_size)
    followed = follow_face(faces)
    if all(index is None for index in followed):
        if on_no_face == "whole-image":
            return CroppedClip(tuple(pad_to_square(frame) for frame in clip.frames), clip.indices)
        raise FaceNotFoundError(
            f"no face of at least {min_face_size:g} pixels was found in any of {counted(len(clip.frames), 'frame')} of "
            f"{clip.name}; give a clip in which a face looks roughly at the camera, upright, or use whole frames with "
            "on_no_face='whole-image' (--on-no-face whole-image)"
        )
    crop = _crop_each if crop_per_frame else _crop_all
    return CroppedClip(tuple(crop(clip, faces, followed, margin)), clip.indices, max(map(len, faces)))


def draw_clip_overlay(clip: CroppedClip, *, size: int = 256, columns: int = 4) -> Image.Image:
    """Draw the crops of a clip with their landmarks and regions, side by side.

    Args:
        clip: The crops.
        size: Side of each crop in the drawing, in pixels.
        columns: Crops in a row.

    Raises:
        ConfigurationError: ``size`` or ``columns`` is out of its range.
    """
    if columns < 1:
        raise ConfigurationError(f"an overlay has at least one column, not {columns}")
    drawn = [draw_overlay(face.image, face.landmarks, size=size, legend=False) for face in clip.frames]
    columns = min(columns, len(drawn))
    sheet = Image.new("RGB", (columns * size, math.ceil(len(drawn) / columns) * size), NEUTRAL_COLOUR)
    for index, picture in enumerate(drawn):
        row, column = divmod(index, columns)
        sheet.paste(picture, (column * size, row * size))
    return sheet


def follow_face(faces: Sequence[Sequence[DetectedFace]]) -> list[int | None]:
    """Choose one face per frame so that it is the same person's throughout.

    Args:
        faces: The faces of each frame, largest first.

    Returns:
        The index of the chosen face in each frame, None for frames without any. The largest face of all is followed
        to both sides.
    """
    chosen: list[int | None] = [None] * len(faces)
    present = [frame for frame, found in enumerate(faces) if found]
    if not present:
        return chosen
    start = max(present, key=lambda frame: faces[frame][0].size)
    chosen[start] = 0
    for frames in (range(start + 1, len(faces)), range(start - 1, -1, -1)):
        box = faces[start][0].box
        for frame in frames:
            if faces[frame]:
                overlaps = [overlap(face.box, box) for face in faces[frame]]
                chosen[frame] = best = overlaps.index(max(overlaps))
                box = faces[frame][best].box
    return chosen


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def _detect_faces(clip: Clip, landmarker: Landmarker, min_face_size: float) -> list[list[DetectedFace]]:
    found: dict[int, list[DetectedFace]] = {}
    for number, frame in zip(clip.indices, clip.frames, strict=True):
        if number not in found:  # short clips repeat frames
            found[number] = [face for face in landmarker.detect(frame) if face.size >= min_face_size]
    return [found[number] for number in clip.indices]


def _crop_each(
    clip: Clip, faces: Sequence[Sequence[DetectedFace]], followed: Sequence[int | None], margin: float
) -> list[CroppedFace]:
    crops = [
        None if index is None else crop_face(frame, found[index], margin=margin, index=index)
        for frame, found, index in zip(clip.frames, faces, followed, strict=True)
    ]
    squares = interpolate_squares([None if crop is None else crop.box for crop in crops], clip.indices)
    return [
        crop or CroppedFace(cut_square(frame, square, NEUTRAL_COLOUR), None, square, None)
        for frame, crop, square in zip(clip.frames, crops, squares, strict=True)
    ]


def interpolate_squares(
    boxes: Sequence[tuple[int, int, int, int] | None], times: Sequence[int]
) -> list[tuple[int, int, int, int]]:
    """Fill the gaps in a row of square boxes: linearly between neighbours, and as the nearest one at the ends.

    Args:
        boxes: Left, top, right, bottom of each; at least one is there.
        times: When each is, ascending.

    Returns:
        A square box for each; those that were there are unchanged.
    """
    known = [(time, box) for time, box in zip(times, boxes, strict=True) if box is not None]
    moments = [time for time, _ in known]
    columns = zip(*((left, top, right - left) for _, (left, top, right, _) in known), strict=True)
    filled = zip(*(np.interp(times, moments, column) for column in columns), strict=True)
    squares = []
    for box, (left, top, side) in zip(boxes, filled, strict=True):
        x, y, width = round(left), round(top), round(side)
        squares.append(box or (x, y, x + width, y + width))
    return squares


def _crop_all(
    clip: Clip, faces: Sequence[Sequence[DetectedFace]], followed: Sequence[int | None], margin: float
) -> list[CroppedFace]:
    chosen = [None if index is None else found[index] for found, index in zip(faces, followed, strict=True)]
    points = [np.concatenate([face.landmarks, np.reshape(face.box, (2, 2))]) for face in chosen if face is not None]
    left, top, right, bottom = landmark_bounds(np.concatenate(points))
    longest = max(float(np.ptp(each, axis=0).max()) for each in points)
    side = max(2, math.ceil(max(right - left, bottom - top) + 2 * margin * longest))
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    box = (x, y, x + side, y + side)
    crops = []
    for frame, face, index in zip(clip.frames, chosen, followed, strict=True):
        crop = CroppedFace(cut_square(frame, box, NEUTRAL_COLOUR), None, box, index)
        if face is not None:
            crop = replace(crop, landmarks=crop.from_picture(face.landmarks.astype(np.float64)).astype(np.float32))
        crops.append(crop)
    return crops
