"""Extraction of the answer from a model's text: from thoughts, control tokens, fences and JSON, or refused.

All forms were seen in replies: ``<think>`` before the answer or cut off inside it, also without its opening tag; the
channels of gpt-oss; a trailing ``<|im_end|>``; fences of any case; prose around JSON; JSON cut off.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

ANSWER_KEYS = ("answer", "final_answer", "response", "reply", "description", "text", "content", "output", "result")
"""Keys under which an answer is looked for; the first is the one that is asked for."""
REFUSAL_KEYS = ("refusal", "error")
DEEPEST = 4
"""How often one form may stand inside another, such as JSON inside a JSON text."""

_THOUGHT = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|antthinking)"
_OPEN = rf"(?:<\s*{_THOUGHT}\s*>|\[THINK\]|◁think▷|<\|begin_of_thought\|>)"
_CLOSE = rf"(?:<\s*/\s*{_THOUGHT}\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>)"
_PAIR = re.compile(rf"{_OPEN}.*?{_CLOSE}", re.DOTALL | re.IGNORECASE)
_LONE_OPEN, _LONE_CLOSE = re.compile(_OPEN, re.IGNORECASE), re.compile(rf".*{_CLOSE}", re.DOTALL | re.IGNORECASE)
_FINAL_CHANNEL = re.compile(r".*<\|channel\|>\s*final\s*<\|message\|>|^analysis.*?assistantfinal", re.DOTALL)
_OTHER_CHANNEL = re.compile(r"<\|channel\|>\s*(?:analysis|commentary)\b")

_ROLE = r"(?:assistant|model|user|system|human)"
_START = re.compile(
    rf"(?:<\|(?:im_start|start_header_id|start|assistant|begin_of_text|startoftext)\|>|<start_of_turn>|<bos>|<s>"
    rf"|\[/INST\]|<｜(?:begin▁of▁sentence|Assistant)｜>)\s*(?:{_ROLE}(?:\s*<\|end_header_id\|>|\s*<\|message\|>|\s*\n))?"
    rf"|<\|end_header_id\|>|<\|message\|>"
)
_END = re.compile(
    r"<\|(?:im_end|im_start|endoftext|end_of_text|eot_id|eom_id|end_of_turn|end|return|call|user|assistant|system"
    r"|start_header_id|eos)\|>|</s>|<eos>|<end_of_turn>|<start_of_turn>|<end_of_utterance>|\[/?INST\]|<s>"
    r"|<｜(?:end▁of▁sentence|User|Assistant)｜>|<\|[a-z_]{0,20}\|?$"
)
_FENCE = re.compile(r"(?P<mark>`{3,}|~{3,})[ \t]*[\w+.-]*[ \t]*\n?(?P<inside>.*?)(?:(?P=mark)|\Z)", re.DOTALL)
_LOOKS_LIKE_JSON = re.compile(r"""^\s*(?:\{|\[\s*["'{\[])|\{\s*["'“]?\w+["'”]?\s*:|,\s*["“]\w+["”]\s*:|["”]\s*[}\]]""")
_RAW = re.compile(
    rf"```|~~~|<\|[^\s<>]*\|?>?|\|>|<｜|{_OPEN}|{_CLOSE}|<\s*/?\s*{_THOUGHT}\b|</?s>|<(?:eos|bos)>|\[/?(?:INST|THINK)"
    r"|<[/|]?[\w:]*$",
    re.IGNORECASE,
)


class UnreadableError(ValueError):
    """A text that holds no answer, or one whose form is ambiguous; the message says why."""


def strip_thoughts(text: str) -> tuple[str, bool]:
    """Take a model's thoughts away.

    Args:
        text: What the model wrote.

    Returns:
        What is left, and whether the text breaks off inside a thought.
    """
    if not _has_any(text, "<[◁") and not text.startswith("analysis"):
        return text.strip(), False
    final = _FINAL_CHANNEL.match(text)
    if final:
        text = text[final.end() :]
    elif _OTHER_CHANNEL.search(text):
        return "", True
    text = _PAIR.sub(" ", text)
    closed = _LONE_CLOSE.match(text)
    if closed:  # the opening stood in the prompt
        text = text[closed.end() :]
    opened = _LONE_OPEN.search(text)
    if opened:
        return text[: opened.start()].strip(), True
    return text.strip(), False


def strip_control_tokens(text: str) -> str:
    """Take away the tokens that begin and end a turn, and whatever a model wrote after its turn."""
    text = text.strip()
    if not _has_any(text, "<["):
        return text
    while (start := _START.match(text)) and start.end():
        text = text[start.end() :].lstrip()
    end = _END.search(text)
    return (text[: end.start()] if end else text).strip()


def find_json(text: str) -> Any:
    """The last JSON object or array in a text: all of it, inside a fence, or inside prose.

    A Python dictionary counts too, and so does a line break inside a text.

    Returns:
        The values; None where there are none.
    """
    if not _has_any(text, "{[`~"):
        return None
    fenced = [match["inside"] for match in _FENCE.finditer(text)] if _has_any(text, "`~") else []
    for candidate in (text, *reversed(fenced)):
        values = _decode(candidate.strip())
        if isinstance(values, (dict, list)):
            return values
    found, position, decoder = None, text.find("{"), json.JSONDecoder(strict=False)
    while position >= 0:
        try:
            values, position = decoder.raw_decode(text, position)
            found = values if values else found
        except (ValueError, RecursionError):
            position += 1
        position = text.find("{", position)
    if found is None and "{" in text:
        found = _decode(text[text.find("{") : text.rfind("}") + 1])
    return found if isinstance(found, (dict, list)) else None


def read_answer(text: str) -> str:
    """The answer in a text that was to be JSON with the key ``answer``, or plain words.

    Args:
        text: What the model wrote.

    Returns:
        Words without thoughts, control tokens, fences or JSON.

    Raises:
        UnreadableError: If the form of the answer is ambiguous.
    """
    answer = _read(text, DEEPEST)
    if _has_any(answer, '<[`~{}|"“') and (_RAW.search(answer) or _LOOKS_LIKE_JSON.search(answer)):
        raise UnreadableError("its form is mixed with its words")
    return answer


def find_refusal(text: str) -> str | None:
    """The words under a key such as ``refusal`` in a JSON reply that has no answer, or None."""
    values = find_json(text)
    if not isinstance(values, dict) or _answers(values):
        return None
    named = {str(key).lower(): value for key, value in values.items()}
    return next((named[key] for key in REFUSAL_KEYS if isinstance(named.get(key), str)), None)


def _read(text: str, depth: int) -> str:
    if depth == 0:
        raise UnreadableError("forms stand inside forms")
    text, is_cut = strip_thoughts(text)
    if is_cut:
        raise UnreadableError("it breaks off inside its thoughts")
    text = strip_control_tokens(text)
    values = find_json(text)
    if values is not None:
        return _read(_answer_of(values), depth - 1)
    fence = _FENCE.fullmatch(text)
    if fence:
        return _read(fence["inside"], depth - 1)
    if _has_any(text, '{[}"“') and _LOOKS_LIKE_JSON.search(text):
        raise UnreadableError("its JSON is cut off or broken")
    decoded = _decode(text) if text[:1] == '"' else None  # a JSON text that holds the answer
    return decoded.strip() if isinstance(decoded, str) else text


def _answer_of(values: Any) -> str:
    """The text of a decoded answer; lists of one stand for what they hold."""
    if isinstance(values, list) and len(values) == 1:
        values = values[0]
    if isinstance(values, str):
        return values
    if not isinstance(values, dict):
        raise UnreadableError("it is a list" if isinstance(values, list) else "it is no text")
    answers = _answers(values)
    if not answers:
        raise UnreadableError(f"its JSON has no '{ANSWER_KEYS[0]}'")
    if len(answers) > 1 and ANSWER_KEYS[0] not in answers:
        raise UnreadableError(f"its JSON has several answers: {', '.join(answers)}")
    answer = answers.get(ANSWER_KEYS[0], next(iter(answers.values())))
    if answer is None:
        raise UnreadableError("its answer is null")
    return _answer_of(answer)


def _answers(values: dict[Any, Any]) -> dict[str, Any]:
    names = {str(key).strip().lower().replace(" ", "_"): value for key, value in values.items()}
    return {name: names[name] for name in ANSWER_KEYS if name in names}


def _has_any(text: str, marks: str) -> bool:
    """Whether a text has one of some characters: most answers have none, and patterns are slow."""
    return any(mark in text for mark in marks)


def _decode(text: str) -> Any:
    """JSON, or a Python literal; None where it is neither."""
    if text[:1] not in ("{", "[", '"'):
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
