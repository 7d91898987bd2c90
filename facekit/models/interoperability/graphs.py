"""Encoder and connector as one graph with a dynamic batch: ``torch.export`` and ONNX, for runtimes without facekit.

The graph takes pixels and landmarks as the processor beside it prepares them, and gives visual tokens in the language
model's space, which an engine takes as prompt embeddings.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facekit.errors import CheckpointError, ConfigurationError, MissingExtraError, first_line
from facekit.faces.regions import NUM_LANDMARKS
from facekit.models.interoperability.merging import has_adapters
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor

__all__ = ["GRAPH_FORMATS", "GRAPH_NAMES", "VisionGraph", "write_graph"]

GRAPH_NAMES = {"torch-export": "vision.pt2", "onnx": "vision.onnx"}
GRAPH_FORMATS = tuple(GRAPH_NAMES)
INTERFACE_NAME = "vision.json"
_INPUTS, _OUTPUT = ("pixel_values", "landmarks"), "image_features"
_LARGEST_BATCH = 1 << 16
_TRIED = (1, 3)
_TOLERANCE = 1e-4


class VisionGraph(nn.Module):
    """Encoder and connector of a model as one function of tensors.

    Args:
        model: The model, whose parts are used and not copied.
    """

    def __init__(self, model: FaceKitForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, landmarks: Tensor) -> Tensor:
        """Turn ``(B, T, 3, H, W)`` and landmarks ``(B, T, 68, 2)``, NaN where absent, into ``(B, n, D)``."""
        return self.model.get_image_features(pixel_values, landmarks)


def write_graph(
    model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, folder: Path, format: str, frames: int = 1
) -> Path:
    """Write the graph, its interface as JSON, and the processor.

    Args:
        model: The model, without adapters.
        processor: Its processor.
        folder: Where they go; it is there.
        format: ``torch-export`` or ``onnx``.
        frames: T, which is fixed: 1 for pictures, or the frames of a clip.

    Returns:
        The graph's file.

    Raises:
        ConfigurationError: The model has adapters, or no graph can be made of its parts.
        MissingExtraError: onnx and onnxscript are not installed.
        CheckpointError: The graph gives other tokens than the model.
    """
    if has_adapters(model):
        raise ConfigurationError("a graph holds no adapters; export the model as 'facekit' with --merge-lora first")
    missing = next((each for each in ("onnx", "onnxscript") if importlib.util.find_spec(each) is None), None)
    if format == "onnx" and missing is not None:
        raise MissingExtraError(f"an ONNX graph needs {missing}; run: pip install 'facekit-mllm[onnx]'")
    graph = VisionGraph(model).eval()
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    try:
        with torch.no_grad():
            program = torch.export.export(
                graph, _example(model, 2, frames), dynamic_shapes=({0: batch}, {0: batch}), strict=False
            )
    except Exception as error:
        raise ConfigurationError(
            f"no graph can be made of the encoder '{(model.config.encoder or {}).get('name')}' with the connector "
            f"'{(model.config.connector or {}).get('name')}': {first_line(error)}"
        ) from error
    _compare(graph, program, frames)
    path = folder / GRAPH_NAMES[format]
    if format == "onnx":
        names: dict[str, Any] = {"input_names": list(_INPUTS), "output_names": [_OUTPUT]}
        converted: Any = torch.onnx.export(program, (), dynamo=True, verbose=False, **names)
        converted.save(str(path))
    else:
        torch.export.save(program, path)
    (folder / INTERFACE_NAME).write_text(json.dumps(_describe(model, frames), indent=2) + "\n", encoding="utf-8")
    processor.save_pretrained(folder)
    return path


def _example(model: FaceKitForConditionalGeneration, batch: int, frames: int) -> tuple[Tensor, Tensor]:
    """Pixels and landmarks; the second face, where there is one, has none."""
    generator = torch.Generator().manual_seed(0)
    encoder = model.encoder_for(frames)
    side, parameter = encoder.image_size, next(encoder.parameters())
    pixels = torch.randn((batch, frames, 3, side, side), generator=generator).to(parameter.device, parameter.dtype)
    landmarks = torch.rand((batch, frames, NUM_LANDMARKS, 2), generator=generator)
    landmarks[1:2] = torch.nan
    return pixels, landmarks.to(parameter.device)


def _compare(graph: VisionGraph, program: torch.export.ExportedProgram, frames: int) -> None:
    """Run graph and model on batches of other sizes than it was made with."""
    for batch in _TRIED:
        inputs = _example(graph.model, batch, frames)
        with torch.no_grad():
            expected, found = graph(*inputs), program.module()(*inputs)
        worst = float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-6))
        if not worst <= (_TOLERANCE if expected.dtype == torch.float32 else 1e-2):
            raise CheckpointError(f"the graph differs from the model by {worst:.1e} at a batch of {batch}; not written")


def _describe(model: FaceKitForConditionalGeneration, frames: int) -> dict[str, Any]:
    encoder = model.encoder_for(frames)
    dtype = str(next(encoder.parameters()).dtype).removeprefix("torch.")
    shape = ["batch", frames, 3, encoder.image_size, encoder.image_size]
    return {
        "inputs": {
            "pixel_values": {"shape": shape, "dtype": dtype},
            "landmarks": {"shape": ["batch", frames, NUM_LANDMARKS, 2], "dtype": "float32"},
        },
        "outputs": {
            _OUTPUT: {
                "shape": ["batch", model.count_visual_tokens(frames), model.connector.output_width],
                "dtype": dtype,
            }
        },
        "encoder": model.config.encoder,
        "connector": model.config.connector,
    }
