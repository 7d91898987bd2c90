"""MER-UniBench in the shape of the authors' files: labels as npz and CSV, wheels as spreadsheets, three metrics."""

from __future__ import annotations

import json
import shutil
import zipfile

import chat_server
import numpy as np
import pytest
from sklearn.metrics import f1_score
from typer.testing import CliRunner
from video_files import grey_frames, write_video

from facekit.cli.main import app
from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation import open_model, run_benchmark
from facekit.evaluation.benchmarks.mer_sets import MER_SETS, read_mer_sets
from facekit.evaluation.benchmarks.mer_unibench import QUESTION, read_sentiment, weighted_sentiment
from facekit.evaluation.metrics.emotion_wheels import EmotionWheels, named_words, read_word_list

WHEEL = [
    ("level1", "level2", "level3"), ("Mad", "Angry", "Furious"), ("", "", "Hateful "), ("", "Hurt", "Jealous"),
    ("Happy", "Joyful", "Merry"), ("Sad", "Lonely", "Isolated"),
]  # fmt: skip
WORDS = (
    "mad",
    "angry",
    "furious",
    "hateful",
    "hurt",
    "jealous",
    "happy",
    "joyful",
    "merry",
    "sad",
    "lonely",
    "isolated",
)


def write_sheet(path, rows):
    """A spreadsheet as Excel saves one: shared texts, some in pieces, and no cell where nothing stands."""
    texts, cells = [], []
    for number, row in enumerate(rows, 1):
        line = ""
        for column, text in zip("ABCDEF", row, strict=False):
            if text:
                line += f'<c r="{column}{number}" t="s"><v>{len(texts)}</v></c>'
                half = len(text) // 2
                piece = f"<r><t>{text[:half]}</t></r><r><t>{text[half:]}</t></r>" if half > 2 else f"<t>{text}</t>"
                texts.append(f'<si>{piece}<phoneticPr fontId="2"/></si>')
        cells.append(f'<row r="{number}">{line}</row>')
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{''.join(cells)}</sheetData></worksheet>"
        )
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{''.join(texts)}</sst>")


def write_wheels(folder):
    folder.mkdir()
    forms = [f'{word},"{word},{word}ly"' for word in (*WORDS, "joy", "sadness", "anger")]
    (folder / "format.csv").write_text("name,format\n" + "\n".join(forms))
    rows = [("word_run1", "synonym_run1", "word_run2", "synonym_run2")]
    first, second = {"happy": "['Joy', 'glad']"}, {"sad": "['sadness']", "mad": "['anger']"}
    rows += [(word, first.get(word, "[]"), word, second.get(word, "[]")) for word in WORDS]
    write_sheet(folder / "synonym.xlsx", rows)
    for number in range(1, 6):
        write_sheet(folder / f"wheel{number}.xlsx", WHEEL)


def clip(root, dataset, name, suffix):
    folder = root / MER_SETS[dataset].folder / MER_SETS[dataset].clips
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}{suffix}").write_bytes(b"clip")


@pytest.fixture
def root(tmp_path):
    """Four sets, one of each kind of file, with clips that are none."""
    root = tmp_path / "dataset"
    root.mkdir()
    write_wheels(root / "emotion_wheel")
    for name, suffix in (("a", ".mp4"), ("b", ".avi"), ("c", ".mp4")):
        clip(root, "mer2023", name, suffix)
    np.savez_compressed(
        root / "mer2023-dataset-process" / "label-6way.npz",
        train_corpus={"t": {"emo": "happy", "val": 0.5}},
        test1_corpus={
            "a": {"emo": "happy", "val": -10},
            "b": {"emo": "angry", "val": 1},
            "c": {"emo": "neutral", "val": 0},
        },
    )
    (root / "mer2023-dataset-process" / "transcription-engchi-polish.csv").write_text(
        'name,chinese,english\na,你好,"Hello, you."\nb,,\n', encoding="utf-8-sig"
    )
    for name in ("Ses01F_x", "Ses05F_x", "Ses05M_y"):
        clip(root, "iemocap", name, ".avi")
    corpus = {"Ses01F_x": {"emo": 3}, "Ses05F_x": {"emo": np.int64(1)}, "Ses05M_y": {"emo": 0}}
    np.savez_compressed(root / "iemocap-process" / "label_4way.npz", whole_corpus=corpus)
    vals = {"p": np.float32(1.2), "q": -0.4, "r": 0.0, "s": np.float64(2.0)}
    for name in vals:
        clip(root, "sims", name, ".mp4")
    np.savez_compressed(
        root / "sims-process" / "label.npz", test_corpus={name: {"val": val} for name, val in vals.items()}
    )
    for name in ("x", "y"):
        clip(root, "ov-merd-plus", name, ".mp4")
    (root / "ovmerdplus-process" / "ovlabel.csv").write_text("name,openset\nx,\"['mad', 'lonely']\"\ny,[]\n")
    return root


