"""Sampling: the random distribution of synthetic faces.

Every draw comes from a generator that is seeded by the face's own number and the name of what is drawn, so the same
number is the same face everywhere and adding a trait does not reshuffle the others. Frequencies are chosen so that
no label can be guessed well without looking.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from facekit.data.labels import ACTION_UNITS, EXPRESSIONS
from facekit.data.synthetic.geometry import landmarks_of
from facekit.data.synthetic.parameters import (
    FORGERIES,
    GLASSES,
    HATS,
    Adornment,
    Appearance,
    Colour,
    FaceParameters,
    Forgery,
    Hair,
    HeadShape,
    Pose,
    Scene,
    Signs,
)

YOUNGEST, OLDEST = 3.0, 85.0
_MARGIN = 0.04


class Combination(NamedTuple):
    """How an expression is built from action units.

    Attributes:
        always: Units that define it.
        often: Units that may join, with their probability.
    """

    always: tuple[str, ...]
    often: dict[str, float]


COMBINATIONS: dict[str, Combination] = {
    "neutral": Combination((), {"AU25": 0.15, "AU17": 0.12, "AU6": 0.08, "AU4": 0.08, "AU2": 0.1}),
    "happiness": Combination(("AU12",), {"AU6": 0.85, "AU25": 0.6, "AU26": 0.25, "AU1": 0.12, "AU2": 0.15}),
    "sadness": Combination(("AU1", "AU15"), {"AU4": 0.85, "AU17": 0.5, "AU6": 0.25, "AU25": 0.15, "AU20": 0.15}),
    "surprise": Combination(("AU1", "AU2", "AU26"), {"AU5": 0.8, "AU25": 0.85, "AU12": 0.2}),
    "fear": Combination(("AU1", "AU4", "AU20"), {"AU2": 0.7, "AU5": 0.85, "AU25": 0.7, "AU26": 0.4}),
    "disgust": Combination(("AU9",), {"AU15": 0.6, "AU17": 0.5, "AU4": 0.35, "AU6": 0.25, "AU25": 0.25}),
    "anger": Combination(("AU4", "AU5"), {"AU17": 0.6, "AU9": 0.3, "AU25": 0.25, "AU2": 0.25, "AU20": 0.15}),
}
"""Action units of the seven expressions, after the EMFACS tables (Friesen and Ekman 1983), limited to twelve units."""

_SKIN = (
    (255, 229, 212), (250, 215, 190), (240, 196, 162), (224, 173, 132), (200, 145, 104),
    (168, 114, 78), (134, 88, 60), (102, 66, 46), (76, 50, 38), (56, 38, 31),
)  # fmt: skip
_HAIR: dict[str, tuple[Colour, ...]] = {
    "black": ((22, 20, 24), (30, 25, 26), (26, 28, 36)),
    "brown": ((92, 58, 36), (112, 70, 42), (128, 74, 44), (84, 56, 40)),
    "blond": ((222, 184, 112), (206, 164, 92), (234, 204, 142), (214, 168, 84)),
    "gray": ((168, 168, 172), (196, 196, 200), (140, 141, 146), (222, 222, 224)),
}
_IRIS: tuple[Colour, ...] = ((70, 44, 26), (96, 64, 34), (120, 92, 52), (92, 112, 72), (78, 122, 154), (112, 146, 164))
_LIPSTICK: tuple[Colour, ...] = ((186, 24, 44), (206, 44, 92), (142, 22, 52), (214, 72, 66), (156, 34, 106))
_SHADOW: tuple[Colour, ...] = ((70, 50, 96), (40, 74, 112), (36, 90, 82), (96, 44, 72), (58, 50, 54))
_METAL: tuple[Colour, ...] = ((236, 196, 84), (222, 226, 234), (214, 92, 92), (64, 150, 160))
_FRAMES: tuple[Colour, ...] = ((24, 22, 26), (72, 44, 28), (120, 34, 40), (40, 58, 92), (150, 132, 96))
_CLOTH: tuple[Colour, ...] = (
    (58, 84, 132), (148, 54, 60), (66, 112, 86), (226, 222, 212), (56, 58, 66), (206, 152, 70), (116, 84, 134),
    (88, 142, 160), (198, 120, 132),
)  # fmt: skip
_BACKDROPS: tuple[tuple[Colour, Colour], ...] = (
    ((206, 220, 230), (158, 178, 196)), ((232, 220, 204), (190, 172, 152)), ((196, 214, 196), (132, 158, 140)),
    ((226, 206, 214), (178, 152, 168)), ((104, 118, 142), (62, 70, 90)), ((150, 132, 118), (96, 82, 74)),
    ((240, 238, 234), (206, 206, 208)), ((120, 160, 170), (70, 104, 116)),
)  # fmt: skip


def stream(seed: int, purpose: str) -> np.random.Generator:
    """An independent generator for one purpose of one face.

    Args:
        seed: The face's number, from 0 to 2 ** 64 - 1.
        purpose: What is drawn.

    Returns:
        The same generator for the same arguments on every machine. Counter-based, so different keys never share a
        stream.
    """
    return np.random.Generator(np.random.Philox(key=(seed << 64) + zlib.crc32(purpose.encode())))


def sample_face(seed: int, *, manipulated: bool | None = None) -> FaceParameters:
    """Draw all parameters of a face.

    Args:
        seed: The face's number, 0 or larger.
        manipulated: Whether the picture is forged; ``None`` draws it with probability 0.5. The rest of the face does
            not depend on it.

    Returns:
        The parameters; equal for equal arguments.
    """
    person = stream(seed, "person")
    age = float(person.uniform(YOUNGEST, OLDEST))
    masculine = bool(person.random() < 0.55)
    depth = float(person.random())
    colours = stream(seed, "colours")
    grey = bool(age + colours.normal(0, 5) > 60)
    hair_colour = "gray" if grey else _natural_hair(depth, colours)
    expression = _choose(stream(seed, "expression"), EXPRESSIONS)
    adornment = _adornment(stream(seed, "adornment"), age, masculine)
    face = FaceParameters(
        expression=expression,
        action_units=sample_action_units(expression, stream(seed, "units")),
        age=age,
        masculine=masculine,
        skin_depth=depth,
        hair_colour=hair_colour,
        gaze=tuple(stream(seed, "gaze").uniform(-1, 1, 2) * (0.22, 0.12)),
        shape=_shape(stream(seed, "shape"), age, masculine),
        pose=_pose(stream(seed, "pose"), bool(adornment.hat)),
        signs=_signs(stream(seed, "signs"), age),
        appearance=_appearance(colours, depth, hair_colour, age),
        hair=_hair(stream(seed, "hair"), age, masculine, bool(adornment.hat)),
        adornment=adornment,
        scene=_scene(stream(seed, "scene")),
    )
    face = replace(face, pose=_keep_inside(face))
    draw = stream(seed, "forged").random() < 0.5
    if draw if manipulated is None else manipulated:
        face = replace(face, forgery=_forgery(stream(seed, "forgery"), face))
    return face


def sample_action_units(expression: str, rng: np.random.Generator) -> dict[str, float]:
    """Draw intensities for an expression.

    Args:
        expression: A key of ``COMBINATIONS``.
        rng: Source of randomness.

    Returns:
        Intensity of every unit: 0 where absent, otherwise 2 to 5.
    """
    combination = COMBINATIONS[expression]
    force = rng.uniform(2.4, 4.6)
    draws = rng.random(len(ACTION_UNITS))
    levels = np.clip(force + rng.normal(0, 0.6, len(ACTION_UNITS)), 2.0, 5.0)
    units = {}
    for code, draw, level in zip(ACTION_UNITS, draws, levels, strict=True):
        present = code in combination.always or draw < combination.often.get(code, 0.0)
        units[code] = round(float(level), 1) if present else 0.0
    return units


def _natural_hair(depth: float, rng: np.random.Generator) -> str:
    dark = 0.26 + 0.18 * depth
    blond = 0.38 - 0.16 * depth
    return _choose(rng, ("black", "blond", "brown"), (dark, blond, 1 - dark - blond))


def _choose(rng: np.random.Generator, options: Sequence[str], weights: Sequence[float] | None = None) -> str:
    """Draw one option; much quicker than ``Generator.choice`` for a handful of them."""
    if weights is None:
        return options[int(rng.integers(len(options)))]
    drawn, total = rng.random() * sum(weights), 0.0
    for option, weight in zip(options, weights, strict=True):
        total += weight
        if drawn < total:
            return option
    return options[-1]


def _limit(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))


def _blend(first: Colour, second: Colour, part: float) -> Colour:
    return tuple(a + (b - a) * part for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def _jitter(colour: Colour, rng: np.random.Generator, amount: float) -> Colour:
    shift = rng.normal(0, amount) + rng.normal(0, amount * 0.4, 3)
    return tuple(_limit(c + s, 0, 255) for c, s in zip(colour, shift, strict=True))  # type: ignore[return-value]


def _pick(colours: tuple[Colour, ...], rng: np.random.Generator, amount: float = 6.0) -> Colour:
    return _jitter(colours[int(rng.integers(len(colours)))], rng, amount)


def _ramp(value: float, start: float, end: float) -> float:
    return _limit((value - start) / (end - start), 0.0, 1.0)


def _shape(rng: np.random.Generator, age: float, masculine: bool) -> HeadShape:
    child = _ramp(age, 20.0, 1.0)
    old = _ramp(age, 30.0, 88.0)
    grown = (1.0 if masculine else -1.0) * (1.0 - child)

    def around(centre: float, spread: float) -> float:
        return float(centre + spread * _limit(rng.normal(), -2.0, 2.0))

    nose_base = around(0.45 - 0.15 * child + 0.04 * old, 0.02)
    mouth = nose_base + around(0.3 - 0.07 * child + 0.07 * old, 0.015)
    return HeadShape(
        width=around(0.98 + 0.01 * grown + 0.02 * child, 0.03),
        chin=mouth + around(0.46 - 0.14 * child + 0.02 * grown, 0.025),
        crown=around(1.36 + 0.14 * child - 0.02 * old, 0.04),
        jaw_power=around(2.35 + 0.2 * grown - 0.1 * child, 0.12),
        taper=_limit(around(0.17 - 0.06 * grown, 0.04), 0.04, 0.34),
        jowl=0.1 * old**1.3,
        eye_height=around(-0.06 + 0.14 * child, 0.012),
        eye_spacing=around(0.43, 0.015),
        eye_width=around(0.205 + 0.04 * child - 0.02 * old, 0.008),
        eye_open=around(0.11 + 0.045 * child - 0.044 * old - 0.006 * grown, 0.006),
        eye_tilt=around(0.02 - 0.05 * old, 0.01),
        brow_height=around(-0.38 + 0.1 * child + 0.015 * grown + 0.06 * old, 0.018),
        brow_arch=_limit(around(0.055 - 0.02 * grown, 0.015), 0.01, 0.1),
        brow_thickness=_limit(around(0.062 + 0.022 * grown - 0.012 * child, 0.012), 0.03, 0.11),
        nose_base=nose_base,
        nose_width=around(0.2 + 0.015 * grown - 0.045 * child + 0.05 * old, 0.014),
        nose_depth=around(0.27 - 0.08 * child + 0.03 * old, 0.03),
        mouth_height=mouth,
        mouth_width=around(0.35 - 0.06 * child + 0.015 * grown, 0.018),
        upper_lip=_limit(around(0.084 - 0.012 * grown - 0.048 * old, 0.009), 0.024, 0.12),
        lower_lip=_limit(around(0.112 - 0.012 * grown - 0.048 * old, 0.01), 0.04, 0.15),
        mouth_curve=around(-0.03 + 0.04 * old, 0.01),
        ear_size=around(0.22 + 0.08 * old, 0.012),
    )


def _pose(rng: np.random.Generator, hat: bool) -> Pose:
    return Pose(
        yaw=_limit(rng.normal(0, 13), -30, 30),
        pitch=_limit(rng.normal(0, 6), -13, 13),
        roll=_limit(rng.normal(0, 7), -18, 18),
        centre=(float(0.5 + rng.normal(0, 0.02)), float(0.49 + 0.03 * hat + rng.normal(0, 0.02))),
        scale=float(rng.uniform(0.26, 0.305)),
    )


def _keep_inside(face: FaceParameters) -> Pose:
    """The pose, moved so that no landmark comes nearer to the picture's edge than the margin."""
    points = landmarks_of(face)
    before = np.maximum(_MARGIN - points.min(axis=0), 0.0)
    beyond = np.maximum(points.max(axis=0) - (1.0 - _MARGIN), 0.0)
    if not (before.any() or beyond.any()):
        return face.pose
    x, y = np.asarray(face.pose.centre) + before - beyond
    return replace(face.pose, centre=(float(x), float(y)))


