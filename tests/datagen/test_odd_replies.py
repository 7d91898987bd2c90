"""An endpoint that answers some calls in an odd way: the same answers are kept, but for refusals."""

import json

import pytest
from chat_server import ODDITIES

from facekit.datagen import GenerationSettings, generate
from facekit.endpoints.outcomes import Ending

REFUSED = [name for name in ODDITIES if "refusal" in name or "flagged" in name or name == "the end SAFETY"]
QUICK = GenerationSettings(attempts=9, backoff=0.0, concurrency=8)


def kept_answers(server, faces, output, recipe_path):
    result = generate(faces, output, recipe_path, annotator=f"openai:m?base_url={server.base_url}", settings=QUICK)
    assert result.ending is Ending.FINISHED
    lines = [json.loads(line) for line in (output / "answers.jsonl").read_text().split("\n") if line]
    return {(line["id"], line["aspect"]): line["answer"] for line in lines}, result


@pytest.fixture
def healthy(serve, faces, recipe_path, tmp_path):
    answers, _ = kept_answers(serve(), faces, tmp_path / "healthy", recipe_path)
    assert len(answers) == 20
    return answers


@pytest.mark.parametrize("oddity", [name for name in ODDITIES if name not in REFUSED])
def test_odd_replies_leave_the_kept_answers_as_they_are(serve, faces, recipe_path, tmp_path, healthy, oddity):
    server = serve(odd=0.3, oddity=oddity, seed=2)
    answers, _ = kept_answers(server, faces, tmp_path / "odd", recipe_path)
    assert any(call.outcome == "odd" for call in server.calls)
    assert answers == healthy


@pytest.mark.parametrize("oddity", REFUSED)
def test_refusals_are_the_only_answers_that_are_missing(serve, faces, recipe_path, tmp_path, healthy, oddity):
    server = serve(odd=0.5, oddity=oddity, seed=2)
    answers, result = kept_answers(server, faces, tmp_path / "odd", recipe_path)
    assert answers.items() < healthy.items()
    assert len(answers) + result.written.dropped + result.written.failed == 20
    (reason,) = result.written.reasons
    assert reason in ("refusal", "a content filter refuses the input")
    before = len(server.calls)
    kept_answers(server, faces, tmp_path / "odd", recipe_path)
    assert len(server.calls) == before
