"""Batches of questions: every one is answered once, whatever is broken, stopped or started again."""

import errno
import json
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from small_runs import small_model
from video_files import grey_frames, places_of, write_video

import facekit
from facekit.data import FaceRecord, RecordSet, Turn, write_records
from facekit.data.answering import answer_entries, open_entries
from facekit.data.answering.answer_file import AnswerFile, key_of
from facekit.data.identity import RunIdentity
from facekit.errors import ConfigurationError, ImageError, OutputError, RecordError
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.tasks.questions import Question

LANDMARKS = np.linspace(0.2, 0.8, 136).reshape(68, 2).round(4).tolist()


@pytest.fixture(scope="module")
def pair():
    encoder = "tiny?image_size=64&width=32&depth=1"
    model, processor = facekit.create(encoder=encoder, connector="region", backbone="tiny", seed=3)
    processor.image_processor.landmarker = None
    return model, processor


def draw(path, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def turns(*words):
    return [Turn(role="user" if index % 2 == 0 else "assistant", content=each) for index, each in enumerate(words)]


@pytest.fixture
def records(tmp_path):
    """Five records: two questions each by themselves, a dialogue, two pictures, text alone, and one that is broken."""
    for number in range(5):
        draw(tmp_path / f"{number}.png", number)
    path = write_records(
        tmp_path / "records.jsonl",
        [
            FaceRecord(id="alone", image="0.png", landmarks=LANDMARKS, independent_questions=True,
                       conversations=turns("How old?", "30", "Which expression?", "joy")),
            FaceRecord(id="dialogue", image="1.png", landmarks=LANDMARKS,
                       conversations=turns("Smile?", "yes", "Sure?", "quite")),
            FaceRecord(id="two", images=["2.png", "3.png"], landmarks=[LANDMARKS, None],
                       conversations=turns("Is <image> the person of <image>?", "no")),
            FaceRecord(id="words", conversations=turns("What is a brow?")),
            FaceRecord(id="gone", image="missing.png", conversations=turns("How old?", "9")),
        ],
    )  # fmt: skip
    with path.open("a") as file:
        file.write('{"id": "torn", "image": \n')
    return path


def run(pair, origin, output, *questions, **options):
    return answer_entries(*pair, open_entries(origin), output, questions, max_new_tokens=6, **options)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_question_has_the_answer_of_a_session_and_what_is_broken_is_named(pair, records, tmp_path):
    output = tmp_path / "answers.jsonl"
    result = run(pair, records, output, batch_size=2)
    lines = read(output)
    assert (result.answers, result.entries, result.failures) == (6, 6, {"ImageError": 1, "RecordError": 1})
    assert [(each["id"], each["question"]) for each in lines if each["answer"] is not None] == [
        ("alone", "How old?"), ("alone", "Which expression?"), ("dialogue", "Smile?"), ("dialogue", "Sure?"),
        ("two", "Is <image> the person of <image>?"), ("words", "What is a brow?"),
    ]  # fmt: skip
    problems = {each["id"]: each["problem"] for each in lines if each["answer"] is None}
    assert "line 6" in problems[next(name for name in problems if name != "gone")]
    assert "missing.png" in problems["gone"]
    answers = {each["question"]: each["answer"] for each in lines if each["answer"] is not None}
    record = RecordSet(tuple(open_records(records)), records.parent)
    asked = [
        Question("a", words, (), record.records[0], record.folder, 6) for words in ("How old?", "Which expression?")
    ]
    expected = dict(FaceKitModel(*pair).answer(asked))
    assert [answers["How old?"], answers["Which expression?"]] == [expected[0], expected[1]]
    model, processor = pair
    chat = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Smile?"}]},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "Sure?"},
    ]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    points = np.array(LANDMARKS, np.float32)
    assert all(answers.values())
    session = facekit.models.Session.open(model, processor, tmp_path / "1.png", landmarks=points)
    assert answers["Sure?"] == session.generate_from([prompt], max_new_tokens=6)[0]


