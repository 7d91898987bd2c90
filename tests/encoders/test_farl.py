"""FaRL: the official layout loads strictly, its outputs are CLIP's, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from facekit.catalog import current_registry
from facekit.encoders.farl import FarlEncoder, picture_side
from facekit.encoders.openclip import OpenClipEncoder
from facekit.errors import CheckpointError, InvalidSpecError
from facekit.spec import PartSpec


def official_shapes(width=768, layers=12, patch=16, patches=196, output=512):
    """Names and shapes of the picture side of OpenAI's CLIP, written down independently of the package."""
    shapes = {
        "class_embedding": (width,),
        "positional_embedding": (patches + 1, width),
        "proj": (width, output),
        "conv1.weight": (width, 3, patch, patch),
    }
    for norm in ("ln_pre", "ln_post", *(f"transformer.resblocks.{i}.ln_{n}" for i in range(layers) for n in (1, 2))):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    for index in range(layers):
        at = f"transformer.resblocks.{index}"
        shapes |= {f"{at}.attn.in_proj_weight": (3 * width, width), f"{at}.attn.in_proj_bias": (3 * width,)}
        shapes |= {f"{at}.attn.out_proj.weight": (width, width), f"{at}.attn.out_proj.bias": (width,)}
        shapes |= {f"{at}.mlp.c_fc.weight": (4 * width, width), f"{at}.mlp.c_fc.bias": (4 * width,)}
        shapes |= {f"{at}.mlp.c_proj.weight": (width, 4 * width), f"{at}.mlp.c_proj.bias": (width,)}
    return shapes


def thin(shapes):
    """Tensors of full shape over one number each, so that a file of them is small."""
    return {name: torch.tensor(0.01 * (len(name) % 7)).expand(shape) for name, shape in shapes.items()}


def official_checkpoint():
    """The layout of the released file: picture side, training head inside it, text side, under ``state_dict``."""
    weights = {f"visual.{name}": value for name, value in thin(official_shapes()).items()}
    others = {
        "visual.mask_token": (768,),
        "visual.ln_lm.weight": (768,),
        "visual.lm_head.weight": (8192, 768),
        "visual.lm_transformer.resblocks.0.ln_1.weight": (768,),
        "positional_embedding": (77, 512),
        "text_projection": (512, 512),
        "logit_scale": (),
        "token_embedding.weight": (49408, 512),
        "transformer.resblocks.0.ln_1.weight": (512,),
        "ln_final.weight": (512,),
    }
    return weights | thin(others)


def test_the_official_layout_loads_in_full_shape(tmp_path):
    torch.save({"state_dict": official_checkpoint()}, tmp_path / "farl.pth")
    encoder = FarlEncoder.from_spec(str(tmp_path / "farl.pth"), layer=1, class_token=False, image_size=64)
    assert (encoder.hidden_size, encoder.grid, encoder.num_prefix_tokens) == (768, (4, 4), 0)
    visual = encoder.features.visual
    name = "transformer.resblocks.0.mlp.c_fc.weight"
    expected = 0.01 * (len(name) % 7)
    assert visual.transformer.resblocks[0].mlp.c_fc.weight.unique().tolist() == pytest.approx([expected])
    assert encoder.transform.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert encoder(torch.randn(1, 1, 3, 64, 64)).shape == (1, 1, 16, 768)
    config = json.loads(json.dumps(encoder.to_config()))
    assert (config["tower"]["quick_gelu"], config["image_size"]) == (True, 64)
    rebuilt = FarlEncoder.from_config(config)
    rebuilt.load_state_dict(encoder.state_dict())
    assert rebuilt.to_config() == encoder.to_config()


def test_names_and_shapes_are_clips():
    with torch.device("meta"):
        encoder = FarlEncoder.from_spec(pretrained=False, layer=-1)
    found = {name.removeprefix("features.visual."): tuple(v.shape) for name, v in encoder.state_dict().items()}
    official = official_shapes()
    removed = {"proj", "ln_post.weight", "ln_post.bias"}
    assert found == {name: shape for name, shape in official.items() if name not in removed}


