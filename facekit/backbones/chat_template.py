"""The chat template of a tokenizer: its own, one of facekit's, or a file."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from facekit.errors import InvalidSpecError
from facekit.spec import closest_match_hint

CHAT_TEMPLATE_FOLDER = Path(__file__).with_name("chat_templates")
CHAT_TEMPLATES = ("plain", "vicuna")


def set_chat_template(tokenizer: PreTrainedTokenizerBase, choice: str | None, spec: str) -> None:
    """Give the tokenizer the chosen chat template, or keep its own.

    Args:
        tokenizer: Changed in place.
        choice: ``vicuna``, ``plain``, a Jinja file, or None for the tokenizer's own.
        spec: The backbone's spec, for messages.

    Raises:
        InvalidSpecError: The choice is neither a known name nor a file, or there is none and the tokenizer has no
            template of its own.
    """
    if choice is None:
        if tokenizer.chat_template is None:
            raise InvalidSpecError(
                f"the tokenizer of backbone '{spec}' has no chat template, so the form of its conversations must be "
                f"chosen: '{spec}?chat_template=vicuna' (Vicuna, LLaVA-1.5, Face-LLaVA), '{spec}?chat_template=plain' "
                f"(User: ..., Assistant: ...; for base models), or the path of a Jinja file"
            )
        return
    path = CHAT_TEMPLATE_FOLDER / f"{choice}.jinja" if choice in CHAT_TEMPLATES else Path(choice).expanduser()
    if not path.is_file():
        hint = closest_match_hint(choice, CHAT_TEMPLATES)
        raise InvalidSpecError(f"chat_template={choice} is neither a known template nor a file{hint}")
    tokenizer.chat_template = path.read_text(encoding="utf-8-sig")