def open_records(path):
    return [entry.record for entry in open_entries(path).iterate() if hasattr(entry, "record")]


def test_lines_say_where_the_face_is_and_list_its_points_on_request(pair, records, tmp_path):
    run(pair, records, tmp_path / "short.jsonl")
    run(pair, records, tmp_path / "long.jsonl", landmarks=True)
    short, long = ({each["id"]: each for each in read(tmp_path / name)} for name in ("short.jsonl", "long.jsonl"))
    (face,) = short["alone"]["media"]
    assert face["face_found"]
    points = np.array(LANDMARKS) * 48
    assert np.allclose(face["box"], [*points.min(axis=0), *points.max(axis=0)], atol=0.01)
    assert "landmarks" not in face
    assert np.allclose(long["alone"]["media"][0]["landmarks"], points, atol=0.01)
    assert [each["face_found"] for each in short["two"]["media"]] == [True, False]
    assert short["words"]["media"] == []


def test_a_folder_of_pictures_is_asked_questions_of_ones_own(pair, tmp_path):
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    draw(folder / "b.png", 1)
    draw(folder / "more" / "a.png", 2)
    (folder / "notes.txt").write_text("no picture")
    (folder / "c.jpg").write_bytes(b"no picture either")
    result = run(pair, folder, tmp_path / "answers.jsonl", "How old?", "Smile?")
    lines = read(tmp_path / "answers.jsonl")
    assert [(each["id"], each["question"]) for each in lines if each["answer"] is not None] == [
        ("b.png", "How old?"), ("b.png", "Smile?"), ("more/a.png", "How old?"), ("more/a.png", "Smile?"),
    ]  # fmt: skip
    assert result.failures == {"ImageError": 2}
    expected = facekit.ask(*pair, folder / "b.png", ["How old?", "Smile?"], max_new_tokens=6)
    assert [each["answer"] for each in lines[:2]] == expected


def test_a_run_that_was_stopped_goes_on_and_repeats_nothing(pair, records, tmp_path, monkeypatch):
    whole = tmp_path / "whole.jsonl"
    run(pair, records, whole)
    output = tmp_path / "answers.jsonl"
    stops = iter([False, True])

    def stop(progress):
        if next(stops):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pair, records, output, batch_size=2, on_progress=stop)
    before = output.read_bytes()
    assert 0 < before.count(b"\n") < 8
    output.write_bytes(before + b'{"id": "cut o')
    asked = count_asked(monkeypatch)
    result = run(pair, records, output, batch_size=2)
    assert output.read_bytes().startswith(before)
    assert sorted(map(str, read(output))) == sorted(map(str, read(whole)))
    assert result.answers + result.reused == 6
    assert result.reused > 0
    assert sum(asked) == result.answers
    asked.clear()
    again = run(pair, records, output)
    assert (again.answers, again.reused, again.failed, sum(asked)) == (0, 6, 2, 0)
    assert output.read_bytes().count(b"\n") == 8


def count_asked(monkeypatch):
    """How many questions go to the model, call by call."""
    from facekit.models.sessions import subjects

    asked, real = [], subjects.iterate_answers

    def counting(model, processor, requests, **options):
        asked.append(len(requests))
        return real(model, processor, requests, **options)

    monkeypatch.setattr(subjects, "iterate_answers", counting)
    return asked


def test_failures_are_tried_again_where_they_may_pass_or_on_request(pair, records, tmp_path, monkeypatch):
    output = tmp_path / "answers.jsonl"
    fail_to_open(monkeypatch, OSError(5, "Input/output error"))
    assert run(pair, records, output).failures == {"OSError": 7, "RecordError": 1}
    draw(tmp_path / "missing.png", 9)
    fail_to_open(monkeypatch, ImageError("it is no picture"), "gone")
    second = run(pair, records, output)
    assert (second.answers, second.failures) == (6, {"ImageError": 1, "RecordError": 1})
    monkeypatch.undo()
    assert run(pair, records, output).answers == 0
    third = run(pair, records, output, retry_failed=True)
    assert (third.answers, third.failures) == (1, {"RecordError": 1})
    assert len(read(output)) == 8


