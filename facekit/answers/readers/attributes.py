"""``read_attributes``: the attributes that a face is said to have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from facekit.answers.languages.telling import vocabularies_for
from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.languages.words import Finder
from facekit.answers.readers.shape import (
    RULES,
    Rank,
    is_modal,
    is_undecided,
    mark_of,
    read_answer,
    undecided_claims,
    verdict_of,
    yes_or_no,
)
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Claim, Clauses
from facekit.answers.text.discourse import takes_back
from facekit.answers.text.normalising import normalise_words
from facekit.answers.text.statements import Answer, Statement

NO_BEARD = "No_Beard"
OPPOSITE = "not "
"""Before the name of an attribute whose opposite is meant."""
_YES_OR_NO_QUESTION = re.compile(r"(?:^|(?<=[.:?!\n]))\s*((?:is|are|does|do|has|have|was|were|can|could)\b[^.?!\n]*\?)")
BEARD, BEARDLESS = "beard", "beardless"


def read_attributes(text: str, asked: Sequence[str] = ()) -> Reading[frozenset[str]]:
    """Read the attributes that the face is said to have.

    Saying "no beard" or "clean-shaven" affirms CelebA's ``No_Beard``; what is not named is taken as absent.

    Args:
        text: The answer.
        asked: The CelebA names that the question asks for, in its order; of a single one a mere "yes" or "no" is
            an answer, and of several a list of as many ones and zeros.

    Returns:
        CelebA names; empty where the answer says that there are none; None where it names no attribute at all.
    """
    return read_answer(text, lambda answer, vocabulary: _read_asked(answer, vocabulary, asked))


def attribute_asked_for(question: str) -> str | None:
    """The attribute that an English yes/no question asks for: ``Eyeglasses`` of "Does this person wear glasses?".

    Args:
        question: The question, behind any words that introduce it.

    Returns:
        A CelebA name; None where the question names none or several, asks for an opposite, or is no yes/no question.

    Examples:
        >>> from facekit.answers.readers.attributes import attribute_asked_for
        >>> attribute_asked_for("Is this person smiling? Answer yes or no.")
        'Smiling'
        >>> attribute_asked_for("Which attributes does this face have, such as a smile?")
    """
    asked = yes_or_no_question(question)
    if asked is None:
        return None
    for vocabulary in vocabularies_for(asked)[:1]:
        clauses = Clauses(spread_hair(asked, vocabulary), vocabulary)
        claims = attribute_claims(clauses, attribute_table(vocabulary))
        named = {claim.label for claim in claims}
        denied = any(claim.denied or claim.holds is False for claim in claims)
        if len(named) == 1 and not denied and not vocabulary.words("beard").search(asked):
            name = named.pop()
            return None if name.startswith(OPPOSITE) else name
    return None


def yes_or_no_question(question: str) -> str | None:
    """The last sentence of a text that is an English yes/no question, normalised; None where there is none."""
    found = _YES_OR_NO_QUESTION.findall(normalise_words(question))
    return str(found[-1]) if found else None


def _read_asked(answer: Answer, vocabulary: Vocabulary, asked: Sequence[str]) -> Reading[frozenset[str]]:
    last = answer.statements[-1]
    flags = re.findall(r"(?<!\d)[01](?!\d)", last.value) if re.fullmatch(r"[\s\[\](){}01,;]+", last.value) else []
    if asked and len(flags) == len(asked):
        chosen = frozenset(name for name, flag in zip(asked, flags, strict=True) if flag == "1")
        return Reading(chosen, Rule.LIST, last.source)
    reading = _of_all(answer, vocabulary, asked) if asked else None
    reading = reading or _read_all(answer, vocabulary, asked)
    if reading.value is None and reading.rule is Rule.NOTHING and len(asked) == 1:
        if takes_back(answer.statements[-1], vocabulary):
            return Reading(None, Rule.UNDECIDED, answer.statements[-1].source)
        for statement in answer.statements:
            said = yes_or_no(statement.value or statement.text, vocabulary)
            if said is not None:
                return Reading(frozenset(asked if said else ()), Rule.YES_OR_NO, statement.source)
    return reading


def _of_all(answer: Answer, vocabulary: Vocabulary, asked: Sequence[str]) -> Reading[frozenset[str]] | None:
    """All or none of what is asked for, less what is excepted: "all three apply", "none of them except bangs"."""
    for statement in reversed(answer.statements):
        for kind in ("none_of", "all_of"):
            match = vocabulary.raw("discourse", kind).search(statement.text)
            if match is None or mark_of(statement, vocabulary, "attributes") is Rank.ASIDE:
                continue
            clauses = Clauses(statement.text, vocabulary)
            excepted = vocabulary.words("discourse", "except").search(clauses.text)
            table = {name: pattern for name, pattern in attribute_table(vocabulary).items() if name in asked}
            named = {claim.label for claim in attribute_claims(clauses, table)} if excepted is not None else set()
            holds = kind == "all_of" and not clauses.is_denied(match.start(), match.end())
            return Reading(frozenset(set(asked) - named if holds else named), Rule.LIST, statement.source)
    return None


def _read_all(answer: Answer, vocabulary: Vocabulary, asked: Sequence[str]) -> Reading[frozenset[str]]:
    present: set[str] = set()
    absent: set[str] = set()
    named: Statement | None = None
    best = Rank.STATEMENT
    nothing: Statement | None = None
    undecided = False
    fields: dict[str, dict[str, bool]] = {}
    verdicts: dict[str, bool | None] = {}
    for statement in answer.statements:
        rank = mark_of(statement, vocabulary, "attributes")
        if rank is Rank.ASIDE or vocabulary.raw("others").search(statement.text):
            continue
        held = dict(_held(statement, vocabulary))
        verdicts.update(_topic_verdict(statement, vocabulary, held))
        if statement.key and statement.rule is not Rule.STATEMENT:
            for name, holds in held.items():
                if fields.setdefault(statement.key, {}).setdefault(name, holds) != holds:
                    return Reading(None, Rule.CONTRADICTORY, statement.source)
        if held and rank is not None and rank > max(best, Rank.FIELD):
            present, absent = set(), set()
        if held and (rank or Rank.STATEMENT) >= (best if best > Rank.FIELD else Rank.STATEMENT):
            best = max(best, rank or best)
            named = named or statement
            present |= {name for name, holds in held.items() if holds}
            absent |= {name for name, holds in held.items() if not holds}
        elif not held and _says_none(statement, vocabulary, rank):
            nothing = statement
        elif not held:
            undecided = undecided or is_undecided(statement.text, vocabulary)
    if named is not None:
        last = answer.statements[-1]
        if best < Rank.FIELD and takes_back(last, vocabulary) and not dict(_held(last, vocabulary, is_open=True)):
            return Reading(None, Rule.UNDECIDED, last.source)
        said = present | absent | verdicts.keys()
        if asked and not said & {each for name in asked for each in (name, f"{OPPOSITE}{name}")}:
            return Reading(None, Rule.NOTHING)
        present |= {name for name, holds in verdicts.items() if holds}
        present -= {name for name, holds in verdicts.items() if not holds}
        known = frozenset(name for name in present if not name.startswith(OPPOSITE))
        return Reading(known, RULES[best] if best >= Rank.FIELD else Rule.LIST, named.source)
    if nothing is not None:
        return Reading(frozenset(), Rule.LIST, nothing.source)
    return Reading(None, Rule.UNDECIDED if undecided else Rule.NOTHING)


def _topic_verdict(statement: Statement, vocabulary: Vocabulary, held: Mapping[str, bool]) -> dict[str, bool | None]:
    """What a statement says of the attribute that its line names: "so I'd mark this as not present"."""
    topic = (
        statement.key
        if held and statement.key
        else ""
        if held
        else statement.topic or " ".join(statement.headings[-1:])
    )
    clauses = Clauses(topic, vocabulary)
    names = {claim.label for claim in attribute_claims(clauses, vocabulary.labels("attributes"))}
    names |= {NO_BEARD for claim in clauses.find({BEARDLESS: vocabulary.words("beardless")})}
    text = statement.value if held else statement.text
    others = {claim.label for claim in attribute_claims(Clauses(text, vocabulary), attribute_table(vocabulary))}
    if len(names) != 1 or others - names - {f"{OPPOSITE}{name}" for name in names}:
        return {}
    holds = verdict_of(text, vocabulary)
    unknown = holds is None and (
        is_undecided(text, vocabulary) or vocabulary.words("discourse", "unknowable").search(text)
    )
    return {names.pop(): holds} if holds is not None or unknown else {}


def _says_none(statement: Statement, vocabulary: Vocabulary, rank: Rank | None) -> bool:
    value = statement.value.strip(" .[]{}")
    if rank is not None and (not value or vocabulary.words("nothing").fullmatch(value)):
        return True
    return bool(vocabulary.words("no_attributes").search(statement.text)) or statement.text.strip(" .") == "[]"


def _held(statement: Statement, vocabulary: Vocabulary, *, is_open: bool = False) -> Iterator[tuple[str, bool]]:
    """Attribute names and opposites, and whether each is said to hold; with ``is_open`` all that are named at all."""
    if is_open:
        table = {**vocabulary.labels("attributes"), BEARD: vocabulary.words("beard")}
        yield from ((claim.label, True) for claim in Clauses(statement.text, vocabulary).find(table))
        return
    if statement.key and vocabulary.words("undecided").fullmatch(statement.value.strip(" .")):
        return
    clauses = Clauses(spread_hair(statement.text, vocabulary), vocabulary)
    names = (statement.key, *statement.headings)
    denied = any(vocabulary.words("deny", "heading").fullmatch(name) for name in names if name)
    for claim in undecided_claims(clauses, attribute_claims(clauses, attribute_table(vocabulary))):
        if claim.holds is not None and (claim.denied or not is_modal(clauses, claim.start)):
            yield claim.label, claim.holds and not denied
    beards = beard_claims(clauses)
    if beards:
        yield NO_BEARD, any((claim.label == BEARDLESS) == (bool(claim.holds) and not denied) for claim in beards)


def attribute_table(vocabulary: Vocabulary) -> dict[str, Finder]:
    """Attribute names, and their opposites behind ``OPPOSITE``, to the words for them."""
    opposites = {f"{OPPOSITE}{name}": pattern for name, pattern in vocabulary.labels("opposites").items()}
    return {**vocabulary.labels("attributes"), **opposites}


def attribute_claims(clauses: Clauses, table: Mapping[str, Finder]) -> list[Claim]:
    """Claims of attributes, and of opposites where no attribute is named in the same words."""
    found = clauses.find({name: pattern for name, pattern in table.items() if not name.startswith(OPPOSITE)})
    against = clauses.find({name: pattern for name, pattern in table.items() if name.startswith(OPPOSITE)})
    longer = [
        claim for claim in found
        if not any(other.start <= claim.start and claim.end <= other.end and _length(other) > _length(claim)
                   and other.label == f"{OPPOSITE}{claim.label}" for other in against)
    ]  # fmt: skip
    return [
        *longer,
        *(claim for claim in against if not any(claim.start < each.end and each.start < claim.end for each in longer)),
    ]


def _length(claim: Claim) -> int:
    return claim.end - claim.start


def beard_claims(clauses: Clauses) -> list[Claim]:
    """Claims of ``BEARD`` and ``BEARDLESS``, without those that are open."""
    vocabulary = clauses.vocabulary
    table = {BEARD: vocabulary.words("beard"), BEARDLESS: vocabulary.words("beardless")}
    return [claim for claim in undecided_claims(clauses, clauses.find(table)) if claim.holds is not None]


def spread_hair(text: str, vocabulary: Vocabulary) -> str:
    """Turn "wavy, black hair" and "hair is wavy and black" into "wavy hair, black hair", so that each is found."""
    hair = vocabulary.entries("hair")
    if not hair or not vocabulary.words("hair_words").search(text):
        return text
    for table in vocabulary.entries("hair_tables"):
        text = _spread(text, table)
    return text


def _spread(text: str, table: Mapping[str, Sequence[str] | str | bool]) -> str:
    noun, first = str(table["noun"]), bool(table["noun_first"])
    adjective, filler, joint, verb = ("|".join(table[key]) for key in ("adjectives", "fillers", "joints", "verbs"))  # type: ignore[arg-type]
    single = str(table.get("written", "")) or None
    first_run = rf"(?:(?:{filler})(?:{joint})){{0,3}}(?:{adjective})"
    run = rf"{first_run}(?:(?:{joint})(?:(?:{filler})(?:{joint})){{0,2}}(?:{adjective})){{0,4}}"
    word = re.compile(rf"(?<![a-zà-ɏ])({adjective})(?![a-zà-ɏ])")

    def written(match: re.Match[str]) -> str:
        own = single or match.groupdict().get("noun") or noun
        form = rf"{own} \1" if first else rf"\1 {own}"
        return word.sub(form, match["run"])

    verbs = rf"\s?(?:{verb}){'?' if first else ''}\s?"
    text = re.sub(rf"(?<![a-zà-ɏ])(?P<noun>{noun}){verbs}(?P<run>{run})(?![a-zà-ɏ])", written, text)
    if not first:
        text = re.sub(rf"(?<![a-zà-ɏ])(?P<run>{run})\s(?P<noun>{noun})(?![a-zà-ɏ])", written, text)
    return text
