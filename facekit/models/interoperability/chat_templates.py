"""Adapting foreign chat templates to facekit's flattened chats.

facekit flattens a chat's content to text before the template sees it. Templates that look for entries of type ``text``,
as LLaVA's does, are given such an entry; and pictures that a format surrounds by tokens, as InternVL does, get them.
The checkpoint's own template comes out again unchanged when it is written back.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from facekit.models.interoperability.recognition import read_json

_MARK = "{#- The checkpoint's own template follows. -#}\n"
_HEAD = """\
{%- set flat = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- set text = message['content'] -%}
"""
_TAIL = """\
{%- set flat.messages = flat.messages + [dict(message, content=text)] -%}
{%- endfor -%}
{%- set messages = flat.messages -%}
"""
_AS_ENTRY = "{%- set text = [{'type': 'text', 'text': text}] -%}\n"
_PROBE = "a probe without meaning"


def read_chat_template(folder: Path, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return a checkpoint's chat template: the processor's in either kind of file, or the tokenizer's, or None."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if (folder / "chat_template.json").is_file():
        content = read_json(folder / "chat_template.json")
        if isinstance(content, dict) and isinstance(content.get("chat_template"), str):
            return str(content["chat_template"])
    return tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None


def adapt_chat_template(
    template: str, tokenizer: PreTrainedTokenizerBase, image_token: str, before: str = "", after: str = ""
) -> str:
    """Return a template that takes flat text and surrounds pictures; one that needs neither comes back as it is.

    Args:
        template: The checkpoint's own.
        tokenizer: Renders it.
        image_token: Marks a picture in the text.
        before: Written before every picture.
        after: Written after every picture.
    """
    lines = []
    if before or after:
        marked = f"{before}{image_token}{after}"
        lines.append(f"{{%- set text = text | replace({image_token!r}, {marked!r}) -%}}\n")
    if not _takes_text(template, tokenizer):
        lines.append(_AS_ENTRY)
    return f"{_HEAD}{''.join(lines)}{_TAIL}{_MARK}{template}" if lines else template


def original_chat_template(template: str) -> str:
    """Return the checkpoint's own template from what ``adapt_chat_template`` made of it."""
    return template.partition(_MARK)[2] if _MARK in template else template


def _takes_text(template: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    chat = [{"role": "user", "content": _PROBE}]
    try:
        return _PROBE in tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False)
    except (TemplateError, TypeError, AttributeError, KeyError):
        return False
