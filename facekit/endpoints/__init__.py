"""Models behind OpenAI-compatible endpoints: client, limits, retries, prices, batches; names load when first used."""

from __future__ import annotations

import lazy_loader

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
