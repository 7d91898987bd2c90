"""Parameters of a synthetic face.

Frozen data classes hold every number that the renderer reads, so that a face can be kept, changed in one respect and
drawn again. Lengths are in head units: one unit is half the width of an average adult head at the ears.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Colour = tuple[float, float, float]

HAIR_STYLES = ("short", "buzz", "receding", "medium", "long", "tied", "curly")
GLASSES = ("round", "square", "oval")
HATS = ("beanie", "cap", "brimmed")
FORGERIES = ("face_patch", "eyes", "mouth", "half_face")


@dataclass(frozen=True)
class HeadShape:
    """Proportions at rest, seen from the front; the origin lies between the eyes at ear height.

    Attributes:
        width: Half width at the ears.
        chin: Height of the chin below the origin.
        crown: Height of the skull above the origin.
        jaw_power: Exponent of the jaw's superellipse; 2 is round, 3 square.
        taper: How much the jaw narrows towards the chin, 0 to 0.4.
        jowl: Widening of the lower cheek by sagging.
        eye_height: Vertical position of the eyes, downward.
        eye_spacing: Distance of an eye's centre from the midline.
        eye_width: Half width of an eye.
        eye_open: Half height of an open eye.
        eye_tilt: Rise of the outer corner.
        brow_height: Vertical position of the brows (negative: above the origin).
        brow_arch: Height of the brow's arch.
        brow_thickness: Thickness of the brow.
        nose_base: Vertical position of the nose's base.
        nose_width: Half width at the wings.
        nose_depth: How far the tip stands out.
        mouth_height: Vertical position of the mouth.
        mouth_width: Half width of the mouth.
        upper_lip: Thickness of the upper lip.
        lower_lip: Thickness of the lower lip.
        mouth_curve: Sag of the mouth's corners at rest.
        ear_size: Half height of an ear.
    """

    width: float = 1.0
    chin: float = 1.22
    crown: float = 1.36
    jaw_power: float = 2.3
    taper: float = 0.16
    jowl: float = 0.0
    eye_height: float = -0.06
    eye_spacing: float = 0.43
    eye_width: float = 0.2
    eye_open: float = 0.085
    eye_tilt: float = 0.02
    brow_height: float = -0.36
    brow_arch: float = 0.06
    brow_thickness: float = 0.06
    nose_base: float = 0.44
    nose_width: float = 0.2
    nose_depth: float = 0.26
    mouth_height: float = 0.76
    mouth_width: float = 0.35
    upper_lip: float = 0.07
    lower_lip: float = 0.1
    mouth_curve: float = 0.0
    ear_size: float = 0.24


@dataclass(frozen=True)
class Pose:
    """Where the head is and how it is turned.

    Attributes:
        yaw: Degrees; positive turns the nose to the right of the picture.
        pitch: Degrees; positive looks down.
        roll: Degrees; positive tilts clockwise in the picture.
        centre: Position of the head's origin in the picture, each coordinate in [0, 1].
        scale: Length of a head unit as a part of the picture's side.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    centre: tuple[float, float] = (0.5, 0.5)
    scale: float = 0.28


@dataclass(frozen=True)
class Signs:
    """Visible signs of age, each from 0 (none) to 1 (strong).

    Attributes:
        forehead: Horizontal lines on the forehead.
        crow_feet: Lines beside the eyes.
        bags: Bags and hollows under the eyes.
        nasolabial: Folds from the nose to the mouth.
        marionette: Lines from the mouth to the jaw, and jowl shadows.
        spots: Age spots and uneven skin.
        hollow: Hollow temples and cheeks.
    """

    forehead: float = 0.0
    crow_feet: float = 0.0
    bags: float = 0.0
    nasolabial: float = 0.0
    marionette: float = 0.0
    spots: float = 0.0
    hollow: float = 0.0


@dataclass(frozen=True)
class Appearance:
    """Colours and surfaces; every colour is red, green and blue from 0 to 255 in white light.

    Attributes:
        skin: Colour of the skin.
        lips: Colour of the lips without make-up.
        iris: Colour of the irises.
        hair: Colour of the hair, grey included.
        brow: Colour of the brows.
        beard: Colour of beard and moustache.
        freckles: Density of freckles, 0 to 1.
        flush: Natural redness of the cheeks, 0 to 1.
        texture_seed: Seed of the fine texture, such as strands and freckles.
    """

    skin: Colour = (226.0, 178.0, 144.0)
    lips: Colour = (186.0, 112.0, 100.0)
    iris: Colour = (92.0, 66.0, 44.0)
    hair: Colour = (70.0, 46.0, 32.0)
    brow: Colour = (62.0, 42.0, 30.0)
    beard: Colour = (62.0, 42.0, 30.0)
    freckles: float = 0.0
    flush: float = 0.3
    texture_seed: int = 0