ANSWERS = {
    "mer2023/a": "[joy, angry]", "mer2023/b": "The man looks furious, and he is not merry at all.", "mer2023/c": "sad",
    "iemocap/Ses05F_x": "happy", "iemocap/Ses05M_y": "Merry and lonely",
    "sims/p": "positive", "sims/q": "Positive.", "sims/r": "negative", "sims/s": "It is hard to say.",
    "ov-merd-plus/x": "jealous", "ov-merd-plus/y": "happy",
}  # fmt: skip


def write_answers(path, answers=ANSWERS):
    path.write_text("".join(json.dumps({"question": key, "answer": text}) + "\n" for key, text in answers.items()))
    return open_model(f"predictions:{path}")


def test_test_halves_are_those_of_the_loaders_with_labels_in_words_and_transcripts(root):
    found = read_mer_sets(root)
    assert {name: [(each.name, each.truth) for each in clips] for name, clips in found.items()} == {
        "mer2023": [("a", "happy"), ("b", "angry"), ("c", "neutral")],
        "iemocap": [("Ses05F_x", "sad"), ("Ses05M_y", "happy")],
        "sims": [("p", pytest.approx(1.2)), ("q", -0.4), ("r", 0.0), ("s", 2.0)],
        "ov-merd-plus": [("x", ("mad", "lonely")), ("y", ("neutral",))],
    }
    assert [each.subtitle for each in found["mer2023"]] == ["Hello, you.", "", ""]
    assert found["mer2023"][1].video.suffix == ".avi"


def test_every_set_has_its_metric_and_the_mean_is_over_them(root, tmp_path):
    outcome = run_benchmark(write_answers(tmp_path / "a.jsonl"), "mer-unibench", root, output_dir=tmp_path / "out")
    result = outcome.result
    scores = {score.name: score for score in result.sets}
    assert scores["mer2023"].value == 1.0  # neutral is on no wheel and left out
    assert scores["iemocap"].value == 0.5
    # of p, q and s, which are positive, negative and positive, p and q are said to be positive
    assert scores["sims"].value == pytest.approx(f1_score([1, 0, 1], [1, 1, 0], average="weighted"))
    assert (scores["sims"].details["accuracy"], scores["sims"].unread) == (pytest.approx(1 / 3), 1)
    precision, recall = 1.0, 0.5  # {mad, sad} against {mad}; the neutral clip is left out
    assert scores["ov-merd-plus"].value == pytest.approx(2 * precision * recall / 1.5)
    assert scores["ov-merd-plus"].details == {"precision": 1.0, "recall": 0.5}
    assert result.mean == pytest.approx(sum(score.value for score in result.sets) / 4)
    assert "CMU-MOSEI" in result.missing
    assert (result.questions, result.available, result.extractor) == (11, 11, "")
    assert "OV-MERD+" in outcome.page.read_text()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["mean"] == result.mean


class Listener:
    """Answers as it is told to and remembers the questions."""

    def __init__(self, name, answer):
        self.name, self.said, self.asked = name, answer, []

    def answer(self, questions):
        for index, question in enumerate(questions):
            self.asked.append(question)
            yield index, self.said(question)


def test_an_extracting_model_takes_words_out_of_answers_and_the_sentiment_out_of_words(root, tmp_path):
    model = Listener("m", lambda question: "She seems glad." if question.id != "sims/q" else "")
    words = "<think>\n\n</think>\n\n[glad, joyful]"
    extractor = Listener("e", lambda question: words if "Description" in question.text else "Positive")
    result = run_benchmark(
        model, "mer-unibench", root, extractor=extractor, output_dir=tmp_path, setting="subtitles"
    ).result
    assert {question.text.rpartition("</Subtitle>. ")[2] for question in model.asked} == {QUESTION}
    assert model.asked[0].text.startswith("The subtitle of this video is: <Subtitle>Hello, you.</Subtitle>.")
    assert len(extractor.asked) == 10 + 3  # no words of an empty answer, and its sentiment is neutral
    scores = {score.name: score for score in result.sets}
    assert (scores["mer2023"].value, scores["iemocap"].value) == (0.5, 0.5)
    assert scores["sims"].details["accuracy"] == 1.0
    assert (result.extractor, scores["sims"].unread) == ("e", 0)
    before = len(model.asked)
    run_benchmark(model, "mer-unibench", root, extractor=extractor, output_dir=tmp_path)
    assert (len(model.asked), len(extractor.asked)) == (before, 13)


