"""A miniature benchmark in the official format, replies that mislead, and runs that are killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

import facekit
from facekit.answers.option_extraction import extract_published, extract_strict
from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation.benchmarks.facexbench import (
    COLUMNS,
    THINK_STEP_BY_STEP,
    published_rows,
    read_facexbench,
    run_facexbench,
    table_row,
)
from facekit.evaluation.models.answering import FaceKitModel

AGES = ("30-39", "20-29", "40-49", "10-19")

REPLIES = [
    # reply, published, strict
    ("B", "B", "B"),
    ("(B)", "B", "B"),
    ("B.", "B", "B"),
    ("B:", "B", "B"),
    ("(B) 20-29", "B", "B"),
    ("B. 20-29", "B", "B"),
    ("b", None, "B"),
    ("(b)", None, "B"),
    ("Option B", "B", "B"),
    ("option B", "B", "B"),
    ("The answer is B.", "B", "B"),
    ("Answer: (C)", "C", "C"),
    ("A person of about 25, so B", "A", None),
    ("I think B", "B", None),
    ("I would say 20-29", "B", None),
    ("20-29", "B", "B"),
    ("The age is 40-49 years.", "C", None),
    ("B - the skin is smooth", "B", None),
    ("BAD", None, None),
    ("Because", None, None),
    ("E", None, None),
    ("E, or rather C", "C", None),
    ("A or B", "A", None),
    ("both (C) and (D)", "C", None),
    ("", None, None),
    ("   \n", None, None),
    ("none of them", None, None),
    ("  D  ", "D", "D"),
    ("D. 20-29", "D", None),
    ("The wrinkles say C.\nThe answer is (D)", "C", "D"),
    ("C looks plausible.\n20-29", "C", None),
    ("**B**", "B", "B"),
    ("30-39 or 20-29", "A", None),
    ("I-C", "C", None),
    ("ABCD", None, None),
]


@pytest.mark.parametrize(("reply", "published", "strict"), REPLIES)
def test_the_published_and_the_strict_rule_read_a_reply(reply, published, strict):
    assert extract_published(reply, AGES) == published
    assert extract_strict(reply, AGES) == strict


def test_letters_beyond_the_options_are_no_labels_and_option_texts_count_in_their_order():
    assert extract_published("C", ("yes", "no")) is None
    assert extract_published("it is no, not yes", ("yes", "no")) == "A"
    assert extract_strict("Yes", ("yes", "no")) == "A"
    assert extract_strict("same", ("Same", "same")) is None


def write_benchmark(folder):
    """Three files: single, multiple and tools; five questions."""
    images = folder / "benchmark" / "images"
    images.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 90, 120)).save(images / f"{number}.png")

    def question(text, paths, correct, options=AGES):
        return {
            "image_paths": [f"images/{path}.png" for path in paths], "question_text": text, "options": list(options),
            "correct_answer_option": correct, "answer": options["ABCD".index(correct)],
        }  # fmt: skip

    documents = {
        "age_single": {
            "category": "bias_fairness", "sub-category": "age", "dataset": "fairface", "question_type": "MCQ",
            "num_images": "single", "prepend_text": "Ages are estimated.", "postpend_text": "Answer with the letter.",
            "questions": {"1": question("How old?", [0], "B"), "2": question("How old is she?", [1], "C")},
        },
        "recognition_multiple": {
            "category": "face_recognition", "sub-category": "hr_fr", "dataset": "lfw", "question_type": "MCQ",
            "num_images": "multiple", "postpend_text": "Answer with the letter.",
            "questions": {"1": question("Who is the same?", [1, 2, 3], "A"), "2": question("Who?", [0, 3], "D")},
        },
        "tools": {
            "category": "tools_use", "sub-category": "tools_retrieval", "dataset": "made", "question_type": "MCQ",
            "num_images": "single", "context": "The tools are: f.", "questions": {"1": question("Which?", [2], "A")},
        },
    }  # fmt: skip
    for name, document in documents.items():
        (folder / "benchmark" / f"{name}.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def benchmark_folder(tmp_path):
    return write_benchmark(tmp_path / "FaceXBench")


def write_counting_and_tools(folder):
    """Two files in the shape of the authors' jhucrowd and tools_retrieval: numbers, spaces, and a black picture."""
    images = folder / "benchmark" / "images"
    for name in ("jhucrowd_single_mcq_test", "tools_retrieval"):
        (images / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(images / name / "question_1.png")
    counting = {
        "category": "face_localization", "sub-category": "crowd_counting", "dataset": "jhucrowd",
        "question_type": "MCQ", "num_images": "single", "prepend_text": "You have to count.",
        "postpend_text": "Answer with the letter.",
        "questions": {
            "1": {"image_paths": ["images/jhucrowd_single_mcq_test/question_1.png"], "question_text": "How many?",
                  "options": [8, 4, 6, 5], "correct_answer_option": "D", "answer": 5},
            "2": {"image_paths": ["images/jhucrowd_single_mcq_test/question_1.png"], "question_text": "And now? ",
                  "options": [1.5, 40, " none ", "a"], "correct_answer_option": "C", "answer": " none "},
        },
    }  # fmt: skip
    tools = {
        "category": "tools_use", "sub-category": "tools_retrieval", "dataset": "gpt4o", "question_type": "MCQ",
        "num_images": "zero", "context": "Ignore the black image provided.\n1. Age:\n    api_1",
        "postpend_text": "Answer with the letter.",
        "questions": {
            "1": {"image_paths": ["images/tools_retrieval/question_1.png"], "question_text": "Which calls?",
                  "options": ["api_1-a", "api_2-b", "api_3-c", "api_4-d"], "correct_answer_option": "B",
                  "answer": "api_2-b"}
        },
    }  # fmt: skip
    for name, document in {"jhucrowd_single_mcq_test": counting, "tools_retrieval": tools}.items():
        (folder / "benchmark" / f"{name}.json").write_text(json.dumps(document))
    return folder


def test_numbers_are_options_and_tools_have_no_picture_of_their_own(tmp_path):
    questions = {question.id: question for question in read_facexbench(write_counting_and_tools(tmp_path))}
    counting, spaced = (questions[f"jhucrowd_single_mcq_test/{number}"] for number in (1, 2))
    assert counting.options == ("8", "4", "6", "5")
    assert counting.prompts["zero-shot"] == "How many?\nAnswer with the letter.\n(A) 8\n(B) 4\n(C) 6\n(D) 5\n"
    assert spaced.options == ("1.5", "40", "none", "a")
    assert spaced.prompts["zero-shot"].startswith("And now? \nAnswer with the letter.\n(A) 1.5\n(B) 40\n(C)  none \n")
    tools = questions["tools_retrieval/1"]
    assert tools.num_images == "zero"
    assert tools.prompts["zero-shot"].startswith("Ignore the black image provided.\n1. Age:\n    api_1\nWhich calls?\n")


@pytest.mark.parametrize("setting", ["zero-shot", "in-context", "chain-of-thought"])
def test_all_settings_score_numbers_as_a_count_by_hand_does(tmp_path, setting):
    replies = {
        "jhucrowd_single_mcq_test/1": "There are 5 people.", "jhucrowd_single_mcq_test/2": "I see none here",
        "tools_retrieval/1": "api_2-b",
    }  # fmt: skip
    result = run_facexbench(ScriptedModel(replies), write_counting_and_tools(tmp_path), setting=setting)
    # By the authors' rule "I" is no label, and the option's stripped text occurs in the reply; strictly it must be all.
    assert (result.published.overall.right, result.strict.overall.right) == (3, 1)
    assert result.published.by_images["zero"].right == 1
    assert result.published.by_sub_category["face_localization/crowd_counting"].count == 2


class ScriptedModel:
    """Says what it is told to, and remembers what it was asked."""

    name = "scripted"

    def __init__(self, replies, stop_after=None):
        self.replies, self.stop_after, self.asked = replies, stop_after, []

    def answer(self, questions):
        for place, question in enumerate(questions):
            if self.stop_after is not None and len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(question)
            yield place, self.replies[question.id]


ANSWERS = {
    "age_single/1": "B", "age_single/2": "A person of 40-49", "recognition_multiple/1": "(A)",
    "recognition_multiple/2": "d", "tools/1": "no idea",
}  # fmt: skip


def test_prompts_are_put_together_as_in_each_published_setting(benchmark_folder):
    questions = {question.id: question for question in read_facexbench(benchmark_folder)}
    options = "(A) 30-39\n(B) 20-29\n(C) 40-49\n(D) 10-19\n"
    age = questions["age_single/1"].prompts
    assert age["zero-shot"] == f"How old?\nAnswer with the letter.\n{options}"
    assert age["in-context"] == f"Ages are estimated.\nHow old?\nAnswer with the letter.\n{options}"
    assert age["chain-of-thought"] == f"{age['zero-shot']}{THINK_STEP_BY_STEP}\n"
    assert questions["tools/1"].prompts["zero-shot"] == f"The tools are: f.\nWhich?\n{options}"
    assert [path.name for path in questions["recognition_multiple/1"].pictures] == ["1.png", "2.png", "3.png"]


def test_totals_agree_by_category_sub_category_and_number_of_images(benchmark_folder):
    result = run_facexbench(ScriptedModel(ANSWERS), benchmark_folder / "benchmark")
    published, strict = result.published, result.strict
    assert (published.overall.right, published.overall.count, published.unreadable) == (2, 5, 2)
    assert {name: share.right for name, share in published.by_category.items()} == {
        "bias_fairness": 1, "face_recognition": 1, "tools_use": 0,
    }  # fmt: skip
    assert {name: share.count for name, share in published.by_sub_category.items()} == {
        "bias_fairness/age": 2, "face_recognition/hr_fr": 2, "tools_use/tools_retrieval": 1,
    }  # fmt: skip
    assert (published.by_images["multiple"].right, published.by_images["single"].count) == (1, 3)
    assert (strict.overall.right, strict.unreadable) == (3, 2)
    assert strict.by_images["multiple"].accuracy == 100.0
    for board in (published, strict):
        for shares in (board.by_category, board.by_sub_category, board.by_images):
            assert sum(share.right for share in shares.values()) == board.overall.right
        assert board.low <= board.overall.accuracy <= board.high
    assert table_row(published)["face_recognition"] == 50.0


def test_thoughts_are_no_part_of_a_reply(benchmark_folder):
    thought = "<think>\nA person of 30-39? (C) or (D) would be older.\n</think>\n\n"
    replies = {**dict.fromkeys(ANSWERS, "<think>A is"), "age_single/1": f"{thought}B", "age_single/2": f"{thought}(C)"}
    result = run_facexbench(ScriptedModel(replies), benchmark_folder)
    for board in (result.published, result.strict):
        assert (board.by_sub_category["bias_fairness/age"].right, board.unreadable) == (2, 3)


def test_published_rows_have_the_papers_numbers():
    rows = {row["model"]: row for row in published_rows() if row["source"] == "FaceLLM, arXiv 2507.10300"}
    assert rows["FaceLLM-38B"]["overall"] == 60.52
    assert rows["GPT-4o"]["tools_use"] == 44.0
    assert set(rows["Qwen2-VL-72B"]) == {"model", "source", *COLUMNS}
    assert rows["human"]["overall"] == 70.28


def test_sources_that_differ_about_a_model_stand_side_by_side_with_their_names():
    rows = {(row["model"], row["source"]): row["overall"] for row in published_rows()}
    assert rows["GPT-4o", "FaceLLM, arXiv 2507.10300"] == 50.50
    assert rows["GPT-4o", "FaceXBench, its README"] == 50.24
    assert rows["Gemini 1.5 Pro", "FaceXBench, its README"] == 54.40


def test_an_interrupted_run_goes_on_without_repeating_a_question(benchmark_folder, tmp_path):
    first = ScriptedModel(ANSWERS, stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        run_facexbench(first, benchmark_folder, output_dir=tmp_path / "run")
    log = tmp_path / "run" / "answers.jsonl"
    log.write_bytes(log.read_bytes() + b'{"question": "tools/1", "ans')
    second = ScriptedModel(ANSWERS)
    result = run_facexbench(second, benchmark_folder, output_dir=tmp_path / "run", resume=True)
    assert [question.id for question in second.asked] == [
        question.id for question in read_facexbench(benchmark_folder)
    ][3:]
    whole = run_facexbench(ScriptedModel(ANSWERS), benchmark_folder)
    assert (result.published, result.strict, result.asked) == (whole.published, whole.strict, 2)
    third = ScriptedModel(ANSWERS)
    with pytest.warns(DeprecationWarning, match="will take resume=False by default, not resume=True; say which"):
        run_facexbench(third, benchmark_folder, output_dir=tmp_path / "run")
    assert third.asked == []
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["published"]["overall"] == {
        "right": 2,
        "count": 5,
    }


SLOW_RUN = """
import sys, time
from facekit.evaluation.benchmarks.facexbench import run_facexbench
class Slow:
    name = "scripted"
    def answer(self, questions):
        for place, question in enumerate(questions):
            with open(sys.argv[3], "a") as asked:
                asked.write(question.id + "\\n")
            if int(sys.argv[4]) and place == 2:
                time.sleep(600)
            yield place, "B"
run_facexbench(Slow(), sys.argv[1], output_dir=sys.argv[2], resume=True)
"""


def test_a_killed_process_loses_only_the_question_in_flight(benchmark_folder, tmp_path):
    asked = tmp_path / "asked.txt"
    command = [sys.executable, "-c", SLOW_RUN, str(benchmark_folder), str(tmp_path / "run"), str(asked)]
    process = subprocess.Popen([*command, "1"])
    try:
        while not (asked.is_file() and asked.read_text().count("\n") == 3):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "0"], check=True)
    counts = [asked.read_text().split().count(question.id) for question in read_facexbench(benchmark_folder)]
    assert counts == [1, 1, 2, 1, 1]


