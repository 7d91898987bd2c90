"""Log-probabilities of an answer's tokens in the form of OpenAI's protocol."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from facekit.models.sessions import TokenScore

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_LEAST = -9999.0
"""What the protocol says of a token that cannot come, for JSON has no infinity."""


class TokenWriter:
    """Writes the tokens of one tokenizer; may be used from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._added = {token: str(entry) for token, entry in tokenizer.added_tokens_decoder.items()}
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._is_byte_level = backend is not None and "ByteLevel" in str(getattr(backend, "decoder", ""))

    def write(self, score: TokenScore) -> dict[str, Any]:
        """A token with its log-probability, its bytes, and those of the most likely ones in its place."""
        others = [self._entry(token, value) for token, value in score.most_likely]
        return {**self._entry(score.token, score.log_probability), "top_logprobs": others}

    def content(self, token: int) -> bytes:
        """The bytes of a token in an answer; a part of a character may be one."""
        if token in self._added:
            return self._added[token].encode()
        piece = str(self._tokenizer.convert_ids_to_tokens(token) or "")
        if self._is_byte_level and all(character in _byte_values() for character in piece):
            return bytes(_byte_values()[character] for character in piece)
        match = _BYTE.fullmatch(piece)
        return bytes([int(match[1], 16)]) if match else piece.replace("▁", " ").encode()

    def _entry(self, token: int, value: float) -> dict[str, Any]:
        content = self.content(token)
        return {"token": content.decode("utf-8", "replace"), "logprob": max(value, _LEAST), "bytes": list(content)}


@cache
def _byte_values() -> dict[str, int]:
    """The byte of each character of a byte-level vocabulary: printable ones as they are, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    return {chr(value): value for value in printable} | {chr(256 + rank): value for rank, value in enumerate(others)}
