"""Wrong uses of the command line: each is one line that says what to do, and exit status 2."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import facekit
from facekit.data.synthetic import write_synthetic_dataset

NOWHERE = ("/proc/nowhere/out", "{records}/out", "{records}")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Paths by the names that the table below uses."""
    folder = tmp_path_factory.mktemp("wrong")
    records = write_synthetic_dataset(folder / "faces", 4, seed=1, image_size=64)
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone="tiny", seed=0)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    (folder / "empty").mkdir()
    (folder / "empty.jsonl").write_text("")
    (folder / "broken.jsonl").write_text('{"id": "a", "image": "a.png", "conversations": []\n')
    (folder / "misnamed.jsonl").write_text('{"id": "a", "image": "a.png", "labels": {"agge": 3}}\n')
    os.mkfifo(folder / "queue.png")
    (folder / "letter.png").write_text("a letter, not a picture")
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    answers = [{"id": json.loads(line)["id"], "task": "age", "answer": "30"} for line in records.open()]
    (folder / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    (folder / "deep").mkdir()
    (folder / "deep" / "config.json").write_text("[" * 100_000)
    (folder / "deep.jsonl").write_text('{"id": "a", "image": "a.png", "source": ' + "[" * 100_000)
    (folder / "digits.jsonl").write_text('{"id": "a", "image": "a.png", "labels": {"age": ' + "9" * 6_000 + "}}")
    (folder / "numbers.jsonl").write_text("3\n")
    (folder / "recipe.yaml").write_text("aspects: 3\n")
    (folder / "wide.jsonl").write_text(records.read_text(), encoding="utf-16")  # as PowerShell writes text
    (folder / "labels.csv").write_text("file,expression\na.png,happy\n")
    names = {path.stem if path.suffix != ".jsonl" else path.name: path for path in folder.iterdir()}
    return {name.replace(".", "_"): str(path) for name, path in names.items()} | {"records": str(records)}


PREDICTIONS = "predictions:{answers_jsonl}"
PARTS = ("--encoder", "tiny", "--connector", "mlp", "--backbone", "tiny")
ONCE = ("--epochs", "1")

CANNOT_BE_WRITTEN = {
    "convert": ("convert", "{records}", "OUT", "--format", "webdataset"),
    "preprocess": ("preprocess", "{records}", "OUT"),
    "datagen": ("datagen", "{records}", "--output", "OUT"),
    "train": ("train", "{records}", "--output", "OUT", *PARTS, *ONCE),
    "eval": ("eval", PREDICTIONS, "{records}", "--tasks", "age", "--output", "OUT"),
    "judge": ("judge", "{records}", "--offline", "--output", "OUT"),
    "export": ("export", "{model}", "OUT", "--format", "language-model"),
    "demo": ("demo", "--output", "OUT"),
}


@pytest.mark.parametrize("verb", CANNOT_BE_WRITTEN)
@pytest.mark.parametrize("output", NOWHERE)
def test_an_output_that_cannot_be_written_is_told(run_facekit, places, verb, output):
    before = Path(places["records"]).read_bytes()
    status, error = use(run_facekit, places, [output if word == "OUT" else word for word in CANNOT_BE_WRITTEN[verb]])
    assert status == 2, error
    named = output.format(**places).removesuffix("/out")
    assert named in error
    assert Path(places["records"]).read_bytes() == before


WRONG = [
    # command line, a piece of the message
    (("list", "encodr"), "did you mean 'encoder'"),
    (("list", "models"), "unknown kind of part 'model'"),
    (("ask", "http://[", "How old?", "--model", "{model}"), "cannot be fetched"),
    (("datagen", "{records}", "--output", "OUT", "--annotator", "openai:x?base_url=http://["), "is no address such as"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age,age"), "the task 'age' is named twice"),
    (("eval", "predictions:{numbers_jsonl}", "{records}", "--tasks", "age"), "line 1: needs 'answer'"),
    (("export", "{model}", "OUT", "--frames", "3"), "--frames goes with --format onnx or torch-export"),
    (("demo", "--output", "OUT", "--seed", "1" + 30 * "0"), "out of range"),
    (("nonsense",), "No such command 'nonsense'"),
    (("ask",), "Missing argument"),
    (("ask", "{black}"), "Missing argument"),
    (("ask", "{letter}", "How old?", "--model", "{model}"), "letter.png"),
    (("ask", "nowhere.png", "How old?", "--model", "{model}"), "nowhere.png"),
    (("ask", "{queue}", "How old?", "--model", "{model}"), "queue.png"),
    (("ask", "{empty}", "How old?", "--model", "{model}"), "empty"),
    (("ask", "{black}", "", "--model", "{model}"), "a word of the command is empty, the one after"),
    (("ask", "{black}", " ", "--model", "{model}"), "question"),
    (("", "list"), "a word of the command is empty, the first one"),
    (("convert", "", "OUT.jsonl"), "the one after 'convert'"),
    (("convert", "{records}", "OUT.jsonl", "--split", ""), "the one after '--split'"),
    (("duplicates", "{records}", "--output", ""), "the one after '--output'"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--batch-size", "3"), "--batch-size goes with --batch"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--landmarks"), "--landmarks goes with --batch"),
    (("convert", "{records}", "OUT.jsonl", "--distance", "3"), "--distance goes with --drop-duplicates"),
    (("convert", "{records}", "OUT.jsonl", "--drop-duplicates", "--distance", "-1"), "from 0 to 15 bits"),
    (("convert", "{deep_jsonl}", "OUT.jsonl"), "deep.jsonl, entry 1: not JSON that can be read"),
    (("convert", "{digits_jsonl}", "OUT.jsonl"), "digits.jsonl, entry 1: not JSON that can be read"),
    (("convert", "{records}", "{records}/out.jsonl"), "cannot be written (File exists); choose another folder"),
    (("ask", "{black}", "How old?", "--model", "{deep}"), "config.json' is not valid JSON"),
    (("inspect", "~nobody-at-all/model"), "begins with '~'"),
    (("train", "recipe=~nobody-at-all/mine.yaml"), "begins with '~'"),
    (("preprocess", "{records}", "OUT", "--features-dtype", "float16"), "--features-dtype goes with --features"),
    (("preprocess", "{records}", "OUT", "--ray-address", "auto"), "--ray-address goes with --engine ray"),
    (("datagen", "{records}", "--output", "OUT", "--threshold", "7"), "--threshold goes with --judge"),
    (("datagen", "{records}", "--output", "OUT", "--poll-seconds", "7"), "--poll-seconds goes with --batch"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--resume"), "--resume goes with --output"),
    (("bench", "lfw", "{empty}", PREDICTIONS, "--fresh"), "--fresh goes with --output"),
    (("train", "{records}", "--output", "OUT", *PARTS, "--epochs", "inf"), "'epochs': Input should be"),
    (("train", "{records}", "--output", "OUT", *PARTS, "--steps", "1" + 30 * "0"), "'steps': Input should be"),
    (("train", "recipe=tiny-cpu", "{records}", "output=OUT", "--output", "OUT"), "named twice"),
    (
        (
            "train",
            "recipe=tiny-cpu",
            "{records}",
            "output=OUT",
            "validation.records={records}",
            "validation.tasks=agee",
        ),
        "validation: unknown task 'agee'; did you mean 'age'",
    ),
    (("ask", "{black}", "How old?", "--model", "nowhere"), "nowhere"),
    (("ask", "{black}", "How old?", "--model", "{empty}"), "empty"),
    (("ask", "{black}", "How old?", "--model", "{records}"), "records.jsonl"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--landmarker", "dlip"), "did you mean 'dlib'"),
    (
        ("ask", "{black}", "How old?", "--model", "nowhere", "--landmarker", "mesh?treshold=1"),
        "has no option 'treshold'",
    ),
    (("ask", "{black}", "How old?", "--model", "{model}", "--overlay", "face.gif"), "face.gif"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--overlay", "nowhere/face.png"), "nowhere/face.png"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--max-new-tokens", "0"), "--max-new-tokens"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--max-new-tokens", "many"), "'--max-new-tokens'"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--num-frames", "0"), "--num-frames"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--device", "cuda:9"), "cuda:9"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--device", "gpu"), "gpu"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--device", "meta"), "'meta' cannot be used here"),
    (("eval", "{model}", "{records}", "--tasks", "age", "--device", "meta"), "'meta' cannot be used here"),
    (("serve", "{model}", "--port", "0", "--device", "privateuseone"), "'privateuseone' cannot be used here"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--dtype", "float12"), "float12"),
    (("ask", "{black}", "How old?", "--model", "{model}", "--load-in", "3bit"), "3bit"),
    (
        ("ask", "{black}", "How old?", "--model", "{model}", "--on-no-face", "skip"),
        "one of raise, whole-image, not 'skip'",
    ),
    (("ask", "{black}", "How old?", "--modle", "{model}"), "No such option"),
    (("ask", "{black}", b"How old\xff\xfe?", "--model", "{model}"), "UTF-8"),
    (("ask", "{model}", "{black}", "How old?"), "a picture comes first"),
    (("ask", "How old?", "{black}", "--model", "{model}"), "the picture comes before the questions"),
    (("convert",), "Missing argument"),
    (("convert", "{wide_jsonl}", "OUT.jsonl"), "is not UTF-8 but UTF-16 text; save it as UTF-8"),
    (("datagen", "{wide_jsonl}", "--output", "OUT"), "is not UTF-8 but UTF-16 text; save it as UTF-8"),
    (("eval", PREDICTIONS, "{wide_jsonl}"), "is not UTF-8 but UTF-16 text; save it as UTF-8"),
    (("train", "{wide_jsonl}", "--output", "OUT", *PARTS, *ONCE), "is not UTF-8 but UTF-16 text; save it as UTF-8"),
    (("convert", "{labels}", "OUT.jsonl"), "write csv:"),
    (("preprocess", "{black}", "OUT"), "is a picture, not a file of records"),
    (("datagen", "{black}", "--output", "OUT"), "is a picture, not a file of records"),
    (("train", "folder:{faces}", "--output", "OUT", *PARTS, *ONCE), "facekit convert 'folder:"),
    (("eval", PREDICTIONS, "folder:{faces}"), "facekit convert 'folder:"),
    (("train", "{records}", "--output", "{model}", *PARTS, *ONCE), "a model that was not trained there"),
    (("train", "recipe=tiny-cpu", "{records}", "output={faces}", "stages.region.output={model}"), "no key"),
    (("convert", "{records}"), "the last argument is the output"),
    (("convert", "{records}", "-", "--format", "records"), "not standard output"),
    (("convert", "{misnamed_jsonl}", "OUT.jsonl"), "no field 'labels.agge'; did you mean 'age'"),
    (("convert", "nowhere.jsonl", "OUT.jsonl"), "nowhere.jsonl"),
    (("convert", "{broken_jsonl}", "OUT.jsonl"), "broken.jsonl"),
    (("convert", "{records}", "OUT.json"), "format"),
    (("convert", "{records}", "OUT.jsonl", "--format", "parket"), "parket"),
    (("convert", "{records}", "OUT.jsonl", "--format", "lava"), "did you mean 'llava'"),
    (("convert", "ferface:{empty}", "OUT.jsonl"), "did you mean"),
    (("convert", "fairface:{empty}", "OUT.jsonl"), "empty"),
    (("convert", "fairface:/nowhere", "OUT.jsonl"), "/nowhere"),
    (("convert", "fairface:{empty}?splitt=val", "OUT.jsonl"), "splitt"),
    (("preprocess",), "Missing argument"),
    (("preprocess", "nowhere.jsonl", "OUT"), "nowhere.jsonl"),
    (("preprocess", "{records}", "OUT", "--landmarker", "dlip"), "did you mean 'dlib'"),
    (("preprocess", "{records}", "OUT", "--dry-run", "--landmarker", "mesh?tiles=-1"), "cannot use tiles=-1"),
    (("preprocess", "{records}", "OUT", "--workers", "-1"), "worker"),
    (("preprocess", "{broken_jsonl}", "OUT"), "broken.jsonl"),
    (("preprocess", "{records}", "OUT", "--features", "tinny"), "did you mean 'tiny'"),
    (("preprocess", "{records}", "OUT", "--features", "tiny", "--features-dtype", "float12"), "float12"),
    (("preprocess", "{records}", "OUT", "--features", "tiny", "--video-features", "tiny?image_size=64"), "pixels"),
    (("datagen",), "Missing"),
    (("datagen", "nowhere.jsonl", "--output", "OUT"), "nowhere.jsonl"),
    (("datagen", "{records}"), "Missing option '--output'"),
    (("datagen", "{records}", "--output", "OUT", "--recipe", "fairfacegtp"), "fairfacegtp"),
    (("datagen", "{records}", "--output", "OUT", "--recipe", "{recipe}"), "recipe.yaml"),
    (("datagen", "{records}", "--output", "OUT", "--annotator", "templat"), "did you mean 'template'"),
    (("datagen", "{records}", "--output", "OUT", "--annotator", "openai:"), "openai"),
    (("datagen", "{records}", "--output", "OUT", "--aspects", "weather"), "weather"),
    (("datagen", "{records}", "--output", "OUT", "--format", "parket"), "parket"),
    (("datagen", "{records}", "--output", "OUT", "--concurrency", "0"), "concurrency"),
    (("datagen", "{records}", "--output", "OUT", "--max-cost", "free"), "'--max-cost'"),
    (("datagen", "{records}", "--output", "OUT", "--prices", "nowhere.yaml"), "nowhere.yaml"),
    (("train",), "RECORDS"),
    (("train", "nowhere.jsonl", "--output", "OUT", *PARTS, *ONCE), "nowhere.jsonl"),
    (("train", "{records}", "--output", "OUT", *ONCE), "preset"),
    (("train", "{records}", *PARTS, *ONCE), "output"),
    (("train", "{empty_jsonl}", "--output", "OUT", *PARTS, *ONCE), "empty.jsonl"),
    (("train", "{broken_jsonl}", "--output", "OUT", *PARTS, *ONCE), "broken.jsonl"),
    (("train", "{records}", "--output", "OUT", "--encoder", "tinny", *PARTS[2:], *ONCE), "did you mean 'tiny'"),
    (("train", "{records}", "--output", "OUT", *PARTS[:2], "--connector", "regoin", *PARTS[4:], *ONCE), "'region'"),
    (("train", "{records}", "--output", "OUT", *PARTS[:4], "--backbone", "llama", *ONCE), "llama"),
    (("train", "{records}", "--output", "OUT", *PARTS, "--epochs", "0"), "epochs"),
    (("train", "{records}", "--output", "OUT", *PARTS, *ONCE, "--batch-size", "0"), "batch"),
    (("train", "{records}", "--output", "OUT", *PARTS, *ONCE, "--learning-rate", "fast"), "'--learning-rate'"),
    (("train", "{records}", "--output", "OUT", *PARTS, *ONCE, "--parts", "connecter"), "connecter"),
    (("train", "{records}", "--output", "OUT", "--preset", "facellm-1c", *ONCE), "facellm"),
    (("train", "{records}", "--output", "OUT", "--model", "{model}", "--encoder", "tiny", *ONCE), "--model"),
    (
        ("train", "{records}", "--output", "OUT", *PARTS, *ONCE, "--lora-rank", "2", "--lora-targets", "q_prj"),
        "did you mean 'q_proj'",
    ),
    (("train", "recipe=facellm-lorra", "{records}"), "facellm-lorra"),
    (("train", "recipe=a", "recipe=b"), "one recipe at a time"),
    (("train", "recipe=tiny-cpu", "records", "=", "{records}", "output=OUT"), "write key=value, without spaces"),
    (
        ("train", "recipe=tiny-cpu", "{records}", "{misnamed_jsonl}", "output=OUT"),
        "one records file, or several as data=",
    ),
    (("train", "recipe=tiny-cpu", "{records}", "records={misnamed_jsonl}", "output=OUT"), "one records file"),
    (
        ("train", "recipe=tiny-cpu", "records=[{records},{records}]", "output=OUT"),
        "several records files go into 'data'",
    ),
    (("train", "recipe=tiny-cpu", "data={records}", "output=OUT"), "'data' is a list of records files"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--prompts", "open"), "'closed' or a YAML file"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--prompts", "{recipe}"), "aspects"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--limit", "0"), "--limit"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--max-new-tokens", "0"), "--max-new-tokens"),
    (("eval", "nowhere", "{records}", "--dry-run"), "nowhere"),
    (("eval", PREDICTIONS, "{records}", "--dry-run", "--scoring", "likelihood"), "gives no likelihoods"),
    (("eval", PREDICTIONS, "{records}", "--dry-run", "--scoring", "guess"), "guess"),
    (("bench", "facexbnch", "{empty}", PREDICTIONS), "did you mean 'facexbench'"),
    (("bench", "mer-unibench", "{empty}", PREDICTIONS), "emotion_wheel"),
    (("bench", "lfw", "{empty}", PREDICTIONS, "--wheels", "{empty}"), "no option 'wheels'"),
    (("duplicates", "{records}", "--workers", "0"), "--workers"),
    (("duplicates", "{records}", "--distance", "99"), "distance"),
    (("duplicates", "{letter}"), "letter.png"),
    (("verify", "nowhere"), "nowhere"),
    (("verify", "{empty}"), "empty"),
    (("verify", "{letter}"), "letter.png"),
    (("leaderboard", "{empty}"), "empty"),
    (("leaderboard", "{letter}"), "letter.png"),
    (("convert", "{records}", "{records}", "OUT.jsonl", "--weights", "1:x"), "--weights are numbers"),
    (("convert", "{records}", "{records}", "OUT.jsonl", "--weights", "1:2:3"), "2 sets and the weights"),
    (("convert", "{records}", "OUT.jsonl", "--weights", "nan"), "number above 0"),
    (("train", "recipe=face-grpo", "{records}", "output=OUT", "rewards=[nonsense]"), "rewards"),
    (("serve", "{model}", "--port", "99999"), "--port"),
    (("serve", "{model}", "--on-no-face", "guess"), "guess"),
    (("serve", "{model}", "--second-model", "{model}"), "--second-name"),
    (("ask", "{model}", "--batch", "{records}"), "--output"),
    (("ask", "{model}", "--batch", "{records}", "--output", "OUT", "--max-failures", "some"), "--max-failures"),
    (("ask", "{black}", "How old?", "--output", "OUT"), "--batch"),
    (("eval",), "Missing argument"),
    (("eval", "{model}"), "Missing argument"),
    (("eval", "{model}", "nowhere.jsonl"), "nowhere.jsonl"),
    (("eval", "nowhere", "{records}"), "nowhere"),
    (("eval", "{empty}", "{records}"), "empty"),
    (("eval", "predictions:nowhere.jsonl", "{records}"), "nowhere.jsonl"),
    (("eval", PREDICTIONS, "{empty_jsonl}"), "empty.jsonl"),
    (("eval", PREDICTIONS, "{broken_jsonl}"), "broken.jsonl"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "agee"), "did you mean 'age'"),
    (("eval", PREDICTIONS, "{records}", "--tasks", ""), "task"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--scoring", "guess"), "guess"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--batch-size", "0"), "--batch-size"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--compare", PREDICTIONS), "--output"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--training-records", "nowhere.jsonl"), "nowhere.jsonl"),
    (("eval", PREDICTIONS, "{records}", "--tasks", "age", "--output", "OUT", "--ratings", "no.json"), "no.json"),
    (("facexbench", "{model}", "/nowhere"), "/nowhere"),
    (("facexbench", "{model}", "{empty}"), "empty"),
    (("facexbench", "{model}", "{empty}", "--setting", "one-shot"), "one-shot"),
    (("judge", "{records}", "--output", "OUT", "--judge", "gpt-4o"), "is named 'openai:gpt-4o'"),
    (("judge", "{records}"), "Missing option '--output'"),
    (("judge", "{records}", "--output", "OUT"), "--judge"),
    (("judge", "nowhere.jsonl", "--output", "OUT", "--offline"), "nowhere.jsonl"),
    (("judge", "{records}", "--output", "OUT", "--offline", "--predictions", "nowhere.jsonl"), "nowhere.jsonl"),
    (("judge", "{records}", "--output", "OUT", "--offline", "--tasks", "agee"), "did you mean 'age'"),
    (("judge", "{records}", "--output", "OUT", "--offline", "--device", "cpu"), "--model"),
    (("export", "{model}"), "Missing argument"),
    (("export", "{model}", "OUT", "--format", "onyx"), "onyx"),
    (("export", "nowhere", "OUT", "--format", "llava-hf"), "nowhere"),
    (("export", "{empty}", "OUT", "--format", "llava-hf"), "empty"),
    (("export", "{model}", "OUT", "--format", "llava-hf", "--max-shard-size", "big"), "big"),
    (("export", "{model}", "OUT", "--format", "internvl-hf"), "internvl"),
    (("inspect",), "Missing argument"),
    (("inspect", "nowhere"), "nowhere"),
    (("inspect", "{empty}"), "empty"),
    (("inspect", "{records}"), "records.jsonl"),
    (("inspect", "{model}", "--batch", "0"), "--batch"),
    (("inspect", "{model}", "--batch", "1" + 23 * "0"), "--batch"),
    (("inspect", "{model}", "--parts", "connecter"), "connecter"),
    (("inspect", "{model}", "--precision", "float8"), "float8"),
    (("serve", "nowhere", "--landmarker", "mesh?threshold=nan"), "landmarker 'mesh' cannot use threshold=nan"),
    (("serve", "nowhere", "--landmarker", "mesh:{empty}"), "face_detection_full_range.tflite' cannot be read"),
    (("serve", "nowhere", "--landmarker", "fan"), "landmarker 'fan'"),
    (("serve", "nowhere", "--landmarker", "given:nowhere.npy?coordinates=pixels"), "no landmarks file 'nowhere.npy'"),
    (("serve",), "Missing argument"),
    (("serve", "nowhere"), "nowhere"),
    (("serve", "{empty}"), "empty"),
    (("serve", "{model}", "--host", "0.0.0.0"), "FACEKIT_API_KEY"),
    (("demo", "--faces", "0"), "--faces"),
    (("demo", "--connector", "mpl", "--output", "OUT"), "did you mean 'mlp'"),
    (("demo", "--photo", "nowhere.png", "--output", "OUT"), "nowhere.png"),
    (("demo", "--output", "{faces}"), "faces"),
    (("--log-level", "loud", "list"), "loud"),
    (("-v", "-q", "list"), "exclude each other"),
]


