"""Examples that train, on a few drawn faces: what learned, what stayed as it was, and what they leave."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import timm
import torch
from foreign_checkpoints import save_internvl
from PIL import Image
from safetensors.torch import load_file
from small_runs import small_model
from transformers import InternVLForConditionalGeneration

import facekit
from facekit.models.interoperability import export

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ("model.dtype=null", "precision=float32", "gradient_checkpointing=false", "warmup=0.0", "threads=1")


def losses_of(folder):
    return [entry["loss"] for entry in json.loads((folder / "training" / "losses.json").read_text())]


def test_facellm_is_trained_by_adapters_and_written_as_internvl(run_example, drawn_faces, tmp_path):
    base, _ = save_internvl(tmp_path / "base")
    output = tmp_path / "facellm"
    overrides = (f"model.load={tmp_path / 'base'}", "steps=4", "batch_size=4", "lr=1e-2", "lora.rank=4", "log_every=1")
    printed = run_example("train_facellm.py", drawn_faces, output, *SMALL, *overrides)
    losses = losses_of(output)
    assert losses[-1] < losses[0] - 0.3
    assert f"loss {losses[0]:.3f} to {losses[-1]:.3f} in 4 steps" in printed
    assert {value.shape[0] for name, value in load_file(output / "adapter" / "adapter_model.safetensors").items()
            if "lora_A" in name} == {4}  # fmt: skip
    exported, before = InternVLForConditionalGeneration.from_pretrained(output / "internvl"), base.state_dict()
    changed = {name for name, value in exported.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(re.search(r"language_model.*(self_attn|mlp)\..*_proj\.weight", name) for name in changed)
    again = run_example("train_facellm.py", drawn_faces, output, *SMALL, *overrides)
    assert "steps" not in again
    assert again.splitlines()[-1].endswith("internvl: InternVLForConditionalGeneration")


def test_face_llava_learns_in_two_stages(run_example, drawn_faces, tmp_path):
    output = tmp_path / "face-llava"
    printed = run_example(
        "train_face_llava.py", drawn_faces, output, *SMALL, "model.encoder=tiny?image_size=64&width=32&depth=1",
        "model.connector=region", "model.backbone=tiny?width=48&depth=1&heads=2", "batch_size=8", "accumulation=1",
        "stages.region.steps=2", "stages.finetune.steps=6", "lr=1e-2", "log_every=1",
    )  # fmt: skip
    assert losses_of(output / "finetune")[-1] < losses_of(output / "region")[0] - 1.0
    region, finetune = (load_file(output / stage / "model.safetensors") for stage in ("region", "finetune"))
    changed = {name.partition(".")[0] for name in region if not torch.equal(region[name], finetune[name])}
    assert changed == {"connector", "language_model"}
    plans = printed.split("stage ")[1:]
    assert re.search(r"encoder: 0 of [\d,]+ parameters, frozen", plans[0])
    assert re.search(r"connector.region: [\d,]{5,} of [\d,]{5,} parameters, rate 0.01", plans[0])
    assert re.search(r"language_model: ([\d,]+) of \1 parameters, rate 0.01", plans[1])
    assert re.search(r"truth: .+\n  region: .*\n  finetune: ", printed, re.DOTALL)
    for stage in ("region", "finetune"):
        assert Image.open(output / stage / "region-maps.png").size[0] > 3 * 240


def test_region_attention_learns_in_a_model_without_facekits(run_example, drawn_faces, tmp_path):
    language_model = export(*small_model(), tmp_path / "language-model", "language-model")
    printed = run_example(
        "region_attention_in_your_model.py", drawn_faces, "--vit", "test_vit", "--language-model", language_model,
        "--steps", "12",
    )  # fmt: skip
    first, last = (float(value) for value in re.findall(r"loss ([\d.]+)", printed))
    assert last < first - 1.0


def test_region_attention_in_ones_own_model_depends_on_landmarks_and_passes_other_faces_through():
    own = runpy.run_path(str(EXAMPLES / "region_attention_in_your_model.py"))
    model = own["FaceAwareModel"](timm.create_model("test_vit", num_classes=0), small_model()[0].language_model).eval()
    pixels, landmarks = torch.rand(3, 3, 160, 160), torch.rand(3, 68, 2)
    landmarks[2] = torch.nan
    with torch.no_grad():
        seen, moved = model.see(pixels, landmarks), model.see(pixels, landmarks.flip(1))
        alone = model.project(model.vit.forward_features(pixels))
    assert torch.equal(seen[2], alone[2])
    assert (seen[:2] - alone[:2]).abs().amax(dim=(1, 2)).min() > 1e-3
    assert (seen[:2] - moved[:2]).abs().amax(dim=(1, 2)).min() > 1e-3


def test_an_encoder_of_ones_own_is_trained_saved_and_loaded(run_example, registry, drawn_faces, tmp_path):
    printed = run_example(
        "bring_your_encoder.py", drawn_faces, tmp_path / "model", "--encoder", "resnet:resnet18?image_size=64",
        "--backbone", "tiny?width=48&depth=1&heads=2", "--epochs", "2",
    )  # fmt: skip
    assert printed.startswith("16 patches of width 256, 16 tokens")
    first, last = (float(value) for value in re.search(r"loss ([\d.]+) to ([\d.]+)", printed).groups())
    assert last < first - 0.5
    model, _ = facekit.load(tmp_path / "model")
    assert type(model.encoder).__name__ == "ResNetEncoder"
    assert model.encoder.grid == (4, 4)
    assert not any(name.startswith("encoder.layers.7") for name in model.state_dict())


def test_parts_are_mixed_saved_and_loaded_by_the_auto_classes(run_example, tmp_path):
    printed = run_example("mix_parts.py", tmp_path / "mixed")
    model, _ = facekit.load(tmp_path / "mixed")
    millions = sum(value.numel() for value in model.parameters()) / 1e6
    assert printed.startswith(f"{millions:.1f} million parameters, {model.tokens_per_frame} tokens an image")


def test_adapters_by_peft_leave_encoder_and_connector_alone(run_example):
    printed = run_example("train_adapter.py")
    trainable, everything = (
        int(number.replace(",", "")) for number in re.findall(r"params: ([\d,]+) \|\| all params: ([\d,]+)", printed)[0]
    )
    assert 0 < trainable < everything / 5
