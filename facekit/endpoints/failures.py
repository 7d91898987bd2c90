"""Classification of an endpoint's errors: transient, permanent for one call, or fatal for the run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from facekit.endpoints.keys import KeyFilter
from facekit.endpoints.requests import (
    DeniedRequestError,
    EndpointError,
    FlaggedRequestError,
    RejectedRequestError,
    TemporaryCallError,
    Usage,
)

_TEMPORARY_STATUS = frozenset({408, 409, 425, 429})
_FATAL_STATUS = {
    401: "the key is not accepted", 402: "the account has no credit left", 404: "no such model or address",
}  # fmt: skip
_DENIED = 403
_FLAGGED = re.compile(
    r"content[_ -]?(?:filter|policy|management|safety)|responsible[_ ]?ai|moderat|flagged"
    r"|safety (?:system|setting|filter)|data_?inspection|inappropriate content|prohibited content|sensitive content",
    re.IGNORECASE,
)
_BLOCKED = re.compile(
    r"(?:resource|account|organi[sz]ation|project|key) has been (?:\w+ )?(?:blocked|suspended|disabled)"
)
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value"})
_LATER = re.compile(r"token_limit_exceeded|enqueued[ _]token", re.IGNORECASE)


def sort_failure(
    status: int, body: Any, headers: Mapping[str, str], strike: KeyFilter, usage: Usage | None = None
) -> Exception:
    """The error that an endpoint's refusal amounts to.

    Args:
        status: The HTTP status.
        body: The error as the endpoint describes it: an object, or text.
        headers: The response's headers.
        strike: Strikes keys out.
        usage: What was charged, where the error came with status 200.

    Returns:
        ``TemporaryCallError`` for what passes; ``EndpointError`` for what makes every call vain; of what does not pass
        ``FlaggedRequestError`` for an input that a content filter refuses, ``DeniedRequestError`` for one that may not
        be made, ``RejectedRequestError`` for the rest.
    """
    described = body if isinstance(body, Mapping) else {}
    said = " ".join(str(described.get("message") or body).split())
    words = strike(f"status {status}: {said[:300]}")
    whole = f"{said} {json.dumps(body, default=str)}"
    if described.get("code") in _UNSUPPORTED:  # whatever status a gateway makes of it
        return RejectedRequestError(words, said=strike(whole))
    if status < 500 and _BLOCKED.search(said.lower()):
        return EndpointError(f"the endpoint is closed to this account ({words})")
    if status in _TEMPORARY_STATUS or status >= 500:
        if "insufficient_quota" in f"{described.get('code')} {described.get('type')}":
            return EndpointError(f"the account has no credit left ({words})")
        return TemporaryCallError(words, retry_after=retry_after(headers), answered=usage is not None, usage=usage)
    if status in (400, 422, 451, _DENIED) and _FLAGGED.search(whole):
        return FlaggedRequestError(f"a content filter refuses the input: {words}")
    if status in _FATAL_STATUS:
        return EndpointError(f"{_FATAL_STATUS[status]}; check the key, base_url and model ({words})")
    if status == _DENIED:
        return DeniedRequestError(words, said=strike(whole))
    return RejectedRequestError(words, said=strike(whole))


def is_for_later(errors: object) -> bool:
    """Whether a batch was refused because the queue is full, so that it can be sent later."""
    return bool(_LATER.search(str(errors)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the headers ``retry-after-ms`` or ``Retry-After`` (seconds or a date, RFC 9110, 10.2.3).

    Returns:
        None where there is no such header or it cannot be read.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) / unit
        except ValueError:
            try:
                date = parsedate_to_datetime(text)
            except ValueError:
                continue
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            seconds = (date - datetime.now(UTC)).total_seconds()
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
