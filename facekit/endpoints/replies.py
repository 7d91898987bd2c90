"""What an endpoint sent back, read in one place: the chat completion, and the answer inside its text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from facekit.endpoints.requests import ANSWER_SCHEMA, AnswerSchema, Reply, TemporaryCallError

_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    model: str | None = None
    usage: _Usage | None = None


def parse_completion(body: str | Mapping[str, Any], schema: AnswerSchema | None, model: str) -> Reply:
    """Read a chat completion.

    Args:
        body: The response's body.
        schema: The schema that was asked for, which says whether the answer may be JSON.
        model: What was asked for, where the response names no model.

    Raises:
        TemporaryCallError: If the body is not a chat completion.
    """
    try:
        completion = (
            _Completion.model_validate_json(body) if isinstance(body, str) else _Completion.model_validate(body)
        )
    except ValidationError as error:
        kind = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise TemporaryCallError(f"the response is not a chat completion ({kind})", answered=True) from error
    if not completion.choices:
        raise TemporaryCallError("the response is a chat completion without a choice", answered=True)
    choice, usage = completion.choices[0], completion.usage or _Usage()
    return Reply(
        text=_plain_answer(choice.message.content or "", schema),
        model=completion.model or model,
        finish_reason=choice.finish_reason or "stop",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        refusal=choice.message.refusal,
    )


def _plain_answer(content: str, schema: AnswerSchema | None) -> str:
    """Take an annotation out of its JSON; anything else stays as it is, for the reviewer to read."""
    content = content.strip()
    if schema != ANSWER_SCHEMA:
        return content
    fenced = _FENCE.match(content)
    try:
        values = json.loads(fenced[1] if fenced else content)
    except ValueError:
        return content
    answer = values.get("answer") if isinstance(values, dict) else None
    return answer.strip() if isinstance(answer, str) else content
