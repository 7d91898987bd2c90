import pytest
from pydantic import SecretStr

from facekit.endpoints.keys import KeyFilter, read_key
from facekit.errors import ConfigurationError


def test_a_key_comes_from_the_environment_and_does_not_show(monkeypatch):
    monkeypatch.setenv("MY_KEY", " very-secret \n")
    key = read_key("MY_KEY")
    assert key.get_secret_value() == "very-secret"
    assert "very-secret" not in f"{key} {key!r}"


def test_a_missing_key_is_asked_for_or_named(monkeypatch):
    assert read_key("MY_KEY", lambda prompt: "typed").get_secret_value() == "typed"
    with pytest.raises(ConfigurationError, match="MY_KEY has no API key"):
        read_key("MY_KEY")
    with pytest.raises(ConfigurationError, match="MY_KEY"):
        read_key("MY_KEY", lambda prompt: "  ")


@pytest.mark.parametrize("text", [
    "Incorrect API key provided: sk-proj-****************abcd.",
    "the key plain-words-key is wrong",
    "header Authorization: Bearer abcdef123456",
    "AIzaSyA1234567890abcdefghijk is not valid",
])  # fmt: skip
def test_keys_are_struck_out_whether_known_or_only_of_that_form(text):
    struck = KeyFilter(SecretStr("plain-words-key"))(text)
    assert "[key]" in struck
    assert not any(part in struck for part in ("sk-proj", "plain-words-key", "abcdef123456", "AIzaSy"))


def test_answers_lose_only_the_key_in_use():
    strike = KeyFilter(SecretStr("plain-words-key"))
    assert strike.strike_exact("sk-etching of plain-words-key") == "sk-etching of [key]"