FTP = "openai:gpt-4o?base_url=ftp://there/v1"
JUDGED = ("judge", "{records}", "--output", "OUT", "--judge")
MADE = ("datagen", "{records}", "--output", "OUT")
ASKED = ("eval", PREDICTIONS, "{records}", "--tasks", "age")

REFUSED_BY_A_DRY_RUN_TOO = [
    ((*JUDGED, FTP), "is no address such as"),
    ((*JUDGED, "template"), "does not see pictures"),
    ((*JUDGED, "openai:gpt-4o", "--judge", "openai:gpt-4o"), "none of them twice"),
    ((*JUDGED, "openai:gpt-4o", "--backoff", "nan"), "'backoff'"),
    ((*JUDGED, "openai:gpt-4o", "--concurrency", "0"), "'concurrency'"),
    ((*JUDGED, "openai:mine", "--max-cost", "1"), "no model 'mine'"),
    ((*JUDGED, "openai:gpt-4o", "--prices", "nowhere.yaml"), "nowhere.yaml"),
    ((*JUDGED, "openai:gpt-4o", "--image-side", "3"), "image_side"),
    ((*JUDGED, "openai:gpt-4o", "--model", "nowhere"), "nowhere"),
    ((*MADE, "--annotator", FTP), "is no address such as"),
    ((*MADE, "--annotator", "opnai:gpt-4o"), "did you mean 'openai'"),
    ((*MADE, "--annotator", "openai:gpt-4o", "--judge", FTP), "is no address such as"),
    ((*MADE, "--annotator", "openai:gpt-4o", "--judge", "openai:mine", "--max-cost", "1"), "no model 'mine'"),
    ((*MADE, "--annotator", "openai:gpt-4o", "--requests-per-minute", "inf"), "'requests_per_minute'"),
    ((*MADE, "--format", "parket"), "not 'parket'"),
    ((*MADE, "--batch"), "batch means nothing for 'template'"),
    ((*MADE, "--annotator", "openai:gpt-4o", "--judge", "nobody"), "unknown annotator 'nobody'"),
    ((*ASKED[:1], FTP, *ASKED[2:]), "is no address such as"),
    ((*ASKED[:1], "predictions:nowhere.jsonl", *ASKED[2:]), "nowhere.jsonl"),
    ((*ASKED[:1], "{model}", *ASKED[2:], "--device", "gpu7"), "'gpu7' cannot be used here"),
    ((*ASKED, "--extract", FTP), "is no address such as"),
    ((*ASKED, "--training-records", "nowhere.jsonl"), "nowhere.jsonl"),
    ((*ASKED, "--engine", "vlm"), "vlm"),
    (("bench", "facexbench", "{empty}", FTP), "is no address such as"),
    (("preprocess", "{records}", "OUT", "--engine", "sun"), "the engine is one of local, ray"),
    (
        ("train", "recipe=tiny-cpu", "{records}", "output=OUT", "model.connector=mlp", "landmark_noise=0.01"),
        "landmark_noise changes landmarks, of which the model uses none",
    ),
]


