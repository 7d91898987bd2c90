"""API keys: read from the environment or typed at a prompt, and redacted in every text that is kept or shown."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from pydantic import SecretStr

from facekit.errors import ConfigurationError

DEFAULT_VARIABLE = "OPENAI_API_KEY"
STRUCK_OUT = "[key]"

_KEY_FORM = re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf)[-_][\w*.-]{6,}|\bAIza[\w-]{20,}|(?<=Bearer )[\w.~+/*-]{6,}=*")
_SHORTEST = 4


def read_key(variable: str = DEFAULT_VARIABLE, ask: Callable[[str], str] | None = None) -> SecretStr:
    """Read an API key.

    Args:
        variable: The environment variable that has it.
        ask: Called with a prompt where the variable is not set; must not echo. None never asks.

    Returns:
        The key, which does not show when printed.

    Raises:
        ConfigurationError: If there is no key.
    """
    key = os.environ.get(variable, "").strip()
    if not key and ask is not None:
        key = ask(f"API key ({variable} is not set): ").strip()
    if not key:
        raise ConfigurationError(f"the environment variable {variable} has no API key; set it, or use key_env=NAME")
    return SecretStr(key)


def no_key(prompt: str) -> str:
    """What dry runs have in place of ``ask``: they need no key, for they ask nobody."""
    return "none"


class KeyFilter:
    """Strikes keys out of text: the given ones, and whatever has the form of one.

    Args:
        *keys: The keys in use.
    """

    def __init__(self, *keys: SecretStr) -> None:
        self._keys = [key.get_secret_value() for key in keys if len(key.get_secret_value()) >= _SHORTEST]

    def __call__(self, text: str) -> str:
        """Return the text without keys, for errors, logs and reasons."""
        return _KEY_FORM.sub(STRUCK_OUT, self.strike_exact(text))

    def strike_exact(self, text: str) -> str:
        """Return the text without the given keys only, for answers, where a word may resemble one."""
        for key in self._keys:
            text = text.replace(key, STRUCK_OUT)
        return text
