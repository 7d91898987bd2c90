"""The blind lists: shares that may not fall, and texts of hostile lengths."""

from __future__ import annotations

import signal
from pathlib import Path

import blind_answers as blind
import pytest

SHARES = {
    "answers": (0.99, 0.005),
    "hostile": (0.96, 0.03),
    "second_answers": (0.99, 0.005),
    "second_hostile": (0.93, 0.02),
}
"""Per list the least share that is read right and the largest that is read wrong with confidence."""
HANGS_AFTER = 120  # seconds; a pattern that is not linear needs longer than anyone waits
UNITS = [
    "1, ",
    "AU6, ",
    "and ",
    "not ",
    "happy, ",
    "no ",
    "30 - ",
    "| a ",
    '{"a": ',
    "(",
    "very ",
    "不",
    "** ",
    "fake 20 % ",
]


@pytest.mark.parametrize("name", SHARES)
def test_answers_written_blind_are_read_as_their_writers_meant_them(name):
    found = blind.results(name)
    least_right, most_wrong = SHARES[name]
    assert sum(each.is_right for each in found) / len(found) >= least_right, blind.table(found)
    assert sum(each.is_confidently_wrong for each in found) / len(found) <= most_wrong, blind.table(found)


def test_further_wordings_are_read_as_their_writer_meant_them():
    found = blind.results("wordings", Path(__file__).parent)
    assert [each.row["id"] for each in found if not each.is_right] == [], blind.table(found)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("task", ["expression", "action_units", "attributes", "age", "manipulation", "yes_no"])
def test_forty_thousand_repeated_characters_are_read_to_the_end(task, unit):
    answer = (unit * 40_000)[:40_000] + " x"
    signal.alarm(HANGS_AFTER)  # ends the process where the reading hangs
    try:
        blind.read({"task": task, "answer": answer, "question": "Is the person smiling?"})
    finally:
        signal.alarm(0)
