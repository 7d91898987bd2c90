"""LanguageBind towers: the released features, the official names, clips of other lengths, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from facekit.catalog import current_registry
from facekit.encoders.languagebind import LanguageBindEncoder, read_languagebind_settings, tower_weights
from facekit.encoders.languagebind_tower import LanguageBindSettings
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError
from facekit.spec import PartSpec

TINY = Path(__file__).parents[1] / "data" / "face_llava_tiny"
IMAGE = TINY / "LanguageBind" / "LanguageBind_Image"
VIDEO = TINY / "LanguageBind" / "LanguageBind_Video_merge"
SMALL = LanguageBindSettings(32, 48, 3, 4, 28, 7, add_time_attn=True, num_frames=4)


@pytest.fixture(scope="module")
def expected():
    return load_file(TINY / "expected.safetensors")


def official_shapes(width, hidden, layers, patch, patches, frames=None):
    """Names and shapes of an official vision tower, written down independently of the package."""
    shapes = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "embeddings.position_embedding.weight": (patches + 1, width),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    for index in range(layers):
        at = f"encoder.layers.{index}."
        for norm in ("layer_norm1", "layer_norm2", *(["temporal_layer_norm1"] if frames else [])):
            shapes |= {f"{at}{norm}.weight": (width,), f"{at}{norm}.bias": (width,)}
        for attention in ("self_attn", *(["temporal_attn"] if frames else [])):
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= {f"{at}{attention}.{name}.weight": (width, width), f"{at}{attention}.{name}.bias": (width,)}
        shapes |= {f"{at}mlp.fc1.weight": (hidden, width), f"{at}mlp.fc1.bias": (hidden,)}
        shapes |= {f"{at}mlp.fc2.weight": (width, hidden), f"{at}mlp.fc2.bias": (width,)}
        if frames:
            shapes[f"{at}temporal_embedding"] = (1, frames, width)
    return shapes


def test_the_released_image_tower_gives_its_features(expected):
    encoder = LanguageBindEncoder.from_spec(str(IMAGE), class_token=False).eval()
    with torch.no_grad():
        tokens = encoder(expected["image_pixels"][:, None])
    assert (encoder.grid, encoder.num_prefix_tokens, tokens.shape) == ((4, 4), 0, (2, 1, 16, 32))
    torch.testing.assert_close(tokens[:, 0], expected["image_tower_features"], atol=1e-5, rtol=1e-5)


def test_the_released_video_tower_gives_its_features(expected):
    encoder = LanguageBindEncoder.from_spec(str(VIDEO)).eval()
    clips = expected["video_pixels"].transpose(1, 2)
    with torch.no_grad():
        tokens = encoder(clips)
    assert (encoder.settings.num_frames, encoder.num_prefix_tokens) == (4, 1)
    torch.testing.assert_close(tokens, expected["video_tower_features"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("modality", "folder"), [("image", IMAGE), ("video", VIDEO)])
def test_a_tower_inside_a_larger_checkpoint_loads_under_its_own_names(modality, folder):
    prefix = f"model.{modality}_tower.{modality}_tower."
    whole = torch.load(TINY / "FaceLLaVA-tiny" / "pytorch_model.bin", weights_only=True)
    weights = {name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)}
    built = LanguageBindEncoder.from_spec(str(folder), pretrained=False)
    encoder = LanguageBindEncoder.from_config(built.to_config())
    encoder.load_tower(weights, "a Face-LLaVA checkpoint")
    state = encoder.state_dict()
    used = {encoder.tower_name(name): value for name, value in weights.items()}
    assert used.pop(None) is not None
    assert used.keys() == state.keys()
    assert all(torch.equal(used[name], state[name]) for name in state)


@pytest.mark.parametrize("frames", [None, 8])
def test_the_released_sizes_are_the_official_ones(frames):
    settings = LanguageBindSettings(add_time_attn=frames is not None, num_frames=frames or 1)
    with torch.device("meta"):
        encoder = LanguageBindEncoder(settings)
    official = official_shapes(1024, 4096, 24, 14, 256, frames)
    wanted = {encoder.tower_name(name): shape for name, shape in official.items()}
    del wanted[None]
    assert {name: tuple(value.shape) for name, value in encoder.state_dict().items()} == wanted
    assert len(official) - len(wanted) == len([n for n in official if ".layers.23." in n or n.startswith("post")])


def test_official_names_load_strictly_and_faults_are_listed():
    shapes = official_shapes(32, 48, 3, 7, 16, 4)
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    encoder = LanguageBindEncoder(SMALL)
    encoder.load_tower(weights | {"embeddings.position_ids": torch.arange(17)[None]}, "tower.bin")
    assert torch.equal(
        encoder.tower.encoder.layers[1].temporal_embedding, weights["encoder.layers.1.temporal_embedding"]
    )
    faulty = dict(weights)
    del faulty["encoder.layers.0.temporal_embedding"], faulty["pre_layrnorm.bias"]
    faulty["pre_layernorm.bias"] = torch.zeros(32)
    faulty["encoder.layers.3.layer_norm1.bias"] = torch.zeros(32)
    faulty["embeddings.class_embedding"] = torch.zeros(31)
    with pytest.raises(CheckpointError) as caught:
        encoder.load_tower(faulty, "tower.bin")
    assert str(caught.value) == (
        "the weights of tower.bin do not fit LanguageBindTower: "
        "2 missing, first 'encoder.layers.0.temporal_embedding', 'pre_layrnorm.bias'; "
        "2 left over, first 'encoder.layers.3.layer_norm1.bias', 'pre_layernorm.bias'; "
        "1 of another shape, first 'embeddings.class_embedding' ((31,) for (32,))"
    )


def test_the_other_halves_of_a_model_are_left_out_and_other_names_are_not():
    weights = {
        "vision_model.pre_layrnorm.bias": torch.zeros(1),
        "text_model.final_layer_norm.bias": torch.zeros(1),
        "text_projection.weight": torch.zeros(1),
        "visual_projection.weight": torch.zeros(1),
        "logit_scale": torch.zeros(()),
        "base_model.lora_A": torch.zeros(1),
    }
    assert tower_weights(weights).keys() == {"pre_layrnorm.bias", "base_model.lora_A"}


@pytest.mark.parametrize("time", [False, True])
def test_it_keeps_the_interface(time, checks):
    torch.manual_seed(0)
    encoder = LanguageBindEncoder(replace(SMALL, add_time_attn=time))
    assert (encoder.hidden_size, encoder.grid, encoder.num_prefix_tokens) == (32, (4, 4), 1)
    checks.interface(encoder)
    checks.round_trip(encoder)
    checks.row_major(encoder)
    checks.class_token(encoder)
    checks.bfloat16(encoder)
    if not time:
        checks.independent_frames(encoder)


def test_frames_of_a_clip_see_one_another_and_clips_do_not():
    torch.manual_seed(0)
    encoder = LanguageBindEncoder(SMALL).eval()
    clips = torch.randn(2, 4, 3, 28, 28)
    changed = clips.clone()
    changed[0, 3] += 1.0
    with torch.no_grad():
        before, after = encoder(clips), encoder(changed)
    assert float((after - before)[0, 0].abs().max()) > 1e-3
    torch.testing.assert_close(after[1], before[1], atol=1e-5, rtol=1e-5)


def test_time_is_attended_to_per_place_after_the_temporal_embedding():
    """Recompute the first half of a layer with torch's own attention, place by place."""
    torch.manual_seed(0)
    layer = LanguageBindEncoder(SMALL).tower.encoder.layers[0]
    reference = torch.nn.MultiheadAttention(32, 4, batch_first=True)
    ours = layer.temporal_attn
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([ours.q_proj.weight, ours.k_proj.weight, ours.v_proj.weight]))
        reference.in_proj_bias.copy_(torch.cat([ours.q_proj.bias, ours.k_proj.bias, ours.v_proj.bias]))
        reference.out_proj.load_state_dict(ours.out_proj.state_dict())
        tokens = torch.randn(2, 4, 17, 32)
        found = layer.attend_over_time(tokens)
        for batch, place in ((0, 0), (1, 9)):
            sequence = tokens[batch, :, place][None] + layer.temporal_embedding
            normed = layer.temporal_layer_norm1(sequence)
            wanted = sequence + reference(normed, normed, normed)[0]
            torch.testing.assert_close(found[batch, :, place][None], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_clips_of_other_lengths_are_taken(frames):
    encoder = LanguageBindEncoder(SMALL)
    assert encoder(torch.randn(2, frames, 3, 28, 28)).shape == (2, frames, 17, 32)


def test_another_image_size_resamples_the_positions(tmp_path):
    native = LanguageBindEncoder.from_spec(str(IMAGE))
    larger = LanguageBindEncoder.from_spec(str(IMAGE), image_size=84)
    assert (larger.grid, larger.image_size, larger.transform.image_size) == ((6, 6), 84, 84)
    small, large = (e.tower.embeddings.position_embedding.weight.detach() for e in (native, larger))
    assert torch.equal(small[0], large[0])
    planes = small[1:].T.reshape(1, 32, 4, 4)
    wanted = torch.nn.functional.interpolate(planes, size=(6, 6), mode="bicubic", antialias=True)
    torch.testing.assert_close(large[1:], wanted.reshape(32, 36).T, atol=1e-6, rtol=0)
    assert larger(torch.randn(1, 1, 3, 84, 84)).shape == (1, 1, 37, 32)


def test_layers_are_counted_as_elsewhere(expected):
    with torch.no_grad():
        outputs = [
            LanguageBindEncoder.from_spec(str(IMAGE), layer=layer)(expected["image_pixels"][:, None])
            for layer in (2, -2, -1)
        ]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])


