"""Generating instruction data: recipes, annotators, the resumable pipeline, quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.datagen.annotators.endpoint import EndpointAnnotator
    from facekit.datagen.annotators.template import TemplateAnnotator
    from facekit.datagen.calls import Annotator
    from facekit.datagen.preview import dry_run
    from facekit.datagen.recipe import Recipe, load_recipe
    from facekit.datagen.settings import GenerationSettings
    from facekit.datagen.workflow import GenerationResult, Ledger, generate

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "annotators.endpoint": ["EndpointAnnotator"],
        "annotators.template": ["TemplateAnnotator"],
        "calls": ["Annotator"],
        "preview": ["dry_run"],
        "recipe": ["Recipe", "load_recipe"],
        "settings": ["GenerationSettings"],
        "workflow": ["GenerationResult", "Ledger", "generate"],
    },
)
