"""Starting a new model from a checkpoint rather than from parts, as presets of existing models do.

The parts are there already, with weights that belong together; only the connector may be exchanged, and then its
projector stays.
"""

from __future__ import annotations

import logging

import torch
from torch import nn

from facekit.catalog import current_registry
from facekit.connectors.base import Connector
from facekit.connectors.region_gated import RegionEnrichment
from facekit.errors import ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import is_native
from facekit.models.native.region import build_region
from facekit.models.presets import OWN_CONNECTOR
from facekit.models.processing import FaceKitProcessor
from facekit.models.source import ModelSource
from facekit.models.vision import part_config
from facekit.spec import PartSpec

logger = logging.getLogger(__name__)

_PROJECTORS = ("vision_projector", "layers")


def start_from_checkpoint(
    source: ModelSource, connector: str, landmarker: str | None
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    """Load a checkpoint and give it a connector, unless it has one of that name.

    Args:
        source: The checkpoint and how it is opened.
        connector: Spec of the connector, or ``own``.
        landmarker: Spec of the landmarker, or None for whole pictures; a checkpoint in its own class keeps its
            landmarker then.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        UnknownPartError: The connector or landmarker is not registered.
        InvalidSpecError: The connector's options cannot be used.
        ConfigurationError: The checkpoint is opened in its own class, and the connector does not go behind it.
    """
    if landmarker is not None:
        current_registry().check("landmarker", landmarker)
    spec = PartSpec.parse(connector)
    keeps_own = spec.name == OWN_CONNECTOR
    if not keeps_own:
        current_registry().part("connector", spec.name)
    model, processor = opened = source.load()
    if is_native(model):
        region = None if keeps_own else build_region(model.native, spec)
        if region is not None and (model.region is None or not _is_named_so(model.region, region, spec)):
            model.add_region(region)
        if landmarker is not None:
            processor.image_processor.landmarker = landmarker
        return opened
    if not keeps_own and (spec.name != (model.config.connector or {}).get("name") or spec.options):
        widths = {"input_width": model.connector.input_width, "output_width": model.connector.output_width}
        replace_connector(model, processor, spec.name, current_registry().build("connector", spec, **widths))
    processor.image_processor.landmarker = landmarker
    return model, processor


def _is_named_so(region: RegionEnrichment, named: RegionEnrichment, spec: PartSpec) -> bool:
    """Whether a region attention is the one that a spec names, so that its weights stay."""
    return not spec.options or region.to_config() == named.to_config()


def replace_connector(
    model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, name: str, connector: Connector
) -> None:
    """Exchange a model's connector in place; where both have the same projector, its weights are taken over.

    Args:
        model: The model.
        processor: Its processor, which counts the new connector's tokens from then on.
        name: The registered name of the new connector.
        connector: The new connector.

    Raises:
        ConfigurationError: The new connector is of other widths.
    """
    old = model.connector
    if (connector.input_width, connector.output_width) != (old.input_width, old.output_width):
        raise ConfigurationError(
            f"the connector '{name}' is {connector.input_width} -> {connector.output_width} wide, but the model needs "
            f"{old.input_width} -> {old.output_width}; choose another"
        )
    before, after = _projector(old), _projector(connector)
    if before is not None and after is not None and _shapes(before) == _shapes(after):
        after.load_state_dict(before.state_dict())
    else:
        logger.warning("the connector '%s' has no projector like the checkpoint's, so it starts untrained", name)
    model.connector = connector.to(model.device, model.dtype)
    model.config.connector = part_config(name, connector)
    processor.tokens_per_frame = model.tokens_per_frame
    processor.tokens_per_video_frame = model.tokens_per_video_frame


def _projector(connector: Connector) -> nn.Module | None:
    found = (getattr(connector, name, None) for name in _PROJECTORS)
    return next((module for module in found if isinstance(module, nn.Module)), None)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}