def fail_to_open(monkeypatch, error, *names):
    """Let media of these records, or of all, be opened with an error."""
    from facekit.data.answering import entries

    monkeypatch.undo()
    real = entries.open_frames

    def fail(record, *given):
        if not names or record.id in names:
            raise error
        return real(record, *given)

    monkeypatch.setattr(entries, "open_frames", fail)


def test_what_changed_under_its_name_is_asked_again_and_its_old_answer_goes(pair, records, tmp_path, monkeypatch):
    output, points = tmp_path / "answers.jsonl", tmp_path / "points.npy"
    np.save(points, np.array(LANDMARKS, np.float32))
    records.write_text(
        "".join(
            json.dumps({"id": name, "image": image, **more}) + "\n"
            for name, image, more in (("a", "0.png", {}), ("b", "1.png", {"landmarks": "points.npy"}),
                                      ("c", "2.png", {}), ("gone", "missing.png", {}))
        )
    )  # fmt: skip
    assert run(pair, records, output, "Who?").failures == {"ImageError": 1}
    draw(tmp_path / "0.png", 9)
    np.save(points, np.array(LANDMARKS[::-1], np.float32))
    draw(tmp_path / "missing.png", 8)
    os.utime(tmp_path / "2.png", (1, 1))
    asked = count_asked(monkeypatch)
    again = run(pair, records, output, "Who?")
    assert (again.answers, again.reused, again.failures, sum(asked)) == (3, 1, {}, 3)
    lines = {each["id"]: each["answer"] for each in read(output)}
    assert len(read(output)) == 4
    run(pair, records, tmp_path / "anew.jsonl", "Who?")
    assert lines == {each["id"]: each["answer"] for each in read(tmp_path / "anew.jsonl")}
    assert run(pair, records, output, "Who?").reused == 4


def test_a_killed_run_leaves_old_answers_to_the_next_and_lines_of_earlier_versions_stand(pair, records, tmp_path):
    output = tmp_path / "answers.jsonl"
    run(pair, records, output, "Who?", batch_size=1)
    before = output.read_text()
    draw(tmp_path / "0.png", 9)
    run(pair, records, output, "Who?", batch_size=1)
    after = output.read_text()
    (new,) = (line for line in after.splitlines(keepends=True) if line not in before)
    output.write_text(before + new)  # as a kill leaves it
    assert run(pair, records, output, "Who?").answers == 0
    assert output.read_text() == after
    plain = [{name: value for name, value in line.items() if name != "files"} for line in read(output)]
    output.write_text("".join(json.dumps(line) + "\n" for line in plain))
    draw(tmp_path / "0.png", 10)
    assert run(pair, records, output, "Who?").answers == 0


def test_a_question_that_is_too_long_costs_no_other_its_answer(pair, records, tmp_path):
    long = "word " * 5000
    result = run(pair, records, tmp_path / "answers.jsonl", long, "How old?")
    assert result.failures == {"ConfigurationError": 4, "ImageError": 2, "RecordError": 1}
    assert {each["id"] for each in read(tmp_path / "answers.jsonl") if each["answer"] is not None} == {
        "alone", "dialogue", "two", "words",
    }  # fmt: skip


def test_answers_of_another_run_and_other_files_are_not_gone_on_with(pair, records, tmp_path):
    output = tmp_path / "answers.jsonl"
    run(pair, records, output)
    with pytest.raises(ConfigurationError, match="max_new_tokens was 6 and is 7"):
        answer_entries(*pair, open_entries(records), output, max_new_tokens=7)
    with pytest.raises(ConfigurationError, match="weights was"):
        run((small_model("region", seed=1)[0], pair[1]), records, output)
    other = tmp_path / "notes.jsonl"
    other.write_text('{"note": "mine"}\n')
    with pytest.raises(ConfigurationError, match="does not say of which run"):
        run(pair, records, other)
    assert other.read_text() == '{"note": "mine"}\n'


