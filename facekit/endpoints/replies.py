"""The reply of an endpoint, read here alone: the chat completion, and by ``texts`` the answer inside its text.

A body that is no chat completion, a choice that ended in an error, and an answer whose form is ambiguous are refused;
what the endpoint charged for them is added to the cost all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from facekit.endpoints.requests import (
    ANSWER_SCHEMA,
    AnswerSchema,
    Reply,
    TemporaryCallError,
    UnreadableReplyError,
    Usage,
)
from facekit.endpoints.texts import (
    UnreadableError,
    find_refusal,
    read_answer,
    strip_control_tokens,
    strip_thoughts,
)

STOP, LENGTH, CONTENT_FILTER = "stop", "length", "content_filter"

_FINISH_REASONS = {
    STOP: ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "end", "finished", "complete"),
    LENGTH: (
        "length", "max_tokens", "model_length", "max_output_tokens", "max_length", "incomplete",
        "model_context_window_exceeded",
    ),
    CONTENT_FILTER: (
        "content_filter", "content_filtered", "safety", "image_safety", "prohibited_content", "recitation", "blocklist",
        "spii", "language", "refusal", "guardrail_intervened", "moderation", "sensitive",
    ),
}  # fmt: skip
"""What endpoints call the three ends of an answer, in any case; every other end means that it cannot be used."""
_ENDS = {name: end for end, names in _FINISH_REASONS.items() for name in names}
_EXCERPT = 60


class ErrorReplyError(Exception):
    """A response with status 200 that holds an error instead of an answer.

    Args:
        body: The error as the endpoint describes it: an object, or text.
        usage: What was charged.
    """

    def __init__(self, body: Any, usage: Usage) -> None:
        super().__init__("the response holds an error")
        self.body, self.usage = body, usage

    @property
    def status(self) -> int:
        """The HTTP status that the error stands for; 500 where it names none."""
        code = self.body.get("code", self.body.get("status")) if isinstance(self.body, Mapping) else None
        try:
            number = int(code) if code is not None else 500
        except (TypeError, ValueError):
            return 500
        return number if 400 <= number < 600 else 500


def parse_completion(body: str | Mapping[str, Any], schema: AnswerSchema | None, model: str) -> Reply:
    """Read a chat completion.

    Args:
        body: The response's body.
        schema: The schema that was asked for: an answer is taken out of its JSON; of others, and without one, thoughts
            and control tokens are taken away.
        model: What was asked for, where the response names no model.

    Raises:
        ErrorReplyError: If it holds an error instead.
        TemporaryCallError: If it is no chat completion, or its answer ended in an error.
        UnreadableReplyError: If the form of the answer is ambiguous.
    """
    try:
        values = json.loads(body, strict=False) if isinstance(body, str) else body
    except (ValueError, RecursionError) as error:
        raise TemporaryCallError(f"the response is not a chat completion ({error})", answered=True) from error
    if not isinstance(values, Mapping):
        raise TemporaryCallError("the response is not a chat completion (it is no object)", answered=True)
    usage = _usage(values.get("usage"))
    choice = _choice(values, usage)
    message = choice.get("message")
    if not isinstance(message, Mapping) and _is_filtered(choice.get("finish_reason")):
        message = {}  # Google's endpoint leaves it out
    if not isinstance(message, Mapping):
        raise TemporaryCallError("the response has a choice without a message", answered=True, usage=usage)
    end = _finish_reason(choice.get("finish_reason"), usage)
    refusal = message.get("refusal")
    refusal = refusal.strip() if isinstance(refusal, str) else ""
    text, end, refused = _text(_joined(message.get("content")), end, schema, usage)
    if not (text or refusal or refused) and end == STOP and schema is not None:
        raise UnreadableReplyError("it has no words", usage=usage)
    return Reply(
        text=text,
        model=values["model"] if isinstance(values.get("model"), str) and values["model"] else model,
        finish_reason=end,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        refusal=refusal or refused,
    )


def _choice(values: Mapping[str, Any], usage: Usage) -> Mapping[str, Any]:
    """The first choice; raises where there is an error or nothing instead."""
    choices = values.get("choices")
    if isinstance(choices, Mapping):
        raise ErrorReplyError(choices.get("error", choices), usage)
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        if values.get("error"):
            raise ErrorReplyError(values["error"], usage)
        raise TemporaryCallError("the response is not a chat completion (it has no choice)", answered=True, usage=usage)
    if choices[0].get("error"):
        raise ErrorReplyError(choices[0]["error"], usage)
    return choices[0]


def _finish_reason(given: Any, usage: Usage) -> str:
    """One of the three ends; a missing one is a stop, as servers leave it out."""
    if given is None:
        return STOP
    end = CONTENT_FILTER if _is_filtered(given) else _ENDS.get(_plain_end(given))
    if end is None:
        raise TemporaryCallError(f"the answer ended with {str(given)[:_EXCERPT]!r}", answered=True, usage=usage)
    return end


def _is_filtered(given: Any) -> bool:
    """Whether an end is that of a content filter, also with what it found behind it: ``content_filter: SAFETY``."""
    return _ENDS.get(_plain_end(given).partition(":")[0]) == CONTENT_FILTER


def _plain_end(given: Any) -> str:
    return str(given).strip().lower()


def _joined(content: Any) -> str:
    """The text of a message's content, which may be a list of parts with thoughts among them."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str) and (not isinstance(part, Mapping) or part.get("type", "text") in _TEXT_PARTS):
            parts.append(text)
    return "".join(parts)


_TEXT_PARTS = ("text", "output_text")


def _text(content: str, end: str, schema: AnswerSchema | None, usage: Usage) -> tuple[str, str, str | None]:
    """Text, end and refusal of a reply.

    What breaks off inside its form is cut off where the endpoint says so, and unreadable where it says that it ended.
    """
    text, is_cut = strip_thoughts(content)
    if schema is None:
        return ("", LENGTH, None) if is_cut else (strip_control_tokens(text), end, None)
    if end == STOP and is_cut:
        raise UnreadableReplyError("it breaks off inside its thoughts", usage=usage)
    text = "" if is_cut else strip_control_tokens(text)
    if schema != ANSWER_SCHEMA or not text:
        return text, end, None
    refusal = find_refusal(text)
    if refusal is not None:
        return "", end, refusal
    try:
        return read_answer(text), end, None
    except UnreadableError as error:
        if end != STOP:
            return "", end, None
        excerpt = " ".join(text.split())
        shown = excerpt if len(excerpt) <= _EXCERPT else f"{excerpt[:_EXCERPT]}…"
        raise UnreadableReplyError(f"{error} ({shown!r})", usage=usage) from error


def _usage(values: Any) -> Usage:
    def count(*names: str) -> int | None:
        for name in names:
            number = values.get(name)
            if isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < 1e12:
                return int(number)
        return None

    if not isinstance(values, Mapping):
        return Usage()
    read, written = count("prompt_tokens", "input_tokens"), count("completion_tokens", "output_tokens")
    total = count("total_tokens")
    if read is not None and total is not None and total >= read:
        written = max(written or 0, total - read)  # some count what was thought in the total alone
    return Usage(read, written)
