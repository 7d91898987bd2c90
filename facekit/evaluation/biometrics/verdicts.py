"""Reading yes or no from answers about pairs and attacks: a bare verdict, or a statement of one of two sides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from facekit.endpoints.texts import strip_thoughts

_BARE = re.compile(r"\W*(?:(?:final )?answer\W+(?:is\W+)?)?(yes|no)\b(?! (?:doubt|one|longer|matter))")
_LAST = re.compile(r"\b(?:answer|verdict|conclusion)(?: is)?\W+(yes|no)\b|\b(yes|no)\W*$")
_DENIED = re.compile(
    r"\b(?:not|isn't|aren't|never|unlikely|no|neither|nothing|doubt|without|rather than)\b[^.;:,!?]{0,40}$"
)
_UNDECIDED = re.compile(r"\b(?:whether|if|cannot|can't|unable|impossible|hard to)\b[^.;!?]*$")
_STATEMENTS = re.compile(r"(?<=[.!?\n])\s+")


@dataclass(frozen=True)
class YesNoReader:
    """Reads answers to a question that can be answered by yes, no, or a statement.

    Args:
        yes: Regular expressions of statements that mean yes.
        no: Of statements that mean no.
    """

    yes: tuple[str, ...]
    no: tuple[str, ...]

    @cached_property
    def _patterns(self) -> tuple[tuple[bool, re.Pattern[str]], ...]:
        sides = ((True, self.yes), (False, self.no))
        return tuple((side, re.compile(rf"\b(?:{'|'.join(words)})\b")) for side, words in sides)

    def __call__(self, text: str) -> bool | None:
        """Yes, no, or None where an answer says neither, or both."""
        text = _normalise(text)
        bare = _BARE.match(text)
        if bare is not None:
            return bare[1] == "yes"
        last = next(iter(reversed(list(_LAST.finditer(text)))), None)
        if last is not None:
            return (last[1] or last[2]) == "yes"
        said: set[bool] = set()
        for statement in reversed(_STATEMENTS.split(text)):  # the last that commits itself
            said = self._sides(statement)
            if said:
                break
        return said.pop() if len(said) == 1 else None

    def _sides(self, statement: str) -> set[bool]:
        """What a statement says: each side that it claims, and the other of each that it denies."""
        said: set[bool] = set()
        for side, pattern in self._patterns:
            for match in pattern.finditer(statement):
                before = statement[: match.start()]
                if not _UNDECIDED.search(before):
                    said.add(side != bool(_DENIED.search(before)))
        return said


def _normalise(text: str) -> str:
    text, is_cut_off = strip_thoughts(text)
    text = "" if is_cut_off else text.casefold()
    text = re.sub(r"[*_`\"]", "", text.replace("’", "'"))
    return re.sub(r"[ \t]+", " ", text).strip()


_PERSON = r"(?:persons?|people|individuals?|identit(?:y|ies)|man|men|woman|women|subjects?)"

read_same_person = YesNoReader(
    yes=(rf"(?:same|one|identical|single) {_PERSON}", "(?:is|are) a match", "they match", "faces match"),
    no=(rf"(?:different|distinct|two|separate|unrelated) {_PERSON}", "a mismatch", "(?:are|look) different"),
)
"""Whether two pictures are said to show one person."""

read_attack = YesNoReader(
    yes=(
        "(?:presentation |spoof(?:ing)? |replay |print |morphing )?attacks?", "spoof(?:ed|ing)?", "fake", "forged",
        "forgery", "morph(?:ed|s|ing)?", "manipulated", "manipulation", "deep ?fake", "printed", "replayed", "a mask",
        "synthetic", "recaptured", "(?:ai|computer)[ -]generated",
    ),
    no=("genuine", "real", "live", "bona ?fide", "authentic", "unaltered", "unmanipulated"),
)  # fmt: skip
"""Whether a picture is said to be an attack, a morph or manipulated."""
