"""Numbers and names read as people write them."""

from __future__ import annotations

import pytest

from facekit.data.labels import CELEBA_ATTRIBUTES
from facekit.reports import format_count, format_duration, format_p_value, in_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("No_Beard", "no beard"),
        ("AU12_left", "AU12 left"),
        ("5_o_Clock_Shadow", "5 o clock shadow"),
        ("gender", "gender"),
        ("age_group", "age group"),
        ("", ""),
    ],
)
def test_names_become_words(name, words):
    assert in_words(name) == words


def test_no_attribute_keeps_an_underscore_or_a_capital():
    assert all(in_words(name) == in_words(name).lower() for name in CELEBA_ATTRIBUTES)
    assert not any("_" in in_words(name) for name in CELEBA_ATTRIBUTES)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0454, "0.045"), (1.0, "1.000"), (None, "–")],
)
def test_p_values_never_read_as_zero(value, words):
    assert format_p_value(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (0.6, "1 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (7805, "2 h 10 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_have_their_two_largest_units(seconds, words):
    assert format_duration(seconds) == words


def test_counts_have_commas():
    assert format_count(1234567) == "1,234,567"
