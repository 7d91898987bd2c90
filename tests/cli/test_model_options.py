"""One spec with the same options in every verb that names a model: ask, eval, judge, inspect, export and training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.models.source import ModelSource

RELEASED = Path(__file__).parents[1] / "data" / "face_llava_tiny"
VERBS = ("ask", "eval", "judge", "inspect", "export", "recipe", "train")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small model of facekit, Face-LLaVA as released, records of two faces, and a picture."""
    folder = tmp_path_factory.mktemp("files")
    model, processor = facekit.create(preset="facekit-tiny", landmarker="none", seed=0)
    model.save_pretrained(folder / "own")
    processor.save_pretrained(folder / "own")
    shutil.copytree(RELEASED / "FaceLLaVA-tiny", folder / "released")
    write_synthetic_dataset(folder / "faces", 2, seed=3, image_size=48)
    Image.effect_noise((96, 96), 60).convert("RGB").save(folder / "picture.png")
    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = Tokenizer(models.BPE(vocab={entry: index for index, entry in enumerate(alphabet)}, merges=[]))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<s>")
    tokenizer.save_pretrained(folder / "bytes")
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The models that were opened through ``ModelSource``, with processors and kinds of layers."""
    found, load = [], ModelSource.load

    def keep(source):
        model, processor = load(source)
        kinds = {type(layer).__name__ for layer in model.language_model.get_decoder().modules()}
        found.append((model, processor, kinds))
        return model, processor

    monkeypatch.setattr(ModelSource, "load", keep)
    return found


def command(verb, model, files, output, options):
    """The arguments of a verb, with options of the model under their one name."""
    options = {key: str(value).replace("{files}", str(files)) for key, value in options.items()}
    records = files / "faces" / "records.jsonl"
    if verb == "recipe":
        (output / "mine.yaml").write_text(
            f"model: {{load: {model}}}\noutput: {output / 'trained'}\n"
            f"stages: {{align: {{records: {records}, steps: 1, batch_size: 2, parts: connector}}}}\n"
        )
        given = [f"model.{name}={value}" for name, value in options.items()]
        return ["train", f"recipe={output / 'mine.yaml'}", *given, "--dry-run"]
    given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = {
        "ask": ["ask", files / "picture.png", "Age?", "--model", model, "--landmarker", "none", "--max-new-tokens", 1],
        "eval": ["eval", model, records, "--tasks", "expression"],
        "judge": [
            "judge",
            records,
            "--model",
            model,
            "--offline",
            "--output",
            output / "judged",
            "--tasks",
            "expression",
        ],
        "inspect": ["inspect", model],
        "train": [
            "train",
            records,
            "--model",
            model,
            "--output",
            output / "trained",
            "--parts",
            "connector",
            "--steps",
            1,
            "--batch-size",
            2,
        ],
        "export": ["export", model, output / "exported"],
    }
    return [*words[verb], *given]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("own", {"device": "cpu"}),
        ("own", {"dtype": "bfloat16"}),
        ("own", {"load_in": "4bit"}),
        ("released", {"tower_root": RELEASED, "tokenizer": "{files}/bytes"}),
    ],
    ids=["device", "dtype", "load_in", "tower_root and tokenizer"],
)
def test_the_same_options_open_the_same_model_in_every_verb(run_facekit, opened, files, tmp_path, verb, name, options):
    if "load_in" in options:
        pytest.importorskip("bitsandbytes")
    status, shown, complaint = run_facekit(*command(verb, files / name, files, tmp_path, options))
    if verb == "export" and "load_in" in options:
        assert status == 2
        assert "a model in 4bit is no whole checkpoint to export; leave --load-in out" in " ".join(complaint.split())
        assert not opened
        return
    assert status == 0, shown + complaint
    if verb == "inspect":
        assert not opened
        return
    ((model, processor, kinds),) = opened
    if "tokenizer" in options:
        assert len(processor.tokenizer("smile", add_special_tokens=False)["input_ids"]) == 5
    assert ("Linear4bit" in kinds) == ("load_in" in options)
    others = (*model.encoder.modules(), *model.connector.modules())
    assert "Linear4bit" not in {type(layer).__name__ for layer in others}
    assert model.device.type == "cpu"
    if "dtype" in options:
        assert model.dtype == torch.bfloat16


@pytest.mark.parametrize("verb", ["ask", "eval", "judge", "inspect"])
@pytest.mark.parametrize("plan", ["auto", "sequential"])
def test_a_device_map_is_the_same_option_in_every_verb_that_answers(run_facekit, opened, files, tmp_path, verb, plan):
    status, shown, complaint = run_facekit(*command(verb, files / "own", files, tmp_path, {"device_map": plan}))
    assert status == 0, shown + complaint
    assert [model.hf_device_map for model, *_ in opened] == ([] if verb == "inspect" else [{"": "cpu"}])


@pytest.mark.parametrize(
    ("verb", "options", "words"),
    [
        ("eval", {"device_map": "auto", "device": "cpu"}, "device and device_map both say where the model goes"),
        ("inspect", {"device_map": "auto", "device": "cpu"}, "device and device_map both say where the model goes"),
        ("ask", {"device_map": "everywhere"}, "'everywhere' is not one of 'auto', 'balanced'"),
        ("export", {"device_map": "auto"}, "a model to export is read on one device; leave --device-map out"),
        ("train", {"device_map": "auto"}, "--device-map"),
    ],
)
def test_a_device_map_that_cannot_be_meant_is_refused_before_loading(
    run_facekit, opened, files, tmp_path, verb, options, words
):
    status, _, complaint = run_facekit(*command(verb, files / "own", files, tmp_path, options))
    assert status == 2
    assert words in " ".join(complaint.replace("│", " ").split())
    assert not opened


def test_new_models_of_training_take_the_options_that_mean_something_for_parts(run_facekit, files, tmp_path):
    words = ["train", files / "faces" / "records.jsonl", "--preset", "facekit-tiny", "--output", tmp_path / "trained",
             "--parts", "connector", "--steps", "1", "--batch-size", "2"]  # fmt: skip
    status, shown, complaint = run_facekit(*words, "--dtype", "bfloat16")
    assert status == 0, shown + complaint
    model, _ = ModelSource(tmp_path / "trained").load()
    assert model.language_model.dtype == torch.bfloat16
    status, _, complaint = run_facekit(*words, "--tokenizer", "other")
    assert status == 2
    assert "tokenizer says how a checkpoint is opened, but this model is made of parts" in " ".join(complaint.split())


def test_a_packed_language_model_learns_by_adapters_only(run_facekit, files, tmp_path):
    pytest.importorskip("bitsandbytes")
    words = command("train", files / "own", files, tmp_path, {"load_in": "4bit"})
    words[words.index("connector")] = "connector,language_model"
    status, _, complaint = run_facekit(*words)
    assert status == 2
    assert "packed in 4 or 8 bits (load_in), which learns by adapters only; train 'language_model.lora'" in " ".join(
        complaint.split()
    )


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cuda:99"}, "'cuda:99' cannot be used here"),
        ({"dtype": "float33"}, "dtype=float33 is no floating type"),
        ({"tower_root": "towers"}, "tower_root goes with Face-LLaVA as released"),
        ({"tokenizer": "other"}, "saved by facekit with its own tokenizer; leave tokenizer out"),
    ],
    ids=["device", "dtype", "tower_root", "tokenizer"],
)
def test_what_cannot_be_used_is_the_same_sentence_in_every_verb(run_facekit, files, tmp_path, verb, options, words):
    status, _, complaint = run_facekit(*command(verb, files / "own", files, tmp_path, options))
    assert status == 2
    assert words in " ".join(complaint.split())


def test_inspecting_with_4_bits_tells_the_size_of_the_model_that_is_opened_so(run_facekit, files):
    pytest.importorskip("bitsandbytes")
    report = facekit.models.interoperability.inspect_checkpoint(files / "own", load_in="4bit")
    (told,) = (part.num_bytes for part in report.parts if part.name == "language_model")
    language_model = ModelSource(files / "own", load_in="4bit").load()[0].language_model
    scales = 0
    for layer in language_model.modules():
        state = getattr(getattr(layer, "weight", None), "quant_state", None)
        if state is not None:
            scales += state.absmax.nbytes + state.state2.absmax.nbytes
    weights = sum(weight.nbytes for weight in language_model.parameters())
    assert told == pytest.approx(weights + scales, rel=0.02), (told, weights, scales)


@pytest.mark.parametrize("name", ["openai:m", "predictions:answers.jsonl"])
def test_how_a_model_is_opened_is_refused_for_one_that_does_not_run_here(run_facekit, files, name):
    status, _, complaint = run_facekit("eval", name, files / "faces" / "records.jsonl", "--device", "cpu")
    assert status == 2
    assert f"'{name}' does not run here, so device means nothing there" in " ".join(complaint.split())
