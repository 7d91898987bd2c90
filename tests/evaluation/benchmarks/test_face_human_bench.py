"""Face-Human-Bench: prompts, letters and means are those of its authors' scripts."""

from __future__ import annotations

import json
import random

import pytest
from PIL import Image

from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation.benchmarks.face_human_bench import (
    BenchProblem,
    matching_letter,
    published_letter,
    read_face_human_bench,
    run_face_human_bench,
    score_tree,
)


def write_subset(root, name, count, options, language="en", versions=("cropped",)):
    entries = []
    for number in range(count):
        pictures = {version: f"eval_data/{name}/{version}/{number}.jpg" for version in versions}
        for picture in pictures.values():
            (root / picture).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / picture)
        asked = {"question": f"Which, {number}?", "options": options, "answer": number % len(options)}
        entries.append({"type": name, "image": {"image_paths": pictures}, "QA": asked})
    path = root / "json" / language / f"{name}{'_zh' if language == 'zh' else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": entries}, ensure_ascii=False))


@pytest.fixture
def root(tmp_path):
    write_subset(tmp_path, "face_age_basic_5", 4, ["3", "8", "13", "18"], versions=("original", "cropped"))
    write_subset(tmp_path, "face_recognition_mask", 6, ["yes", "no"])
    write_subset(tmp_path, "human_reid_basic", 2, ["yes", "no"])
    write_subset(tmp_path, "face_recognition_mask", 3, ["是", "不是"], language="zh")
    return tmp_path


def test_options_are_turned_by_the_draws_of_the_authors_seed(root):
    problems = read_face_human_bench(root)
    draws = random.Random(100)
    for problem in problems:
        turned = draws.randint(0, len(problem.options) - 1)
        number = int(problem.id.rpartition("/")[2]) - 1
        plain = ["3", "8", "13", "18"] if len(problem.options) == 4 else ["yes", "no"]
        assert problem.options == tuple(plain[(place + turned) % len(plain)] for place in range(len(plain)))
        assert problem.options["ABCD".index(problem.correct)] == plain[number % len(plain)]
    assert [problem.subset for problem in problems[:8:4]] == [
        ("face_age_basic_5", "original"), ("face_age_basic_5", "cropped"),
    ]  # fmt: skip
    # Chinese comes after English in the authors' script, so its draws go on
    (first, *_) = read_face_human_bench(root, "zh")
    assert first.options == (("是", "不是"), ("不是", "是"))[draws.randint(0, 1)]


def test_the_prompt_is_that_of_the_authors_in_both_languages(root):
    english, chinese = read_face_human_bench(root)[-1], read_face_human_bench(root, "zh")[0]
    assert english.prompt == (
        f"Question: Which, 1?\nA. {english.options[0]}\nB. {english.options[1]}\n"
        "Please select the correct answer from the options above."
    )
    assert chinese.prompt.startswith("问题: Which, 0?\nA. ")
    assert chinese.prompt.endswith("\n请从以上选项中选择正确的答案。")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"), ("b", "b"), ("B. 8", "B"), ("The answer is (C).", "C"), ("B, because A. is wrong", None),
        ("选项A", "A"), ("选项 D 最好", "D"), ("D。", "D"), ("A) and A.", "A"), ("the second", None), ("", None),
        ("I say B", None),
    ],
)  # fmt: skip
def test_the_published_patterns_read_letters(answer, letter):
    assert published_letter(answer) == letter


@pytest.mark.parametrize(
    ("answer", "options", "letter"),
    [
        ("No", ("yes", "no"), "B"),
        ("The person is about 13 years old", ("3", "8", "13", "18"), "C"),
        ("She is not wearing a hat", ("He wears a hat.", "She is not wearing a hat."), "B"),
        ("不是同一个人", ("是", "不是"), "B"),
        ("yes and no", ("yes", "no"), "X"),
        ("I cannot say", ("yes", "no"), "X"),
        ("", ("yes", "no"), "X"),
    ],
)
def test_an_answer_without_a_letter_is_matched_with_the_options(answer, options, letter):
    assert matching_letter(answer, options) == letter