def _signs(rng: np.random.Generator, age: float) -> Signs:
    def sign(start: float, end: float) -> float:
        return _limit(_ramp(age, start, end) * (1 + 0.1 * rng.normal()), 0.0, 1.0)

    return Signs(
        forehead=sign(32, 70),
        crow_feet=sign(26, 66),
        bags=sign(34, 74),
        nasolabial=sign(20, 62),
        marionette=sign(40, 76),
        spots=sign(46, 84),
        hollow=sign(42, 84),
    )


def _appearance(rng: np.random.Generator, depth: float, hair_colour: str, age: float) -> Appearance:
    tone = depth * (len(_SKIN) - 1)
    low = min(int(tone), len(_SKIN) - 2)
    skin = _jitter(_blend(_SKIN[low], _SKIN[low + 1], tone - low), rng, 3.0)
    lips = _blend(skin, (168, 62, 66), 0.42 - 0.12 * _ramp(age, 40, 85))
    hair = _pick(_HAIR[hair_colour], rng)
    if hair_colour == "gray":
        hair = _blend(hair, (236, 236, 238), 0.6 * _ramp(age, 68, 86))
    brow = _blend(hair, (52, 36, 28), 0.45 if hair_colour == "blond" else 0.2 if hair_colour == "gray" else 0.1)
    brown_eyes = rng.random() < 0.25 + 0.75 * depth
    iris = _IRIS[int(rng.integers(0, 3))] if brown_eyes else _IRIS[int(rng.integers(2, len(_IRIS)))]
    return Appearance(
        skin=skin,
        lips=lips,
        iris=iris,
        hair=hair,
        brow=brow,
        beard=_blend(hair, (40, 28, 24), 0.12),
        freckles=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.3 * (1 - depth) else 0.0,
        flush=float(rng.uniform(0.1, 0.6)),
        texture_seed=int(rng.integers(2**31)),
    )


