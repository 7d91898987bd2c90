"""Encoder and connector as a graph: any batch gives the model's tokens, read back by torch alone or by onnxruntime."""

import json

import pytest
import torch
from small_runs import small_model

import facekit
from facekit.errors import ConfigurationError, MissingExtraError
from facekit.models.interoperability import export, graphs
from facekit.models.interoperability.graphs import VisionGraph


def faces(side, batch, frames=1, seed=0):
    """Pixels and landmarks; those of the last face are absent where there are several."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn((batch, frames, 3, side, side), generator=generator)
    landmarks = torch.rand((batch, frames, 68, 2), generator=generator)
    if batch > 1:
        landmarks[-1] = torch.nan
    return pixels, landmarks


def features(model, *inputs):
    with torch.no_grad():
        return model.get_image_features(*inputs)


@pytest.mark.parametrize(
    "connector", ["mlp", "pixel-shuffle?factor=2", "region", "region-released", "landmark-tokens", "resampler"]
)
def test_a_graph_with_a_dynamic_batch_gives_the_tokens_of_the_model(connector):
    model, _ = small_model(connector)
    model.eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(
            VisionGraph(model), faces(64, 2), dynamic_shapes=({0: batch}, {0: batch}), strict=False
        ).module()
        for count in (1, 3, 5):
            inputs = faces(64, count, seed=count)
            torch.testing.assert_close(program(*inputs), features(model, *inputs), atol=1e-5, rtol=0)


def test_what_was_written_is_read_by_torch_alone(tmp_path):
    model, processor = small_model("region")
    export(model, processor, tmp_path, "torch-export")
    program = torch.export.load(tmp_path / "vision.pt2").module()
    told = json.loads((tmp_path / "vision.json").read_text())
    for count in (1, 4):
        inputs = faces(64, count, seed=count)
        found = program(*inputs)
        torch.testing.assert_close(found, features(model, *inputs), atol=1e-5, rtol=0)
        assert told["outputs"]["image_features"]["shape"] == ["batch", *found.shape[1:]]
        assert told["inputs"]["pixel_values"]["shape"] == ["batch", *inputs[0].shape[1:]]
    assert facekit.models.FaceKitProcessor.from_pretrained(tmp_path).image_processor.image_size == 64


def test_a_clip_of_fixed_length_and_a_tower_of_transformers_are_written_too(tmp_path, llava):
    model, processor = facekit.load(llava[0])
    export(model, processor, tmp_path / "clip", "torch-export", frames=2)
    program = torch.export.load(tmp_path / "clip" / "vision.pt2").module()
    inputs = faces(model.encoder.image_size, 3, frames=2)
    torch.testing.assert_close(program(*inputs), features(model, *inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("connector", ["mlp", "region"])
def test_onnxruntime_gives_the_tokens_of_the_model_for_any_batch(connector, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model, processor = small_model(connector)
    export(model, processor, tmp_path, "onnx")
    session = runtime.InferenceSession(tmp_path / "vision.onnx")
    for count in (1, 3, 5):
        inputs = faces(64, count, seed=count)
        named = dict(zip(("pixel_values", "landmarks"), (each.numpy() for each in inputs), strict=True))
        (found,) = session.run(["image_features"], named)
        torch.testing.assert_close(torch.from_numpy(found), features(model, *inputs), atol=1e-5, rtol=0)


def test_what_cannot_be_written_is_refused_in_one_sentence(tmp_path, monkeypatch):
    model, processor = small_model("mlp")
    monkeypatch.setattr(graphs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'facekit-mllm\[onnx\]'"):
        export(model, processor, tmp_path / "a", "onnx")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "vision.onnx").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="holds weights already"):
        export(model, processor, tmp_path / "b", "torch-export")
    real = type(model.encoder).encode_frames
    monkeypatch.setattr(type(model.encoder), "encode_frames", lambda self, frames: real(self, frames) * len(frames))
    with pytest.raises(ConfigurationError, match="no graph can be made of the encoder 'tiny'"):
        export(model, processor, tmp_path / "c", "torch-export")
