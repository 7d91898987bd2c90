"""The adapter for lmms-eval, fed with requests in the suite's form; with the suite installed, also run by it."""

from __future__ import annotations

import importlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facekit
from facekit.errors import ConfigurationError
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.plugs.bridge import SuiteModel, SuiteQuestion
from facekit.evaluation.plugs.lmms_eval import FaceKitLmms
from facekit.evaluation.tasks.questions import Question


@dataclass
class Request:
    args: tuple


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(3)]


@pytest.fixture
def adapter(folder, pictures):
    made = FaceKitLmms(str(folder), batch_size="4", max_batch_size=None)
    made.task_dict = {"faces": {"test": [{"picture": picture, "target": "fear"} for picture in pictures]}}
    return made


def visuals(document):
    return [document["picture"]]


def pairs(adapter, requests):
    """Loss and greediness; a release of the suite that would take a pair for text gets it wrapped."""
    return [getattr(found, "text", found) for found in adapter.loglikelihood(requests)]


def asked(model_and_processor, pictures, tmp_path, texts, limit, options=()):
    """The same questions put to the model directly."""
    questions = []
    for place, text in enumerate(texts):
        pictures[place % 3].save(tmp_path / f"{place % 3}.png")
        path = tmp_path / f"{place % 3}.png"
        questions.append(Question(str(place), text, (path,), max_new_tokens=limit, options=options))
    model = FaceKitModel(*model_and_processor)
    return dict(model.score_options(questions) if options else model.answer(questions))


def test_answers_are_those_of_the_model_in_the_order_of_the_requests(adapter, model_and_processor, pictures, tmp_path):
    texts = ["Which expression?", "How old is this person?", "Which attributes?", "Who?", "Which expression?"]
    requests = [
        Request((f"<image>\n{text}", {"max_new_tokens": 6}, visuals, place % 3, "faces", "test"))
        for place, text in enumerate(texts)
    ]
    direct = asked(model_and_processor, pictures, tmp_path, texts, 6)
    assert adapter.generate_until(requests) == [direct[place] for place in range(5)]
    assert len(set(direct.values())) > 1
    assert all(direct.values())


def test_answers_end_before_the_first_stop_word(adapter):
    settings = {"max_new_tokens": 6}
    request = Request(("Which expression?", settings, visuals, 0, "faces", "test"))
    (whole,) = adapter.generate_until([request])
    assert len(whole) > 2
    stop = whole[2]
    for until in (stop, [stop, "never"]):
        stopped = Request(("Which expression?", {**settings, "until": until}, visuals, 0, "faces", "test"))
        assert adapter.generate_until([stopped]) == [whole[: whole.index(stop)]]


def test_continuations_get_their_negative_log_likelihood_so_that_the_least_is_the_answer(
    adapter, model_and_processor, pictures, tmp_path
):
    options = ("fear", "anger", "happiness")
    requests = [
        Request(("Which expression?", f" {option}", visuals, doc, "faces", "test"))
        for doc in range(2) for option in options
    ]  # fmt: skip
    found = pairs(adapter, requests)
    direct = asked(model_and_processor, pictures, tmp_path, ["Which expression?"] * 2, 64, options)
    expected = [-direct[doc][option] for doc in range(2) for option in options]
    assert [loss for loss, _ in found] == pytest.approx(expected, rel=1e-4)
    assert all(loss > 0 for loss, _ in found)
    target = Request(("Which expression?", lambda document: document["target"], visuals, 0, "faces", "test"))
    assert pairs(adapter, [target])[0][0] == pytest.approx(found[0][0], rel=1e-4)


def test_the_greedy_answer_itself_is_marked_greedy(adapter):
    request = Request(("Which expression?", {"max_new_tokens": 64}, visuals, 0, "faces", "test"))
    (own,) = adapter.generate_until([request])
    assert own
    continuations = [
        Request(("Which expression?", option, visuals, 0, "faces", "test")) for option in (own, "certainly not this")
    ]
    assert [greedy for _, greedy in pairs(adapter, continuations)] == [True, False]


