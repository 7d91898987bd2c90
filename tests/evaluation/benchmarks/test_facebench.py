"""FaceBench: prompts and scores are those of its authors' scripts; conditions say which answers follow from which."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from facekit.errors import RecordError
from facekit.evaluation.benchmarks.facebench import (
    FaceBenchQuestion,
    named_options,
    read_facebench,
    run_facebench,
    score_answer,
    score_facebench,
)
from facekit.evaluation.metrics.text_overlap import normalize_words, rouge_scores, sentence_bleu


def question(name, kind, truth, options=(), conditions=(), image="1.jpg", view="Appearance"):
    return FaceBenchQuestion(
        question_id=name, question_type=kind, image_id=image, text="What?", instruction="Choose.",
        options=list(options), conditions={"option Y": list(conditions), "option N": []}, gt_answer=truth,
        metadata={"view": view},
    )  # fmt: skip


def test_the_prompt_is_that_of_the_authors():
    single = question("q", "SCQ", "Dense", ["Dense", "Sparse"])
    end = "Choose. Please return the answer directly without additional explanation."
    assert single.prompt == f"What?\nDense\nSparse\n{end}"
    assert question("q", "OEQ", "Black").prompt == f"What?\n\n{end}"


def test_a_choice_is_scored_over_the_options():
    single = question("q", "SCQ", "Dense", ["Dense", "Sparse", "Medium dense"])
    assert score_answer(single, "Dense") == {"accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    # one of three wrong: the two others are true negatives but one, so weighted means are (3 - 2) / 3
    wrong = score_answer(single, "Sparse")
    assert wrong["accuracy"] == 0.0
    assert [wrong[name] for name in ("precision", "recall", "f1")] == pytest.approx([1 / 3] * 3)
    assert score_answer(single, "It is Medium dense.")["accuracy"] == 0.0
    assert score_answer(single, "dense.")["accuracy"] == 1.0
    assert score_answer(single, "no idea")["accuracy"] == 0.0
    assert score_answer(single, " ") is None


def test_several_choices_are_scored_as_presence_of_each():
    several = question("q", "MCQ", ["Chin", "Cheek"], ["Chin", "Cheek", "Nose", "Brow"])
    assert score_answer(several, "Cheek, Chin") == {"f1_macro": 1.0, "f1_micro": 1.0, "accuracy": 1.0}
    half = score_answer(several, "Chin and Nose")
    assert half == pytest.approx({"f1_macro": 0.5, "f1_micro": 0.5, "accuracy": 0.5})


def test_open_answers_are_scored_by_overlap():
    found = score_answer(question("q", "OEQ", "dark brown"), "a dark brown beard")
    # "a" goes; 2 of 3 words, 1 of 2 pairs, none of 1 triple (0.1), none of no fours (0.1)
    assert found["bleu_1"] == pytest.approx(2 / 3)
    assert found["bleu_2"] == pytest.approx(1 / 2)
    assert found["bleu"] == pytest.approx((2 / 3 * 1 / 2 * 0.1 * 0.1) ** 0.25)
    assert found["rouge1"] == pytest.approx(2 * 2 / 6)
    assert found["rouge2"] == pytest.approx(2 * 1 / 4)
    assert found["rougeL"] == pytest.approx(2 * 2 / 6)


def test_overlap_of_short_and_of_different_answers():
    assert sentence_bleu(["a"], ["b"], (1,)) == 0.0
    assert sentence_bleu([], ["b"], (1,)) == 0.0
    assert sentence_bleu(["x"], ["x", "y"], (1,)) == pytest.approx(0.36787944)  # exp(1 - 2 / 1)
    assert rouge_scores("a c b", "a b c")["rougeL"] == pytest.approx(2 / 3)
    assert rouge_scores("", "a")["rouge1"] == 0.0


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Two (dark) eyes.", "2 dark eyes"),
        ("3,000 hairs", "3000 hairs"),
        ("blue/green", "blue green"),
        ("blue / green", "blue green"),
        ("2.5 cm", "2.5 cm"),
        ("none", "0"),
    ],
)
def test_words_are_normalised_as_in_vqas_evaluation(text, normal):
    assert normalize_words(text) == normal


def test_of_options_within_each_other_the_longest_is_named():
    options = ["Chin area", "Side to side", "Chin area and side to side"]
    assert named_options("The chin area and side to side", options) == ["Chin area and side to side"]
    assert named_options("Side to side, chin area", options) == ["Chin area", "Side to side"]


def test_an_answer_that_repeats_its_options_names_them_once():
    answer = "chin area, nose, chin area and side to side, " * 3_000
    assert named_options(answer, ["Chin area", "Nose", "nose", "Chin area and side to side"]) == [
        "Chin area", "Nose", "nose", "Chin area and side to side",
    ]  # fmt: skip


def test_an_answer_counts_under_conditions_only_if_those_that_it_follows_from_are_right():
    questions = [
        question("beard_q0", "TFQ", "Yes", ["Yes", "No"], ["beard_q1"]),
        question("beard_q1", "SCQ", "Dense", ["Dense", "Sparse"], ["beard_q2"]),
        question("beard_q2", "SCQ", "Long", ["Long", "Short"], view="Psychology"),
        question("beard_q0", "TFQ", "Yes", ["Yes", "No"], ["beard_q1"], image="2.jpg"),
        question("beard_q1", "SCQ", "Dense", ["Dense", "Sparse"], image="2.jpg"),
    ]
    scores = {(each.view, each.question_type): each for each in
              score_facebench(questions, ["No", "Dense", "Long", "Yes", ""])}  # fmt: skip
    single = scores["", "SCQ"]
    assert (single.count, single.missed, single.headline, single.conditional) == (2, 1, 1.0, 0.0)
    assert (scores["", "TFQ"].headline, scores["", "TFQ"].conditional) == (0.5, 0.5)
    assert scores["psychology", "SCQ"].count == 1
    right = {each.question_type: each for each in score_facebench(questions, ["Yes", "Dense", "Long", "Yes", "Dense"])}
    assert right["SCQ"].conditional == 1.0


class Always:
    """Weighs the options before it says yes."""

    name = "always yes"

    def answer(self, questions):
        for index, _ in enumerate(questions):
            yield index, "<think>Yes or No?</think>\nYes"


def test_a_run_reads_lines_and_pictures(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.jpg")
    lines = [question(f"q{number}", "TFQ", ("Yes", "No")[number % 2], ["Yes", "No"]) for number in range(4)]
    lines[1].text = "What\u2028is it?"
    (tmp_path / "test.jsonl").write_text(
        "\n".join(each.model_dump_json() for each in lines) + "\n", encoding="utf-8-sig"
    )
    result = run_facebench(Always(), tmp_path, output_dir=tmp_path / "out")
    assert result.questions == 4
    assert result.scores[0].metrics["accuracy"] == 0.5
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["scores"][0]["count"] == 4
    assert len(read_facebench(tmp_path / "test.jsonl")) == 4
    (tmp_path / "test.jsonl").write_text('{"question_id": "a"}\n')
    with pytest.raises(RecordError, match=r"test\.jsonl, line 1: field 'question_type'"):
        read_facebench(tmp_path)
    with pytest.raises(RecordError, match=r"no \.jsonl files"):
        read_facebench(tmp_path / "images")
