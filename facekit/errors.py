"""Every error that facekit raises on purpose.

They live apart so that any room can raise them and the command line can catch one base class.
Each message is one sentence that says what was wrong, where, and what to do.
"""

from __future__ import annotations


class FaceKitError(Exception):
    """Base of all errors that a user can act on; the command line prints it as one line and exits with status 2."""


class UnknownPartError(FaceKitError, LookupError):
    """A registry has no part of that kind under that name."""


class InvalidSpecError(FaceKitError, ValueError):
    """A spec string, or an argument or option inside it, cannot be used."""


class MissingExtraError(FaceKitError, ImportError):
    """A part needs packages that are not installed; the message has the install command."""


class ConfigurationError(FaceKitError, ValueError):
    """Settings that do not fit each other, or a value out of its range."""


class ImageError(FaceKitError, ValueError):
    """A file or array cannot be used as an image: not one, truncated, too large, an unsupported kind."""


class VideoError(ImageError):
    """A file cannot be used as a video: not one, truncated, without frames or pictures, too large or too long."""


class FaceNotFoundError(FaceKitError, ValueError):
    """A face was needed and none was found."""


class RecordError(FaceKitError, ValueError):
    """A data record or a records file is malformed; the message has the file and the line."""


class CheckpointError(FaceKitError, ValueError):
    """A checkpoint is missing, incomplete, or of a format that this loader does not read."""


class TrainingError(FaceKitError, RuntimeError):
    """A training run cannot go on; what it saved before is kept."""
