"""Region attention over bases in their own class: exact at its start and in every tile, saved apart from the base."""

from __future__ import annotations

import copy
import json
import math
import re

import numpy as np
import pytest
import torch
from small_vlms import FAMILIES, RECURRENT, face_picture, save_small_vlm
from transformers import AutoModelForImageTextToText, GenerationConfig

import facekit
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError
from facekit.faces import FACE_REGIONS
from facekit.models.native.region import REGION_BASES, REGION_FOLDER, build_region, image_tokens_through
from facekit.models.source import ModelSource
from facekit.models.starting import start_from_checkpoint
from facekit.spec import PartSpec

SIDE = 64
LANDMARKS = np.random.default_rng(3).uniform(0.15, 0.85, (68, 2)).astype(np.float32)


@pytest.fixture
def open_with_region(tmp_path):
    """Returns model and processor of a family with region attention, whose gain a number fills; 64 px squares."""

    def build(family, spec="region?num_heads=4", gain=0.0):
        save_small_vlm(family, tmp_path / family)
        torch.manual_seed(5)
        model, processor = start_from_checkpoint(ModelSource(f"hf:{tmp_path / family}", "cpu"), spec, None)
        processor.image_processor.image_size, processor.image_processor.landmarker = SIDE, None
        with torch.no_grad():
            for name, value in model.region.named_parameters():
                if name.endswith("gain"):
                    value.normal_(std=1).mul_(gain)
        return model, processor

    return build


def pixels_of(*numbers):
    pictures = [np.asarray(face_picture(number, SIDE, SIDE), dtype=np.float32) / 255 for number in numbers]
    return torch.stack([torch.from_numpy(each).permute(2, 0, 1)[None] for each in pictures])


def logits_of(model, processor, landmarks, numbers=(1,)):
    ids = torch.tensor(processor.tokenize([processor.image_token + "Old?"])["input_ids"]).expand(len(numbers), -1)
    with torch.inference_mode():
        return model(ids, pixel_values=pixels_of(*numbers), landmarks=landmarks).logits


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_at_its_start_a_base_gives_the_same_logits_and_later_looks_at_landmarks(family, open_with_region):
    model, processor = open_with_region(family)
    points = torch.from_numpy(LANDMARKS)[None, None]
    plain = logits_of(model, processor, None)
    assert torch.equal(logits_of(model, processor, points), plain)
    with torch.no_grad():
        model.region.cross_attention.gain.fill_(2.0)
    seen = logits_of(model, processor, points)
    assert (seen - plain).abs().max() > 1e-2
    assert (logits_of(model, processor, points.flip(-1)) - seen).abs().max() > 1e-3
    assert torch.equal(logits_of(model, processor, torch.full_like(points, torch.nan)), plain)
    both = logits_of(model, processor, torch.cat([points, torch.full_like(points, torch.nan)]), (1, 1))
    assert torch.allclose(both, torch.cat([seen, plain]), atol=1e-5)


def plain_perceptron(mlp, values):
    """Linear, GELU and linear, number by number."""
    first, second = mlp[0], mlp[2]
    hidden = [
        sum(w * v for w, v in zip(row, values, strict=True)) + b
        for row, b in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
    ]
    hidden = [0.5 * h * (1 + math.erf(h / math.sqrt(2))) for h in hidden]
    return [
        sum(w * h for w, h in zip(row, hidden, strict=True)) + b
        for row, b in zip(second.weight.tolist(), second.bias.tolist(), strict=True)
    ]


