import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.endpoints.limits import RateLimiter
from facekit.errors import ConfigurationError


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds


def times_of(limiter, clock, sizes):
    async def take():
        times = []
        for size in sizes:
            await limiter.acquire(size)
            times.append(clock.time)
        return times

    return asyncio.run(take())


@given(limit=st.integers(2, 5000), calls=st.integers(1, 300))
def test_no_minute_sees_more_calls_than_the_limit(limit, calls):
    clock = Clock()
    limiter = RateLimiter(requests_per_minute=limit, clock=clock, sleep=clock.sleep)
    times = times_of(limiter, clock, [1] * calls)
    assert all(sum(start <= time < start + 60 for time in times) <= limit for start in times)


@given(sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=60))
def test_no_minute_sees_more_tokens_than_the_limit(sizes):
    clock = Clock()
    limiter = RateLimiter(tokens_per_minute=6000, largest_call=1000, clock=clock, sleep=clock.sleep)
    times = times_of(limiter, clock, sizes)
    for start in times:
        assert sum(size for size, time in zip(sizes, times, strict=True) if start <= time < start + 60) <= 6000


def test_the_limit_is_reached_within_two_percent_over_ten_minutes():
    clock = Clock()
    limiter = RateLimiter(requests_per_minute=600, clock=clock, sleep=clock.sleep)
    times = times_of(limiter, clock, [1] * 6000)
    assert times[-1] - times[0] == pytest.approx(600, rel=0.02)


def test_without_limits_nothing_waits_and_a_pause_holds_back():
    clock = Clock()
    limiter = RateLimiter(clock=clock, sleep=clock.sleep)
    assert times_of(limiter, clock, [1, 10**9]) == [1000.0, 1000.0]
    limiter.pause(7)
    limiter.pause(3)
    assert times_of(limiter, clock, [1]) == [1007.0]


def test_tokens_that_were_not_needed_are_given_back():
    clock = Clock()
    limiter = RateLimiter(tokens_per_minute=6000, largest_call=1000, clock=clock, sleep=clock.sleep)
    times_of(limiter, clock, [1000])
    limiter.settle(1000, 100)
    assert times_of(limiter, clock, [900]) == [1000.0]
    assert times_of(limiter, clock, [500])[0] == pytest.approx(1000 + 500 / (5000 / 60))


def test_a_limit_below_one_call_is_refused():
    with pytest.raises(ConfigurationError, match="too low for calls that need up to 1000"):
        RateLimiter(tokens_per_minute=900, largest_call=1000)
