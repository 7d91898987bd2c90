"""The demo at toy size, from drawing to report; a second run goes on instead of starting over."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from browser import check_phone, lay_out, needs_chromium
from language_families import FAMILIES
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import facekit
from facekit.data.dataset import RecordSet
from facekit.demo import DemoSettings, run_demo
from facekit.errors import ConfigurationError, FaceNotFoundError

SETTINGS = DemoSettings(
    encoder="tiny?width=32&depth=1", backbone="tiny?width=48&depth=1&heads=2", train_faces=24, test_faces=12, epochs=1,
    batch_size=12,
)  # fmt: skip


class References(HTMLParser):
    """Collects everything in a page that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]


def demo_truth(result):
    return RecordSet.read(result.folder / "data" / "test" / "records.jsonl").records[0].labels.expression


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    stages = []
    folder = tmp_path_factory.mktemp("runs") / "demo"
    return run_demo(folder, SETTINGS, on_progress=stages.append), stages


@pytest.fixture(scope="module")
def page(demo):
    return demo[0].report.read_text(encoding="utf-8")


def test_the_report_needs_nothing_from_outside(page):
    references = References()
    references.feed(page)
    assert len(references.found) > 20
    assert all(reference.startswith(("data:image/jpeg;base64,", "#")) for reference in references.found)
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)


def test_the_report_holds_numbers_answers_and_the_truth(demo, page):
    result, _ = demo
    for task in result.evaluation.tasks:
        assert task.title in page
        assert f"{task.unreadable} of {task.count}" in page
    predictions = (result.folder / "evaluation" / "predictions.jsonl").read_text().splitlines()
    first = json.loads(predictions[0])
    assert (first["task"], first["truth"]) == ("expression", demo_truth(result))
    assert f"truth: {first['truth']} <span" in page
    assert "What these answers are worth" in page
    assert "It is no face analysis for real people" in page
    assert '<polyline class="smooth"' in page
    assert "starts from weights that ship" not in page


@needs_chromium
def test_a_phone_shows_the_page_without_scrolling_it(page, tmp_path):
    layout = lay_out(page, tmp_path, 390)
    check_phone(layout)
    assert layout["images"] == page.count("<img")


def test_the_photograph_has_a_face_and_five_answers(demo):
    photograph = demo[0].photograph
    assert photograph.face.landmarks.shape == (68, 2)
    assert np.ptp(photograph.face.landmarks, axis=0).max() == pytest.approx(0.49, abs=0.05)
    assert len(photograph.answers) == 5
    assert photograph.answers[3][0] == "How old is this person?"


def test_progress_goes_through_the_stages_in_order(demo):
    stages = [state.stage for state in demo[1]]
    assert list(dict.fromkeys(stages)) == ["draw train faces", "draw test faces", "train", "evaluate"]
    assert all(0 < state.done <= state.total for state in demo[1])


def test_the_demo_folder_loads_as_a_model(demo):
    result, _ = demo
    model, processor = facekit.load(result.folder)
    answer = facekit.ask(
        model, processor, result.photograph.face.image, result.photograph.answers[0][0],
        landmarks=result.photograph.face.landmarks, max_new_tokens=96,
    )  # fmt: skip
    assert answer == [result.photograph.answers[0][1]]


def test_a_second_run_keeps_data_model_and_metrics(demo, tmp_path):
    folder = shutil.copytree(demo[0].folder, tmp_path / "demo")
    weights = (folder / "model.safetensors").read_bytes()
    seen = []
    again = run_demo(folder, SETTINGS, on_progress=seen.append)
    assert seen == []
    assert again.evaluation == demo[0].evaluation
    assert again.history == demo[0].history
    assert (folder / "model.safetensors").read_bytes() == weights
    assert again.stage_seconds == demo[0].stage_seconds


def test_a_demo_that_lost_a_stage_redoes_only_that(demo, tmp_path):
    folder = shutil.copytree(demo[0].folder, tmp_path / "demo")
    shutil.rmtree(folder / "evaluation")
    seen = []
    again = run_demo(folder, SETTINGS, on_progress=lambda state: seen.append(state.stage))
    assert set(seen) == {"evaluate"}
    assert [task.metrics for task in again.evaluation.tasks] == [task.metrics for task in demo[0].evaluation.tasks]


def test_other_settings_do_not_mix_into_a_demo(demo):
    with pytest.raises(ConfigurationError, match=r"epochs was 1 and is 2.*choose another folder"):
        run_demo(demo[0].folder, DemoSettings(**{**vars(SETTINGS), "epochs": 2}))


def test_a_callback_of_the_earlier_signature_is_taken_with_a_warning(demo):
    other = DemoSettings(**{**vars(SETTINGS), "epochs": 2})
    with pytest.warns(DeprecationWarning, match="on_progress of run_demo"), pytest.raises(ConfigurationError):
        run_demo(demo[0].folder, other, on_progress=lambda stage, done, total, detail: None)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigurationError, match="not empty and holds no demo"):
        run_demo(tmp_path, SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]


def test_a_photograph_without_a_face_is_an_error_that_keeps_the_model(demo, tmp_path):
    folder = shutil.copytree(demo[0].folder, tmp_path / "demo")
    Image.new("RGB", (200, 200), (90, 120, 90)).save(tmp_path / "wall.png")
    with pytest.raises(FaceNotFoundError):
        run_demo(folder, SETTINGS, photo=tmp_path / "wall.png")
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("values", [{"train_faces": 0}, {"epochs": 0}, {"learning_rate": 0.0}, {"learning_rate": 1.5}])
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        DemoSettings(**values)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    torch.manual_seed(0)
    FAMILIES["qwen2"].save(folder / "language")
    settings = replace(SETTINGS, backbone=f"hf:{folder / 'language'}", train_faces=12, test_faces=6)
    return run_demo(folder / "demo", settings), settings, folder / "language"


def test_a_language_model_that_has_learned_before_learns_by_adapters(adapted):
    result, settings, language = adapted
    assert settings.training.parts == ("connector", "language_model.lora")
    assert SETTINGS.training.parts == ("connector", "language_model")
    adapter = load_file(result.folder / "adapter" / "adapter_model.safetensors")
    assert any(bool(value.any()) for name, value in adapter.items() if "lora_B" in name)
    before = AutoModelForCausalLM.from_pretrained(language).state_dict()
    after = facekit.load(result.folder)[0].language_model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert not any("embed" in name or "norm" in name for name in changed), "adapters reach linear layers only"


def test_its_page_says_what_learned_and_how(adapted):
    page = adapted[0].report.read_text(encoding="utf-8")
    assert "by low-rank adapters" in page
    assert "A small language model that sees faces, trained on drawings" in page


def test_a_demo_with_adapters_goes_on_without_training_again(adapted):
    result, settings, _ = adapted
    weights = (result.folder / "model.safetensors").read_bytes()
    seen = []
    again = run_demo(result.folder, settings, on_progress=seen.append)
    assert seen == []
    assert again.history == result.history
    assert (result.folder / "model.safetensors").read_bytes() == weights
