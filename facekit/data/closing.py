"""``Closing``: what holds a file open, as a context manager that closes it at the end."""

from __future__ import annotations

from types import TracebackType
from typing import Self

__all__ = ["Closing"]


class Closing:
    """A base for what is to be closed; a ``with`` block does so at its end, after an error too."""

    def close(self) -> None:
        """Close it and let others have it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
