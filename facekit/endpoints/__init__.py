"""Models behind OpenAI-compatible endpoints: client, limits, retries, prices, batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.endpoints.addresses import load_answerer
    from facekit.endpoints.budget import Budget
    from facekit.endpoints.client import EndpointClient
    from facekit.endpoints.outcomes import CallProgress, Ending, Outcome
    from facekit.endpoints.pipeline import Pipeline
    from facekit.endpoints.prices import Price, load_prices
    from facekit.endpoints.requests import Answerer, EndpointError, Reply, Request, Review
    from facekit.endpoints.settings import CallSettings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "addresses": ["load_answerer"],
        "budget": ["Budget"],
        "client": ["EndpointClient"],
        "outcomes": ["CallProgress", "Ending", "Outcome"],
        "pipeline": ["Pipeline"],
        "prices": ["Price", "load_prices"],
        "requests": ["Answerer", "EndpointError", "Reply", "Request", "Review"],
        "settings": ["CallSettings"],
    },
)
