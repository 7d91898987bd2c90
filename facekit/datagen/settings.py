"""Settings of a generation run."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from facekit.endpoints.settings import CallSettings


class GenerationSettings(CallSettings):
    """Settings of a generation run; none of them changes what is asked.

    Attributes:
        threshold: Lowest overall rating that is kept; None for the recipe's.
        batch: Use the Batch API.
        poll_seconds: Time between looks at a batch.
        batch_requests: Most requests in a batch.
        batch_bytes: Largest batch file.
        formats: Of ``facekit.datagen.exports.EXPORTS``, in which the records are written besides.
    """

    called: ClassVar[str] = "generation setting"

    threshold: Annotated[float, Field(ge=1.0, le=10.0)] | None = None
    batch: bool = False
    poll_seconds: Annotated[float, Field(gt=0.0, le=86_400.0)] = 60.0
    batch_requests: Annotated[int, Field(ge=1, le=50_000)] = 50_000
    batch_bytes: Annotated[int, Field(ge=1_000, le=200_000_000)] = 150_000_000
    formats: tuple[str, ...] = ()