def _hair(rng: np.random.Generator, age: float, masculine: bool, hat: bool) -> Hair:
    grown_up = age > 16
    if masculine:
        styles, weights = ["short", "buzz", "receding", "medium", "curly", "long"], [0.44, 0.14, 0.14, 0.12, 0.1, 0.06]
        if age < 30:
            styles, weights = ["short", "buzz", "medium", "curly"], [0.5, 0.16, 0.18, 0.16]
    else:
        styles, weights = ["long", "medium", "tied", "curly", "short"], [0.38, 0.24, 0.16, 0.12, 0.1]
    style = _choose(rng, styles, weights)
    style = "medium" if hat and style == "tied" else style
    volumes = {"buzz": 0.035, "curly": 0.13 if hat else 0.3, "short": 0.14, "receding": 0.09, "tied": 0.07}
    fringe = bool(rng.random() < 0.5)
    return Hair(
        style=style,
        volume=float(volumes.get(style, 0.14) * rng.uniform(0.85, 1.2)),
        length=float(rng.uniform(0.75, 1.05) if style == "medium" else rng.uniform(1.5, 2.1)),
        wave=float(rng.uniform(0.0, 1.0)),
        hairline=_limit(rng.normal(0.66, 0.025) + 0.06 * _ramp(age, 35, 80) * masculine, 0.58, 0.8),
        parting=float(rng.uniform(-0.6, 0.6)),
        bangs=fringe and not hat and (style not in ("buzz", "receding") if grown_up else style != "receding"),
    )


