import pytest

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.datagen.facts import fill, record_facts
from facekit.errors import ConfigurationError, RecordError


def record(labels=None, **groups):
    return FaceRecord(id="a", image="a.png", labels=labels or FaceLabels(), groups=groups)


@pytest.mark.parametrize(("groups", "person"), [
    ({"gender": "man", "age_group": "3-9"}, "boy"),
    ({"gender": "woman", "age_group": "0-2"}, "girl"),
    ({"gender": "Female", "age_group": "10-19"}, "woman"),
    ({"gender": "man", "age_group": "more than 70"}, "man"),
    ({"gender": "woman", "age_group": "child"}, "girl"),
    ({"age_group": "3-9"}, "child"),
    ({}, "person"),
])  # fmt: skip
def test_the_noun_fits_gender_and_age(groups, person):
    assert record_facts(record(**groups))["person"] == person


def test_labels_are_in_words_and_absent_ones_absent():
    labels = FaceLabels(expression="anger", action_units={"AU4": 3.0, "AU12": 0.0}, manipulated=False)
    facts = record_facts(record(labels, race="Latino_Hispanic"), {"race": {"Latino_Hispanic": "Latino or Hispanic"}})
    assert facts == {
        "expression": "anger", "action_units": "AU4", "manipulation": "genuine", "race": "Latino or Hispanic",
        "person": "person",
    }  # fmt: skip


def test_templates_are_filled_and_say_what_is_missing():
    template = (
        "A {{ person }}{% if race is defined %} of {{ race }} ethnicity{% endif %}.\n  Next   line.\n\nParagraph."
    )
    assert fill(template, {"person": "girl"}) == "A girl. Next line.\n\nParagraph."
    with pytest.raises(RecordError, match="'expression' is undefined"):
        fill("{{ expression }}", {})


def test_templates_cannot_reach_into_python():
    with pytest.raises((ConfigurationError, RecordError)):
        fill("{{ ''.__class__.__mro__[1].__subclasses__() }}", {})
