"""The request parameters that an endpoint accepts, learned once per model from what it rejects."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace

logger = logging.getLogger(__name__)

_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_ABOUT_SCHEMA = ("response_format", "json_schema", "structured output", "guided")
_UNKNOWN = re.compile(
    r"unsupported|support|unknown|unrecogni[sz]ed|unexpected|extra|not permitted|not allowed|instead|deprecated|default"
    r"|invalid (?:parameter|argument|field)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Dialect:
    """Parameters of a request as an endpoint takes them.

    Args:
        token_limit: Name of the parameter that bounds the answer: ``max_completion_tokens`` or ``max_tokens``.
        structured: Whether it has structured answers.
        temperature: Whether it takes a temperature; models that think take none but their default.
        was_switched: Whether the name of the token limit was changed already.
    """

    token_limit: str = "max_tokens"
    structured: bool = True
    temperature: bool = True
    was_switched: bool = False

    def without(self, said: str) -> Dialect:
        """The dialect without what an endpoint rejects.

        Args:
            said: All that it said about a request in this dialect.

        Returns:
            Another dialect; this one where the rejection is about something else.
        """
        words = said.lower()
        if self.structured and any(word in words for word in _ABOUT_SCHEMA):
            return replace(self, structured=False)
        if not _UNKNOWN.search(words):
            return self
        if self.token_limit in words and not self.was_switched:
            return replace(self, token_limit=_OTHER_LIMIT[self.token_limit], was_switched=True)
        if self.temperature and "temperature" in words:
            return replace(self, temperature=False)
        return self

    def combined(self, other: Dialect) -> Dialect:
        """The union of what both have learned."""
        switched = self if self.was_switched else other
        return Dialect(
            switched.token_limit, self.structured and other.structured, self.temperature and other.temperature,
            switched.was_switched,
        )  # fmt: skip
