"""Released Face-LLaVA: every tensor that the released code gave for its tiny checkpoint, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch

import facekit
from facekit.errors import CheckpointError, ConfigurationError

IMAGE_MARK = -200


@pytest.fixture(scope="module")
def loaded(released):
    folder, _ = released
    return facekit.load(folder / "FaceLLaVA-tiny", tower_root=folder)


@pytest.fixture(scope="module")
def reloaded(loaded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for part in loaded:
        part.save_pretrained(folder)
    return facekit.load(folder)


def read_inputs(model, expected, kind):
    """The released inputs in facekit's form: every mark becomes one token per visual token."""
    if kind == "image":
        pixels = expected["image_pixels"].unsqueeze(1)
        landmarks = expected["image_landmarks"].unflatten(-1, (68, 2)).unsqueeze(1)
    else:
        pixels = expected["video_pixels"].transpose(1, 2)
        landmarks = expected["video_landmarks"].unflatten(-1, (68, 2))
    per_mark = model.tokens_per_frame if kind == "image" else model.tokens_per_video_frame
    rows = []
    for row in expected[f"{kind}_input_ids"].tolist():
        rows.append(
            [
                token
                for each in row
                for token in ([model.config.image_token_id] * per_mark if each == IMAGE_MARK else [each])
            ]
        )
    return {"input_ids": torch.tensor(rows), "pixel_values": pixels, "landmarks": landmarks}


