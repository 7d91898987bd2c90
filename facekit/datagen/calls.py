"""Requests of data generation, and the stages that make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facekit.endpoints.requests import Answerer as Annotator
from facekit.endpoints.requests import Request

__all__ = ["ANNOTATE", "RATE", "AnnotationRequest", "Annotator"]

ANNOTATE, RATE = "annotate", "rate"
"""The two stages that ask a model."""


@dataclass(frozen=True)
class AnnotationRequest(Request):
    """One question about one face.

    Args:
        template: What the template annotator fills in; None where it has no answer.
        facts: What is known of the face, by name, for the template.
        landmarks: Of the picture, (68, 2) or (T, 68, 2) as nested lists, for the template; None where there are none.
    """

    template: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    landmarks: Sequence[Any] | None = None