def test_safetensors_and_shards_are_read_as_well(tmp_path, expected):
    (tmp_path / "config.json").write_text((IMAGE / "config.json").read_text())
    weights = torch.load(IMAGE / "pytorch_model.bin", weights_only=True)
    names = sorted(weights)
    places = {}
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in part}, tmp_path / f"part-{number}.safetensors")
        places |= dict.fromkeys(part, f"part-{number}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    encoder = LanguageBindEncoder.from_spec(str(tmp_path), class_token=False)
    with torch.no_grad():
        tokens = encoder(expected["image_pixels"][:, None])[:, 0]
    torch.testing.assert_close(tokens, expected["image_tower_features"], atol=1e-5, rtol=1e-5)
    (tmp_path / "part-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"none of the files part-1\.safetensors"):
        LanguageBindEncoder.from_spec(str(tmp_path))


def test_gradients_reach_every_weight():
    encoder = LanguageBindEncoder(SMALL)
    encoder(torch.randn(1, 4, 3, 28, 28)).square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


def test_pickled_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    (tmp_path / "config.json").write_text((IMAGE / "config.json").read_text())
    torch.save({"vision_model.pre_layrnorm.bias": Harmful()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled code, which is refused"):
        LanguageBindEncoder.from_spec(str(tmp_path))
    assert not witness.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": None}, "lacks num_frames; encoder 'hf' reads CLIP itself"),
        ({"clip_type": "vl_new"}, "clip_type 'vl_new'"),
        ({"num_channels": 1}, "with 1 channels"),
    ],
)
def test_other_towers_are_named(changes, message, tmp_path):
    values = json.loads((IMAGE / "config.json").read_text())
    vision = {**values["vision_config"], **changes}
    values["vision_config"] = {name: value for name, value in vision.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=message):
        read_languagebind_settings(str(tmp_path))


@pytest.mark.parametrize(
    ("argument", "options", "error", "message"),
    [
        (None, {}, InvalidSpecError, "needs a folder or a hub id"),
        (str(IMAGE), {"layer": "4"}, InvalidSpecError, "layers 1 to 3.*no layer 4"),
        (str(IMAGE), {"classtoken": "false"}, InvalidSpecError, "did you mean 'class_token'"),
        (str(IMAGE), {"image_size": "60"}, ConfigurationError, "multiple of 14, not 60"),
        ("nobody/languagebind", {}, CheckpointError, "'nobody/languagebind' is no folder"),
        (str(TINY), {}, CheckpointError, r"none of the files config\.json"),
    ],
)
def test_what_cannot_be_used_is_named(argument, options, error, message):
    with pytest.raises(error, match=message):
        current_registry().build("encoder", PartSpec("languagebind", argument, options))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "no multiple of 5 heads"),
        ({"hidden_act": "gelo"}, "'gelo' is no activation"),
        ({"num_frames": 0}, "at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        replace(SMALL, **changes)
