"""The annotator ``openai``: any OpenAI-compatible endpoint."""

from __future__ import annotations

from facekit.endpoints.client import EndpointClient as EndpointAnnotator

__all__ = ["EndpointAnnotator"]
