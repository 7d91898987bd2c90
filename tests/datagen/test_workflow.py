import errno
import json
import re

import pytest
from video_files import grey_frames, write_video

from facekit.data.formats import write_records
from facekit.data.records import FaceRecord, read_records
from facekit.datagen import GenerationSettings, dry_run, generate
from facekit.endpoints.outcomes import Ending
from facekit.errors import ConfigurationError, RecordError, StorageError

KEY = "sk-workflow-secret-456789"


def rate(body):
    """A judge that likes every answer but those about face-1."""
    text = body["messages"][1]["content"][0]["text"]
    if body["model"] != "judge":
        return (
            "The face shows a calm look." if "Describe the face" in text else "The expression is happiness, it seems."
        )
    overall = 3 if "man" in text and "3-9" in text else 9
    return json.dumps({"image": 8, "label": 9, "completeness": 7, "overall": overall, "reason": "x"})


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def spec(server, model):
    return f"openai:{model}?base_url={server.base_url}"


def test_answers_are_kept_dropped_and_reported_and_every_one_says_where_it_came_from(
    serve, faces, recipe_path, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server, output = serve(answer=rate), tmp_path / "out"
    result = generate(
        faces, output, recipe_path, annotator=spec(server, "gpt-4o"), judge=spec(server, "judge"),
        settings=GenerationSettings(concurrency=4),
    )  # fmt: skip
    assert result.ending is Ending.FINISHED
    # of ten moods, five are anger and contradict; of the rest none is a man of 3-9, of ten looks three are
    assert result.written.reasons["contradicts the label"] == 5
    failures = lines(output / "failures.jsonl")
    assert len(lines(output / "answers.jsonl")) + len(failures) == 20
    assert all(line["outcome"] == "dropped" and line["reason"] for line in failures)
    low = [line for line in failures if line["reason"].startswith("rated low: 3 of 10")]
    assert {line["rating"]["overall"] for line in low} == {3.0}
    assert result.written.reasons.get("rated low", 0) == len(low) > 0
    for line in lines(output / "answers.jsonl"):
        assert line["model"] == "gpt-4o-served"
        assert re.fullmatch(r"small-1-[0-9a-f]{10}", line["prompt_version"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line["time"])
        assert (line["prompt_tokens"], line["completion_tokens"], line["attempts"]) == (1000, 100, 1)
        assert line["cost"] == pytest.approx(0.0035)
        assert line["rating"]["overall"] == 9.0
    assert result.cost == pytest.approx(20 * 0.0035)
    records = read_records(output / "records.jsonl")
    assert sum(len(record.conversations) for record in records) == 2 * result.written.kept
    assert all(record.independent_questions for record in records)
    assert records[0].source == {"dataset": "made", "recipe": "small", "annotator": "gpt-4o-served"}
    assert records[0].conversations[0].content in ("Describe the face.", "Describe the expression.")
    report = (output / "report.html").read_text()
    for words in ("<svg", "contradicts the label", "rated low", "age group", "overall 9", "data:image/jpeg;base64,"):
        assert words in report
    assert not re.search(r'(?:src|href)="(?!data:|#)', report)
    for path in output.iterdir():
        assert KEY.encode() not in path.read_bytes()


def test_another_threshold_needs_no_new_call(serve, faces, recipe_path, tmp_path):
    server = serve(answer=rate)
    specs = {"annotator": spec(server, "m"), "judge": spec(server, "judge")}
    first = generate(faces, tmp_path / "out", recipe_path, **specs)
    calls = len(server.calls)
    second = generate(faces, tmp_path / "out", recipe_path, **specs, settings=GenerationSettings(threshold=2))
    assert second.written.kept == first.written.kept + first.written.reasons["rated low"]
    assert len(server.calls) == calls


def test_near_duplicates_are_dropped_but_for_the_first(serve, faces, recipe_path, tmp_path):
    same = "The brows are level and relaxed, the eyes are open, the cheeks are at rest and the lips closed; " * 2
    server = serve(answer=lambda body: f"{same}nothing else stands out.")
    result = generate(faces, tmp_path / "out", recipe_path, annotator=spec(server, "m"))
    assert result.written.reasons == {"near-duplicate": 18}


def test_failures_are_asked_again_when_that_is_wanted(serve, faces, recipe_path, tmp_path):
    server = serve(refusal=1.0)
    first = generate(faces, tmp_path / "out", recipe_path, annotator=spec(server, "m"))
    assert first.written.reasons == {"refusal": 20}
    server.faults.refusal = 0.0
    again = generate(faces, tmp_path / "out", recipe_path, annotator=spec(server, "m"))
    assert again.written.dropped == 20
    settings = GenerationSettings(retry_failed=True)
    wanted = generate(faces, tmp_path / "out", recipe_path, annotator=spec(server, "m"), settings=settings)
    assert wanted.written.kept == 20


def test_the_offline_annotator_answers_from_labels_and_pixels(faces, recipe_path, tmp_path):
    result = generate(faces, tmp_path / "out", recipe_path)
    assert (result.written.kept, result.written.failed) == (10, 10)
    assert result.cost == 0.0
    first = read_records(result.records)[0]
    assert re.fullmatch(r"A girl in [a-z, ]+ light\.", first.conversations[1].content)
    (reason,) = result.written.reasons
    assert reason.startswith("the recipe has no template")


@pytest.mark.parametrize(("recipe", "kept"), [("fairfacegpt", 60), ("faceinstruct", 10)])
def test_the_built_in_recipes_work_offline_on_what_is_annotated(faces, tmp_path, recipe, kept):
    result = generate(faces, tmp_path / "out", recipe)
    assert result.written.kept == kept
    assert result.written.records == 10
    records = read_records(result.records)
    turns = [turn for record in records for turn in record.conversations if turn.role == "user"]
    if recipe == "faceinstruct":
        assert [record.id for record in records] == [f"face-{index}#expression" for index in range(10)]
        assert len({turn.content for turn in turns}) > 5
    assert not any(word in turn.content for turn in turns for word in ("3-9", "20-29", "happiness", "anger"))


def test_a_dry_run_counts_and_prices_without_asking(serve, faces, recipe_path, tmp_path):
    preview = dry_run(faces, tmp_path / "out", recipe_path, "gpt-4o")
    assert (preview.records, preview.calls, preview.longest_answers) == (10, {"look": 10, "mood": 10}, 2000)
    assert preview.samples[0].prompt == "This is a girl, 3-9 years old. Describe the face."
    assert preview.samples[0].question == "Describe the face."
    assert preview.highest_cost == pytest.approx((preview.prompt_tokens * 2.5 + 2000 * 10) / 1e6)
    assert preview.lowest_cost < preview.highest_cost
    assert not (tmp_path / "out").exists()
    assert dry_run(faces, tmp_path / "out", recipe_path, "openai:gpt-4o?timeout=9") == preview
    assert dry_run(faces, tmp_path / "out", recipe_path, "local-model").highest_cost is None
    server = serve()
    generate(faces, tmp_path / "out", recipe_path, annotator=spec(server, "m"))
    assert dry_run(faces, tmp_path / "out", recipe_path, "gpt-4o").total == 0


def test_a_budget_without_a_price_and_a_judge_without_a_rating_are_refused(serve, faces, recipe_path, tmp_path):
    server = serve()
    with pytest.raises(ConfigurationError, match="no model 'mine'"):
        generate(faces, tmp_path / "out", recipe_path, annotator=spec(server, "mine"),
                 settings=GenerationSettings(max_cost=1.0))  # fmt: skip
    recipe_path.write_text(recipe_path.read_text().split("rating:")[0])
    with pytest.raises(ConfigurationError, match="has no rating"):
        generate(faces, tmp_path / "out", recipe_path, annotator="template", judge=spec(server, "judge"))
    with pytest.raises(ConfigurationError, match="generation setting 'concurrency'"):
        GenerationSettings(concurrency=0)
    with pytest.raises(RecordError, match="cannot be opened"):
        generate(tmp_path / "none.jsonl", tmp_path / "out", "fairfacegpt")
    assert server.calls == []


def test_a_video_file_is_described_from_its_frames(serve, recipe_path, tmp_path):
    write_video(tmp_path / "film.mp4", grey_frames(40))
    groups = {"gender": "woman", "age_group": "20-29"}
    write_records([FaceRecord(id="film", video="film.mp4", groups=groups)], tmp_path / "clips.jsonl")
    server = serve()
    result = generate(
        tmp_path / "clips.jsonl", tmp_path / "out", recipe_path, annotator=spec(server, "m"),
        judge=spec(server, "judge"),
    )  # fmt: skip
    for call in server.calls:
        assert sum(part["type"] == "image_url" for part in call.body["messages"][1]["content"]) == 8
    (failure,) = lines(tmp_path / "out" / "failures.jsonl")  # this server's ratings are words
    assert (failure["aspect"], failure["answer"][:14]) == ("look", "The face shows")
    assert "data:image/jpeg" in result.report.read_text()
    offline = generate(tmp_path / "clips.jsonl", tmp_path / "offline", recipe_path)
    (record,) = read_records(offline.records)
    assert record.video == "../film.mp4"
    assert record.conversations[1].content.startswith("A woman in ")


def relabel(path, identity, groups=None, **labels):
    """Change labels and groups of a record in its file."""
    records = read_records(path)
    changed = [
        record
        if record.id != identity
        else record.model_copy(
            update={"labels": record.labels.model_copy(update=labels), "groups": {**record.groups, **(groups or {})}}
        )
        for record in records
    ]
    write_records(changed, path)


def test_an_answer_is_asked_for_anew_when_a_label_has_changed_that_it_was_asked_with(
    serve, faces, recipe_path, tmp_path, caplog
):
    server, output = serve(answer=rate), tmp_path / "out"
    specs = {"annotator": spec(server, "m"), "judge": spec(server, "judge")}
    first = generate(faces, output, recipe_path, **specs)
    before, original = len(server.calls), faces.read_bytes()
    relabel(faces, "face-0", expression="anger")
    relabel(faces, "face-2", {"camera": "new"})  # which nobody was told
    assert dry_run(faces, output, recipe_path, "m").calls == {"look": 0, "mood": 1}
    second = generate(faces, output, recipe_path, **specs)
    prompts = [call.body["messages"][1]["content"][0]["text"] for call in server.calls[before:]]
    # the mood is asked for with the new label and rated; the rating of the look was told the old label, too
    assert sorted(prompt.partition(".")[0] for prompt in prompts) == sorted([
        "The expression is anger",
        "Question: Describe the expression", "Question: Describe the face",
    ])  # fmt: skip
    assert all("expression: anger" in prompt for prompt in prompts if prompt.startswith("Question"))
    assert "1 answers were asked with other labels or templates than there are now, and are asked again" in caplog.text
    assert second.written.reasons["contradicts the label"] == first.written.reasons["contradicts the label"] + 1
    faces.write_bytes(original)
    generate(faces, output, recipe_path, **specs)
    assert len(server.calls) == before + 6, "what was stored last was asked with another label once more"
    generate(faces, output, recipe_path, **specs)
    assert len(server.calls) == before + 6


def test_progress_counts_no_rating_of_an_answer_that_was_replaced_and_no_record_that_is_gone(
    serve, faces, recipe_path, tmp_path
):
    server, output, seen = serve(answer=rate), tmp_path / "out", []
    specs = {"annotator": spec(server, "m"), "judge": spec(server, "judge"), "on_progress": seen.append}
    generate(faces, output, recipe_path, **specs)
    seen.clear()
    relabel(faces, "face-0", expression="anger")
    generate(faces, output, recipe_path, **specs)
    ends = {each.stage: (each.done, each.total) for each in seen}
    assert ends == {"annotate": (20, 20), "rate": (20, 20)}
    assert all(each.done <= each.total for each in seen)
    seen.clear()
    write_records(read_records(faces)[:4], faces)
    assert dry_run(faces, output, recipe_path, "m").calls == {"look": 0, "mood": 0}
    generate(faces, output, recipe_path, **specs)
    assert {each.stage: (each.done, each.total) for each in seen} == {"annotate": (8, 8), "rate": (8, 8)}


def test_an_answer_that_was_not_asked_for_anew_is_used_again_when_its_label_is_back(
    serve, faces, recipe_path, tmp_path
):
    server, output = serve(), tmp_path / "out"
    kept = generate(faces, output, recipe_path, annotator=spec(server, "gpt-4o")).written.kept
    original, asked = faces.read_bytes(), len(server.calls)
    relabel(faces, "face-0", {"gender": "man"})
    settings = GenerationSettings(max_cost=1e-6)
    stopped = generate(faces, output, recipe_path, annotator=spec(server, "gpt-4o"), settings=settings)
    assert (stopped.ending, stopped.written.pending, stopped.written.kept) == (Ending.BUDGET, 1, kept - 1)
    faces.write_bytes(original)
    assert generate(faces, output, recipe_path, annotator=spec(server, "gpt-4o")).written.kept == kept
    assert len(server.calls) == asked


def test_answers_of_templates_follow_their_words_and_labels(faces, recipe_path, tmp_path):
    generate(faces, tmp_path / "out", recipe_path)
    relabel(faces, "face-0", {"gender": "man"})
    result = generate(faces, tmp_path / "out", recipe_path)
    assert [record.conversations[1].content.split()[1] for record in read_records(result.records)][:2] == ["boy", "boy"]
    recipe_path.write_text(recipe_path.read_text().replace('"A {{ person }} in', '"One {{ person }} in'))
    result = generate(faces, tmp_path / "out", recipe_path)
    assert {record.conversations[1].content.split()[0] for record in read_records(result.records)} == {"One"}


def test_other_pictures_under_ids_that_were_asked_about_are_told(faces, recipe_path, tmp_path, caplog):
    generate(faces, tmp_path / "out", recipe_path)
    other = faces.with_name("other.jsonl")
    records = read_records(faces)
    moved = [record.model_copy(update={"image": f"../faces/{record.image}"}) for record in records]
    write_records(moved, other)
    generate(other, tmp_path / "out", recipe_path)
    assert "other names" not in caplog.text
    write_records([records[0].model_copy(update={"image": "images/7.png"}), *records[1:]], other)
    dry_run(other, tmp_path / "out", recipe_path, "m")
    generate(other, tmp_path / "out", recipe_path)
    told = (
        "1 records have pictures of other names than when they were asked about (such as 'face-0'); answers about them"
    )
    assert caplog.text.count(told) == 2


def rate_what_is_said(body):
    """An annotator that says what it was told, and a judge that likes everything."""
    text = body["messages"][1]["content"][0]["text"]
    if body["model"] == "judge":
        return json.dumps({"image": 8, "label": 9, "completeness": 7, "overall": 9, "reason": "x"})
    return f"The face is seen so: {text}"


def test_a_rating_is_of_the_answer_that_is_kept(serve, faces, recipe_path, tmp_path):
    recipe_path.write_text(recipe_path.read_text().replace("Known: {{ known }}", ""))
    server, output = serve(answer=rate_what_is_said), tmp_path / "out"
    specs = {"annotator": spec(server, "m"), "judge": spec(server, "judge")}
    kept = generate(faces, output, recipe_path, **specs).written.kept
    relabel(faces, "face-0", expression="anger")
    unrated = generate(faces, output, recipe_path, annotator=specs["annotator"])
    assert (unrated.written.kept, unrated.written.reasons) == (kept - 1, {"not rated": 1})
    before = len(server.calls)
    assert generate(faces, output, recipe_path, **specs).written.kept == kept
    assert len(server.calls) == before + 1


def test_answers_about_a_record_that_is_none_any_more_are_not_rated(serve, faces, recipe_path, tmp_path):
    server, output = serve(answer=rate_what_is_said), tmp_path / "out"
    kept = generate(faces, output, recipe_path, annotator=spec(server, "m")).written.kept
    faces.write_text(re.sub('"expression": ?"happiness"', '"expression": "hapiness"', faces.read_text(), count=1))
    result = generate(faces, output, recipe_path, annotator=spec(server, "m"), judge=spec(server, "judge"))
    assert (result.written.kept, result.written.reasons) == (kept - 2, {"the record cannot be read": 2})


def test_another_recipe_does_not_replace_the_records_of_the_first(serve, faces, recipe_path, tmp_path):
    server, output = serve(), tmp_path / "out"
    generate(faces, output, recipe_path, annotator=spec(server, "m"))
    before, asked = (output / "records.jsonl").read_bytes(), len(server.calls)
    other = recipe_path.with_name("other.yaml")
    other.write_text(recipe_path.read_text().replace("name: small", "name: other"))
    with pytest.raises(ConfigurationError, match="records of the recipe 'small', which those of 'other' would replace"):
        generate(faces, output, other, annotator=spec(server, "m"))
    assert ((output / "records.jsonl").read_bytes(), len(server.calls)) == (before, asked)
    changed = recipe_path.read_text().replace("Describe it.", "Describe it well.")
    recipe_path.write_text(changed)  # the same recipe with another prompt goes on
    assert generate(faces, output, recipe_path, annotator=spec(server, "m")).written.kept == 20


def test_a_full_disk_is_one_sentence_about_the_file(serve, faces, recipe_path, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facekit.datagen.outputs.format_record", full)
    with pytest.raises(StorageError, match=r"\.jsonl cannot be written \(No space left on device\); make room"):
        generate(faces, tmp_path / "out", recipe_path, annotator=spec(serve(), "m"))


def test_an_endpoint_that_follows_the_templates_in_a_folder_is_told_what_it_is_not_asked(
    serve, faces, recipe_path, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(answer=rate)
    generate(faces, tmp_path / "out", recipe_path, annotator="template")
    assert "which stay" not in caplog.text
    generate(faces, tmp_path / "out", recipe_path, annotator=spec(server, "gpt-4o"))
    assert "has 10 answers of the annotator 'template', which stay; for answers of gpt-4o use another folder" in (
        caplog.text
    )
