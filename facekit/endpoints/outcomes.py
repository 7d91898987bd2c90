"""Input and output of the pipeline: calls, their outcomes, progress, and how a run ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from facekit.endpoints.requests import Reply, Request, Review

ACCEPTED, REJECTED, FAILED, GAVE_UP = "accepted", "rejected", "failed", "gave_up"
"""States of a call: a usable answer; an unusable one; refused for good; failed for a reason that passes."""


class Call(Protocol):
    """A call to be made; whoever plans it adds what it needs to recognise the outcome."""

    @property
    def request(self) -> Request | None:
        """What is asked; None where it cannot be asked, for the reason in ``problem``."""

    @property
    def review(self) -> Callable[[Reply], Review]:
        """Judges the reply."""

    @property
    def problem(self) -> str | None:
        """Why there is no request."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Args:
        state: One of the states above.
        answer: What is kept of the reply, also of a rejected one; empty where there is none.
        reason: Why there is no usable answer.
        model: Who answered.
        prompt_tokens: Tokens read, over all attempts.
        completion_tokens: Tokens written, over all attempts.
        cost: Dollars, over all attempts.
        attempts: How often the endpoint was called.
    """

    state: str
    answer: str = ""
    reason: str | None = None
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    attempts: int = 0


C = TypeVar("C", bound=Call, contravariant=True)


class OutcomeStore(Protocol[C]):
    """A store of outcomes."""

    async def store(self, call: C, outcome: Outcome) -> None:
        """Keep an outcome; its worker goes on when this returns, so that it is on disk if it must be."""

    def flush(self) -> None:
        """Keep at once what has arrived."""


class Ending(Enum):
    """Why a run ended.

    Attributes:
        FINISHED: Every call has an outcome.
        BUDGET: What the next call may cost is more than the budget has left.
        STOPPED: It was asked to stop; calls in flight were waited for.
    """

    FINISHED = "finished"
    BUDGET = "the budget is used up"
    STOPPED = "stopped"


@dataclass(frozen=True)
class CallProgress:
    """Progress of a stage of calls.

    Args:
        stage: What these calls are, in a word or two.
        done: Calls with an outcome, earlier runs included.
        total: Calls in all.
        answered: Usable answers of this run.
        unusable: Calls of this run that ended without one.
        per_second: Calls per second in this run.
        seconds_left: Estimate; None before the first answer.
        cost: Dollars, earlier runs included.
    """

    stage: str
    done: int
    total: int
    answered: int
    unusable: int
    per_second: float
    seconds_left: float | None
    cost: float

    @property
    def unit(self) -> str:
        """What is counted."""
        return "calls"

    @property
    def detail(self) -> str:
        """Speed, cost and failures in a few words."""
        failed = f", {self.unusable} unusable" if self.unusable else ""
        return f"{self.per_second:.1f}/s, ${self.cost:.2f}{failed}"


ProgressListener = Callable[[CallProgress], None]
