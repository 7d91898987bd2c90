"""The annotator ``openai``: the client of any OpenAI-compatible endpoint, as it is."""

from __future__ import annotations

from facekit.endpoints.client import EndpointClient as EndpointAnnotator

__all__ = ["EndpointAnnotator"]