def _adornment(rng: np.random.Generator, age: float, masculine: bool) -> Adornment:
    draw = rng.random(8)
    adult = age >= 17
    bearded = masculine and adult and draw[0] < 0.72
    moustache = masculine and adult and draw[1] < 0.62
    lipstick = age >= 13 and draw[2] < (0.04 if masculine else 0.72)
    shadow = age >= 13 and draw[3] < (0.04 if masculine else 0.6)
    earrings = draw[4] < (0.14 if masculine else 0.5)
    return Adornment(
        glasses=_choose(rng, GLASSES) if draw[5] < 0.36 else None,
        glasses_colour=_pick(_FRAMES, rng, 5.0),
        hat=_choose(rng, HATS) if draw[6] < 0.3 else None,
        hat_colour=_pick(_CLOTH, rng),
        beard=float(rng.uniform(0.55, 1.0)) if bearded else 0.0,
        moustache=float(rng.uniform(0.6, 1.0)) if moustache else 0.0,
        lipstick=_pick(_LIPSTICK, rng) if lipstick else None,
        eye_shadow=_pick(_SHADOW, rng) if shadow else None,
        earrings=_pick(_METAL, rng) if earrings else None,
        clothes=_pick(_CLOTH, rng),
        collar=_pick(_CLOTH, rng),
    )


