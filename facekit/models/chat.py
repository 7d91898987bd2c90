"""Chats with pictures and clips flattened to plain text, with one mark per medium.

Language models' chat templates take plain text; this is what lets any of them carry pictures and clips. The mark of a
picture is the image token, that of a clip ``<video>``, which is only ever written in prompts: before they are
tokenized, each mark is replaced by as many image tokens as the picture or clip costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facekit.errors import ConfigurationError
from facekit.faces.sources import describe_source, is_remote
from facekit.models.control_tokens import ControlTokens

Message = Mapping[str, Any]
VIDEO_MARK = "<video>"
_ARTICLES = {"image": "a picture", "video": "a clip"}
_SOURCE_KEYS = {
    "image": ("image", "url", "path", "image_url"),
    "video": ("video", "url", "path", "video_url"),
}


@dataclass
class FlatChat:
    """A chat as text, with the pictures and clips that were in it.

    Args:
        messages: ``{"role": ..., "content": text}``, other keys kept.
        images: PIL images, paths or URLs, in order; pictures that were only marked are not among them.
        videos: The same for clips, which may also be arrays or lists of pictures.
    """

    messages: list[dict[str, Any]]
    images: list[Any] = field(default_factory=list)
    videos: list[Any] = field(default_factory=list)


def is_chat(value: Any) -> bool:
    """Whether a value is one chat, a sequence of messages with a role."""
    return isinstance(value, Sequence) and len(value) > 0 and all(isinstance(entry, Mapping) for entry in value)


def flatten_chat(
    messages: Sequence[Message],
    image_token: str,
    video_token: str = VIDEO_MARK,
    control_tokens: ControlTokens | None = None,
    *,
    local_files: bool = False,
) -> FlatChat:
    """Turn a chat's content into text.

    Content is a string, or a list of ``{"type": "text", "text": ...}``, ``{"type": "image"}`` and
    ``{"type": "video"}`` entries; the latter may hold the picture or clip under ``image`` or ``video``, ``path`` or
    ``url``. Entries are joined by line breaks. Entries of type ``image_url`` and ``video_url`` come from elsewhere, as
    OpenAI's protocol has them: what they name is on the web or a data URL, and no file of this machine unless asked.

    Args:
        messages: The chat.
        image_token: What a picture becomes.
        video_token: What a clip becomes.
        control_tokens: Escape what looks like one of these in a text, so that it stays words; without it, a text with
            the image or video token is refused.
        local_files: Let ``image_url`` and ``video_url`` name files of this machine, too.

    Raises:
        ConfigurationError: A message has no role or content, a user's has no words, a text has the image token or
            the video token in it that cannot be escaped, an entry is of another type, or an address names a file of
            this machine.
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
        role = str(message["role"])
        if control_tokens is not None:
            entries = [_escape(entry, role, control_tokens) for entry in entries]
        marks = {"image": image_token, "video": video_token}
        texts = [_read_entry(entry, marks, flat, local_files=local_files) for entry in entries]
        words = [text for text in texts if text not in (image_token, video_token)]
        if message["role"] == "user" and not any(text.strip() for text in words):
            raise ConfigurationError("a user message has no words; write a question or an instruction")
        flat.messages.append({**message, "content": "\n".join(texts)})
    return flat


def _escape(entry: Message, role: str, control_tokens: ControlTokens) -> Message:
    if entry.get("type") != "text" or not isinstance(entry.get("text"), str):
        return entry
    return {**entry, "text": control_tokens.escape(entry["text"], role)}


def _read_entry(entry: Message, marks: Mapping[str, str], flat: FlatChat, *, local_files: bool) -> str:
    kind = entry.get("type")
    medium = {"image": "image", "image_url": "image", "video": "video", "video_url": "video"}.get(str(kind))
    if medium is not None:
        key = next((key for key in _SOURCE_KEYS[medium] if entry.get(key) is not None), None)
        source = None if key is None else entry[key]
        if isinstance(source, Mapping):
            source = source.get("url")
        if source is not None:
            from_elsewhere = str(kind).endswith("_url") or str(key).endswith("_url")
            if from_elsewhere and not local_files and not is_remote(source):
                raise ConfigurationError(
                    f"{medium}_url names {describe_source(source)}, a file of this machine, which a chat reads only "
                    "with local_files=True; give an http(s) address or a data URL"
                )
            (flat.images if medium == "image" else flat.videos).append(source)
        return marks[medium]
    if kind != "text" or not isinstance(entry.get("text"), str):
        raise ConfigurationError(f"an entry of a message is of type 'text', 'image' or 'video', not {kind!r}")
    for medium, mark in marks.items():
        if mark in entry["text"]:
            raise ConfigurationError(
                f"a text holds the {medium} token '{mark}', which stands for {_ARTICLES[medium]}; leave it out, and "
                f'give {_ARTICLES[medium]} as an entry {{"type": "{medium}"}}'
            )
    return str(entry["text"])
