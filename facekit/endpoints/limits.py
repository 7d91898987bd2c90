"""Rate limits: requests and tokens per minute, and the pauses that an endpoint asks for.

Both limits are token buckets whose rate is lowered by what the bucket can hold, so that no window of sixty seconds ever
lets more calls or reserved tokens through than the limit, wherever it begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from facekit.errors import ConfigurationError

MINUTE = 60.0
BURST_SHARE = 1 / 60
"""What may be spent at once after a rest, as a share of the minute's limit."""
_ROUNDING = 1e-6


class Bucket:
    """One limit per minute.

    Args:
        per_minute: The limit.
        clock: Seconds.
        largest: The most that one call may need, which the bucket must be able to hold.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic, largest: float = 1.0) -> None:
        self.capacity = max(largest, per_minute * BURST_SHARE)
        if per_minute <= self.capacity:
            raise ConfigurationError(
                f"a limit of {per_minute:g} per minute is too low for calls that need up to {largest:g}; raise it"
            )
        self._rate = (per_minute - self.capacity) / MINUTE
        self._clock = clock
        self._level = self.capacity
        self._time = clock()

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._time) * self._rate)
        self._time = now

    def wait_for(self, amount: float) -> float:
        """Seconds until the amount can be taken."""
        self._fill()
        wait = (min(amount, self.capacity) - self._level) / self._rate
        return wait if wait > _ROUNDING else 0.0

    def take(self, amount: float) -> None:
        """Spend an amount; more than there is makes later calls wait."""
        self._fill()
        self._level -= amount

    def give_back(self, amount: float) -> None:
        """Return what was taken and not needed, or spend more with a negative amount."""
        self._fill()
        self._level = min(self.capacity, self._level + amount)


class RateLimiter:
    """Lets calls through one by one as the limits allow.

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: Tokens read and written; None for no limit.
        largest_call: Tokens of the largest call.
        clock: Seconds.
        sleep: Waits.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        largest_call: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._requests = None if requests_per_minute is None else Bucket(requests_per_minute, clock)
        self._tokens = None if tokens_per_minute is None else Bucket(tokens_per_minute, clock, largest_call)
        self._clock, self._sleep = clock, sleep
        self._not_before = clock()
        self._turn = asyncio.Lock()

    async def acquire(self, tokens: float) -> None:
        """Wait until a call that may need so many tokens can be made."""
        if self._requests is None and self._tokens is None and self._clock() >= self._not_before:
            return
        async with self._turn:
            while (wait := self._wait(tokens)) > 0:
                await self._sleep(wait)
            if self._requests is not None:
                self._requests.take(1)
            if self._tokens is not None:
                self._tokens.take(tokens)

    def _wait(self, tokens: float) -> float:
        return max(
            self._not_before - self._clock(),
            0.0 if self._requests is None else self._requests.wait_for(1),
            0.0 if self._tokens is None else self._tokens.wait_for(tokens),
        )

    def settle(self, reserved: float, used: float) -> None:
        """Correct a call's tokens once they are known."""
        if self._tokens is not None:
            self._tokens.give_back(reserved - used)

    def pause(self, seconds: float) -> None:
        """Let no call through for a while, because the endpoint asked for it."""
        self._not_before = max(self._not_before, self._clock() + seconds)
