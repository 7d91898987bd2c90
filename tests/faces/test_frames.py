import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.errors import ConfigurationError
from facekit.faces import choose_frames


def test_eight_frames_of_a_hundred_are_those_of_the_released_code():
    assert choose_frames(100) == [0, 14, 28, 42, 56, 70, 84, 99]


def test_a_short_clip_repeats_frames():
    assert choose_frames(3, 8) == [0, 0, 0, 0, 1, 1, 1, 2]


@settings(deadline=None)
@given(st.integers(1, 100_000), st.integers(2, 64))
def test_frames_ascend_from_the_first_to_the_last(num_frames, count):
    frames = choose_frames(num_frames, count)
    assert len(frames) == count
    assert frames == sorted(frames)
    assert (frames[0], frames[-1]) == (0, num_frames - 1)
    steps = [after - before for before, after in itertools.pairwise(frames)]
    assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize(("num_frames", "count"), [(0, 8), (-1, 8), (5, 0)])
def test_an_empty_clip_or_choice_is_refused(num_frames, count):
    with pytest.raises(ConfigurationError, match="at least 1"):
        choose_frames(num_frames, count)
