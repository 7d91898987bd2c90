"""Face labels: expressions, action units, attributes and tasks, and the models that hold them.

Records, synthetic faces, question templates and answer parsing all read these tables, so that each name is
spelled once. ``EXPRESSIONS`` and ``ACTION_UNITS`` are what the synthetic faces show and the parsers read by name: the
seven basic expressions and the twelve units that DISFA annotates. Data sets know more; ``ALL_EXPRESSIONS`` and
``ACTION_UNIT_NAMES`` hold those too. Attribute names are CelebA's.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from facekit.spec import closest_match_hint

Expression = Literal[
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger",
    "contempt", "anxiety", "helplessness", "disappointment",
]  # fmt: skip
Task = Literal["expression", "action_units", "attributes", "age", "manipulation"]

VERIFICATION = "verification"
"""The task of questions whether two pictures show the same person; its truth is a record's ``same``, and no label."""

ALL_EXPRESSIONS: tuple[Expression, ...] = get_args(Expression)
"""The seven of ``EXPRESSIONS``, contempt (AffectNet, MAFW), and the three that MAFW adds."""

EXPRESSIONS: tuple[Expression, ...] = ALL_EXPRESSIONS[:7]
"""The neutral face and the six basic expressions, which every expression data set has."""

TASKS: tuple[Task, ...] = get_args(Task)
"""The tasks of drawn faces and their conversations, one for each kind of label."""

ACTION_UNITS: dict[str, str] = {
    "AU1": "inner brow raiser",
    "AU2": "outer brow raiser",
    "AU4": "brow lowerer",
    "AU5": "upper lid raiser",
    "AU6": "cheek raiser",
    "AU9": "nose wrinkler",
    "AU12": "lip corner puller",
    "AU15": "lip corner depressor",
    "AU17": "chin raiser",
    "AU20": "lip stretcher",
    "AU25": "lips part",
    "AU26": "jaw drop",
}
"""Code to name, in the Facial Action Coding System (Ekman and Friesen), in ascending order."""

ACTION_UNIT_NAMES: dict[str, str] = ACTION_UNITS | {
    "AU7": "lid tightener",
    "AU10": "upper lip raiser",
    "AU14": "dimpler",
    "AU23": "lip tightener",
    "AU24": "lip pressor",
}
"""``ACTION_UNITS`` and the units that BP4D adds to them."""

FACS_UNITS: frozenset[str] = frozenset(
    f"AU{number}"
    for first, last in ((1, 46), (50, 66), (68, 74), (80, 85), (91, 92), (97, 98))
    for number in range(first, last + 1)
)
"""The codes of the Facial Action Coding System, with those of head, eyes and gross behaviour; AU3 is Baby FACS's."""

ACTIVE_INTENSITY = 1.0
"""An action unit counts as present from this intensity on (FACS level A is 1, level E is 5)."""

SYNTHETIC_ATTRIBUTES: dict[str, str] = {
    "Eyeglasses": "eyeglasses",
    "Wearing_Hat": "a hat",
    "Black_Hair": "black hair",
    "Brown_Hair": "brown hair",
    "Blond_Hair": "blond hair",
    "Gray_Hair": "gray hair",
    "Bangs": "bangs",
    "No_Beard": "no beard",
    "Mustache": "a mustache",
    "Wearing_Lipstick": "lipstick",
    "Heavy_Makeup": "heavy makeup",
    "Wearing_Earrings": "earrings",
}
"""CelebA name to the words that answers use, for the attributes that the synthetic faces show."""

CELEBA_ATTRIBUTES: tuple[str, ...] = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""The forty attributes of CelebA (Liu et al. 2015), in the order of its files."""

AGE_GROUPS: tuple[str, ...] = (
    "0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"
)  # fmt: skip
"""FairFace's names of its age groups; ages in years from other data sets are sorted into them."""

_AGE_GROUP_STARTS = (0, 3, 10, 20, 30, 40, 50, 60, 70)


def age_group_of(years: float) -> str:
    """The age group of ``AGE_GROUPS`` that an age in years belongs to.

    Examples:
        >>> from facekit.data import age_group_of
        >>> age_group_of(34)
        '30-39'
    """
    return AGE_GROUPS[max(0, bisect_right(_AGE_GROUP_STARTS, years) - 1)]


class FaceLabels(BaseModel):
    """What is known about one face; ``None`` means not annotated, which is not the same as absent.

    Attributes:
        expression: One of ``ALL_EXPRESSIONS``.
        action_units: FACS code of ``FACS_UNITS`` (``"AU12"``) to intensity on the 0 to 5 scale; a unit that is not
            listed is unknown.
        attributes: CelebA name to whether the face has it; an attribute that is not listed is unknown.
        age: Years.
        manipulated: True for a forged picture, False for a genuine one.
    """

    model_config = ConfigDict(extra="forbid")

    expression: Expression | None = None
    action_units: dict[str, Annotated[float, Field(ge=0.0, le=5.0)]] | None = None
    attributes: dict[Annotated[str, Field(min_length=1)], bool] | None = None
    age: Annotated[float, Field(ge=0.0, le=130.0)] | None = None
    manipulated: bool | None = None

    @field_validator("action_units")
    @classmethod
    def _known_units(cls, units: dict[str, float] | None) -> dict[str, float] | None:
        unknown = next((code for code in units or () if code not in FACS_UNITS), None)
        if unknown is not None:
            hint = closest_match_hint(unknown, FACS_UNITS)
            raise ValueError(f"there is no action unit {unknown!r} in FACS{hint if 'did you mean' in hint else ''}")
        return units

    def active_units(self) -> list[str]:
        """Codes of the action units at or above ``ACTIVE_INTENSITY``, in ascending numeric order.

        Returns:
            For example ``["AU6", "AU12"]``; empty where none is active or none is annotated.
        """
        units = self.action_units or {}
        active = [code for code, intensity in units.items() if intensity >= ACTIVE_INTENSITY]
        return sorted(active, key=lambda code: int(code[2:]))

    def present_attributes(self) -> list[str]:
        """Names of the attributes that the face has, in the order in which they are held."""
        return [name for name, present in (self.attributes or {}).items() if present]
