"""Reading yes or no from answers about pairs and attacks: a bare verdict, or a statement of one of two sides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from facekit.answers.languages.words import Words, compile_words
from facekit.answers.readers.yes_or_no import read_either


@dataclass(frozen=True)
class YesNoReader:
    """Reads answers to a question that can be answered by yes, no, or a statement.

    Args:
        yes: Words of statements that mean yes, in lower case, as the entries of ``facekit.answers.languages``.
        no: Words of statements that mean no.
    """

    yes: tuple[str, ...]
    no: tuple[str, ...]

    @cached_property
    def _sides(self) -> tuple[Words, Words]:
        return compile_words(self.yes), compile_words(self.no)

    def __call__(self, text: str) -> bool | None:
        """Yes, no, or None where an answer says neither, or both."""
        return read_either(text, *self._sides).value


_PERSON = "(?:persons?|people|individuals?|identit(?:y|ies)|man|men|woman|women|subjects?|face)"
_BOTH = "(?:faces|they|pictures|images|photos|people)"

read_same_person = YesNoReader(
    yes=(
        f"(?:same|one|identical|single) {_PERSON}", f"{_BOTH} match", "(?:a|is|are) (?:\\w+ )?match", r"^\W*same\W*$",
        "(?:dieselbe|derselbe|gleiche|eine) (?:person|mann|frau)", "même (?:personne|homme|femme)",
        "misma (?:persona|mujer)", "mismo (?:hombre|individuo)", "mesma (?:pessoa|mulher)", "mesmo homem",
        "同一(?:个|個)?(?:人|位)", "同一名", "同じ人", "同一人物",
    ),
    no=(
        f"(?:different|distinct|two|separate|unrelated) {_PERSON}", "mismatch(?:es)?", r"^\W*different\W*$",
        f"{_BOTH} (?:do not|don't|did not|didn't|cannot|can't|fail to) match", "(?:are|look) different",
        "(?:verschiedene|unterschiedliche|zwei) (?:personen|männer|frauen)",
        "(?:personnes|hommes|femmes) (?:différent|distinct)e?s", "deux personnes",
        "(?:personas|hombres|mujeres) (?:diferentes|distint[ao]s)", "dos personas",
        "(?:pessoas|homens|mulheres) (?:diferentes|distint[ao]s)", "duas pessoas",
        "(?:不同|两个|兩個)的?人", "別(?:の)?人", "異なる人",
    ),
)  # fmt: skip
"""Whether two pictures are said to show one person."""

read_attack = YesNoReader(
    yes=(
        "(?:presentation |spoof(?:ing)? |replay |print |morphing )?attacks?", "spoof(?:s|ed|ing)?", "fake", "forged",
        "forgery", "morph(?:ed|s|ing)?", "manipulated", "manipulations?", "deep ?fakes?", "print(?:ed|ing|s|out)?",
        "replay(?:ed|s)?", "masks?", "synthetic", "recaptured", "(?:ai|computer) generated",
        "(?:photo|picture|image|recording) of (?:an? )?(?:screen|photo|photograph|picture|monitor|display)",
        "gefälscht", "fälschung", "manipuliert", "manipulée?", "fals[oa]", "manipulad[oa]", "伪造", "假的", "攻击",
        "偽物", "なりすまし",
    ),
    no=(
        "genuine", "real", "live", "bona ?fide", "authentic", "unaltered", "unmanipulated",
        "echt", "authentique", "auténtic[oa]", "autêntic[oa]", "genuin[oa]", "真实", "真人", "本物",
    ),
)  # fmt: skip
"""Whether a picture is said to be an attack, a morph or manipulated."""