def problem(subset, correct):
    return BenchProblem("", subset, None, "", ("yes", "no"), correct)


def test_means_go_up_the_tree_and_refusals_are_taken_out_of_the_second():
    mask, basic = ("face_recognition_mask", "cropped"), ("face_recognition_basic", "cropped")
    age = [("face_age_basic_5", version) for version in ("original", "cropped")]
    problems = [problem(mask, "A")] * 4 + [problem(basic, "B")] * 2 + [problem(each, "C") for each in age]
    letters = ["A", "B", "X", "X", "B", "B", "C", "A"]
    scores, missing = score_tree(problems, letters, "face")
    found = {score.name: (score.accuracy, score.answered_accuracy) for score in scores}
    assert found["face/recognition/mask"] == (0.25, 0.5)
    assert found["face/recognition"] == (0.625, 0.75)
    assert found["face/age/5-year interval"] == (0.5, 0.5)
    assert found["face"] == ((0.625 + 0.5) / 2, 0.625)
    assert found[""] == found["face"]
    assert "face_attack_physical_paper-cropped" in missing
    assert not any(name.startswith("human") for name in missing)


class Saying:
    def __init__(self, name, answer):
        self.name, self.say, self.asked = name, answer, []

    def answer(self, questions):
        for index, question in enumerate(questions):
            self.asked.append(question)
            yield index, self.say(question)


def test_a_run_has_the_three_steps_and_goes_on(root, tmp_path):
    problems = {each.id: each for each in read_face_human_bench(root)}
    model = Saying("m", lambda question: f"It is {problems[question.id].correct}" if "Which, 1?" in question.text
                   else f"{problems[question.id].correct}.")  # fmt: skip
    extractor = Saying("e", lambda question: f" {question.text[-1]}")
    output = tmp_path / "out"
    result = run_face_human_bench(model, root, extractor=extractor, output_dir=output)
    assert result.scores[0].accuracy == 1.0
    assert (result.problems, result.by_pattern, result.refused) == (16, 12, 0)
    assert len(extractor.asked) == 4
    assert all(question.pictures == () for question in extractor.asked)
    assert json.loads((output / "metrics.json").read_text())["scores"][0]["accuracy"] == 1.0
    run_face_human_bench(model, root, extractor=extractor, output_dir=output)
    assert (len(model.asked), len(extractor.asked)) == (16, 4)
    alone = run_face_human_bench(model, root, setting="en-face")
    assert alone.problems == 14
    assert alone.refused == 3  # "It is B" names no option's text


def test_thoughts_and_words_around_a_letter_are_no_letters(root, tmp_path):
    problems = {each.id: each for each in read_face_human_bench(root)}
    thought = "<think>A. is out, and so is B.</think>\n"
    result = run_face_human_bench(Saying("m", lambda question: f"{thought}{problems[question.id].correct}"), root)
    assert (result.scores[0].accuracy, result.by_pattern) == (1.0, 16)
    extractor = Saying("e", lambda question: f"<think>X or A?</think>Answer: {question.text[-1]}")
    vague = Saying("m", lambda question: f"I take {problems[question.id].correct}")
    result = run_face_human_bench(vague, root, extractor=extractor)
    assert (result.scores[0].accuracy, result.by_pattern, len(extractor.asked)) == (1.0, 0, 16)


def test_what_cannot_be_is_said(root, tmp_path):
    with pytest.raises(ConfigurationError, match="en-face"):
        run_face_human_bench(Saying("m", str), root, setting="fr")
    with pytest.raises(RecordError, match="none of the files"):
        read_face_human_bench(tmp_path / "elsewhere")
    (root / "eval_data/face_age_basic_5/cropped/0.jpg").unlink()
    with pytest.raises(RecordError, match=r"cropped/0\.jpg is missing"):
        run_face_human_bench(Saying("m", str), root)
    (root / "json/en/face_age_basic_5.json").write_text('{"data": [{"QA": {}}]}')
    with pytest.raises(RecordError, match="face_age_basic_5"):
        read_face_human_bench(root)