@pytest.mark.parametrize(("words", "piece"), REFUSED_BY_A_DRY_RUN_TOO)
@pytest.mark.parametrize("dry", [("--dry-run",), ()], ids=["dry-run", "run"])
def test_a_dry_run_refuses_what_the_run_refuses(run_facekit, places, tmp_path, monkeypatch, words, piece, dry):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody-is-asked-000000")
    status, error = use(run_facekit, places, [word.replace("OUT", str(tmp_path / "out")) for word in (*words, *dry)])
    assert status == 2, error
    assert piece in error


WRONG = [(tuple(map(os.fsdecode, words)), piece) for words, piece in WRONG]  # bytes as a shell hands them over


@pytest.mark.parametrize(("words", "piece"), WRONG, ids=[ascii(" ".join(words)) for words, _ in WRONG])
def test_a_wrong_use_is_one_line_and_exit_status_2(run_facekit, places, tmp_path, words, piece):
    status, error = use(run_facekit, places, [word.replace("OUT", str(tmp_path / "out")) for word in words])
    assert status == 2, error
    assert piece in error


def use(run_facekit, places, words):
    """Exit status and the one line of a command that is not as it should be."""
    status, out, error = run_facekit(*(word.format(**places) for word in words))
    said = [line for line in error.splitlines() if line.startswith("facekit: error: ")]
    assert len(said) == 1, (out, error)
    assert error.rstrip().endswith(said[0]), error
    return status, said[0]


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word():
    command = f"{sys.executable} -m facekit list | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr


