"""The one page that lists every built-in part of every kind: what facekit can mix, at a glance.

Targets are import paths, so nothing here imports a part; torch and the models stay unloaded until one is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facekit.registry import Part, Registry

_OURS: dict[str, Any] = {"licence": "Apache-2.0", "source": "facekit"}

ENCODERS = (
    Part("encoder", "tiny", "facekit.encoders.tiny:TinyEncoder",
         "small ViT with a convolutional stem; optional weights from synthetic faces", **_OURS),
    Part("encoder", "openclip", "facekit.encoders.openclip:OpenClipEncoder",
         "any open_clip vision transformer, by model name or local checkpoint", "weights: see model card",
         "open_clip, Ilharco et al."),
    Part("encoder", "timm", "facekit.encoders.timm:TimmEncoder",
         "any timm model with spatial features", "weights: see model card", "timm, Wightman"),
    Part("encoder", "hf", "facekit.encoders.huggingface:HuggingFaceEncoder",
         "CLIP, SigLIP and DINOv2 vision models in the Hugging Face layout", "weights: see model card",
         "transformers"),
)  # fmt: skip

CONNECTORS = (
    Part("connector", "mlp", "facekit.connectors.mlp:MlpConnector",
         "linear, GELU, linear on every patch token", "Apache-2.0", "LLaVA-1.5, Liu et al. 2023"),
    Part("connector", "region", "facekit.connectors.region:RegionConnector",
         "mlp, then patches attend to nine landmark regions with a proximity bias", "Apache-2.0",
         "Face-LLaVA paper, section 4"),
    Part("connector", "region-released", "facekit.connectors.region_released:ReleasedRegionConnector",
         "the form of the released Face-LLaVA code: LayerNorm, 0.1 branch, no bias", "Apache-2.0",
         "Face-LLaVA released code"),
)  # fmt: skip

BACKBONES = (
    Part("backbone", "tiny", "facekit.backbones.tiny:load_tiny_backbone",
         "small Llama with random weights and a tokenizer of its own", **_OURS),
    Part("backbone", "hf", "facekit.backbones.huggingface:load_huggingface_backbone",
         "any causal language model in the Hugging Face layout, by hub id or path", "weights: see model card",
         "transformers"),
)  # fmt: skip

LANDMARKERS = (
    Part("landmarker", "dlib", "facekit.faces.dlib_landmarker:DlibLandmarker",
         "HOG detector and 68-point regression trees, offline",
         "code Boost-1.0; the landmark model was trained on iBUG 300-W, which excludes commercial use",
         "dlib, King 2009; Kazemi and Sullivan 2014", "dlib", ("dlib", "face_recognition_models")),
    Part("landmarker", "mediapipe", "facekit.faces.mediapipe_landmarker:MediaPipeLandmarker",
         "478-point face mesh mapped to 68 points; argument: a .task file", "Apache-2.0", "MediaPipe, Google",
         "mediapipe", ("mediapipe",)),
    Part("landmarker", "fan", "facekit.faces.fan_landmarker:FanLandmarker",
         "face alignment network, 68 points", "code BSD-3; weights: see model card",
         "Bulat and Tzimiropoulos 2017", "fan", ("face_alignment",)),
    Part("landmarker", "given", "facekit.faces.given_landmarker:GivenLandmarker",
         "landmarks from a .npy file; argument: its path; option: coordinates", **_OURS),
)  # fmt: skip

PRESETS = (
    Part("preset", "facekit-tiny", "facekit.models.presets:FACEKIT_TINY",
         "the demo's model: tiny encoder, region attention, tiny Llama", **_OURS),
)  # fmt: skip

DATASETS = (
    Part("dataset", "synthetic", "facekit.data.synthetic:write_synthetic_dataset",
         "drawn faces with exact landmarks and labels for all five tasks", "Apache-2.0", "facekit",
         "synthetic", ("cv2",)),
)  # fmt: skip

ANNOTATORS = (
    Part("annotator", "template", "facekit.data.templates:write_conversation",
         "questions and answers from hand-written templates, offline", **_OURS),
)  # fmt: skip

TASKS = (
    Part("task", "expression", "facekit.evaluation.tasks:EXPRESSION", "facial expression: accuracy, UAR", **_OURS),
    Part("task", "action_units", "facekit.evaluation.tasks:ACTION_UNITS", "action units: mean F1", **_OURS),
    Part("task", "attributes", "facekit.evaluation.tasks:ATTRIBUTES", "facial attributes: mean accuracy", **_OURS),
    Part("task", "age", "facekit.evaluation.tasks:AGE", "age: mean absolute error in years", **_OURS),
    Part("task", "manipulation", "facekit.evaluation.tasks:MANIPULATION", "genuine or manipulated: accuracy", **_OURS),
)  # fmt: skip

BUILT_IN_PARTS = (
    *ENCODERS, *CONNECTORS, *BACKBONES, *LANDMARKERS, *PRESETS, *DATASETS, *ANNOTATORS, *TASKS,
)  # fmt: skip

_current = Registry(BUILT_IN_PARTS, discover_plugins=True)


def current_registry() -> Registry:
    """Return the registry that facekit looks parts up in: the built-in parts, plugins, and what was registered."""
    return _current


@contextmanager
def isolated_registry() -> Iterator[Registry]:
    """Use a copy of the registry inside the ``with`` block, so that what is registered there leaves no trace."""
    global _current
    before, _current = _current, _current.copy()
    try:
        yield _current
    finally:
        _current = before