def test_a_sample_and_silent_questions(root):
    model = Listener("m", lambda question: "happy")
    result = run_benchmark(model, "mer-unibench", root, setting="silent", limit=6, max_new_tokens=900).result
    assert (result.questions, result.available) == (6, 11)
    assert not any("Subtitle" in question.text for question in model.asked)
    assert {question.max_new_tokens for question in model.asked} == {900}


def test_lists_are_read_as_the_benchmark_writes_them_and_sentences_by_the_words_of_the_wheels(root):
    assert read_word_list("['mad', \"sad\",joy]") == ["mad", "sad", "joy"]
    assert (read_word_list("[]"), read_word_list(""), read_word_list("[[mad]]")) == ([], [], ["[mad]"])
    wheels = EmotionWheels.read_folder(root / "emotion_wheel")
    assert wheels.groups(["Hatefully", "jealous", "glad"], 0) == {"mad"}  # glad has no form of its own
    assert wheels.groups(["joy", "anger", "sadness"], 4) == {"happy", "mad", "sad"}
    assert named_words(wheels, "He is furious, never happy, and sadly alone in a hateful place.") == [
        "furious", "sadly", "hateful",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("The man does not seem to be happy, he looks sad.", ["sad"]),
        ("I don't see any anger, the woman is merry.", ["merry"]),
        ("She was never angry; her voice is happy and she is joyful as well.", ["happy"]),
    ],
)
def test_words_that_their_clause_denies_are_left_out(root, answer, words):
    wheels = EmotionWheels.read_folder(root / "emotion_wheel")
    found = named_words(wheels, answer)
    assert [word for word in found if word in ("sad", "happy", "merry", "angry", "anger")] == words


def test_sentiments_and_their_scores_are_those_of_the_authors_script():
    answers = ("Positive.", "<think>negative?</think> neutral", "positive or negative", "")
    assert [read_sentiment(text) for text in answers] == [1, 0, None, None]
    rng = np.random.default_rng(0)
    truths, said = rng.normal(size=200), rng.integers(-1, 2, 200)
    truths[::7] = 0
    kept = truths != 0
    expected = f1_score(truths[kept] > 0, said[kept] > 0, average="weighted")
    assert weighted_sentiment(truths.tolist(), said.tolist())[0] == pytest.approx(expected)
    assert weighted_sentiment([0.0], [1]) == (0.0, 0.0)


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/never", "w"))


def test_a_file_of_labels_runs_nothing(root):
    path = root / "mer2023-dataset-process" / "label-6way.npz"
    np.savez_compressed(path, test1_corpus=np.array({"a": Evil()}, dtype=object))
    with pytest.raises(RecordError, match=r"label-6way.*names (io|_io)\.open, which is no plain data"):
        read_mer_sets(root)


def break_labels(root):
    (root / "mer2023-dataset-process" / "label-6way.npz").write_bytes(b"PK")


def rename_corpus(root):
    np.savez_compressed(root / "mer2023-dataset-process" / "label-6way.npz", other={"a": 1})


def drop_emotion(root):
    np.savez_compressed(root / "mer2023-dataset-process" / "label-6way.npz", test1_corpus={"a": {"val": 1}})


def lose_clip(root):
    (root / "mer2023-dataset-process" / "video" / "a.mp4").unlink()


def lose_wheel(root):
    (root / "emotion_wheel" / "wheel3.xlsx").unlink()


def break_wheel(root):
    (root / "emotion_wheel" / "wheel3.xlsx").write_bytes(b"no archive")


def rename_ring(root):
    write_sheet(root / "emotion_wheel" / "wheel3.xlsx", [("inner", "middle"), ("mad", "angry")])


def rename_free(root):
    (root / "ovmerdplus-process" / "ovlabel.csv").write_text("name,labels\nx,mad\n")


def set_labels(dataset, corpus):
    """A harm: the set has these labels, and a clip for each."""

    def harm(root):
        own = MER_SETS[dataset]
        np.savez_compressed(root / own.folder / own.labels, **{own.corpus: corpus})

    return harm


