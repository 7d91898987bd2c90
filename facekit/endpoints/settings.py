"""Settings of calls to an endpoint: concurrency, rate limits, retries, budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facekit.errors import ConfigurationError

Limit = Annotated[float, Field(gt=1.0, allow_inf_nan=False)]


class CallSettings(BaseModel):
    """Settings of the calls of a run; none of them changes what is asked.

    Attributes:
        concurrency: Calls at a time.
        processes: Processes that talk to the endpoint; more than one where a processor core is the limit, which it is
            above some hundred calls a second.
        requests_per_minute: The endpoint's limit; None for none.
        tokens_per_minute: The endpoint's limit of tokens read and written; None for none.
        max_cost: Dollars for this output folder, over all runs; None for no limit.
        prices: A price table of the user's own.
        attempts: Tries of a call that fails for a reason that passes.
        backoff: Longest wait after the first failure, in seconds; it doubles.
        retry_failed: Ask again about what was rejected or failed in earlier runs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    called: ClassVar[str] = "call setting"

    concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    max_cost: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    prices: Path | None = None
    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    backoff: Annotated[float, Field(ge=0.0, le=600.0)] = 1.0
    retry_failed: bool = False

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = ".".join(str(each) for each in problem["loc"])
            raise ConfigurationError(f"{self.called} '{name}': {problem['msg']} (got {problem['input']!r})") from error
