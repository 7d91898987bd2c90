"""A base of one's choice by the command line alone: inspected, trained by its recipe, asked, evaluated and served."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from model_server import data_url, httpx, running, user
from small_vlms import face_picture, save_small_vlm
from transformers import AutoModelForImageTextToText

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.evaluation.models.other_models import open_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    save_small_vlm("qwen2.5-vl", folder)
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 4, seed=7, image_size=64)


def train(run_facekit, base, records, output, *more):
    quick = ["model.image_size=64", "model.dtype=float32", "precision=float32", "epochs=null", "steps=2",
             "batch_size=2", "accumulation=1", "turns_per_example=2"]  # fmt: skip
    arguments = [f"model.load=hf:{base}", f"records={records}", f"output={output}", *quick, *more]
    return run_facekit("train", "recipe=facellm-any", *arguments)


def test_a_base_is_inspected_without_its_weights_being_read(run_facekit, base):
    status, out, err = run_facekit("inspect", str(base), "--json")
    assert status == 0, err
    report = json.loads(out)
    model = AutoModelForImageTextToText.from_pretrained(base)
    assert report["description"] == "a vision-language model of transformers, in its own class"
    assert report["parameters"] == sum(value.numel() for value in model.parameters())
    assert report["num_bytes"] == 4 * report["parameters"]
    assert {part["name"]: part["kind"] for part in report["parts"]} == {
        "encoder": "Qwen2_5_VisionTransformerPretrainedModel",
        "connector": "Qwen2_5_VLPatchMerger",
        "language_model": "Qwen2_5_VLTextModel",
    }
    assert report["tokens_per_image"] == 16
    assert report["training_bytes"] > report["generation_bytes"] > report["num_bytes"]


def test_a_base_is_trained_by_its_recipe_then_asked_evaluated_and_inspected(run_facekit, base, records, tmp_path):
    status, out, err = train(run_facekit, base, records, tmp_path / "run")
    assert status == 0, err
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "run").config.model_type == "qwen2_5_vl"
    assert "Qwen2_5_VLForConditionalGeneration" in (tmp_path / "run" / "README.md").read_text()
    face_picture(1, 64, 64).save(tmp_path / "face.png")
    settings = json.loads((tmp_path / "run" / "facekit_native.json").read_text())
    assert settings["image_processor"]["image_size"] == 64
    question = ["ask", str(tmp_path / "face.png"), "How old?", "--landmarker", "none", "--max-new-tokens", "6"]
    folders = (tmp_path / "run", tmp_path / "run" / "adapter")
    answers = [run_facekit(*question, "--model", str(folder)) for folder in folders]
    assert [status for status, _, _ in answers] == [0, 0]
    assert answers[0][1] == answers[1][1]
    evaluated = run_facekit(
        "eval", str(tmp_path / "run"), str(records), "--tasks", "expression", "--output", str(tmp_path / "evaluated"),
        "--max-new-tokens", "4",
    )  # fmt: skip
    assert evaluated[0] == 0, evaluated[2]
    status, out, _ = run_facekit("inspect", str(tmp_path / "run" / "adapter"), "--json")
    assert (status, json.loads(out)["adapter_parameters"] > 0) == (0, True)


def test_a_base_is_served_as_it_answers(base):
    model, processor = facekit.load(base)
    processor.image_processor.image_size, processor.image_processor.landmarker = 64, None
    picture = face_picture(1, 64, 64)
    with running(model, processor) as url:
        body = {"model": "tiny", "messages": [user("How old?", data_url(picture))], "max_tokens": 6}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    expected = facekit.ask(model, processor, picture, "How old?", max_new_tokens=6)
    assert [choice["message"]["content"] for choice in reply["choices"]] == expected


def test_a_base_with_region_attention_is_trained_inspected_evaluated_and_served_with_its_landmarks(
    run_facekit, base, records, tmp_path, caplog
):
    status, _, err = run_facekit(
        "train", "recipe=facellm-region", f"model.load=hf:{base}", "model.connector=region?num_heads=4",
        f"records={records}", f"output={tmp_path / 'run'}", "model.image_size=64", "model.dtype=float32",
        "precision=float32", "epochs=null", "steps=2", "batch_size=2", "accumulation=1", "turns_per_example=2",
        "lr={connector.region: 0.5, llm.lora: 1e-3}",
    )  # fmt: skip
    assert status == 0, err
    inspected = [run_facekit("inspect", str(tmp_path / "run" / each), "--json") for each in ("", "adapter")]
    for _, out, _ in inspected:
        parts = {part["name"]: part["kind"] for part in json.loads(out)["parts"]}
        assert parts["connector"] == "Qwen2_5_VLPatchMerger, RegionEnrichment"
        assert json.loads(out)["tokens_per_video_frame"] == 0
    assert "16 an image, no clips" in run_facekit("inspect", str(tmp_path / "run"))[1]
    with caplog.at_level("WARNING"):
        open_model(f"hf:{tmp_path / 'run'}")
    assert "has region attention, which its own class does not know" in caplog.text
    model, processor = facekit.load(tmp_path / "run")
    with torch.no_grad():
        model.region.cross_attention.gain.fill_(4.0)
    points = [[0.2 + 0.6 * (index % 9) / 9, 0.2 + 0.6 * (index // 9) / 9] for index in range(68)]
    picture, landmarks = face_picture(1, 64, 64), np.array(points, dtype=np.float32)
    with running(model, processor) as url:
        body = {"model": "tiny", "messages": [user("How old?", data_url(picture))], "max_tokens": 6,
                "facekit": {"landmarks": [points]}}  # fmt: skip
        reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    asked = {"max_new_tokens": 6}
    assert reply["choices"][0]["message"]["content"] == facekit.ask(
        model, processor, picture, "How old?", landmarks=landmarks, **asked
    )[0]  # fmt: skip
    processor.image_processor.landmarker = None
    assert facekit.ask(model, processor, picture, "How old?", **asked) != [reply["choices"][0]["message"]["content"]]


def test_what_goes_with_other_bases_is_one_line(run_facekit, base, records, tmp_path):
    status, _, err = train(run_facekit, base, records, tmp_path / "run", "model.connector=mlp")
    assert (status, "whose projector stays; the connector 'mlp' would replace it" in " ".join(err.split())) == (2, True)