def set_words(text):
    return lambda root: (root / "ovmerdplus-process" / "ovlabel.csv").write_text(text)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (set_labels("sims", {"p": {"val": float("nan")}}), "clip 'p': no label of SIMS (ValueError('nan is"),
        (set_labels("sims", {"p": {"val": -np.inf}}), "-inf is no sentiment"),
        (set_labels("iemocap", {"Ses05F_x": {"emo": 1.5}}), "there is no emotion 1.5"),
        (set_labels("iemocap", {"Ses05F_x": {"emo": -1}}), "there is no emotion -1"),
        (set_labels("iemocap", {"Ses05F_x": {"emo": np.nan}}), "there is no emotion nan"),
        (set_labels("mer2023", {"../../private": {"emo": "happy"}}), "leads out of"),
        (set_labels("mer2023", {"/etc/private": {"emo": "happy"}}), "the path '/etc/private' leads out of"),
        (set_words("name,openset\nx\n"), "ovlabel.csv, row 1: needs the name of a clip"),
        (set_words("name,openset\nx,['mad']\n,['sad']\n"), "ovlabel.csv, row 2: needs the name of a clip"),
        (set_words("name,openset\nx,['mad']\nx,['sad']\n"), "ovlabel.csv, row 2: needs the name of a clip that no row"),
        (break_labels, "label-6way.npz cannot be read as an .npz file"), (rename_corpus, "'test1_corpus'"),
        (drop_emotion, "clip 'a': no label of MER2023"), (lose_clip, r"a.mp4 of MER2023 is missing"),
        (lose_wheel, "lacks wheel3.xlsx"), (break_wheel, "cannot be read as a spreadsheet"),
        (rename_ring, "needs the columns level1, level2, level3"), (rename_free, "needs the columns name, openset"),
    ],
)  # fmt: skip
def test_what_is_missing_or_malformed_is_one_sentence(root, tmp_path, harm, words):
    harm(root)
    with pytest.raises(RecordError) as raised:
        run_benchmark(write_answers(tmp_path / "a.jsonl"), "mer-unibench", root)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_of_clips_on_another_disk_and_a_short_row_of_a_transcript_are_taken(root, tmp_path):
    clips = root / "mer2023-dataset-process" / "video"
    clips.rename(tmp_path / "elsewhere")
    clips.symlink_to(tmp_path / "elsewhere")
    transcript = root / "mer2023-dataset-process" / "transcription-engchi-polish.csv"
    transcript.write_text("name,english\na,Hello\nb\n", encoding="utf-8")
    found = {clip.name: clip.subtitle for clip in read_mer_sets(root)["mer2023"]}
    assert found == {"a": "Hello", "b": "", "c": ""}


def test_a_folder_without_sets_and_an_unknown_setting_are_refused(root, tmp_path):
    model = write_answers(tmp_path / "a.jsonl")
    with pytest.raises(RecordError, match="none of the folders of MER-UniBench: mer2023-dataset-process"):
        run_benchmark(model, "mer-unibench", tmp_path, wheels=root / "emotion_wheel")
    with pytest.raises(ConfigurationError, match="subtitles, silent, not 'loud'"):
        run_benchmark(model, "mer-unibench", root, setting="loud")


def test_the_command_line_has_wheels_of_ones_own_place_and_a_dry_run(root, tmp_path):
    write_answers(tmp_path / "a.jsonl")
    (root / "emotion_wheel").rename(tmp_path / "wheels")
    told = [
        "bench",
        "mer-unibench",
        str(root),
        f"predictions:{tmp_path / 'a.jsonl'}",
        "--wheels",
        str(tmp_path / "wheels"),
    ]
    outcome = CliRunner().invoke(app, told)
    assert outcome.exit_code == 0, outcome.output
    assert "IEMOCAP\thit rate\t0.500" in outcome.stdout
    kept = CliRunner().invoke(app, [*told, "--limit", "9", "--output", str(tmp_path / "out")])
    assert "9 of 11 clips" in kept.stdout
    board = CliRunner().invoke(app, ["leaderboard", str(tmp_path / "out"), "--output", str(tmp_path)])
    assert board.exit_code == 0, board.output
    assert "MER-UniBench, subtitles, mean of 4 sets, 9 of 11" in (tmp_path / "leaderboard.html").read_text()
    dry = CliRunner().invoke(app, [*told, "--dry-run", "--extract", "openai:e", "--setting", "silent"])
    assert dry.exit_code == 0, dry.output
    assert f"sims\t{QUESTION}\t4" in dry.stdout


def test_an_endpoint_sees_the_frames_of_a_clip_before_the_question(root):
    for each in MER_SETS.values():
        if each.name != "mer2023" and (root / each.folder).is_dir():
            shutil.rmtree(root / each.folder)
    for path in (root / "mer2023-dataset-process" / "video").iterdir():
        write_video(path, grey_frames(12))
    with chat_server.ChatServer(answer=lambda body: "[happy, angry]") as server:
        model = open_model(f"openai:m?base_url={server.base_url}")
        result = run_benchmark(model, "mer-unibench", root).result
    assert result.mean == 1.0
    assert len(server.calls) == 3
    contents = [call.body["messages"][0]["content"] for call in server.calls]
    assert {tuple(part["type"] for part in content) for content in contents} == {("image_url",) * 8 + ("text",)}
    assert sorted(content[-1]["text"] for content in contents)[0] == QUESTION