@pytest.mark.parametrize("stage", ["loaded", "reloaded"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_every_released_tensor_is_reproduced(stage, kind, released, request):
    model, _ = request.getfixturevalue(stage)
    expected = released[1]
    inputs = read_inputs(model, expected, kind)
    with torch.no_grad():
        tower = model.encoder_for(inputs["pixel_values"].shape[1])(inputs["pixel_values"])
        enriched = model.get_image_features(inputs["pixel_values"], inputs["landmarks"])
        logits = model(**inputs).logits
    exact = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(tower.squeeze(1), expected[f"{kind}_tower_features"], **exact)
    torch.testing.assert_close(enriched, expected[f"enriched_{kind}_tokens"].reshape(enriched.shape), **exact)
    torch.testing.assert_close(logits, expected[f"{kind}_logits"], **exact)


@pytest.mark.parametrize("stage", ["loaded", "reloaded"])
def test_logits_without_landmarks_are_reproduced(stage, released, request):
    model, _ = request.getfixturevalue(stage)
    inputs = read_inputs(model, released[1], "image")
    absent = {**inputs, "landmarks": torch.full_like(inputs["landmarks"], float("nan"))}
    left_out = {name: value for name, value in inputs.items() if name != "landmarks"}
    with torch.no_grad():
        for given in (absent, left_out):
            logits = model(**given).logits
            torch.testing.assert_close(logits, released[1]["image_logits_without_landmarks"], rtol=0, atol=1e-4)


def test_the_parts_are_those_of_the_release(loaded):
    model, processor = loaded
    assert model.config.encoder["name"] == model.config.video_encoder["name"] == "languagebind"
    assert model.config.connector["name"] == "region-released"
    assert model.config.text_config.model_type == "llama"
    assert (model.tokens_per_frame, model.tokens_per_video_frame) == (16, 17)
    assert (processor.tokens_per_frame, processor.tokens_per_video_frame) == (16, 17)
    assert processor.image_processor.transform.framing == "pad"


def test_the_vocabulary_stays_as_released_and_the_image_token_lies_behind_it(loaded):
    model, processor = loaded
    assert model.get_input_embeddings().weight.shape == (320, 64)
    assert model.config.image_token_id == processor.image_token_id == 320


def test_a_checkpoint_without_a_tokenizer_reads_and_writes_ids(loaded):
    model, processor = loaded
    assert processor.tokenizer("<17><42>")["input_ids"] == [17, 42]
    assert processor.tokenizer.decode([17, 42, 300]) == "<17><42><300>"
    pixels = torch.zeros(1, 1, 3, 56, 56)
    text = processor.tokenize(["<1><image><17>"], return_tensors="pt")
    ids = model.generate(**text, pixel_values=pixels, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert ids.shape == (1, 1 + 16 + 1 + 3)
    assert int(ids[:, -3:].max()) < 320


def test_a_repetition_penalty_needs_a_row_for_the_image_token(released):
    folder, _ = released
    model, processor = facekit.load(folder / "FaceLLaVA-tiny", tower_root=folder)
    text = processor.tokenize(["<1><image><17>"], return_tensors="pt")
    given = {**text, "pixel_values": torch.zeros(1, 1, 3, 56, 56), "max_new_tokens": 2, "repetition_penalty": 1.2}
    with pytest.raises(ConfigurationError, match=r"call model\.resize_token_embeddings\(321\) first"):
        model.generate(**given)
    model.resize_token_embeddings(321)
    assert model.generate(**given).shape[1] > text["input_ids"].shape[1]


def test_a_tokenizer_can_be_named(released, llava):
    folder, _ = released
    model, processor = facekit.load(folder / "FaceLLaVA-tiny", tower_root=folder, tokenizer=llava[0])
    assert processor.tokenizer("a")["input_ids"] != []
    assert model.config.image_token_id == processor.tokenizer.convert_tokens_to_ids(processor.image_token)


def copy_release(folder, target, **changes):
    shutil.copytree(folder / "FaceLLaVA-tiny", target)
    path = target / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return target


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cross_attn_type": "masked"}, "cross_attn_type='masked'"),
        ({"landmarks_projector_type": "qformer"}, "landmarks_projector_type='qformer'"),
        ({"use_landmark_tokens": True}, "use_landmark_tokens=True"),
        ({"mm_projector_type": "resampler"}, "a projector that facekit does not build"),
        ({"mm_image_tower": "LanguageBind/Nothing"}, "no folder 'LanguageBind/Nothing'"),
        ({"mm_vision_select_layer": -9}, "no layer -9"),
    ],
)
def test_another_variant_is_refused_by_name(changes, words, released, tmp_path):
    folder, _ = released
    with pytest.raises(CheckpointError) as caught:
        facekit.load(copy_release(folder, tmp_path / "variant", **changes), tower_root=folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class Payload:
    def __reduce__(self):
        return print, ("code of the checkpoint ran",)


def test_pickled_code_is_refused_and_does_not_run(released, tmp_path, capsys):
    folder, _ = released
    target = copy_release(folder, tmp_path / "evil")
    weights = target / "pytorch_model.bin"
    weights.chmod(0o644)
    weights.unlink()
    torch.save({"model.norm.weight": Payload()}, weights, pickle_module=pickle)
    with pytest.raises(CheckpointError, match="holds pickled code, which is refused"):
        facekit.load(target, tower_root=folder)
    assert "ran" not in capsys.readouterr().out


def test_missing_and_unknown_tensors_are_named(released, tmp_path):
    folder, _ = released
    for change, words in (
        (lambda state: state.pop("model.mm_projector.0.bias"), "lack connector.vision_projector.0.bias"),
        (lambda state: state.update({"model.extra": torch.zeros(1)}), "beyond what config.json describes, model.extra"),
        (lambda state: state.update({"lm_head.weight": torch.zeros(3, 3)}), "another shape lm_head.weight"),
    ):
        target = copy_release(folder, tmp_path / words.split()[-1])
        weights = target / "pytorch_model.bin"
        state = torch.load(weights, weights_only=True)
        change(state)
        weights.chmod(0o644)
        weights.unlink()
        torch.save(state, weights)
        with pytest.raises(CheckpointError, match=words):
            facekit.load(target, tower_root=folder)


def test_weights_that_leave_the_towers_out_take_them_from_the_towers_folders(loaded, released, tmp_path):
    folder, expected = released
    target = copy_release(folder, tmp_path / "slim")
    weights = target / "pytorch_model.bin"
    state = {name: value for name, value in torch.load(weights, weights_only=True).items() if "_tower." not in name}
    weights.chmod(0o644)
    weights.unlink()
    torch.save(state, weights)
    model, _ = facekit.load(target, tower_root=folder)
    assert model.encoder.state_dict().keys() == loaded[0].encoder.state_dict().keys()
    with torch.no_grad():
        features = model.encoder(expected["image_pixels"].unsqueeze(1))
    assert features.isfinite().all()
