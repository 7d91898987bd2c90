"""Adapters that let models of facekit run inside other evaluation suites; a suite is imported only by its adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lazy_loader

if TYPE_CHECKING:
    from facekit.evaluation.plugs.vlmevalkit import register_in_vlmevalkit

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"vlmevalkit": ["register_in_vlmevalkit"]})


def lmms_eval_manifest() -> Any:
    """What lmms-eval finds under its entry-point group ``lmms_eval.models``: the model ``facekit``."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("facekit", simple_class_path="facekit.evaluation.plugs.lmms_eval.FaceKitLmms")
