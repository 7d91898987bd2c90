"""Generating instruction data: recipes, annotators, the resumable pipeline, quality; names load when first used."""

from __future__ import annotations

import lazy_loader

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
