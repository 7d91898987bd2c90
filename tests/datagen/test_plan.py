import json

import pytest

from facekit.data.ledger import Entry, Ledger
from facekit.data.media_files import ClipFrames
from facekit.data.records import FaceRecord
from facekit.datagen.calls import ANNOTATE
from facekit.datagen.facts import LACKS_FACT
from facekit.datagen.plan import (
    Overview,
    clip_frames,
    in_batches,
    iterate_ids,
    media_paths,
    plan_annotations,
    survey,
    survey_once,
)
from facekit.datagen.recipe import load_recipe
from facekit.endpoints.outcomes import ACCEPTED, FAILED, GAVE_UP
from facekit.endpoints.requests import ANSWER_SCHEMA
from facekit.errors import RecordError


def test_calls_hold_the_labels_and_stored_questions_do_not(faces, recipe_path):
    calls = list(plan_annotations(faces, load_recipe(recipe_path), None))
    assert len(calls) == 20
    first = calls[0].request
    assert first.prompt == "This is a girl, 3-9 years old. Describe the face."
    assert (first.system, first.max_tokens, first.media.image_side, first.schema) == (
        "You describe faces.", 100, 64, ANSWER_SCHEMA,
    )  # fmt: skip
    assert calls[1].request.prompt == "The expression is happiness. Describe it."
    assert len({call.request.key for call in calls}) == 20
    assert not any("face-" in call.request.key for call in calls)


def test_what_is_answered_is_not_planned_and_what_passed_is(faces, recipe_path, tmp_path):
    recipe = load_recipe(recipe_path)
    version = recipe.prompt_version("look")
    with Ledger(tmp_path) as ledger:
        ledger.store(
            Entry(ANNOTATE, "face-0", "look", version, ACCEPTED), Entry(ANNOTATE, "face-1", "look", version, GAVE_UP)
        )
        planned = [(call.record, call.aspect) for call in plan_annotations(faces, recipe, ledger)]
    assert len(planned) == 19
    assert ("face-0", "look") not in planned
    assert ("face-1", "look") in planned


def test_an_aspect_that_needs_a_label_is_left_out_where_there_is_none(faces, recipe_path):
    lines = [json.loads(line) for line in faces.read_text().splitlines()]
    del lines[0]["labels"]
    faces.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    recipe = load_recipe(recipe_path)
    assert survey(faces, recipe).calls == {"look": 10, "mood": 9}
    assert len(list(plan_annotations(faces, recipe, None))) == 19


def test_a_record_that_cannot_be_used_has_calls_with_a_problem(faces, recipe_path):
    lines = [json.loads(line) for line in faces.read_text().splitlines()]
    lines[0]["image"] = "images/none.png"
    lines[1]["labels"] = {"expression": "hapiness"}
    del lines[2]["groups"]
    del lines[3]["image"]
    lines[3]["conversations"] = [{"role": "user", "content": "Hi."}]
    faces.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    problems = {}
    for call in plan_annotations(faces, load_recipe(recipe_path), None):
        if call.problem:
            assert call.request is None
            problems.setdefault(call.record, []).append(call.problem)
    assert {record: len(found) for record, found in problems.items()} == {
        "face-0": 2, "face-1": 2, "face-2": 1, "face-3": 2,
    }  # fmt: skip
    assert "no file" in problems["face-0"][0]
    assert "line 2" in problems["face-1"][0]
    assert "'age_group' is undefined" in problems["face-2"][0]
    assert "line 4: there is no picture and no video to ask about" in problems["face-3"][0]


@pytest.mark.parametrize(("text", "words"), [
    ("", "has no records"),
    ('{"id": "a"', "line 1: not JSON"),
    ('{"id": "a", "image": "a.png"}\n\n{"id": "a", "image": "b.png"}', "line 3: the id 'a' occurs twice"),
    ('{"image": "a.png"}', "line 1: a record needs an 'id'"),
    ("[1]", "line 1: a record needs an 'id'"),
])  # fmt: skip
def test_a_file_that_is_no_records_file_says_where(tmp_path, recipe_path, text, words):
    (tmp_path / "records.jsonl").write_text(text)
    with pytest.raises(RecordError, match=words):
        survey(tmp_path / "records.jsonl", load_recipe(recipe_path))