def test_another_models_answers_are_not_gone_on_with(benchmark_folder, tmp_path):
    run_facexbench(ScriptedModel(ANSWERS), benchmark_folder, output_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="setting was 'zero-shot' and is 'in-context'"):
        run_facexbench(ScriptedModel(ANSWERS), benchmark_folder, output_dir=tmp_path, setting="in-context", resume=True)
    fresh = run_facexbench(
        ScriptedModel(ANSWERS), benchmark_folder, output_dir=tmp_path, setting="in-context", resume=False
    )
    assert fresh.asked == 5


def test_our_own_model_answers_single_and_multiple_images(benchmark_folder):
    model, processor = facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )
    result = run_facexbench(FaceKitModel(model, processor, batch_size=2), benchmark_folder)
    assert result.published.overall.count == 5


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"num_images": 3}, "num_images"),
        ({"questions": {"1": {"image_paths": ["a.png"], "question_text": "?", "options": ["x", "y"],
                              "correct_answer_option": "C"}}}, "none of the options"),
        ({"questions": {"1": {"image_paths": ["images/9.png"], "question_text": "?", "options": ["x", "y"],
                              "correct_answer_option": "A"}}}, "9.png is missing"),
    ],
)  # fmt: skip
def test_a_malformed_file_or_missing_picture_is_named(benchmark_folder, damage, words):
    path = benchmark_folder / "benchmark" / "tools.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(RecordError, match=words):
        read_facexbench(benchmark_folder)


def test_a_folder_without_questions_and_an_unknown_setting_are_refused(tmp_path, benchmark_folder):
    with pytest.raises(RecordError, match="no JSON files"):
        read_facexbench(tmp_path)
    for path in (benchmark_folder / "benchmark").glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "questions": {}}))
    with pytest.raises(RecordError, match="no questions"):
        run_facexbench(ScriptedModel(ANSWERS), benchmark_folder)
    with pytest.raises(ConfigurationError, match="zero-shot, in-context"):
        run_facexbench(ScriptedModel(ANSWERS), benchmark_folder, setting="few-shot")
