"""Chat templates that mark the assistant's tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

_GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


def marks_answers(template: str) -> bool:
    """Whether a chat template has ``{% generation %}`` marks, which say what the assistant writes.

    Seen: transformers 5.17 to 5.24.
    Why: transformers looks for the marks when it renders, and only warns where there are none.
    Until: it offers the question.
    """
    return _GENERATION_MARK.search(template) is not None


def render_marked_template(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], template: str, **options: Any
) -> tuple[str, list[tuple[int, int]]]:
    """Render a conversation by a template with ``{% generation %}`` marks.

    Args:
        tokenizer: Gives the special tokens.
        messages: ``{"role", "content"}`` with plain text.
        template: Jinja source.
        **options: Variables for the template, such as ``add_generation_prompt``.

    Returns:
        The text, and begin and end of what is between marks, in characters.

    Seen: transformers 5.17 and 5.24.
    Why: ``apply_chat_template`` gives them as a mask over tokens, not as positions in the text.
    Until: ``render_jinja_template`` is documented.
    """
    tokens: dict[str, Any] = {**tokenizer.special_tokens_map, **options}
    rendered: Any = render_jinja_template(
        [[dict(message) for message in messages]], chat_template=template, return_assistant_tokens_mask=True, **tokens
    )
    texts, spans = rendered
    return texts[0], [(start, end) for start, end in spans[0]]
