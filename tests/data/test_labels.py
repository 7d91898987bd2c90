"""The vocabulary that data sets add to what the synthetic faces show."""

import pytest

from facekit.data.labels import (
    ACTION_UNIT_NAMES,
    ACTION_UNITS,
    AGE_GROUPS,
    ALL_EXPRESSIONS,
    CELEBA_ATTRIBUTES,
    EXPRESSIONS,
    FACS_UNITS,
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


@pytest.mark.parametrize(
    ("code", "nearest"), [("AU99", "AU9"), ("au12", "AU12"), ("AU012", "AU12"), ("AU12_r", "AU12")]
)
def test_an_action_unit_that_does_not_exist_is_refused_with_the_nearest(code, nearest):
    with pytest.raises(ValueError, match=f"there is no action unit '{code}' in FACS; did you mean '{nearest}'"):
        FaceLabels(action_units={"AU1": 0.0, code: 1.0})


def test_every_unit_of_facs_is_a_label_whether_it_has_a_name_here_or_not():
    assert ACTION_UNIT_NAMES.keys() <= FACS_UNITS
    assert {"AU16", "AU43", "AU51", "AU64", "AU80"} <= FACS_UNITS
    assert not {"AU0", "AU47", "AU67", "AU75", "AU99"} & FACS_UNITS
    assert FaceLabels(action_units=dict.fromkeys(FACS_UNITS, 1.0)).active_units()[-1] == "AU98"
