"""The vocabulary that data sets add to what the synthetic faces show."""

import pytest

from facekit.data.labels import (
    ACTION_UNIT_NAMES,
    ACTION_UNITS,
    AGE_GROUPS,
    ALL_EXPRESSIONS,
    CELEBA_ATTRIBUTES,
    EXPRESSIONS,
    SYNTHETIC_ATTRIBUTES,
    FaceLabels,
    age_group_of,
)


def test_the_seven_basic_expressions_come_first():
    assert EXPRESSIONS == ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
    assert ALL_EXPRESSIONS[:7] == EXPRESSIONS
    assert [FaceLabels(expression=name).expression for name in ALL_EXPRESSIONS] == list(ALL_EXPRESSIONS)


def test_tables_extend_what_synthetic_faces_have():
    assert ACTION_UNITS.items() <= ACTION_UNIT_NAMES.items()
    assert set(SYNTHETIC_ATTRIBUTES) <= set(CELEBA_ATTRIBUTES)
    assert len(CELEBA_ATTRIBUTES) == len(set(CELEBA_ATTRIBUTES)) == 40
    assert list(CELEBA_ATTRIBUTES) == sorted(CELEBA_ATTRIBUTES, key=str.casefold)


@pytest.mark.parametrize(
    ("years", "group"),
    [(0, "0-2"), (2.9, "0-2"), (3, "3-9"), (19.5, "10-19"), (69, "60-69"), (70, AGE_GROUPS[-1]), (116, AGE_GROUPS[-1])],
)
def test_ages_in_years_fall_into_the_groups_of_fairface(years, group):
    assert age_group_of(years) == group
