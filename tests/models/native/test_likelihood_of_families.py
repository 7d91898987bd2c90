"""Likelihoods of options are those of a plain forward of each, for every family; pictures change them."""

from __future__ import annotations

import pytest
import torch
from small_vlms import FAMILIES, RECURRENT, face_picture

from facekit.evaluation.models.other_models import HuggingFaceModel
from facekit.evaluation.tasks.questions import Question
from facekit.models.native.inputs import can_continue, extend_inputs

QUESTIONS = ("Is it genuine?", "Which expression does the face show?", "Old?")
OPTIONS = ("yes", "no", "I cannot say, the picture is too dark")


@pytest.fixture
def under_test(small_vlm, tmp_path):
    """Returns a family's model under test, and three questions about each of two pictures."""
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"{number}.png")
        face_picture(number).save(paths[-1])

    def build(family):
        questions = [Question(f"{path}/{text}", text, (path,), options=OPTIONS) for path in paths for text in QUESTIONS]
        return HuggingFaceModel(*small_vlm(family), name=family), questions

    return build


def score_plainly(model, question):
    """Prompt and option in one forward, for each option."""
    prompt = model._inputs([question])
    sums = []
    for ids in map(torch.tensor, model._option_ids(question)):
        with torch.inference_mode():
            logits = model.model(**extend_inputs(prompt, ids)).logits[0, -len(ids) - 1 : -1]
        sums.append(float(logits.log_softmax(-1).gather(-1, ids[:, None]).sum()))
    return sums


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_options_are_as_likely_as_in_a_plain_forward_and_depend_on_the_picture(family, under_test):
    model, questions = under_test(family)
    assert can_continue(model.model) == (family in FAMILIES)
    found = [scores for _, scores in sorted(model.score_options(questions))]
    for question, scores in zip(questions, found, strict=True):
        assert list(scores.values()) == pytest.approx(score_plainly(model, question), abs=1e-5, rel=1e-5)
    of_first, of_second = (torch.tensor([list(scores.values()) for scores in found[i : i + 3]]) for i in (0, 3))
    assert (of_first - of_second).abs().max() > 0.02


def test_several_questions_read_their_picture_once(under_test):
    model, questions = under_test("qwen2-vl")
    seen = []
    model.model.model.visual.register_forward_hook(lambda *_: seen.append(1))
    list(model.score_options(questions))
    assert len(seen) == 2


def test_a_family_that_nobody_tested_is_read_whole_with_the_same_result(under_test, monkeypatch):
    model, questions = under_test("internvl")
    shared = list(model.score_options(questions[:2]))
    monkeypatch.setattr("facekit.models.native.inputs.CONTINUED", frozenset())
    whole = list(model.score_options(questions[:2]))
    assert not can_continue(model.model)
    for (_, one), (_, other) in zip(shared, whole, strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), abs=1e-5, rel=1e-5)
