"""Requests as messages of the OpenAI chat completions interface, for single calls and for batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facekit.endpoints.dialect import Dialect
from facekit.endpoints.requests import Request


def request_body(request: Request, model: str, pictures: Sequence[str], dialect: Dialect) -> dict[str, Any]:
    """The body of a chat completion request.

    Args:
        request: The request.
        model: The model's name.
        pictures: Data URLs, each of which occurs once in the body.
        dialect: How the endpoint wants to be asked.
    """
    text: list[dict[str, Any]] = [{"type": "text", "text": request.prompt}]
    images: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    messages: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    parts = images + text if request.pictures_first else text + images
    messages.append({"role": "user", "content": parts if images else request.prompt})
    body: dict[str, Any] = {"model": model, "messages": messages, dialect.token_limit: request.max_tokens}
    if request.temperature is not None and dialect.temperature:
        body["temperature"] = request.temperature
    if dialect.structured and request.schema is not None:
        schema = {"name": request.schema.name, "strict": True, "schema": dict(request.schema.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body
