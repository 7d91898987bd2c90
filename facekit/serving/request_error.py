"""``RequestError``: an HTTP error in the form of OpenAI's protocol."""

from __future__ import annotations

from typing import Any


class RequestError(Exception):
    """A request that is not answered.

    Args:
        status: The HTTP status.
        message: One sentence: what was wrong, and what to do.
        param: The field of the request that it is about.
        code: A word that programs can tell it by.
        retry_after: Seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The error as the protocol has it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the reply."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
