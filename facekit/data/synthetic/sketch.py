"""Shared state of the drawing functions: canvas, projected landmarks and colour arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facekit.data.synthetic.canvas import Canvas, Stencil
from facekit.data.synthetic.geometry import HeadFrame, smooth_curve
from facekit.data.synthetic.parameters import Colour, FaceParameters


@dataclass
class Sketch:
    """One face on its way to a picture.

    Attributes:
        face: What to draw.
        canvas: Where to draw it.
        frame: The posed head.
        landmarks: Projected landmarks, (68, 2).
        head: The head's skin, set when the head is drawn.
        figure: Coverage of everything that the light on the figure falls on.
        front: Coverage of what lies in front of the face's skin: hair and hat.
        axes: Displacement in the picture of one head unit across and of one down, (2, 2).
    """

    face: FaceParameters
    canvas: Canvas
    frame: HeadFrame
    landmarks: np.ndarray
    head: Stencil | None = None
    figure: np.ndarray = field(init=False)
    front: np.ndarray = field(init=False)
    axes: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        side = self.canvas.side
        self.figure, self.front = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
        roll = np.deg2rad(self.face.pose.roll)
        turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        self.axes = self.face.pose.scale * turn

    def add_front(self, stencil: Stencil | None) -> None:
        """Note that a shape lies in front of the skin, and that it is lit like the rest of the figure."""
        self.canvas.join(self.figure, stencil)
        self.canvas.join(self.front, stencil)

    def unit(self, action_unit: str) -> float:
        """Intensity of an action unit from 0 to 1."""
        return self.face.action_units.get(action_unit, 0.0) / 5.0

    def length(self, units: float) -> float:
        """A length in head units as a part of the picture's side."""
        return self.frame.length(units)

    def on_face(self, *points: Sequence[float], lift: float = 0.0) -> np.ndarray:
        """Frontal points in head units, carried to the picture: (K, 2)."""
        return self.frame.project_surface(np.array(points, dtype=np.float64), lift)

    def curve(self, *points: Sequence[float], lift: float = 0.0, closed: bool = False) -> np.ndarray:
        """A smooth curve through frontal points in head units, carried to the picture."""
        return smooth_curve(self.on_face(*points, lift=lift), closed=closed)

    def shift(self, across: float, down: float) -> np.ndarray:
        """A displacement in head units along the head's own axes, as a displacement in the picture: (2,)."""
        return across * self.axes[0] + down * self.axes[1]


def mix(first: Colour, second: Colour, part: float) -> Colour:
    """A colour between two others; part 0 is the first."""
    return tuple(a + (b - a) * part for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (below 1) or lighter (above 1) colour."""
    return tuple(min(255.0, c * factor) for c in colour)  # type: ignore[return-value]
