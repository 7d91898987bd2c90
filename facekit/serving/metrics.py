"""``Metrics``: what Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server.

    Args:
        count_open: Says how many answers are waiting or being written.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, count_open: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "facekit_requests", "Requests for answers, by HTTP status.", ["status"], registry=self._registry
        )
        self.seconds = Histogram(
            "facekit_request_seconds",
            "From a request to the end of its reply.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.read = Counter(
            "facekit_prompt_tokens", "Tokens of prompts, visual ones included.", registry=self._registry
        )
        self.written = Counter("facekit_completion_tokens", "Tokens of answers.", registry=self._registry)
        self.batch_size = Histogram(
            "facekit_batch_size", "Answers that were written together.", buckets=_SIZES, registry=self._registry
        )
        self.batch_seconds = Histogram(
            "facekit_batch_seconds", "Time of a batch.", buckets=_SECONDS, registry=self._registry
        )
        Gauge("facekit_open_answers", "Answers waiting or being written.", registry=self._registry).set_function(
            lambda: float(count_open())
        )

    def count_batch(self, size: int, seconds: float) -> None:
        """Count a batch of the engine."""
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
