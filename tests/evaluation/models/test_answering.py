"""facekit's own models under test: what a resumed run is compared by."""

import json

import pytest
import small_runs
from PIL import Image

from facekit.errors import ConfigurationError
from facekit.evaluation.models.answer_log import AnswerLog
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.tasks.collecting import collect_replies, identify_answers
from facekit.evaluation.tasks.questions import Question

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.fixture(scope="module")
def pair():
    model, processor = small_runs.small_model()
    processor.image_processor.landmarker = None
    return model, processor


def ask(pair, folder, **options):
    """How many questions of a resumed run are asked."""
    Image.new("RGB", (48, 48)).save(folder / "0.png")
    model = FaceKitModel(*pair, **options)
    with AnswerLog(folder / "answers.jsonl", identify_answers(model)) as log:
        collect_replies(model, [Question("q", "Old?", (folder / "0.png",), max_new_tokens=2)], log=log)
        return log.appended


def test_answers_to_other_prompts_or_frames_are_not_gone_on_with(pair, tmp_path, monkeypatch):
    assert [ask(pair, tmp_path), ask(pair, tmp_path)] == [1, 0]
    changes = {
        "chat_template": (pair[1], "chat_template", TEMPLATE),
        "num_frames": (pair[1].image_processor, "num_frames", 3),
    }
    for name, change in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(*change)
            with pytest.raises(ConfigurationError, match=f"{name} was"):
                ask(pair, tmp_path)
    with pytest.raises(ConfigurationError, match="crop was 'False' and is 'True'"):
        ask(pair, tmp_path, crop=True)


def test_answers_of_an_earlier_version_which_noted_less_are_gone_on_with(pair, tmp_path):
    ask(pair, tmp_path)
    head, *answers = (tmp_path / "answers.jsonl").read_text().splitlines()
    facts = json.loads(head)["run"]
    for name in ("chat_template", "num_frames", "crop", "engine_options"):
        del facts[name]
    (tmp_path / "answers.jsonl").write_text("\n".join([json.dumps({"run": facts}), *answers]) + "\n")
    assert ask(pair, tmp_path) == 0
