"""``SentencePieces``: text to tokens as llama.cpp has it for a vocabulary of SentencePiece, to try a GGUF file with.

The algorithm is SentencePiece's for byte pairs (Kudo and Richardson 2018, arXiv 1808.06226): of all neighbours whose
text together is a token, those with the highest score are joined, the leftmost first, until none are left; what is no
token then is written as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


class SentencePieces:
    """A vocabulary as llama.cpp reads text by it.

    Args:
        tokens: Text of each token; bytes are ``<0x00>`` to ``<0xFF>``.
        scores: Of each; higher ones are joined first.
        controls: Control tokens and their ids.
        begins_with_space: Whether a space is put before text, at its beginning and after each control token.
    """

    def __init__(
        self, tokens: Sequence[str], scores: Sequence[float], controls: Mapping[str, int], *, begins_with_space: bool
    ) -> None:
        self._ids = {token: index for index, token in enumerate(tokens)}
        self._scores, self._controls, self._begins_with_space = scores, controls, begins_with_space

    def read(self, text: str) -> list[int]:
        """Token ids of a text, in which control tokens are such."""
        longest_first = sorted(self._controls, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text) if longest_first else [text]
        ids: list[int] = []
        for part in filter(None, parts):
            if part in self._controls:
                ids.append(self._controls[part])
            else:
                ids += self._read_words(f" {part}" if self._begins_with_space else part)
        return ids

    def _read_words(self, text: str) -> list[int]:
        pieces = list(text.replace(" ", _SPACE))
        while True:
            joined = [self._ids.get(left + right) for left, right in pairwise(pieces)]
            ranked = [(-self._scores[token], place) for place, token in enumerate(joined) if token is not None]
            if not ranked:
                break
            place = min(ranked)[1]
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        ids: list[int] = []
        for piece in pieces:
            whole = self._ids.get(piece)
            ids += [self._ids[f"<0x{byte:02X}>"] for byte in piece.encode()] if whole is None else [whole]
        return ids
