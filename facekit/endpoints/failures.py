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
    AbsentError,
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
_DENIED, _ABSENT = 403, 404
_FLAGGED = re.compile(
    r"content[_ -]?(?:filter|policy|management|safety)|responsible[_ ]?ai|moderat|flagged"
    r"|safety (?:system|setting|filter)|data_?inspection|inappropriate content|prohibited content|sensitive content",
    re.IGNORECASE,
)
_BLOCKED = re.compile(
    r"(?:resource|account|organi[sz]ation|project|key) has been (?:\w+ )?(?:blocked|suspended|disabled)"
)
_NO_CREDIT = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|billing_(?:not_active|hard_limit_reached)|arrearage"
    r"|credit balance is too low|used all available credits|spend(?:ing)?[_ ]limit|exceeded_current_quota"
    r"|account is not active"
)
_WRONG_KEY = re.compile(r"api[_ ]?key[_ ](?:not valid|invalid|expired|not found)|(?:invalid|incorrect)[_ ]api[_ ]?key")
_ACCOUNT = "type", "code", "message", "status", "reason"
"""Fields of an error that may speak of the account; others repeat what was sent."""
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value"})
_LATER = re.compile(r"token_limit_exceeded|enqueued[ _]token", re.IGNORECASE)
_WAIT = re.compile(
    r"(?:retry|try again) (?:in|after)\s+(?:(\d+)h)?\s*(?:(\d+)m(?!s))?\s*(?:(\d+(?:\.\d+)?)\s*(ms|s|seconds?)\b)?",
    re.IGNORECASE,
)
_RETRY_INFO = "retryDelay"


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
    body = _unwrapped(body)
    described = body if isinstance(body, Mapping) else {}
    said = " ".join(str(described.get("message") or body).split())
    words = strike(f"status {status}: {said[:300]}")
    whole = f"{said} {json.dumps(body, default=str)}"
    if described.get("code") in _UNSUPPORTED:  # whatever status a gateway makes of it
        return RejectedRequestError(words, said=strike(whole))
    if status < 500 and _BLOCKED.search(said.lower()):
        return EndpointError(f"the endpoint is closed to this account ({words})")
    about_account = _about_account(described)
    if _NO_CREDIT.search(about_account):
        return EndpointError(f"the account has no credit left ({words})")
    if status < 500 and _WRONG_KEY.search(about_account):
        return EndpointError(f"{_FATAL_STATUS[401]}; check the key, base_url and model ({words})")
    if status in _TEMPORARY_STATUS or status >= 500:
        wait = retry_after(headers)
        wait = wait_in_body(body) if wait is None else wait
        return TemporaryCallError(words, retry_after=wait, answered=usage is not None, usage=usage)
    if status in (400, 422, 451, _DENIED) and _FLAGGED.search(whole):
        return FlaggedRequestError(f"a content filter refuses the input: {words}")
    if status in _FATAL_STATUS:
        kind = AbsentError if status == _ABSENT else EndpointError
        return kind(f"{_FATAL_STATUS[status]}; check the key, base_url and model ({words})")
    if status == _DENIED:
        return DeniedRequestError(words, said=strike(whole))
    return RejectedRequestError(words, said=strike(whole))


def _unwrapped(body: Any) -> Any:
    """The error itself; Google's endpoints put it into a list, and into an object under ``error``."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    inner = body.get("error") if isinstance(body, Mapping) else None
    return inner if isinstance(inner, Mapping) else body


def _about_account(described: Mapping[str, Any]) -> str:
    """What an error says of the account, in lower case: its own fields, and those of Google's details."""
    details = described.get("details")
    parts = [described, *(each for each in (details if isinstance(details, list) else ()) if isinstance(each, Mapping))]
    return " ".join(str(part[name]) for part in parts for name in _ACCOUNT if name in part).lower()


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


def wait_in_body(body: Any) -> float | None:
    """Seconds to wait by an error's own words, for endpoints that send no header.

    Google's have ``retryDelay`` among the details; others say "try again in 1m12s" or "retry after 26 seconds".

    Returns:
        None where the error names no time.
    """
    details = body.get("details") if isinstance(body, Mapping) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get(_RETRY_INFO) if isinstance(detail, Mapping) else None
        if isinstance(delay, str) and re.fullmatch(r"\d+(?:\.\d+)?s", delay):
            return float(delay[:-1])
    message = body.get("message") if isinstance(body, Mapping) else body
    found = _WAIT.search(message) if isinstance(message, str) else None
    if found is None or not any(found.groups()):
        return None
    hours, minutes, seconds, unit = found.groups()
    rest = float(seconds or 0) / (1000.0 if unit == "ms" else 1.0)
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + rest