def test_a_missing_file_is_named(tmp_path, recipe_path):
    with pytest.raises(RecordError, match=r"none\.jsonl cannot be opened"):
        survey(tmp_path / "none.jsonl", load_recipe(recipe_path))


def test_of_a_clip_evenly_spaced_frames_are_sent(tmp_path):
    names = [f"{number}.png" for number in range(10)]
    for name in names:
        (tmp_path / name).touch()
    clip = FaceRecord(id="a", video=names)
    sent = media_paths(clip, tmp_path, 4)
    assert [path.rsplit("/", 1)[1] for path in sent] == ["0.png", "3.png", "6.png", "9.png"]


def test_a_video_file_is_sent_as_frames_of_those_that_the_record_is_about(tmp_path):
    (tmp_path / "clip.mp4").touch()
    whole = FaceRecord(id="a", video="clip.mp4")
    assert media_paths(whole, tmp_path, 4) == (str(tmp_path / "clip.mp4"),)
    assert clip_frames(whole, 4) == ClipFrames(4)
    assert clip_frames(FaceRecord(id="a", video="clip.mp4", frames=[3, 9]), 4) == ClipFrames(4, (3, 9))
    assert clip_frames(FaceRecord(id="a", image="a.png"), 4) is None
    with pytest.raises(RecordError, match=r"there is no file .*none\.mp4"):
        media_paths(FaceRecord(id="a", video="none.mp4"), tmp_path, 4)


def test_batches_have_the_size_that_is_asked():
    assert list(in_batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_batches([], 3)) == []


def test_a_file_is_surveyed_once_and_again_when_it_changes(faces, recipe_path, tmp_path, monkeypatch):
    recipe = load_recipe(recipe_path)
    with Ledger(tmp_path) as ledger:
        first = survey_once(faces, recipe, ledger)
        monkeypatch.setattr("facekit.datagen.plan.survey", lambda *_: pytest.fail("surveyed again"))
        assert survey_once(faces, recipe, ledger) == first == Overview(10, {"look": 10, "mood": 10})
        monkeypatch.undo()
        faces.write_text("".join(faces.read_text().splitlines(keepends=True)[:4]))
        assert survey_once(faces, recipe, ledger).total == 8


def test_what_failed_for_want_of_a_label_is_asked_again_when_the_records_change_and_nothing_else_is(
    faces, recipe_path, tmp_path
):
    recipe = load_recipe(recipe_path)
    version = recipe.prompt_version("look")
    reasons = {"face-0": f"{LACKS_FACT} ('age_group' is undefined)", "face-1": "refused by the endpoint"}
    with Ledger(tmp_path) as ledger:
        survey_once(faces, recipe, ledger)
        ledger.store(*(Entry(ANNOTATE, face, "look", version, FAILED, reason=why) for face, why in reasons.items()))

        def planned():
            survey_once(faces, recipe, ledger)
            return {call.record for call in plan_annotations(faces, recipe, ledger) if call.aspect == "look"}

        assert not planned() & set(reasons)
        faces.write_text(faces.read_text() + "\n")
        assert planned() & set(reasons) == {"face-0"}


@pytest.mark.parametrize("line", [
    '{"id": "a", "image": "a.png"}', '  { "id" : "a" }', '{"image": "a.png", "id": "a"}', '{"id": "\\u0061"}',
])  # fmt: skip
def test_ids_are_found_wherever_they_stand_and_however_they_are_written(tmp_path, line):
    (tmp_path / "records.jsonl").write_text(f"\n{line}\n")
    assert [(number, name) for number, name, _ in iterate_ids(tmp_path / "records.jsonl")] == [(2, "a")]