def test_a_closed_standard_output_is_no_fault():
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m facekit list >&-"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("list",), "facekit: stopped"),
        (("-q", "preprocess", "a", "b"), "facekit: stopped; the same command goes on"),
        (("ask", "m", "--batch", "a", "--output", "b"), "facekit: stopped; the same command goes on"),
        (("ask", "a.png", "How old?"), "facekit: stopped"),
        (("bench", "lfw", "a", "m", "--output=b"), "facekit: stopped; the same command goes on"),
        (("bench", "lfw", "a", "m"), "facekit: stopped"),
        (("eval", "m", "a", "--output", "b"), "facekit: stopped; the same command goes on with --resume"),
        (("convert", "a", "b"), "facekit: stopped"),
    ],
)
def test_ctrl_c_is_one_line_with_how_to_go_on_and_exit_status_130(run_facekit, monkeypatch, words, told):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.core.TyperCommand.invoke", stop)
    status, out, error = run_facekit(*words)
    assert (status, out, error.splitlines()[-1]) == (130, "", told)


def test_quiet_leaves_errors_and_results(run_facekit, places):
    status, out, error = run_facekit("-q", "eval", PREDICTIONS.format(**places), places["records"], "--tasks", "age")
    assert (status, error) == (0, "")
    assert "age" in out
    _, _, told = run_facekit("-q", "inspect", "nowhere")
    assert told.startswith("facekit: error: ")


