"""Chats with pictures as chats of plain text: every picture becomes the image token in its place.

Language models' chat templates take plain text; this is what lets any of them carry pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facekit.errors import ConfigurationError

Message = Mapping[str, Any]
_IMAGE_KEYS = ("image", "url", "path", "image_url")


@dataclass
class FlatChat:
    """A chat as text, with the pictures that were in it.

    Args:
        messages: ``{"role": ..., "content": text}``, other keys kept.
        images: PIL images, paths or URLs, in order; pictures that were only marked are not among them.
    """

    messages: list[dict[str, Any]]
    images: list[Any] = field(default_factory=list)


def is_chat(value: Any) -> bool:
    """Whether a value is one chat, a sequence of messages with a role."""
    return isinstance(value, Sequence) and len(value) > 0 and all(isinstance(entry, Mapping) for entry in value)


def flatten_chat(messages: Sequence[Message], image_token: str) -> FlatChat:
    """Turn a chat's content into text.

    Content is a string, or a list of ``{"type": "text", "text": ...}`` and ``{"type": "image"}`` entries; the latter
    may hold the picture under ``image``, ``path`` or ``url``. Entries are joined by line breaks.

    Args:
        messages: The chat.
        image_token: What a picture becomes.

    Raises:
        ConfigurationError: A message has no role or content, a user's has no words, a text has the image token in
            it, or an entry is of another type.
    """
    flat = FlatChat([])
    for message in messages:
        if "role" not in message:
            raise ConfigurationError("a message of a chat has no 'role'; it is one of user, assistant, system")
        content = message.get("content")
        entries = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(entries, Sequence):
            raise ConfigurationError(
                f"the content of a {message['role']} message is neither text nor a list of entries"
            )
        texts = [_read_entry(entry, image_token, flat.images) for entry in entries]
        words = [text for text in texts if text != image_token]
        if message["role"] == "user" and not any(text.strip() for text in words):
            raise ConfigurationError("a user message has no words; write a question or an instruction")
        flat.messages.append({**message, "content": "\n".join(texts)})
    return flat


def _read_entry(entry: Message, image_token: str, images: list[Any]) -> str:
    kind = entry.get("type")
    if kind in ("image", "image_url"):
        source = next((entry[key] for key in _IMAGE_KEYS if entry.get(key) is not None), None)
        if isinstance(source, Mapping):
            source = source.get("url")
        if source is not None:
            images.append(source)
        return image_token
    if kind != "text" or not isinstance(entry.get("text"), str):
        raise ConfigurationError(f"an entry of a message is of type 'text' or 'image', not {kind!r}")
    if image_token in entry["text"]:
        raise ConfigurationError(
            f"a text holds the image token '{image_token}', which stands for a picture; give pictures as entries "
            '{"type": "image"}'
        )
    return entry["text"]