@dataclass(frozen=True)
class Hair:
    """Hair on the head.

    Attributes:
        style: One of ``HAIR_STYLES``.
        volume: How far it stands off the skull.
        length: Height below the origin that long hair reaches.
        wave: Waviness of strands and outline, 0 to 1.
        hairline: Height of the hairline at the middle, as a part of the crown.
        parting: Where the hair parts, from -1 (left of the picture) to 1.
        bangs: Whether a fringe covers the forehead.
    """

    style: str = "short"
    volume: float = 0.12
    length: float = 1.2
    wave: float = 0.0
    hairline: float = 0.66
    parting: float = 0.3
    bangs: bool = False


@dataclass(frozen=True)
class Adornment:
    """What is worn or grown on the face; ``None`` or 0 means absent.

    Attributes:
        glasses: One of ``GLASSES``.
        glasses_colour: Colour of the frame.
        hat: One of ``HATS``.
        hat_colour: Colour of the hat.
        beard: Density of a beard, 0 to 1.
        moustache: Density of a moustache, 0 to 1.
        lipstick: Colour of lipstick.
        eye_shadow: Colour of heavy eye make-up.
        earrings: Colour of earrings.
        clothes: Colour of the clothes.
        collar: Colour of the collar or second garment.
    """

    glasses: str | None = None
    glasses_colour: Colour = (30.0, 28.0, 30.0)
    hat: str | None = None
    hat_colour: Colour = (60.0, 80.0, 120.0)
    beard: float = 0.0
    moustache: float = 0.0
    lipstick: Colour | None = None
    eye_shadow: Colour | None = None
    earrings: Colour | None = None
    clothes: Colour = (70.0, 90.0, 130.0)
    collar: Colour = (235.0, 235.0, 235.0)


@dataclass(frozen=True)
class Scene:
    """Light, background and camera.

    Attributes:
        light_side: Direction of the light, from -1 (left of the picture) to 1.
        light_height: Height of the light, from -1 (below) to 1 (above).
        contrast: Strength of the shading, 0 (flat) to 1.
        exposure: Factor on the brightness.
        tint: Factors on red, green and blue.
        background: Two colours of the background, top and bottom.
        blobs: Number of soft shapes in the background.
        blur: Standard deviation of the blur, as a part of the picture's side.
        noise: Standard deviation of the sensor noise, in grey levels.
        backdrop_seed: Seed of the shapes in the background.
        sensor_seed: Seed of the noise.
    """

    light_side: float = -0.4
    light_height: float = 0.5
    contrast: float = 0.5
    exposure: float = 1.0
    tint: Colour = (1.0, 1.0, 1.0)
    background: tuple[Colour, Colour] = ((190.0, 205.0, 215.0), (150.0, 165.0, 180.0))
    blobs: int = 3
    blur: float = 0.0
    noise: float = 1.5
    backdrop_seed: int = 0
    sensor_seed: int = 0


@dataclass(frozen=True)
class Forgery:
    """How a part of the picture is replaced by the same part of another person.

    Attributes:
        kind: One of ``FORGERIES``.
        appearance: Colours and surfaces of the other person.
        signs: Signs of age of the other person.
        scene: Light under which the other person was taken.
        feather: Width of the soft edge, in head units.
        strength: Opacity of the replacement, 0 to 1.
        resolution: Sharpness of the replacement: size at which it was taken, as a part of the picture's.
        seed: Seed of the outline.
    """

    kind: str
    appearance: Appearance
    signs: Signs
    scene: Scene
    feather: float = 0.08
    strength: float = 0.9
    resolution: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class FaceParameters:
    """Everything that the renderer reads.

    Attributes:
        expression: One of ``facekit.data.labels.EXPRESSIONS``.
        action_units: FACS code to intensity from 0 to 5, for all twelve units.
        age: Years.
        masculine: Whether the person is drawn with masculine proportions.
        skin_depth: Lightness of the skin, 0 (very light) to 1 (very dark).
        hair_colour: ``"black"``, ``"brown"``, ``"blond"`` or ``"gray"``.
        gaze: Where the irises look, as parts of the eye's half width and half height.
        forgery: The manipulation, or ``None`` for a genuine picture.
    """

    expression: str = "neutral"
    action_units: dict[str, float] = field(default_factory=dict)
    age: float = 35.0
    masculine: bool = False
    skin_depth: float = 0.3
    hair_colour: str = "brown"
    gaze: tuple[float, float] = (0.0, 0.0)
    shape: HeadShape = field(default_factory=HeadShape)
    pose: Pose = field(default_factory=Pose)
    signs: Signs = field(default_factory=Signs)
    appearance: Appearance = field(default_factory=Appearance)
    hair: Hair = field(default_factory=Hair)
    adornment: Adornment = field(default_factory=Adornment)
    scene: Scene = field(default_factory=Scene)
    forgery: Forgery | None = None
