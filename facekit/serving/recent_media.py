"""``RecentMedia``: pictures and clips of the last requests, so that questions about one find its face once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from facekit.faces import CroppedClip
from facekit.models.image_processing import FaceKitImageProcessor, Medium
from facekit.models.sessions import MediumTensors
from facekit.models.sessions.session import medium_tensors

MOST_BYTES = 64 * 2**20
"""Of crops and pixels that are kept."""


@dataclass(frozen=True)
class PreparedMedium:
    """A picture or clip, ready for the encoder.

    Args:
        medium: Its crops.
        tensors: What the encoder reads of them.
        digest: By which media are told apart, see ``MediumTensors.digest``.
    """

    medium: Medium
    tensors: MediumTensors
    digest: bytes

    @classmethod
    def of(cls, processor: FaceKitImageProcessor, medium: Medium) -> PreparedMedium:
        """Turn crops into what the encoder reads."""
        tensors = medium_tensors(processor, medium)
        return cls(medium, tensors, tensors.digest())

    @property
    def size(self) -> int:
        """In bytes."""
        frames = self.medium.frames if isinstance(self.medium, CroppedClip) else (self.medium,)
        crops = sum(frame.image.width * frame.image.height * 3 for frame in frames)
        return crops + self.tensors.pixel_values.nbytes + self.tensors.landmarks.nbytes


@dataclass(eq=False)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    prepared: PreparedMedium | None = None


class RecentMedia:
    """What was prepared for the last requests; may be used from several threads.

    Args:
        most: Pictures and clips that are kept, those used last.
        most_bytes: The most memory that they take.
    """

    def __init__(self, most: int, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes, prepare: Callable[[], PreparedMedium]) -> PreparedMedium:
        """Return what is kept under a key, or prepare it; of several threads that ask for it one prepares it.

        Raises:
            Exception: Whatever ``prepare`` raises; the next request tries again, and tells it in its own words.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if entry.prepared is None:
                try:
                    entry.prepared = prepare()
                finally:
                    self._let_go()
            return entry.prepared

    def _let_go(self) -> None:
        """Forget what was not used for longest, beyond the bounds."""
        with self._lock:
            held = sum(entry.prepared.size for entry in self._entries.values() if entry.prepared is not None)
            while len(self._entries) > self._most or (self._entries and held > self._most_bytes):
                _, oldest = self._entries.popitem(last=False)
                held -= 0 if oldest.prepared is None else oldest.prepared.size


def content_key(content: bytes, *settings: object, landmarks: np.ndarray | None = None) -> bytes:
    """The key of a file's bytes, what is chosen of them, and the landmarks that were given with them."""
    given = None if landmarks is None else landmarks.tobytes()
    digest = hashlib.blake2b(repr((settings, given)).encode(), digest_size=32)
    digest.update(content)
    return digest.digest()
