"""Retries of failed calls: how many, and the backoff between them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from facekit.errors import ConfigurationError


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015).

    Args:
        attempts: Tries of one call in a run.
        base: Longest wait after the first failure, in seconds; it doubles with every further one.
        cap: Longest wait without the endpoint's word, in seconds.
        longest_pause: Longest wait that the endpoint may ask for, in seconds; beyond it the call is given up.
        rng: Random generator of the jitter.
    """

    attempts: int = 6
    base: float = 1.0
    cap: float = 60.0
    longest_pause: float = 600.0
    rng: random.Random = field(default_factory=random.Random, compare=False)

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base < 0 or self.cap < 0:
            raise ConfigurationError(
                f"retries need attempts of at least 1 and waits of at least 0, not {self.attempts} and {self.base:g}"
            )

    def delay(self, failures: int, retry_after: float | None = None) -> float | None:
        """Seconds until the next try.

        Args:
            failures: How often the call has failed, at least once.
            retry_after: What the endpoint asked for.

        Returns:
            The wait, never shorter than what the endpoint asked for; None where the call is given up.
        """
        if failures >= self.attempts or (retry_after or 0.0) > self.longest_pause:
            return None
        jitter = self.rng.uniform(0.0, min(self.cap, self.base * 2.0 ** (failures - 1)))
        return jitter if retry_after is None else retry_after + min(jitter, self.base)