def test_another_folder_with_the_same_names_is_another_run(pair, tmp_path):
    for number, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        draw(tmp_path / name / "a.png", number)
    output = tmp_path / "answers.jsonl"
    run(pair, tmp_path / "one", output, "How old?")
    with pytest.raises(ConfigurationError, match=r"origin was '.*one' and is '.*two'"):
        run(pair, tmp_path / "two", output, "How old?")
    assert run(pair, tmp_path / "two" / ".." / "one", output, "How old?").reused == 1


def test_a_question_is_known_by_its_words_wherever_it_stands_and_twice_where_it_is_asked_twice(pair, tmp_path):
    (tmp_path / "set").mkdir()
    draw(tmp_path / "set" / "a.png", 0)
    output = tmp_path / "answers.jsonl"
    assert run(pair, tmp_path / "set", output, "How old?", "Smile?").answers == 2
    again = run(pair, tmp_path / "set", output, "Who?", "Smile?", "How old?", "Smile?")
    assert (again.answers, again.reused) == (2, 2)
    assert [each["question"] for each in read(output)] == ["How old?", "Smile?", "Who?", "Smile?"]


def test_links_in_circles_pipes_and_names_that_are_no_text_neither_repeat_nor_stop_a_folder(pair, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw(folder / "a.png", 1)
    for name in ("again", "and-again"):
        (folder / name).symlink_to(folder)
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    (folder / os.fsdecode(b"\xe9.png")).write_bytes((folder / "a.png").read_bytes())
    result = run(pair, folder, tmp_path / "answers.jsonl", "How old?")
    lines = {each["id"]: each for each in read(tmp_path / "answers.jsonl")}
    assert (result.entries, result.answers, result.failures) == (3, 1, {"RecordError": 2})
    assert sorted(lines) == ["\\udce9.png", "a.png", "gone.png"]
    assert "rename it" in lines["\\udce9.png"]["problem"]
    assert run(pair, folder, tmp_path / "answers.jsonl", "How old?").failed == 2


def test_a_path_out_of_the_folder_is_a_failure(pair, tmp_path):
    draw(tmp_path / "private.png", 0)
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / "records.jsonl"
    path.write_text(json.dumps({"id": "thief", "image": "../private.png"}) + "\n")
    result = run(pair, path, tmp_path / "answers.jsonl", "Who?")
    assert (result.answers, result.failures) == (0, {"RecordError": 1})
    assert "leads out of" in read(tmp_path / "answers.jsonl")[0]["problem"]


def test_a_record_of_the_current_folder_opens_nothing_of_the_home(pair, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "set").mkdir()
    draw(tmp_path / "home" / "private.png", 0)
    (tmp_path / "set" / "records.jsonl").write_text('{"id": "thief", "image": "~/private.png"}\n')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "set")
    result = run(pair, "records.jsonl", tmp_path / "answers.jsonl", "Who?")
    assert (result.answers, result.failures) == (0, {"ImageError": 1})
    assert "there is no file" in read(tmp_path / "answers.jsonl")[0]["problem"]


def test_a_name_that_no_file_can_have_is_a_failure(pair, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"id": "a", "image": "a\\u0000.png"}\n')
    assert run(pair, path, tmp_path / "answers.jsonl", "Who?").failures == {"ImageError": 1}


def test_what_is_not_there_and_an_empty_folder_are_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    for origin in (tmp_path / "nowhere.jsonl", tmp_path / "empty"):
        with pytest.raises(RecordError, match=r"there is no file|no picture"):
            open_entries(origin)


