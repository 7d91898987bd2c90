"""Known ways to earn a reward without an answer, refused before anything is read.

A model that is trained on a reward finds what its reader overlooks. What no honest answer has is refused as a whole
here: endless text, loops, several answer marks, an answer only in the thoughts, and tokens or turns of the chat
template that would make a reader, or a judge, see another conversation. What honest answers have as well, such as a
second label in a comparison, costs in ``facekit.training.rewards.scoring``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from facekit.endpoints.texts import strip_thoughts

LONGEST_ANSWER = 1200
"""Characters behind the thoughts; FaceInstruct's longest answers have about 900."""
LONGEST_THOUGHTS = 6000
"""Characters of the thoughts."""

_TAG = re.compile(
    r"<\s*(/?)\s*(answer|final_answer|final|conclusion|result|response|output|verdict|label|prediction)\s*>", re.I
)
_BOX = re.compile(r"\\boxed\s?\{|\\fbox\s?\{|<\|begin_of_box\|>", re.I)
_MARK = re.compile(
    r"(?:^|[\n.!?;]|\*\*)\s*(?:the\s+)?(?:final\s+|correct\s+)?(?:answer|verdict|conclusion|prediction)\s*"
    r"(?:\*\*)?\s*(?::|=|\bis\b)",
    re.I,
)
_THOUGHT = re.compile(r"<\s*(/?)\s*(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)\s*>", re.I)
_TURN = re.compile(
    r"<\|[\w▁ ]{1,30}\|?>|<[|｜][\w▁ ]{1,30}[|｜]>|</?s>|<(?:bos|eos|pad|unk|image|video)>|\[/?INST\]|<</?SYS>>"
    r"|<(?:start|end)_of_(?:turn|utterance|image)>|<!--|-->"
    r"|(?:^|\n)\s*(?:#+\s*)?(?:user|human|system|assistant|question|instruction|reward|score|grade|label|ground truth)"
    r"\s*[:：]",
    re.I,
)
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,30}\b(?:instruction|prompt|rule|previous|above)"
    r"|\b(?:give|assign|award|return)\b.{0,30}\b(?:reward|full score|full marks|maximum score)"
    r"|\bas (?:per|in) the (?:label|ground truth|reference)\b"
    r"|\b(?:whatever|same as|equal to|matches?)\b.{0,20}\b(?:label|ground truth|reference|truth is)\b",
    re.I | re.S,
)
_MOST_EQUAL = 3
_RUN = 6


def find_hack(text: str, *, longest: int = LONGEST_ANSWER) -> str | None:
    """Say what no honest answer has and this one does.

    Args:
        text: What the model wrote, as decoded.
        longest: Most characters of the answer behind its thoughts.

    Returns:
        The reason in a few words, such as ``"two answer marks"``; None where there is none.
    """
    if len(text) > longest + LONGEST_THOUGHTS:  # first, for what follows takes long over long texts
        return "endless"
    if any(unicodedata.category(each) in ("Cf", "Co", "Cn", "Cs") for each in text):
        return "invisible characters"
    thoughts = [match[1] for match in _THOUGHT.finditer(text)]
    if thoughts not in ([], ["", "/"], ["/"]):
        return "thoughts that are not one block"
    answer, is_cut = strip_thoughts(text)
    if is_cut:
        return "thoughts that do not end"
    if not re.search(r"\w", answer):
        return "no answer behind the thoughts" if thoughts else "no words"
    if len(answer) > longest or len(text) - len(answer) > LONGEST_THOUGHTS:
        return "endless"
    if _TURN.search(answer):
        return "marks of a conversation"
    if _ORDERS.search(answer):
        return "words to the reader"
    return _find_marks(answer) or _find_loop(answer)


def _find_marks(answer: str) -> str | None:
    tags = [(match[1], match[2].lower()) for match in _TAG.finditer(answer)]
    boxes, marks = len(_BOX.findall(answer)), len(_MARK.findall(answer))
    if tags and [slash for slash, _ in tags] != ["", "/"]:
        return "answer tags that are not one pair"
    if boxes > 1 or marks > 1 or bool(tags) + bool(boxes) > 1:
        return "several answer marks"
    return None


def _find_loop(answer: str) -> str | None:
    """Whether sentences or runs of words come again and again."""
    sentences = Counter(" ".join(each.lower().split()) for each in re.split(r"[.!?\n;]+", answer))
    words = re.findall(r"\w+", answer.lower())
    runs = Counter(zip(*(words[start:] for start in range(_RUN)), strict=False))
    repeats = [*(count for each, count in sentences.items() if len(each.split()) > 2), *runs.values()]
    return "a loop" if max(repeats, default=0) > _MOST_EQUAL else None
