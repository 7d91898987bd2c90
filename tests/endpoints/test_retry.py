import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.endpoints.retry import RetryPolicy
from facekit.errors import ConfigurationError


@given(failures=st.integers(1, 9), seed=st.integers(0, 1000))
def test_waits_stay_below_the_doubling_bound(failures, seed):
    policy = RetryPolicy(attempts=10, base=0.5, cap=8.0, rng=random.Random(seed))
    assert 0.0 <= policy.delay(failures) <= min(8.0, 0.5 * 2 ** (failures - 1))


@given(asked=st.floats(0, 600), failures=st.integers(1, 5))
def test_a_wait_is_never_shorter_than_the_endpoint_asks(asked, failures):
    assert RetryPolicy().delay(failures, asked) >= asked


def test_the_last_attempt_and_an_endless_pause_give_up():
    policy = RetryPolicy(attempts=3, longest_pause=60)
    assert policy.delay(2) is not None
    assert policy.delay(3) is None
    assert policy.delay(1, retry_after=61) is None


def test_jitter_spreads_the_waits():
    policy = RetryPolicy(rng=random.Random(0))
    assert len({policy.delay(4) for _ in range(50)}) == 50


def test_no_attempts_are_refused():
    with pytest.raises(ConfigurationError, match="attempts of at least 1"):
        RetryPolicy(attempts=0)
