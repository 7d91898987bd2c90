"""Log-likelihoods of options are those of reading prompt and option in one go, for our models and for others'."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.record_media import load_media
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation import (
    ACTION_UNITS,
    ATTRIBUTE_QUESTIONS,
    ATTRIBUTES,
    EXPRESSION,
    MANIPULATION,
    Run,
    evaluate_model,
    write_report,
)
from facekit.evaluation.evaluator import Statistics
from facekit.evaluation.metrics.calibration import measure_calibration
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.models.other_models import open_model
from facekit.evaluation.tasks.questions import Question
from facekit.models.sessions import option_tokens, write_prompt

FEW = Statistics(resamples=50, permutations=19)
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {% for entry in message.content %}"
    "{% if entry.type == 'image' %}<image>{% else %}{{ entry.text }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 8, seed=9, image_size=64))


@pytest.fixture(scope="module")
def under_test():
    model, processor = facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&depth=2&heads=2",
        seed=0,
    )
    return FaceKitModel(model, processor)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """A small LLaVA as others save theirs."""
    folder = tmp_path_factory.mktemp("llava")
    special = ["<pad>", "</s>", "<image>"]
    vocabulary = {token: index for index, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", additional_special_tokens=["<image>"]
    )
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    text = LlamaConfig(
        vocab_size=len(wrapped), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=2, vision_feature_layer=-1)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        pictures, wrapped, patch_size=16, vision_feature_select_strategy="default", chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def ask_everything(records, options=("genuine", "manipulated", "AU12")):
    return [
        Question(face.id, "Is it genuine?", record=face, folder=records.folder, options=options, max_new_tokens=5)
        for face in records.records
    ]


def test_options_are_as_likely_as_in_one_reading_of_prompt_and_option(records, under_test):
    questions = ask_everything(records)
    found = dict(under_test.score_options(questions))
    model, processor = under_test.model, under_test.processor
    prompt = write_prompt(processor, questions[0].text)
    ids = processor.tokenize([prompt], return_tensors="pt")["input_ids"]
    for place, question in enumerate(questions[:3]):
        pixels, points = load_media(question.record, records.folder, processor)
        for option in question.options:
            tokens = torch.tensor([option_tokens(processor.tokenizer, prompt, option)])
            with torch.inference_mode():
                logits = model(
                    input_ids=torch.cat([ids, tokens], 1), pixel_values=pixels[None], landmarks=points[None]
                ).logits[0]
            steps = logits[ids.shape[1] - 1 : -1].log_softmax(-1)
            whole = float(steps.gather(-1, tokens[0][:, None]).sum())
            assert found[place][option] == pytest.approx(whole, abs=1e-3)


def test_an_option_ends_with_the_token_that_ends_answers(under_test):
    tokenizer = under_test.processor.tokenizer
    ids = option_tokens(tokenizer, "Question: ", "happiness")
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[:-1]).strip() == "happiness"


def test_the_most_likely_option_is_the_answer_and_scores_give_a_curve(records, under_test, tmp_path):
    tasks = [EXPRESSION, ACTION_UNITS, MANIPULATION]
    result = evaluate_model(under_test, records, tasks, scoring="likelihood", statistics=FEW, output_dir=tmp_path)
    assert [task.task for task in result.tasks] == ["expression", "action_unit_questions", "manipulation"]
    assert all(task.unreadable == 0 for task in result.tasks)
    truths = {record.labels.manipulated for record in records.records}
    assert truths == {True, False}
    assert 0 <= result["manipulation"].metrics["auc"] <= 1
    low, high = result["manipulation"].intervals["auc"]
    assert low <= result["manipulation"].metrics["auc"] <= high
    without = replace(ACTION_UNITS, one_by_one=None)
    with pytest.raises(RecordError, match="with options"):
        evaluate_model(under_test, records, [without], scoring="likelihood", statistics=FEW)


def test_tasks_of_lists_are_asked_label_by_label_with_an_auc_and_a_calibration(records, under_test, tmp_path):
    tasks = [ACTION_UNITS, ATTRIBUTES, ATTRIBUTE_QUESTIONS]
    result = evaluate_model(under_test, records, tasks, scoring="likelihood", statistics=FEW, output_dir=tmp_path)
    assert [task.task for task in result.tasks] == ["action_unit_questions", "attribute_questions"]
    run = Run.read(tmp_path)
    units = [entry for entry in run.predictions if entry["task"] == "action_unit_questions"]
    margins = {unit: [] for unit in dict.fromkeys(entry["item"] for entry in units)}
    for entry in units:
        assert entry["prediction"] == max(entry["scores"], key=entry["scores"].get)
        margins[entry["item"]].append((entry["truth"] == "yes", entry["scores"]["yes"] - entry["scores"]["no"]))
    metrics, areas = result["action_unit_questions"].metrics, []
    for unit, pairs in margins.items():
        truths, scores = zip(*pairs, strict=True)
        assert len(pairs) == len(records)
        if len(set(truths)) == 2:
            areas.append(roc_auc_score(truths, scores))
            assert metrics[f"auc_{unit}"] == pytest.approx(areas[-1])
        else:
            assert f"auc_{unit}" not in metrics
    assert len(areas) > 3
    assert metrics["auc"] == pytest.approx(np.mean(areas))
    low, high = result["action_unit_questions"].intervals["auc"]
    assert low <= metrics["auc"] <= high
    calibration = measure_calibration(units)
    assert calibration.count == len(units)
    assert 0 <= calibration.expected_error <= 1
    page = write_report(tmp_path, records, [run]).read_text()
    assert "Action units, one by one" in page
    assert f"{metrics['auc']:.3f}" in page


def test_a_question_without_options_has_no_likelihoods(records, under_test):
    from facekit.evaluation.tasks.collecting import collect_replies

    with pytest.raises(ConfigurationError, match="has no options"):
        collect_replies(under_test, ask_everything(records, options=()), scoring="likelihood")


def test_a_checkpoint_of_another_family_answers_in_batches_as_alone_and_scores_options(records, llava):
    model = open_model(f"hf:{llava}", batch_size=3)
    questions = ask_everything(records)
    questions += [
        Question(f"{face.id}/age", "How old?", record=face, folder=records.folder, max_new_tokens=7)
        for face in records.records[:3]
    ]
    together = dict(model.answer(questions))
    assert sorted(together) == list(range(len(questions)))
    for place in (0, 5, 9):
        assert dict(model.answer([questions[place]]))[0] == together[place]
    scores = dict(model.score_options(questions[:2]))
    assert set(scores[0]) == {"genuine", "manipulated", "AU12"}
    assert all(np.isfinite(value) and value < 0 for value in scores[1].values())
    inputs = model._inputs([questions[0]])
    whole = model._inputs([questions[0]])
    tokens = torch.tensor([option_tokens(model.processor.tokenizer, "assistant:", "genuine")])
    whole["input_ids"] = torch.cat([inputs["input_ids"], tokens], 1)
    whole["attention_mask"] = torch.ones_like(whole["input_ids"])
    with torch.inference_mode():
        logits = model.model(**whole).logits[0, inputs["input_ids"].shape[1] - 1 : -1].log_softmax(-1)
    assert scores[0]["genuine"] == pytest.approx(float(logits.gather(-1, tokens[0][:, None]).sum()), abs=1e-3)


class Overflowing:
    """Scores options as a model does whose numbers overflow at every second question."""

    name = "overflowing"

    def score_options(self, questions):
        for index, question in enumerate(questions):
            value = float("nan") if index % 2 else -1.0
            yield index, {option: value - place for place, option in enumerate(question.options)}


def test_likelihoods_that_are_no_numbers_are_no_answer(records, caplog):
    task = evaluate_model(Overflowing(), records, [MANIPULATION], scoring="likelihood", statistics=FEW)["manipulation"]
    assert (task.unreadable, task.unanswered) == (4, 4)
    assert "not finite" in caplog.text


def test_of_a_set_with_one_expression_all_are_chosen_among(records):
    happy = records.records[0].labels.model_copy(update={"expression": "happiness"})
    alike = RecordSet(tuple(record.model_copy(update={"labels": happy}) for record in records.records), records.folder)
    seen = set()

    class Sad(Overflowing):
        def score_options(self, questions):
            for index, question in enumerate(questions):
                seen.update(question.options)
                yield index, {option: float(option == "sadness") for option in question.options}

    task = evaluate_model(Sad(), alike, [EXPRESSION], scoring="likelihood", statistics=FEW)["expression"]
    assert task.score == 0.0
    assert len(seen) == 7