def test_what_cannot_be_done_is_said(adapter, folder, pictures):
    with pytest.raises(ConfigurationError, match="several rounds"):
        adapter.generate_until_multi_round([])
    with pytest.raises(ConfigurationError, match="no picture"):
        adapter.generate_until([Request(("Why?", {}, lambda document: [], 0, "faces", "test"))])
    with pytest.raises(ConfigurationError, match="acc_mutual_info"):
        adapter.loglikelihood([Request(("", "fear"))])
    with pytest.raises(ConfigurationError, match="'colour'"):
        FaceKitLmms(str(folder), colour="red")

    class Other:
        name = "other"

    with pytest.raises(ConfigurationError, match="cannot crop"):
        SuiteModel(Other(), crop=True)


def test_pictures_of_one_document_are_one_subject_and_more_questions_than_a_chunk_keep_their_order(pictures):
    class Counting:
        name = "counting"

        def __init__(self):
            self.subjects = []

        def answer(self, questions):
            self.subjects.append(len({question.subject for question in questions}))
            for place, question in reversed(list(enumerate(questions))):
                yield place, f"{question.text} {len(question.open_pictures())}"

    model = Counting()
    questions = [SuiteQuestion(str(n), (pictures[0], pictures[1]), n % 5) for n in range(300)]
    assert SuiteModel(model).answer(questions) == [f"{n} 2" for n in range(300)]
    assert model.subjects == [5, 5]


def test_the_package_names_the_adapter_where_the_suite_looks_for_it():
    project = tomllib.loads((Path(facekit.__file__).parents[1] / "pyproject.toml").read_text())
    module, _, name = project["project"]["entry-points"]["lmms_eval.models"]["facekit"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


TASK = """
task: facekit_faces
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: {kind}
doc_to_text: question
doc_to_target: {target}
doc_to_visual: !function visuals.doc_to_visual
{more}
"""
VISUALS = """
from PIL import Image
def doc_to_visual(document):
    return [Image.open(document["picture"]).convert("RGB")]
"""


@pytest.mark.parametrize("kind", ["generate_until", "multiple_choice"])
def test_the_suite_runs_the_model_on_a_task(kind, folder, pictures, model_and_processor, tmp_path, monkeypatch):
    pytest.importorskip("lmms_eval")
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.models import MODEL_REGISTRY_V2
    from lmms_eval.tasks import TaskManager

    from facekit.evaluation.plugs import lmms_eval_manifest

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    MODEL_REGISTRY_V2.register_manifest(lmms_eval_manifest(), overwrite=True)
    assert MODEL_REGISTRY_V2.get_model_class("facekit") is FaceKitLmms
    answers = asked(model_and_processor, pictures, tmp_path, ["Which expression?"] * 3, 6)
    options = ("fear", "anger", "joy")
    scores = asked(model_and_processor, pictures, tmp_path, ["Which expression?"] * 3, 64, options)
    best = [max(options, key=scores[place].get) for place in range(3)]
    rows = [
        {"question": "Which expression?", "picture": str(tmp_path / f"{place}.png"), "answer": answers[place],
         "best": options.index(best[place])}
        for place in range(3)
    ]  # fmt: skip
    rows[2] |= {"answer": "something else", "best": (rows[2]["best"] + 1) % 3}
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "visuals.py").write_text(VISUALS)
    generation = "generation_kwargs: {max_new_tokens: 6}\nmetric_list: [{metric: exact_match, aggregation: mean}]"
    choice = f"doc_to_choice: {list(options)}\nmetric_list: [{{metric: acc, aggregation: mean}}]"
    more, target = (generation, "answer") if kind == "generate_until" else (choice, "best")
    text = TASK.format(data=data, kind=kind, target=target, more=more)
    (tmp_path / "tasks" / "faces.yaml").write_text(text)
    results = simple_evaluate(
        model="facekit",
        model_args=f"pretrained={folder}",
        tasks=["facekit_faces"],
        batch_size=2,
        device="cpu",
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
    )
    metric = "exact_match,none" if kind == "generate_until" else "acc,none"
    assert results["results"]["facekit_faces"][metric] == pytest.approx(2 / 3)


def test_likelihoods_that_are_no_numbers_are_not_handed_over(pictures):
    class Overflowing:
        name = "overflowing"

        def score_options(self, questions):
            yield from ((index, {"yes": float("nan"), "no": -1.0}) for index, _ in enumerate(questions))

    with pytest.raises(ConfigurationError, match="'overflowing': its likelihoods are not finite"):
        SuiteModel(Overflowing()).score([SuiteQuestion("?", (pictures[0],), 0, options=("yes", "no"))])
