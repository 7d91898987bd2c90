"""The composed model: its configuration and processor; creating, saving, loading and asking it.

Importing this package registers them with the auto classes of transformers.
"""

from __future__ import annotations

from facekit.compat.versions import notice_untested_versions

notice_untested_versions()  # before the imports that an untested version may break

from facekit.compat.transformers_imports import import_models_package

import_models_package()

from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

from facekit.models.configuration import FaceKitConfig
from facekit.models.image_processing import FaceKitImageProcessor
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import NativeModel
from facekit.models.native.processing import NativeProcessor
from facekit.models.outputs import FaceKitCausalLMOutput
from facekit.models.presets import Preset
from facekit.models.processing import FaceKitProcessor
from facekit.models.region_maps import RegionMaps, region_maps
from facekit.models.sessions import Request, Sampling, Session, generate_batch, iterate_answers
from facekit.models.source import ModelSource
from facekit.models.vision import FaceKitVisionModel, build_part

__all__ = [
    "FaceKitCausalLMOutput",
    "FaceKitConfig",
    "FaceKitForConditionalGeneration",
    "FaceKitImageProcessor",
    "FaceKitProcessor",
    "FaceKitVisionModel",
    "ModelSource",
    "NativeModel",
    "NativeProcessor",
    "Preset",
    "RegionMaps",
    "Request",
    "Sampling",
    "Session",
    "build_part",
    "generate_batch",
    "iterate_answers",
    "region_maps",
]

AutoConfig.register(FaceKitConfig.model_type, FaceKitConfig, exist_ok=True)
AutoModelForImageTextToText.register(FaceKitConfig, FaceKitForConditionalGeneration, exist_ok=True)
AutoImageProcessor.register(
    FaceKitConfig,
    image_processor_classes={"pil": FaceKitImageProcessor, "torchvision": FaceKitImageProcessor},
    exist_ok=True,
)
AutoProcessor.register(FaceKitConfig, FaceKitProcessor, exist_ok=True)
