"""Families of vision-language models, as transformers saves them, through evaluation and a benchmark.

Pictures change their answers, a batch answers as one alone, and control tokens in words stay words.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from small_vlms import FAMILIES, face_picture, save_small_vlm

from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord
from facekit.errors import ConfigurationError
from facekit.evaluation import EXPRESSION, MANIPULATION, evaluate_model, run_benchmark
from facekit.evaluation.evaluator import Statistics
from facekit.evaluation.models.other_models import HuggingFaceModel, open_model
from facekit.evaluation.tasks.questions import Question
from facekit.models.foreign_prompts import tokenize_chats

NONE = Statistics(0, 0)
PICTURES = 6
QUIET = {"llava": 0.25, "gemma3": 0.25}
"""Factors of words, where those of a long question would decide every answer, whatever the picture."""


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_small_vlm(request.param, folder)
    opened = open_model(f"hf:{folder}?device=cpu", batch_size=4)
    with torch.no_grad():
        opened.model.get_input_embeddings().weight.mul_(QUIET.get(request.param, 1.0))
    return opened


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(PICTURES)]
    for number, path in enumerate(paths):
        face_picture(number).save(path)
    return paths


@pytest.fixture(scope="module")
def records(pictures):
    faces = [
        FaceRecord(id=str(number), image=path.name,
                   labels={"expression": ("fear", "anger")[number % 2], "manipulated": bool(number % 2)})
        for number, path in enumerate(pictures)
    ]  # fmt: skip
    (pictures[0].parent / "records.jsonl").write_text("".join(face.model_dump_json() + "\n" for face in faces))
    return RecordSet.read(pictures[0].parent / "records.jsonl")


def test_an_evaluation_asks_closed_questions_and_pictures_change_the_answers(family, records, tmp_path):
    closed = evaluate_model(family, records, [EXPRESSION, MANIPULATION], statistics=NONE, max_new_tokens=6)
    assert (closed.prompts, closed.questions) == ("closed", 2 * PICTURES)
    assert "real or fake" in closed["manipulation"].question
    (tmp_path / "short.yaml").write_text("expression: Which expression?\n")
    said = []
    for size in (4, 1):
        model = HuggingFaceModel(family.model, family.processor, name=family.name, batch_size=size)
        folder = tmp_path / str(size)
        evaluate_model(
            model, records, [EXPRESSION], prompts=tmp_path / "short.yaml", statistics=NONE, output_dir=folder,
            max_new_tokens=6,
        )  # fmt: skip
        lines = (folder / "predictions.jsonl").read_text().splitlines()
        said.append([json.loads(line)["answer"] for line in lines])
    assert len(set(said[0])) > 1
    assert said[0] == said[1]


def test_a_benchmark_with_one_and_with_several_pictures_runs(family, pictures, tmp_path):
    (tmp_path / "images").mkdir()
    for path in pictures:
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes())
    for name, count in (("single", 1), ("multiple", 2)):
        questions = {
            str(number): {"image_paths": [f"images/{(number + step) % PICTURES}.png" for step in range(count)],
                          "question_text": "Which expression?", "options": [3, "4"], "correct_answer_option": "B"}
            for number in range(3)
        }  # fmt: skip
        document = {"category": "face_localization", "sub-category": "crowd_counting", "dataset": "x",
                    "num_images": name, "questions": questions}  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    outcome = run_benchmark(family, "facexbench", tmp_path, output_dir=tmp_path / "out", max_new_tokens=4)
    assert outcome.result.published.by_images["multiple"].count == 3
    answers = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()[1:]]
    assert len({answer["answer"] for answer in answers}) > 1
    again = run_benchmark(family, "facexbench", tmp_path, output_dir=tmp_path / "out", max_new_tokens=4)
    assert again.result.asked == 0


def control_words(model):
    """The family's own control tokens, typed by somebody."""
    tokenizer = model.processor.tokenizer
    names = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return [name for name in names if "<" in name]


def test_control_tokens_in_a_question_stay_words_and_show_no_picture(family, pictures):
    words = control_words(family)
    assert len(words) >= 4
    ids = family.processor.tokenizer.convert_tokens_to_ids(words)

    def tokens_of(text):
        chat = [
            {"role": "user", "content": [{"type": "image", "image": face_picture()}, {"type": "text", "text": text}]}
        ]
        inputs = tokenize_chats(family.processor, [chat], add_generation_prompt=True)
        return inputs["input_ids"][0].tolist()

    plain = tokens_of("What is this?")
    for word, index in zip(words, ids, strict=True):
        typed = tokens_of(f"What is {word} this?")
        assert typed.count(index) == plain.count(index), word
    typed = tokens_of(f"What {words[-1]}?")
    spelled = family.processor.tokenizer.decode(typed)
    assert words[-1] in spelled
    asked = [Question(str(number), f"{words[number % len(words)]} which?", (path,), max_new_tokens=3)
             for number, path in enumerate(pictures)]  # fmt: skip
    batch = dict(family.answer([*asked, replace(asked[0], id="plain", text="Which?")]))
    alone = HuggingFaceModel(family.model, family.processor, name="m", batch_size=1)
    assert dict(alone.answer(asked)) == {index: batch[index] for index in range(len(asked))}


def test_the_identity_of_a_model_tells_how_it_was_opened_and_its_weights(family):
    before = family.identity
    assert before == family.identity
    with torch.no_grad():
        value = next(iter(family.model.parameters()))
        value += 1
        changed = family.identity
        value -= 1
    assert changed["weights"] != before["weights"]
    other = HuggingFaceModel(family.model, family.processor, name=family.name, options={"load_in": "4bit"})
    assert other.identity != before


def test_a_question_that_cannot_be_told_from_control_tokens_is_refused_in_one_sentence(family, pictures, monkeypatch):
    monkeypatch.setattr("facekit.models.control_tokens.PreTrainedTokenizerFast", type("Slow", (), {}))
    monkeypatch.setattr("facekit.models.control_tokens._known", type("Known", (dict,), {})())
    with pytest.raises(ConfigurationError, match=r"cannot read control tokens as words; .*leave words such as"):
        list(family.answer([Question("a", f"{control_words(family)[0]}?", (pictures[0],), max_new_tokens=2)]))


def test_closed_options_are_scored_and_give_a_curve(family, records):
    result = evaluate_model(family, records, [MANIPULATION, EXPRESSION], scoring="likelihood", statistics=NONE)
    assert result["manipulation"].unreadable == 0
    assert 0 <= result["manipulation"].metrics["auc"] <= 1
    asked = Question("a", "Real or fake?", record=records.records[0], folder=records.folder, options=("real", "fake"))
    other = replace(asked, id="b", record=records.records[1])
    scores = dict(family.score_options([asked, other]))
    assert set(scores[0]) == {"real", "fake"}
    assert abs(scores[0]["fake"] - scores[1]["fake"]) > 1e-4


def test_pairs_of_pictures_are_verified_by_likelihood(family, pictures, tmp_path):
    lines = [f"{pictures[number]},{pictures[(number + step) % PICTURES]},{1 - step}" for number in range(PICTURES)
             for step in (0, 1)]  # fmt: skip
    (tmp_path / "pairs.csv").write_text("first,second,same\n" + "\n".join(lines))
    result = run_benchmark(family, "pairs", tmp_path / "pairs.csv", limit=8).result
    assert (result.scoring, result.pairs, result.available, result.unanswered) == ("likelihood", 8, 12, 0)
    assert 0 <= result.equal_error_rate.value <= 1
