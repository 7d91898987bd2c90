"""Answers that are JSON: a schema of a client becomes a grammar, and the grammar says which token may come next.

The grammar is llguidance's (extra ``json``), which bounds what a schema may cost: look-ups of other documents, keywords
that it does not know and schemas beyond its limits are refused before the model is asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from facekit.errors import first_line
from facekit.serving.protocol import JsonObjectFormat, JsonSchemaFormat
from facekit.serving.request_error import RequestError

_MAX_CHARACTERS = 100_000
_LIMITS: Any = {"initial_lexer_fuel": 1_000_000, "max_grammar_size": 200_000, "max_lexer_states": 50_000}
# All of them, so that none can be set by the schema itself.
_OPTIONS: Any = {
    "item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False, "coerce_one_of": False,
    "lenient": False,
}  # fmt: skip


class JsonFormats:
    """Makes grammars for one model's tokens; may be used from several threads.

    Args:
        tokenizer: The model's.
        ends: The tokens that end an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> None:
        self._tokenizer, self._ends = tokenizer, list(ends)
        self._vocabulary: Any = None
        self._lock = threading.Lock()

    def compile(self, wanted: JsonObjectFormat | JsonSchemaFormat) -> JsonGrammar:
        """Return the grammar of a ``response_format``.

        Raises:
            RequestError: llguidance is not installed here, or the schema is too large, is none, says what is not
                supported, or nothing can be as it says.
        """
        schema = {"type": "object"} if isinstance(wanted, JsonObjectFormat) else wanted.json_schema.content
        written = json.dumps({**schema, "x-guidance": _OPTIONS})
        if len(written) > _MAX_CHARACTERS:
            raise _refuse(f"the JSON schema has {len(written):,} characters; send at most {_MAX_CHARACTERS:,}")
        try:
            import llguidance
        except ModuleNotFoundError as error:
            raise _refuse(
                "JSON answers need the extra 'json' on the server: pip install 'facekit-mllm[json]'"
            ) from error
        try:
            text = llguidance.LLMatcher.grammar_from_json_schema(written)
            limits = llguidance.LLParserLimits(**_LIMITS, verbose_errors=False)
            matcher = llguidance.LLMatcher(self._words(), text, log_level=0, limits=limits)
        except ValueError as error:
            raise _refuse(f"the JSON schema cannot be used: {first_line(error)}") from error
        matcher.compute_bitmask()
        if matcher.is_error():
            raise _refuse(f"the JSON schema cannot be used: {matcher.get_error().splitlines()[0]}")
        if matcher.is_stopped() and not matcher.is_accepting():
            raise _refuse("the JSON schema cannot be used: no answer is as it says")
        return JsonGrammar(matcher, self._ends, written)

    def _words(self) -> Any:
        """The tokenizer as llguidance has it, which is made once."""
        import llguidance.hf

        with self._lock:
            if self._vocabulary is None:
                tokenizer: Any = self._tokenizer  # of whatever class, it says which ones it cannot read
                try:
                    self._vocabulary = llguidance.hf.from_tokenizer(tokenizer, eos_token=self._ends)
                except ValueError as error:
                    raise _refuse(f"this model gives no JSON answers: {first_line(error)}") from error
            return self._vocabulary


class JsonGrammar:
    """A compiled schema; ``start`` follows one answer along it.

    Attributes:
        schema: The schema as JSON, with how spaces are put, for engines that follow it themselves by llguidance.
    """

    def __init__(self, matcher: Any, ends: Sequence[int], schema: str) -> None:
        self._matcher, self._ends, self.schema = matcher, ends, schema

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Whether tokens, without the one that ends an answer, are all that the schema asks for."""
        matcher = self._matcher.deep_copy()
        return bool(matcher.consume_tokens(list(tokens)) and matcher.is_accepting())

    def start(self) -> JsonConstraint:
        """The constraint of one answer."""
        return JsonConstraint(self._matcher.deep_copy(), self._ends)


class JsonConstraint:
    """What may come next in one answer; see ``facekit.models.sessions.TokenConstraint``.

    Attributes:
        failure: Why the grammar could not be followed to the end; None where it could.
    """

    def __init__(self, matcher: Any, ends: Sequence[int]) -> None:
        self.failure: str | None = None
        self._matcher, self._ends = matcher, ends

    def allowed(self, size: int) -> Tensor:
        """Which tokens may come next, ``(size,)``."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        found = np.unpackbits(bits, bitorder="little")[:size].astype(bool)
        allowed = torch.zeros(size, dtype=torch.bool)
        allowed[: len(found)] = torch.from_numpy(found)
        if self._matcher.is_error() or not allowed.any():
            self.failure = self.failure or (self._matcher.get_error() or "no token can follow").splitlines()[0]
            allowed[:] = False
            allowed[self._ends] = True
        return allowed

    def advance(self, token: int) -> None:
        """Take in the token that was written."""
        self._matcher.consume_token(token)


def _refuse(message: str) -> RequestError:
    return RequestError(400, message, param="response_format", code="invalid_response_format")
