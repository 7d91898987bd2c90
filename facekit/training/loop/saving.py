"""Failed writes of a save, kept until all processes of the run have done their part of it.

A process that leaves a save at the first error lets the others wait for it. So errors of the disk are looked at when
the save is over, by all processes together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from facekit.compat.torch import failure_of_process, is_failed_write
from facekit.errors import first_line


class FailedWrites:
    """What a disk that is full, or fails, did to a save.

    Attributes:
        error: The first error; None where all was written.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    @property
    def problem(self) -> str | None:
        """The error in words."""
        if self.error is None:
            return None
        reason = first_line(self.error)
        return f"a file could not be written to its end: {reason}" if is_failed_write(self.error) else reason

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep the error of a failed write; any other error passes through."""
        try:
            yield
        except BaseException as error:
            cause = failure_of_process(error)
            if isinstance(cause, (OSError, SafetensorError)) or is_failed_write(cause):
                self.error = self.error or cause
            elif cause is error:
                raise
            else:
                raise cause from error
