"""The renderer's public functions: a seed in, a face or clip with its labels and landmarks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facekit.data.labels import FaceLabels
from facekit.data.synthetic.geometry import landmarks_of
from facekit.data.synthetic.parameters import FaceParameters
from facekit.data.synthetic.rendering import render_face
from facekit.data.synthetic.sampling import sample_face, stream
from facekit.errors import ConfigurationError

SMALLEST, LARGEST = 32, 1024


@dataclass(frozen=True)
class SyntheticFace:
    """A drawn face and its truth.

    Attributes:
        image: Red, green and blue, uint8 of shape (S, S, 3).
        landmarks: iBUG-68 points as x and y from 0 to 1, float32 of shape (68, 2); the edge of the first pixel is 0,
            that of the last one 1.
        labels: Expression, action units, attributes, age and manipulation.
        groups: ``gender``, ``skin_tone`` and ``age_group`` for fairness reports.
        manipulation_mask: Where the picture was replaced, bool of shape (S, S); all false for a genuine one.
        parameters: Everything that was drawn.
    """

    image: np.ndarray
    landmarks: np.ndarray
    labels: FaceLabels
    groups: dict[str, str]
    manipulation_mask: np.ndarray
    parameters: FaceParameters


@dataclass(frozen=True)
class SyntheticClip:
    """A short clip in which one expression comes up.

    Attributes:
        frames: Red, green and blue, uint8 of shape (T, S, S, 3).
        landmarks: As in ``SyntheticFace``, float32 of shape (T, 68, 2).
        labels: Those of the last frame, where the expression is complete.
        groups: As in ``SyntheticFace``.
        manipulation_masks: Where each frame was replaced, bool of shape (T, S, S).
        parameters: What was drawn in each frame.
    """

    frames: np.ndarray
    landmarks: np.ndarray
    labels: FaceLabels
    groups: dict[str, str]
    manipulation_masks: np.ndarray
    parameters: tuple[FaceParameters, ...]


def draw_face(seed: int, *, image_size: int = 96, manipulated: bool | None = None) -> SyntheticFace:
    """Draw one face.

    Args:
        seed: Which face, 0 or larger; the same number is the same face at every size.
        image_size: Side of the picture in pixels, 32 to 1024.
        manipulated: Whether the picture is forged; ``None`` draws it with probability 0.5. Everything else about the
            face is the same either way.

    Returns:
        The face with exact labels, landmarks and mask.

    Raises:
        ConfigurationError: If the seed is negative or the size is out of range.
        MissingExtraError: If OpenCV is not installed.
    """
    _check(seed, image_size)
    return draw_parameters(sample_face(seed, manipulated=manipulated), image_size=image_size)


def draw_parameters(parameters: FaceParameters, *, image_size: int = 96) -> SyntheticFace:
    """Draw a face whose parameters are known, for instance one that differs from another in a single respect.

    Args:
        parameters: What to draw.
        image_size: Side of the picture in pixels.

    Returns:
        The face with exact labels, landmarks and mask.

    Raises:
        MissingExtraError: If OpenCV is not installed.
    """
    landmarks = landmarks_of(parameters)
    image, mask = render_face(parameters, landmarks, image_size)
    return SyntheticFace(
        image=image,
        landmarks=landmarks.astype(np.float32),
        labels=labels_of(parameters),
        groups=groups_of(parameters),
        manipulation_mask=mask,
        parameters=parameters,
    )


def draw_clip(seed: int, frames: int = 8, image_size: int = 96, *, manipulated: bool | None = None) -> SyntheticClip:
    """Draw a clip: the expression rises from rest while the head moves a little.

    Args:
        seed: Which face, 0 or larger; the last frame shows the expression of ``draw_face`` with that seed.
        frames: Number of frames, 2 or more.
        image_size: Side of the frames in pixels, 32 to 1024.
        manipulated: Whether every frame is forged; ``None`` draws it with probability 0.5.

    Returns:
        The clip with exact landmarks for every frame.

    Raises:
        ConfigurationError: If the seed is negative, or the size or the number of frames is out of range.
        MissingExtraError: If OpenCV is not installed.
    """
    _check(seed, image_size)
    if frames < 2:
        raise ConfigurationError(f"a clip needs at least 2 frames, but frames={frames}; use draw_face for one picture")
    drawn = [draw_parameters(face, image_size=image_size) for face in clip_parameters(seed, frames, manipulated)]
    return SyntheticClip(
        frames=np.stack([face.image for face in drawn]),
        landmarks=np.stack([face.landmarks for face in drawn]),
        labels=drawn[-1].labels,
        groups=drawn[-1].groups,
        manipulation_masks=np.stack([face.manipulation_mask for face in drawn]),
        parameters=tuple(face.parameters for face in drawn),
    )


def clip_parameters(seed: int, frames: int, manipulated: bool | None = None) -> list[FaceParameters]:
    """Parameters of each frame of a clip, in order; see ``draw_clip``."""
    final = sample_face(seed, manipulated=manipulated)
    rng = stream(seed, "motion")
    drift = rng.normal(0, 1, 3) * (5.0, 2.5, 2.5)
    move = rng.normal(0, 0.01, 2)
    onset, speed = rng.uniform(0.15, 0.45), rng.uniform(5.0, 9.0)
    noises = rng.integers(2**31, size=frames)
    time = np.linspace(0.0, 1.0, frames)
    rise = 1 / (1 + np.exp(-speed * 1.6 * (time - onset - 0.1)))
    rise = (rise - rise[0]) / (rise[-1] - rise[0])
    parameters = []
    for index, (part, left) in enumerate(zip(rise, 1.0 - time, strict=True)):
        pose = replace(
            final.pose,
            yaw=final.pose.yaw + drift[0] * left,
            pitch=final.pose.pitch + drift[1] * left,
            roll=final.pose.roll + drift[2] * left,
            centre=(final.pose.centre[0] + move[0] * left, final.pose.centre[1] - abs(move[1]) * left),
        )
        units = {code: intensity * float(part) for code, intensity in final.action_units.items()}
        scene = replace(final.scene, sensor_seed=int(noises[index]))
        parameters.append(replace(final, pose=pose, action_units=units, scene=scene))
    return parameters


def labels_of(parameters: FaceParameters) -> FaceLabels:
    """What is true about a face: the labels of the five tasks.

    Args:
        parameters: The face.

    Returns:
        Labels without a gap; the attributes are those of ``facekit.data.labels.SYNTHETIC_ATTRIBUTES``.
    """
    worn = parameters.adornment
    attributes = {
        "Eyeglasses": worn.glasses is not None,
        "Wearing_Hat": worn.hat is not None,
        "Black_Hair": parameters.hair_colour == "black",
        "Brown_Hair": parameters.hair_colour == "brown",
        "Blond_Hair": parameters.hair_colour == "blond",
        "Gray_Hair": parameters.hair_colour == "gray",
        "Bangs": parameters.hair.bangs,
        "No_Beard": worn.beard == 0,
        "Mustache": worn.moustache > 0,
        "Wearing_Lipstick": worn.lipstick is not None,
        "Heavy_Makeup": worn.eye_shadow is not None,
        "Wearing_Earrings": worn.earrings is not None,
    }
    return FaceLabels(
        expression=parameters.expression,  # type: ignore[arg-type]
        action_units=dict(parameters.action_units),
        attributes=attributes,
        age=round(parameters.age, 1),
        manipulated=parameters.forgery is not None,
    )


def groups_of(parameters: FaceParameters) -> dict[str, str]:
    """Groups for fairness reports.

    Args:
        parameters: The face.

    Returns:
        ``gender`` (as drawn: ``woman``, ``man``), ``skin_tone`` (``light``, ``medium``, ``dark``) and ``age_group``
        (``child`` below 13, ``teenager`` below 20, ``adult`` below 60, ``senior``).
    """
    depth, age = parameters.skin_depth, parameters.age
    return {
        "gender": "man" if parameters.masculine else "woman",
        "skin_tone": _named(depth, ((1 / 3, "light"), (2 / 3, "medium")), "dark"),
        "age_group": _named(age, ((13, "child"), (20, "teenager"), (60, "adult")), "senior"),
    }


def _named(value: float, limits: Sequence[tuple[float, str]], last: str) -> str:
    return next((name for limit, name in limits if value < limit), last)


def check_image_size(image_size: int) -> None:
    """Raise ``ConfigurationError`` if faces cannot be drawn at a size in pixels."""
    if not SMALLEST <= image_size <= LARGEST:
        raise ConfigurationError(f"image_size={image_size} is out of range; use {SMALLEST} to {LARGEST} pixels")


def _check(seed: int, image_size: int) -> None:
    if not 0 <= seed < 1 << 64:
        raise ConfigurationError(f"seed={seed} is out of range; use 0 to 2 ** 64 - 1")
    check_image_size(image_size)