def test_verbose_shows_where_an_error_arose():
    done = subprocess.run(
        [sys.executable, "-m", "facekit", "-v", "inspect", "/nowhere"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("facekit: error: ")


def test_a_conversion_says_which_pictures_are_not_there(run_facekit, places, tmp_path):
    lines = Path(places["records"]).read_text().splitlines()
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    status, out, error = run_facekit("convert", tmp_path / "records.jsonl", tmp_path / "out.jsonl")
    assert (status, out) == (0, f"4 records in {tmp_path / 'out.jsonl'}\n")
    assert f"note: there is no {tmp_path}/images/" in error
    assert "nor 3 other files that the records name; --media FOLDER says where pictures are" in error
    assert run_facekit("convert", places["records"], tmp_path / "other.jsonl")[2] == ""


def test_the_demos_model_is_not_looked_for_on_the_hub(run_facekit, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, error = use(run_facekit, places, ["ask", "{black}", "How old?"])
    assert status == 2
    assert error == (
        "facekit: error: checkpoint 'runs/demo' does not exist; train one first (facekit demo), or name another folder"
    )


def test_a_question_without_quotation_marks_is_answered_and_told(run_facekit, photo, model_folder):
    status, out, error = run_facekit(
        "ask", photo, "How", "old", "now?", "--model", model_folder, "--max-new-tokens", "1"
    )
    assert status == 0
    assert out.splitlines()[0] == "How"
    assert "note: 3 questions of one word each are asked" in error


FULL = "/dev/full"  # a device on which every write finds the disk full


@pytest.mark.skipif(not os.path.exists(FULL), reason="needs Linux's /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("option", ["--overlay", "--region-maps"])
def test_a_drawing_on_a_full_disk_names_the_file_and_what_to_do(run_facekit, photo, model_folder, tmp_path, option):
    (tmp_path / "drawn.png").symlink_to(FULL)
    words = ["ask", photo, "How old?", "--model", model_folder, "--max-new-tokens", "1", option, tmp_path / "drawn.png"]
    status, _, error = run_facekit(*words)
    assert status == 2
    assert f"{tmp_path}/drawn.png cannot be written (No space left on device); make room on the disk" in error


def test_a_picture_without_a_face_goes_in_whole_as_its_error_says(run_facekit, places, tmp_path):
    asked = ("ask", places["black"], "How old?", "--model", places["model"], "--max-new-tokens", "1")
    status, error = use(run_facekit, places, asked)
    assert status == 2
    assert "(--on-no-face whole-image)" in error
    status, out, _ = run_facekit(*asked, "--on-no-face", "whole-image")
    assert (status, out.splitlines()[0]) == (0, "How old?")
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "black.png").write_bytes(Path(places["black"]).read_bytes())
    batch = ("ask", places["model"], "--batch", folder, "--question", "How old?", "--max-new-tokens", "1")
    assert run_facekit(*batch, "--output", tmp_path / "refused.jsonl")[0] == 2
    assert run_facekit(*batch, "--output", tmp_path / "whole.jsonl", "--on-no-face", "whole-image")[0] == 0


def test_an_export_that_meets_a_full_disk_says_where_and_what_to_do(run_facekit, places, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("facekit.models.interoperability.export", full)
    status, error = use(run_facekit, places, ["export", "{model}", str(tmp_path / "out"), "--format", "facekit"])
    assert status == 2
    assert f"the export to {tmp_path}/out cannot be written (No space left on device); make room" in error


@pytest.mark.parametrize("other", ["predictions:nowhere.jsonl", "{empty}"])
def test_a_model_to_compare_with_is_looked_for_before_the_first_one_answers(run_facekit, places, tmp_path, other):
    words = ["eval", PREDICTIONS, "{records}", "--tasks", "age", "--output", str(tmp_path / "out"), "--compare", other]
    status, error = use(run_facekit, places, words)
    assert status == 2
    assert other.format(**places).removeprefix("predictions:") in error
    assert not (tmp_path / "out").exists()
