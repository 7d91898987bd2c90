"""``PreparedPictures``: face crops by name, opened and turned into pixels once for as long as they are used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from facekit.encoders.transform import ImageTransform
from facekit.faces import CroppedFace

OpenFace: TypeAlias = Callable[[str], CroppedFace]


class PreparedPictures:
    """Stands before an image processor, for trainers that prepare the same picture for every answer about it.

    Args:
        open_face: Opens the crop of a name, with its landmarks.
        names: Names that it opens; any other picture is prepared as ever.
        most: Crops that are remembered, those used last.

    Attributes:
        opened: How many crops have been opened, for tests and for tuning ``most``.
    """

    def __init__(self, open_face: OpenFace, names: frozenset[str], most: int = 512) -> None:
        self._open, self._names, self._most = open_face, names, most
        self._faces: OrderedDict[str, CroppedFace] = OrderedDict()
        self._pixels: dict[int, Tensor | None] = {}
        self.opened = 0

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._names

    def face(self, name: str) -> CroppedFace:
        """Return the crop of a name; raises what opening it raises."""
        if name not in self._faces:
            self._faces[name] = face = self._open(name)
            self._pixels[id(face)] = None
            self.opened += 1
            if len(self._faces) > self._most:
                _, oldest = self._faces.popitem(last=False)
                self._pixels.pop(id(oldest), None)
        self._faces.move_to_end(name)
        return self._faces[name]

    def pixels(self, face: CroppedFace, transform: ImageTransform) -> Tensor:
        """Return the pixels of a crop, ``(3, H, W)``; they are remembered where the crop is."""
        if id(face) not in self._pixels:  # the crops behind the ids are held, so no other object has one of them
            return transform(face.image)
        known = self._pixels[id(face)]
        if known is None:
            known = self._pixels[id(face)] = transform(face.image)
        return known

    def __deepcopy__(self, memo: object) -> PreparedPictures:
        return self  # configurations are written from copies of a processor's attributes