def _scene(rng: np.random.Generator) -> Scene:
    warmth = rng.normal(0, 0.035)
    return Scene(
        light_side=float(rng.uniform(-0.9, 0.9)),
        light_height=float(rng.uniform(-0.1, 0.9)),
        contrast=float(rng.uniform(0.35, 0.75)),
        exposure=_limit(rng.normal(1.0, 0.08), 0.8, 1.18),
        tint=(float(1 + warmth), float(1 + rng.normal(0, 0.01)), float(1 - warmth)),
        background=_BACKDROPS[int(rng.integers(len(_BACKDROPS)))],
        blobs=int(rng.integers(0, 6)),
        blur=_limit(rng.normal(0.001, 0.003), 0.0, 0.006),
        noise=float(rng.uniform(0.5, 3.5)),
        backdrop_seed=int(rng.integers(2**31)),
        sensor_seed=int(rng.integers(2**31)),
    )


def _forgery(rng: np.random.Generator, face: FaceParameters) -> Forgery:
    """Another person's colours and light; the shape stays, so that landmarks and action units stay true."""
    step = rng.uniform(0.2, 0.36) * rng.choice([-1.0, 1.0])
    depth = face.skin_depth + step
    if not 0.0 <= depth <= 1.0:
        depth = face.skin_depth - step
    other = _appearance(rng, depth, face.hair_colour, face.age)
    scene = replace(
        face.scene,
        light_side=_limit(-np.sign(face.scene.light_side) * rng.uniform(0.3, 0.9), -0.9, 0.9),
        light_height=float(rng.uniform(-0.1, 0.9)),
        tint=tuple(face.scene.tint * (1 + rng.uniform(0.04, 0.09) * rng.choice([-1, 1]) * np.array([1, 0.2, -1]))),
    )
    return Forgery(
        kind=_choose(rng, [kind for kind in FORGERIES if kind != "mouth" or not face.adornment.beard]),
        appearance=replace(other, hair=face.appearance.hair, brow=face.appearance.brow, beard=face.appearance.beard),
        signs=face.signs,
        scene=scene,
        feather=float(rng.uniform(0.03, 0.08)),
        strength=float(rng.uniform(0.9, 1.0)),
        resolution=float(rng.uniform(0.35, 0.65)),
        seed=int(rng.integers(2**31)),
    )