def transcribed(region, tokens, points, origin, extent):
    """The paper's equations for one tile: FRLP and FRGCA in plain float64, with the tile's own centres."""
    points = [[(x - origin[0]) / extent, (y - origin[1]) / extent] for x, y in points]
    whole = plain_perceptron(region.landmark_projector.global_projection, [v for point in points for v in point])
    regions, places = [], []
    for name, span in FACE_REGIONS.items():
        own = points[span.start : span.stop]
        local = plain_perceptron(region.landmark_projector.local_projections[name], [v for each in own for v in each])
        regions.append([a + b for a, b in zip(local, whole, strict=True)])
        places.append([sum(each[axis] for each in own) / len(own) for axis in (0, 1)])
    attention, side = region.cross_attention, math.isqrt(len(tokens))
    query, key, value, output = (
        (getattr(attention, f"{name}_weight").detach().numpy(), getattr(attention, f"{name}_bias").detach().numpy())
        for name in ("query", "key", "value", "output")
    )
    gain, heads = attention.gain.detach().numpy(), attention.num_heads
    keys = np.array(regions) @ key[0].T + key[1]
    values = np.array(regions) @ value[0].T + value[1]
    width, result = len(gain) // heads, []
    for index, token in enumerate(tokens):
        centre = ((index % side + 0.5) / side, (index // side + 0.5) / side)
        near = -np.array([math.hypot(x - centre[0], y - centre[1]) for x, y in places])
        asked, attended = query[0] @ token + query[1], []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = keys[:, part] @ asked[part] / math.sqrt(width) + near
            weights = np.exp(scores - scores.max())
            attended.append((weights / weights.sum()) @ values[:, part])
        result.append(token + gain * (output[0] @ np.concatenate(attended) + output[1]))
    return np.array(result)


@pytest.mark.parametrize(
    ("family", "tiles"),
    [
        ("qwen2.5-vl", [((0.0, 0.0), 1.0)]),
        ("internvl", [((0.0, 0.0), 0.5), ((0.5, 0.0), 0.5), ((0.0, 0.5), 0.5), ((0.5, 0.5), 0.5), ((0.0, 0.0), 1.0)]),
    ],
)
def test_every_tile_is_enriched_as_the_papers_equations_say_with_its_own_patch_centres(family, tiles, open_with_region):
    model, _ = open_with_region(family, gain=1.0)
    model.double()
    points = torch.from_numpy(LANDMARKS).double()
    both = torch.stack([points, points.flip(0) * 0.9])[:, None]
    inputs = {
        name: value for name, value in model._picture_inputs(pixels_of(1, 2)).items() if name != "pixel_attention_mask"
    }
    plain = model.native.get_image_features(**inputs).pooler_output
    with torch.inference_mode(), model.seeing(pixels_of(1, 2), both):
        enriched = model.native.get_image_features(**inputs).pooler_output
    plain, enriched = (
        torch.cat(list(each)).reshape(2, len(tiles), -1, 32).detach().numpy() for each in (plain, enriched)
    )
    for picture in range(2):
        for tile, (origin, extent) in enumerate(tiles):
            expected = transcribed(model.region, plain[picture, tile], both[picture, 0].tolist(), origin, extent)
            assert np.abs(expected - plain[picture, tile]).max() > 0.1
            assert np.abs(enriched[picture, tile] - expected).max() < 1e-6


def image_tokens(model, ids, pixels):
    """Image tokens ``(tiles, n, D)`` where region attention stands, and the tiles."""
    kept, tiles = [], model._find_tiles()

    def keep(tokens, deepstack):
        kept.append(tokens.reshape(len(tiles.origins), -1, tokens.shape[-1]))
        return tokens, deepstack

    with torch.inference_mode(), image_tokens_through(keep):
        model(ids, pixel_values=pixels)
    return kept[0], tiles


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_tokens_stand_where_their_tile_says_row_by_row(family, open_with_region):
    model, processor = open_with_region(family)
    assert model.config.model_type in REGION_BASES
    with torch.no_grad():
        for name, value in model.encoder.named_parameters():
            if re.search(r"attn\.(out_)?proj", name):
                value.mul_(0.02)  # or other places of the picture count as much as a token's own
    ids = torch.tensor(processor.tokenize([processor.image_token])["input_ids"])
    flat = torch.full((1, 1, 3, SIDE, SIDE), 0.4)
    before, tiles = image_tokens(model, ids, flat)
    side = math.isqrt(before.shape[1])
    cells = [(tile, row, column) for tile in range(len(tiles.origins)) for row in range(side) for column in range(side)]
    for tile, row, column in cells[:: max(1, len(cells) // 12)]:
        (x, y), (width, height) = tiles.origins[tile].tolist(), tiles.sides[tile].tolist()
        left, top = (round(SIDE * (origin + step * extent / side)) for origin, step, extent in
                     ((x, column, width), (y, row, height)))  # fmt: skip
        painted = flat.clone()
        painted[..., top : top + round(SIDE * height / side), left : left + round(SIDE * width / side)] = 0.9
        changes = (image_tokens(model, ids, painted)[0] - before).norm(dim=-1)
        assert int(changes[tile].argmax()) == row * side + column


@pytest.mark.parametrize("family", ["qwen2.5-vl", "internvl", "gemma3"])
def test_forty_questions_see_the_landmarks_one_by_one_as_together(family, open_with_region):
    model, processor = open_with_region(family, gain=4.0)
    questions = [f"Question {number}{', and so on' * (number % 3)}?" for number in range(40)]
    picture = face_picture(1, SIDE, SIDE)
    asked = {"landmarks": LANDMARKS, "max_new_tokens": 3}
    together = facekit.ask(model, processor, picture, questions, **asked)
    assert together == [facekit.ask(model, processor, picture, each, **asked)[0] for each in questions]
    assert together != facekit.ask(model, processor, picture, questions, max_new_tokens=3)


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_options_are_as_likely_as_in_a_plain_forward_with_landmarks(family, open_with_region):
    model, processor = open_with_region(family, gain=2.0)
    session = facekit.models.Session.open(model, processor, face_picture(1, SIDE, SIDE), landmarks=LANDMARKS)
    options, prompt = ["yes", "no", "I cannot say"], session.write_prompt("Old?")
    ids = processor.tokenize([prompt])["input_ids"][0]
    for option, found in zip(options, session.score("Old?", options), strict=True):
        tokens = torch.tensor(session._option_tokens(prompt, option))
        with torch.inference_mode():
            whole = torch.cat([torch.tensor(ids), tokens])[None]
            seen = {"pixel_values": pixels_of(1), "landmarks": torch.from_numpy(LANDMARKS)[None, None]}
            logits = model(whole, **seen).logits[0, len(ids) - 1 : -1]
        plain = float(logits.log_softmax(-1).gather(-1, tokens[:, None]).sum())
        assert found == pytest.approx(plain, abs=1e-5, rel=1e-5)


def test_each_of_two_pictures_is_enriched_by_its_own_landmarks(open_with_region):
    model, processor = open_with_region("internvl", gain=4.0)
    first, second = torch.from_numpy(LANDMARKS)[None], torch.from_numpy(LANDMARKS[:, ::-1].copy())[None]
    both = logits_of(model, processor, torch.stack([first, second]), (1, 2))
    alone = [logits_of(model, processor, each[None], (number,)) for each, number in ((first, 1), (second, 2))]
    assert torch.allclose(both, torch.cat(alone), atol=1e-5)


@pytest.mark.parametrize("family", ["qwen2.5-vl", "internvl"])
def test_region_attention_is_saved_apart_and_the_base_stays_as_it_was(family, open_with_region, tmp_path):
    model, processor = open_with_region(family, gain=2.0)
    points = torch.from_numpy(LANDMARKS)[None, None]
    expected = logits_of(model, processor, points)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    base, untouched = (AutoModelForImageTextToText.from_pretrained(tmp_path / each) for each in ("saved", family))
    assert base.state_dict().keys() == untouched.state_dict().keys()
    assert all(torch.equal(value, untouched.state_dict()[name]) for name, value in base.state_dict().items())
    again, processor = facekit.load(tmp_path / "saved")
    assert torch.equal(logits_of(again, processor, points), expected)
    assert json.loads((tmp_path / "saved" / REGION_FOLDER / "connector.json").read_text()) == {
        "name": "region", "width": 32, "num_heads": 4, "proximity": True, "landmark_hidden_width": 64,
        "deepstack_levels": 0,
    }  # fmt: skip
    for spec in ("region", "region?num_heads=4", "own"):
        kept = start_from_checkpoint(ModelSource(tmp_path / "saved", "cpu"), spec, None)[0]
        assert torch.equal(logits_of(kept, processor, points), expected)
    other = start_from_checkpoint(ModelSource(tmp_path / "saved", "cpu"), "region?num_heads=2", None)[0]
    assert other.region.num_heads == 2
    assert not other.region.cross_attention.gain.any()


def test_a_copy_of_the_model_has_its_own_region_attention(open_with_region):
    model, processor = open_with_region("qwen2.5-vl", gain=2.0)
    points = torch.from_numpy(LANDMARKS)[None, None]
    seen, plain = logits_of(model, processor, points), logits_of(model, processor, None)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.region.cross_attention.gain.zero_()
    assert torch.equal(logits_of(other, processor, points), plain)
    assert torch.equal(logits_of(model, processor, points), seen)


def test_deepstack_features_are_enriched_by_choice(open_with_region):
    model, processor = open_with_region("qwen3-vl", "region?num_heads=4&deepstack=true")
    points = torch.from_numpy(LANDMARKS)[None, None]
    plain = logits_of(model, processor, None)
    assert len(model.region.deepstack_attention) == 2
    assert torch.equal(logits_of(model, processor, points), plain)
    with torch.no_grad():
        model.region.deepstack_attention[1].gain.fill_(2.0)
    assert (logits_of(model, processor, points) - plain).abs().max() > 1e-3
    left_out, _ = open_with_region("qwen3-vl")
    assert len(left_out.region.deepstack_attention) == 0
    with pytest.raises(ConfigurationError, match="has no deepstack features; leave deepstack out"):
        open_with_region("qwen2-vl", "region?deepstack=true")


def test_region_maps_of_a_base_are_those_of_the_whole_picture(open_with_region):
    model, processor = open_with_region("internvl", gain=1.0)
    maps = facekit.region_maps(model, processor, face_picture(1, SIDE, SIDE), landmarks=LANDMARKS)
    assert maps.values.shape == (1, 4, 9, 2, 2)
    assert np.allclose(maps.values.sum(axis=2), 1, atol=1e-6)
    other = facekit.region_maps(model, processor, face_picture(1, SIDE, SIDE), landmarks=LANDMARKS[:, ::-1].copy())
    assert np.abs(maps.values - other.values).max() > 1e-3


def test_what_does_not_fit_a_base_is_one_sentence(open_with_region, tmp_path):
    model, _ = open_with_region("qwen2-vl")
    with pytest.raises(ConfigurationError, match="the connector 'mlp' would replace it, only 'region' goes behind it"):
        build_region(model.native, PartSpec.parse("mlp"))
    with pytest.raises(InvalidSpecError, match="'region' over a base in its own class has no option 'projector'"):
        build_region(model.native, PartSpec.parse("region?projector=pixel-shuffle"))
    with pytest.raises(ConfigurationError, match="attention width 32 is not a multiple of num_heads=7"):
        build_region(model.native, PartSpec.parse("region?num_heads=7"))
    model.native.config.model_type = "paligemma"
    with pytest.raises(ConfigurationError, match="nobody has tested in which order"):
        build_region(model.native, PartSpec.parse("region"))
    assert {"qwen2_vl", "internvl"} < REGION_BASES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("connector.safetensors", b"short", r"connector\.safetensors' is missing or damaged"),
        ("connector.json", b"{", r"connector\.json' cannot be read"),
        ("connector.json", b"[" * 100_000, r"connector\.json' cannot be read"),
        ("connector.json", b'{"name": "region", "width": 32, "num_heads": 4, "proximity": "no"}',
         "proximity is true or false, not 'no'"),
        ("connector.json", b'{"name": "region", "width": 32, "num_heads": 4, "deepstack_levels": -1}',
         "deepstack_levels is from 0 to 64, not -1"),
        ("connector.json", b'{"name": "mlp"}', "it is no connector 'region'"),
        ("connector.json", b'{"name": "region", "width": 32, "num_heads": 4, "deepstack_levels": 1}',
         r"does not hold what connector\.json beside it describes, such as deepstack_attention\.0"),
    ],
)  # fmt: skip
def test_damaged_region_attention_is_named(name, content, message, open_with_region, tmp_path):
    model, processor = open_with_region("qwen2.5-vl")
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / REGION_FOLDER / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        facekit.load(tmp_path / "saved")


def test_a_folder_has_the_region_attention_of_the_model_that_was_saved_last(open_with_region, tmp_path):
    model, processor = open_with_region("qwen2-vl")
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    assert facekit.load(tmp_path / "saved")[0].region is not None
    facekit.load(f"hf:{tmp_path / 'qwen2-vl'}")[0].save_pretrained(tmp_path / "saved")
    assert facekit.load(tmp_path / "saved")[0].region is None
    assert not (tmp_path / "saved" / REGION_FOLDER).exists()


def test_weights_of_region_attention_without_their_description_are_not_passed_over(open_with_region, tmp_path):
    model, processor = open_with_region("qwen2-vl")
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / REGION_FOLDER / "connector.json").unlink()
    with pytest.raises(CheckpointError, match=r"connector\.json' is missing, which describes connector\.safetensors"):
        facekit.load(tmp_path / "saved")


@pytest.mark.parametrize("family", ["llava", "qwen2-vl"])
def test_beams_that_a_checkpoint_asks_for_are_not_taken(family, open_with_region):
    model, processor = open_with_region(family, gain=1.0)
    ids = torch.tensor(processor.tokenize([processor.image_token + "Old?"])["input_ids"])
    media = {"pixel_values": pixels_of(1), "landmarks": torch.from_numpy(LANDMARKS)[None, None]}
    greedy = model.generate(ids, **media, max_new_tokens=6, do_sample=False)
    picture = face_picture(1, SIDE, SIDE)
    answers = facekit.ask(model, processor, picture, ["Old?"], max_new_tokens=6)
    model.generation_config.num_beams = 4
    model.generation_config.num_return_sequences = 2
    assert torch.equal(model.generate(ids, **media, max_new_tokens=6, do_sample=False), greedy)
    assert facekit.ask(model, processor, picture, ["Old?"], max_new_tokens=6) == answers
    with pytest.raises(ConfigurationError, match="answers a question once"):
        model.generate(ids, **media, generation_config=GenerationConfig(num_beams=4, max_new_tokens=6))