def test_two_runs_on_one_file_exclude_each_other(tmp_path):
    with (
        AnswerFile(tmp_path / "answers.jsonl", RunIdentity({})),
        pytest.raises(ConfigurationError, match="another process"),
    ):
        AnswerFile(tmp_path / "answers.jsonl", RunIdentity({}))


def test_a_file_that_cannot_be_closed_whole_is_another_run_s_all_the_same(tmp_path):
    file = AnswerFile(tmp_path / "answers.jsonl", RunIdentity({}))

    class FullDisk:
        opened = file._file

        def close(self):
            self.opened.close()
            raise OSError(errno.ENOSPC, "No space left on device")

    file._file = FullDisk()
    with pytest.raises(OutputError, match=r"answers\.jsonl cannot be written \(No space left on device\)"):
        file.close()
    AnswerFile(tmp_path / "answers.jsonl", RunIdentity({})).close()


def test_what_is_remembered_of_an_answer_is_sixteen_bytes(tmp_path):
    path, count = tmp_path / "answers.jsonl", 20_000
    with AnswerFile(path, RunIdentity({})) as file:
        file.append({"id": str(number), "answer": "x" * 100, "key": key_of(number)} for number in range(count))
    tracemalloc.start()
    with AnswerFile(path, RunIdentity({})) as file:
        held = tracemalloc.get_traced_memory()[0]
        assert file.knows(key_of(5))
        assert not file.knows(key_of(count))
    tracemalloc.stop()
    assert held < 20 * count + 100_000


def test_a_dataset_and_clips_are_answered_too(pair, tmp_path):
    folder = tmp_path / "faces"
    for label in ("happy", "sad"):
        (folder / label).mkdir(parents=True)
        draw(folder / label / "a.png", len(label))
    result = run(pair, f"folder:{folder}", tmp_path / "dataset.jsonl", "Smile?")
    assert (result.entries, result.answers, result.failures) == (2, 2, {})
    clips = tmp_path / "clips"
    clips.mkdir()
    frames = [Image.fromarray(np.full((48, 48, 3), 40 * index, np.uint8)) for index in range(4)]
    frames[0].save(clips / "wave.webp", save_all=True, append_images=frames[1:], lossless=True)
    run(pair, clips, tmp_path / "clips.jsonl", "Smile?")
    (line,) = read(tmp_path / "clips.jsonl")
    assert line["answer"] == facekit.ask(*pair, clips / "wave.webp", "Smile?", max_new_tokens=6)[0]


def test_records_of_one_clip_are_about_their_own_frames_where_faces_are_found_too(pair, tmp_path):
    pytest.importorskip("av")
    write_video(tmp_path / "walk.mp4", grey_frames(12, (48, 48)))
    lines = [{"id": str(frame), "video": "walk.mp4", "frames": [frame]} for frame in (2, 9)]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for find_faces in (False, True):
        entries = open_entries(path, find_faces=find_faces).iterate()
        clips = [entry.open(pair[1].image_processor)[0] for entry in entries]
        assert [places_of(face.image for face in clip.frames) for clip in clips] == [[2], [9]]


def test_a_broken_record_whose_id_is_no_text_is_a_failure_like_others(pair, tmp_path):
    draw(tmp_path / "0.png", 0)
    path = tmp_path / "records.jsonl"
    path.write_text('{"id": "a\\ud800", "image": "0.png"}\n{"id": "b", "image": "0.png"}\n')
    result = run(pair, path, tmp_path / "answers.jsonl", "Who?")
    assert (result.answers, result.failures) == (1, {"RecordError": 1})
    assert [each["id"] for each in read(tmp_path / "answers.jsonl")] == ["a\\ud800", "b"]


def test_an_address_is_no_file_of_answers(pair, records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="not written to other file systems"):
        run(pair, records, "memory://bucket/answers.jsonl")
    assert not (tmp_path / "memory:").exists()