def test_both_forms_of_a_picture_side_are_taken_and_the_rest_left_out():
    nested, bare = official_checkpoint(), thin(official_shapes())
    assert picture_side(nested).keys() == bare.keys() == picture_side(bare).keys()
    assert picture_side({"visual.surprise": torch.zeros(1)}).keys() == {"surprise"}


def test_the_activation_is_quick_gelu():
    encoder = FarlEncoder.from_spec(pretrained=False, layer=1, image_size=32)
    block = encoder.features.visual.transformer.resblocks[0]
    numbers = torch.linspace(-3, 3, 50)
    torch.testing.assert_close(block.mlp.gelu(numbers), numbers * torch.sigmoid(1.702 * numbers))


def test_a_block_is_that_of_openais_code():
    """Recompute patch embedding, pre-norm and the first block with torch's own modules."""
    torch.manual_seed(0)
    encoder = FarlEncoder.from_spec(pretrained=False, layer=1, image_size=32).eval()
    visual = encoder.features.visual
    block = visual.transformer.resblocks[0]
    frames = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        patches = nn.functional.conv2d(frames, visual.conv1.weight, stride=16).flatten(2).mT
        tokens = torch.cat([visual.class_embedding.expand(2, 1, -1), patches], dim=1) + visual.positional_embedding
        tokens = visual.ln_pre(tokens)
        normed = block.ln_1(tokens)
        attention = nn.MultiheadAttention(768, 12, batch_first=True)
        attention.load_state_dict(block.attn.state_dict())
        tokens = tokens + attention(normed, normed, normed)[0]
        hidden = block.mlp.c_fc(block.ln_2(tokens))
        tokens = tokens + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))
        found = encoder(frames[:, None])[:, 0]
    torch.testing.assert_close(found, tokens, atol=1e-4, rtol=1e-4)


def test_missing_and_unexpected_names_are_listed(tmp_path):
    weights = official_checkpoint()
    del weights["visual.ln_pre.bias"], weights["visual.transformer.resblocks.11.ln_2.weight"]
    weights["visual.transformer.resblocks.12.ln_2.weight"] = torch.zeros(768)
    weights["visual.conv1.weight"] = torch.zeros(1).expand(768, 3, 32, 32)
    torch.save({"state_dict": weights}, tmp_path / "faulty.pth")
    with pytest.raises(CheckpointError) as caught:
        FarlEncoder.from_spec(str(tmp_path / "faulty.pth"))
    message = str(caught.value)
    assert "2 missing, first 'ln_pre.bias', 'transformer.resblocks.11.ln_2.weight'" in message
    assert "1 left over, first 'transformer.resblocks.12.ln_2.weight'" in message
    assert "1 of another shape, first 'conv1.weight' ((768, 3, 32, 32) for (768, 3, 16, 16))" in message


def test_pickled_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    torch.save({"state_dict": {"visual.proj": Harmful()}}, tmp_path / "harmful.pth")
    with pytest.raises(CheckpointError, match="pickled code, which is refused"):
        FarlEncoder.from_spec(str(tmp_path / "harmful.pth"))
    assert not witness.exists()


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        (None, {}, "needs the path of FaRL's weights"),
        ("farl.pth", {"pretrained": "false"}, "or pretrained=false and no path"),
        (None, {"pretrained": "false", "image_size": "100"}, "image_size=100: it is no multiple of 16"),
        (None, {"pretrained": "false", "layer": "13"}, "layers 1 to 12.*no layer 13"),
        (None, {"pretrained": "false", "lyaer": "1"}, "did you mean 'layer'"),
    ],
)
def test_what_cannot_be_used_is_named(argument, options, message):
    with torch.device("meta"), pytest.raises(InvalidSpecError, match=message):
        current_registry().build("encoder", PartSpec("farl", argument, options))


def test_it_is_an_open_clip_encoder_under_its_own_name(registry):
    assert registry.load("encoder", "farl") is FarlEncoder
    assert issubclass(FarlEncoder, OpenClipEncoder)
