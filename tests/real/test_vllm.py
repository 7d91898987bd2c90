"""vLLM 0.32 on processor cores: greedy tokens are those of ``model.generate``, 32 of 32, by each way into it.

In float32, so that no rounding decides between two tokens; weights are drawn large enough that answers differ.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import filecmp
import functools
import gc
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

os.environ |= {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
}

import foreign_checkpoints
import numpy as np
import pytest
import skimage
import small_vlms
import torch
import video_files
from adapter_runs import adapt_with_peft
from model_server import running
from PIL import Image
from transformers import Qwen2Config, Qwen2ForCausalLM
from vllm import LLM, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.lora.request import LoRARequest

import facekit
from facekit.data import FaceRecord, Turn, write_records
from facekit.data.answering import answer_entries, open_entries
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.models.interoperability import export
from facekit.models.sessions import Sampling
from facekit.models.sessions.session import medium_tensors
from facekit.models.source import ModelSource
from facekit.serving.batch import BatchAnswers, choose_batch_engine
from facekit.serving.engine import Engine, Job
from facekit.serving.json_format import JsonFormats
from facekit.serving.protocol import JsonSchemaFormat
from facekit.serving.vllm.engine import VllmEngine
from facekit.training import TrainingSettings, train

# vLLM looks at every name of torch, deprecated ones too.
pytestmark = pytest.mark.filterwarnings("ignore:a call of ours.*reduce_op")

NEW = 24
GREEDY = SamplingParams(temperature=0, max_tokens=NEW)
OPTIONS = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 32, "kv_cache_memory_bytes": 64 << 20}
FAMILIES = ("llama", "qwen2")
CONNECTORS = ("mlp", "region", "pixel-shuffle")
NATIVE = ("qwen2.5-vl", "internvl", "idefics3")
PICTURE, CLIP = {"type": "image"}, {"type": "video"}
QUESTION = [PICTURE, {"type": "text", "text": "Which expression?"}]
POINTS = np.random.default_rng(0).uniform(0.2, 0.8, (2, 68, 2)).astype(np.float32)


def draw_weights(model):
    """Weights with which every part shows in the tokens; a language model has the same behind any connector."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and not name.startswith("encoder"):
                generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
                scale = 1.0 if "embed" in name else 2.0 * value.shape[-1] ** -0.5
                value.copy_(scale * torch.randn(value.shape, generator=generator))


def compose(folder, family, connector):
    """A composition over a language model of a family, saved; vLLM's attention on CPUs wants heads of 32."""
    tiny = "tiny?width=64&heads=2&depth=2"
    if family == "qwen2":
        _, processor = facekit.create(encoder="tiny", connector=connector, backbone=tiny, seed=0)
        sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = Qwen2Config(
            **sizes, num_key_value_heads=1, max_position_embeddings=1024, vocab_size=704,
            eos_token_id=processor.tokenizer.eos_token_id,
        )  # fmt: skip
        Qwen2ForCausalLM(config).save_pretrained(folder / "language")
        processor.tokenizer.save_pretrained(folder / "language")
        tiny = f"hf:{folder / 'language'}"
    model, processor = facekit.create(encoder="tiny", connector=connector, backbone=tiny, landmarker="dlib", seed=0)
    draw_weights(model)
    processor.image_processor.num_frames = 4
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return model, processor, folder / "model"


@dataclass(frozen=True)
class Written:
    """A prompt's tokens and the answer's.

    Of the steps from ``tie`` on nothing is known: there two tokens were as likely but for rounding, and each engine and
    batch rounds in its own way.
    """

    prompt: list[int]
    answer: list[int]
    tie: int = NEW

    def __eq__(self, other):
        sure = min(self.tie, other.tie)
        return self.prompt == other.prompt and self.answer[:sure] == other.answer[:sure]

    def __hash__(self):
        return hash(tuple(self.prompt))


def generate(model, inputs):
    """What ``model.generate`` writes."""
    written = model.generate(
        **inputs, max_new_tokens=NEW, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    best = torch.cat(written.scores).topk(2).values
    ties = (best[:, 0] - best[:, 1] < 1e-3).nonzero().flatten().tolist()
    prompt = inputs["input_ids"][0].tolist()
    return Written(prompt, written.sequences[0].tolist()[len(prompt) :], *ties[:1])


def read(reply):
    """What vLLM wrote."""
    return Written(list(reply.prompt_token_ids or ()), list(reply.outputs[0].token_ids))


def without_image_token(processor):
    """vLLM's own classes write it where it is the most likely one, for they know no ``suppress_tokens``."""
    return SamplingParams(temperature=0, max_tokens=NEW, logit_bias={processor.image_token_id: -100.0})


@contextlib.contextmanager
def started(folder, **options):
    engine = LLM(str(folder), **{**OPTIONS, "max_model_len": 512, **options})
    try:
        yield engine
    finally:
        engine.llm_engine.engine_core.shutdown()
        del engine
        gc.collect()


@pytest.fixture(scope="module")
def portrait():
    return Image.fromarray(skimage.data.astronaut()).resize((256, 256))


@pytest.fixture(scope="module")
def requests(portrait):
    """24 pictures, 4 pairs of them, 2 clips, and 2 clips between pictures: content of the chat, pictures, clips."""
    pictures = [portrait.rotate(angle) for angle in np.linspace(-9, 9, 24)]
    clips = [np.stack([np.asarray(portrait.rotate(3 * step + start)) for step in range(6)]) for start in range(2)]
    words = [{"type": "text", "text": "What do you see?"}]
    return [
        *(([*QUESTION], [picture], []) for picture in pictures),
        *(([PICTURE, PICTURE, *words], [pictures[row], pictures[-row]], []) for row in range(1, 5)),
        *(([CLIP, *words], [], [clip]) for clip in clips),
        *(([PICTURE, CLIP, PICTURE, *words], [pictures[row], pictures[9]], [clips[row]]) for row in range(2)),
    ]


@dataclass(frozen=True)
class Composed:
    """A composition, its checkpoint, and what it is given and writes for each of ``requests``."""

    model: object
    processor: object
    folder: Path
    prompts: list[str]
    inputs: list[dict]
    written: list[Written]


@pytest.fixture(scope="module")
def composed(requests, tmp_path_factory):
    """Returns the composition of a family and a connector."""

    @functools.cache
    def build(family, connector):
        model, processor, folder = compose(tmp_path_factory.mktemp("composed"), family, connector)
        prompts = [write(processor, content) for content, _, _ in requests]
        inputs = [
            processor(text=[prompt], images=pictures or None, videos=clips or None)
            for prompt, (_, pictures, clips) in zip(prompts, requests, strict=True)
        ]
        return Composed(model, processor, folder, prompts, inputs, [generate(model, each) for each in inputs])

    return build


@pytest.fixture(scope="module", params=[(family, connector) for family in FAMILIES for connector in CONNECTORS])
def plugged(request, composed):
    """A composition and vLLM with its checkpoint."""
    found = composed(*request.param)
    with started(found.folder, limit_mm_per_prompt={"image": 4, "video": 2}) as engine:
        yield found, engine


@pytest.fixture
def served(plugged):
    found, engine = plugged
    return found.model, found.processor, engine


region_only = pytest.mark.parametrize("plugged", [("llama", "region")], indirect=True)


def write(processor, content):
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def ask(engine, prompt, media, **options):
    (reply,) = engine.generate([{"prompt": prompt, "multi_modal_data": media, **options}], GREEDY, use_tqdm=False)
    return read(reply)


def ask_all(engine, prompts, requests, sampling=GREEDY, **options):
    """What vLLM writes for ``requests``."""
    asked = [
        {"prompt": prompt, "multi_modal_data": {k: v for k, v in (("image", pictures), ("video", clips)) if v}}
        for prompt, (_, pictures, clips) in zip(prompts, requests, strict=True)
    ]
    return [read(reply) for reply in engine.generate(asked, sampling, use_tqdm=False, **options)]


def check_all(found, expected):
    """All 32 are the same, are compared to their end but for few, and depend on what is seen."""
    assert len(found) == len(expected) == 32
    assert found == expected
    assert sum(each.tie == NEW for each in expected) >= 28, "most answers are compared to their end"
    assert len({tuple(each.answer) for each in expected}) > 12, "the answers hardly depend on what is seen"


def test_the_plugin_writes_what_generate_writes(plugged, requests):
    found, engine = plugged
    check_all(ask_all(engine, found.prompts, requests), found.written)


@region_only
def test_landmarks_of_a_request_reach_the_connector_and_are_part_of_the_caches_key(served, portrait):
    model, processor, engine = served
    prompt = write(processor, [PICTURE, *QUESTION])
    answers = []
    for points in (POINTS, POINTS[::-1]):  # the same picture twice, with landmarks that change places
        inputs = processor(text=[prompt], images=[portrait] * 2, landmarks=list(points))
        given = {"mm_processor_kwargs": {"landmarks": points.tolist()}}
        answers.append(ask(engine, prompt, {"image": [portrait] * 2}, **given))
        assert answers[-1] == generate(model, inputs)
    assert answers[0].answer != answers[1].answer
    clip = np.stack([np.asarray(portrait)] * 4)
    prompt, shapes = write(processor, [CLIP, *QUESTION[1:]]), POINTS[:1].repeat(4, axis=0)
    given = {"mm_processor_kwargs": {"video_landmarks": [shapes.tolist()], "num_frames": 2}}
    inputs = processor(text=[prompt], videos=[clip], video_landmarks=[shapes], num_frames=2)
    assert ask(engine, prompt, {"video": clip}, **given) == generate(model, inputs)


@region_only
def test_a_picture_without_a_face_follows_the_rule(served):
    _, processor, engine = served
    cat, prompt = Image.fromarray(skimage.data.chelsea()), write(processor, QUESTION)
    with pytest.raises(VLLMValidationError, match="no face was found"):
        ask(engine, prompt, {"image": cat})
    whole = processor(text=[prompt], images=[cat], landmarks=[None])
    rule = {"mm_processor_kwargs": {"on_no_face": "whole-image"}}
    assert ask(engine, prompt, {"image": cat}, **rule).prompt == whole["input_ids"][0].tolist()
    for options, words in (
        ({"landmarks": [None, None]}, "landmarks is a list with one entry for each image, of which the request has 1"),
        ({"crop": True}, "there is no option 'crop' of pictures"),
    ):
        with pytest.raises(VLLMValidationError, match=words):
            ask(engine, prompt, {"image": cat}, mm_processor_kwargs=options)


@region_only
def test_the_image_token_is_never_written(served, portrait):
    _, processor, engine = served
    wanted = SamplingParams(temperature=0, max_tokens=8, logit_bias={processor.image_token_id: 100.0}, logprobs=2)
    asked = {"prompt": write(processor, QUESTION), "multi_modal_data": {"image": portrait}}
    (reply,) = engine.generate([asked], wanted, use_tqdm=False)
    assert processor.image_token_id not in reply.outputs[0].token_ids


@region_only
def test_chats_of_vllm_are_the_prompts_of_facekit(served, portrait):
    model, processor, engine = served
    content = [{"type": "image_pil", "image_pil": portrait}, QUESTION[1]]
    (reply,) = engine.chat([{"role": "user", "content": content}], GREEDY, use_tqdm=False)
    expected = generate(model, processor(text=[write(processor, QUESTION)], images=[portrait]))
    assert read(reply) == expected
    (reply,) = engine.chat([{"role": "user", "content": "Hello?"}], GREEDY, use_tqdm=False)
    expected = generate(model, processor(text=[write(processor, [{"type": "text", "text": "Hello?"}])]))
    assert read(reply) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_embeddings_of_the_exported_language_model_write_what_generate_writes(family, composed, tmp_path):
    texts, embedded = [], []
    for connector in CONNECTORS:
        found = composed(family, connector)
        texts.append(export(found.model, found.processor, tmp_path / connector, "language-model"))
        for inputs in found.inputs:
            media = {name: inputs.get(name) for name in ("pixel_values", "landmarks", "num_frames")}
            with torch.inference_mode():
                embedded.append(found.model.embed(inputs["input_ids"], **media)[0][0].clone())
    first = texts[0] / "model.safetensors"  # one vLLM answers for all three
    assert all(filecmp.cmp(first, each / "model.safetensors", shallow=False) for each in texts)
    with started(texts[0], enable_prompt_embeds=True) as engine:
        replies = engine.generate(
            [{"prompt_embeds": each} for each in embedded], without_image_token(found.processor), use_tqdm=False
        )
    answers = [replace(read(reply), prompt=[]) for reply in replies]
    for index, connector in enumerate(CONNECTORS):
        expected = [replace(each, prompt=[]) for each in composed(family, connector).written]
        check_all(answers[32 * index :][:32], expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["llava", "internvl"])
def test_exports_in_others_layouts_write_what_generate_writes(name, family, requests, tmp_path, monkeypatch):
    text = {**foreign_checkpoints.TEXT, "hidden_size": 128, "model_type": family}
    monkeypatch.setattr(foreign_checkpoints, "TEXT", text)
    getattr(foreign_checkpoints, f"save_{name}")(tmp_path / "published")
    model, processor = facekit.load(tmp_path / "published")
    processor.image_processor.num_frames = 4
    export(model, processor, tmp_path / "exported", f"{name}-hf")
    prompts, expected, given = [], [], []
    for content, pictures, clips in requests:
        # A clip is its frames, one after the other, in the tokens of pictures.
        frames = [Image.fromarray(clip[index]) for clip in clips for index in np.linspace(0, 5, 4).astype(int)]
        shown = [*pictures[:1], *frames, *pictures[1:]]
        if name == "internvl":  # its processor writes <img> and </img> around each frame: facekit's is told of pictures
            content = [each for entry in content for each in ([PICTURE] * 4 if entry is CLIP else [entry])]
            pictures, clips = shown, []
        prompt, mark = write(processor, content), processor.image_token
        expected.append(generate(model, processor(text=[prompt], images=pictures or None, videos=clips or None)))
        prompts.append(prompt.replace("<video>", mark * 4).replace(f"<img>{mark}</img>", mark))
        given.append((content, shown, []))
    with started(tmp_path / "exported", limit_mm_per_prompt={"image": 6}) as engine:
        found = ask_all(engine, prompts, given, without_image_token(processor))
    check_all(found, expected)


@pytest.fixture(scope="module")
def behind(composed):
    """facekit's engine around vLLM, in the floating type of the checkpoint."""
    found = composed("llama", "region")
    model, processor, folder = found.model, found.processor, found.folder
    options = {**{name: value for name, value in OPTIONS.items() if name != "dtype"}, "max_model_len": 512}
    engine = VllmEngine(model, processor, folder=folder, max_batch=8, max_media=None, options=options)
    engine.start()
    yield model, processor, engine
    engine.close()


def test_the_engine_of_facekits_server_writes_what_generate_writes(behind, composed, requests):
    _, processor, engine = behind
    asked = []
    for content, pictures, clips in requests:
        media = [medium_tensors(processor.image_processor, each) for each in
                 processor.image_processor.prepare_media(pictures, clips)]  # fmt: skip
        if len(media) == 3:  # prompts have the clip between the pictures
            media = [media[0], media[2], media[1]]
        tokens = []
        prompt = write(processor, content)
        asked.append(
            (Job(prompt, tuple(media), b"", NEW, on_token=lambda score, to=tokens: to.append(score.token)), tokens)
        )
        engine.submit(asked[-1][0])
    found = []
    for job, tokens in asked:
        job.future.result(120)
        found.append(Written([], tokens))
    end = processor.tokenizer.eos_token_id
    expected = [
        replace(each, prompt=[], answer=[token for token in each.answer if token != end])
        for each in composed("llama", "region").written
    ]
    check_all(found, expected)


def test_a_batch_has_the_answers_of_the_model_and_asks_nothing_twice(behind, portrait, tmp_path):
    model, processor, engine = behind
    folder = tmp_path / "photos"
    folder.mkdir()
    pictures = {f"{angle}.png": portrait.rotate(angle) for angle in range(-6, 6)}
    for name, picture in pictures.items():
        picture.save(folder / name)
    (folder / "torn.png").write_bytes(b"no picture")
    questions, answers = ["Which expression?", "How old?"], BatchAnswers(engine)
    run = functools.partial(
        answer_entries, model, processor, open_entries(folder), tmp_path / "answers.jsonl", questions,
        max_new_tokens=NEW, batch_size=8, engine=answers,
    )  # fmt: skip
    result = run()
    assert (result.answers, result.failures) == (24, {"ImageError": 2})
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    sure = 0
    for line in lines:
        if line["answer"] is None:
            continue
        content = [PICTURE, {"type": "text", "text": line["question"]}]
        expected = generate(model, processor(text=[write(processor, content)], images=[pictures[line["image"]]]))
        text = processor.tokenizer.decode(expected.answer[: expected.tie], skip_special_tokens=True)
        assert line["answer"].startswith(text.strip().rstrip("\N{REPLACEMENT CHARACTER}"))
        sure += expected.tie == NEW and line["answer"] == text.strip()
    assert sure >= 20, "most answers are compared to their end"
    engine.submit = None  # nothing is asked any more
    try:
        again = run()
    finally:
        del engine.submit
    assert (again.answers, again.reused, again.failures) == (0, 24, {"ImageError": 2})
    with pytest.raises(ConfigurationError, match="tokens"):
        answers.answer((), "Hello " * 5_000, 4).result(60)


def test_json_answers_are_those_of_facekits_own_engine(behind, portrait):
    model, processor, engine = behind
    (face,) = processor.image_processor.prepare_media([portrait], [])
    medium = medium_tensors(processor.image_processor, face)
    schema = {
        "type": "object",
        "properties": {"expression": {"enum": ["happiness", "anger"]}, "age": {"type": "integer", "maximum": 99}},
        "required": ["expression", "age"],
        "additionalProperties": False,
    }
    wanted = [schema, {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}, {"const": "so"}]
    formats = JsonFormats(processor.tokenizer, [processor.tokenizer.eos_token_id])
    own = Engine(model, processor)
    own.start()
    found = []
    for answering in (engine, own):
        jobs = [
            Job(write(processor, QUESTION), (medium,), medium.digest(), 60, how, grammar=formats.compile(shape))
            for shape in (as_format(each) for each in wanted)
            for how in (None, Sampling(1.2, seed=1))
        ]
        for job in jobs:
            answering.submit(job)
        found.append([job.future.result(120) for job in jobs])
    own.close()
    for answers in found:
        for answer, shape in zip(answers, (each for each in wanted for _ in range(2)), strict=True):
            assert answer.end.reason == "stop"
            read = json.loads(answer.text)
            assert read == "so" if shape is wanted[2] else len(read) == 2
    greedy = [[answer.text for answer in answers[::2]] for answers in found]
    assert greedy[0] == greedy[1]


def test_a_checkpoints_generation_settings_are_kept_to(behind, portrait, monkeypatch):
    model, processor, engine = behind
    (face,) = processor.image_processor.prepare_media([portrait], [])
    medium, prompt = medium_tensors(processor.image_processor, face), write(processor, QUESTION)
    texts = []
    for settings in ({}, {"repetition_penalty": 1.6, "suppress_tokens": [processor.image_token_id, *range(200, 400)]}):
        for name, value in settings.items():
            monkeypatch.setattr(model.generation_config, name, value)
        sure = generate(model, processor(text=[prompt], images=[portrait]))
        texts.append(BatchAnswers(engine).answer([medium], prompt, NEW).result(60))
        expected = processor.tokenizer.decode(sure.answer[: sure.tie], skip_special_tokens=True).strip()
        assert texts[-1].startswith(expected.rstrip("\N{REPLACEMENT CHARACTER}"))
    assert texts[0] != texts[1]


def test_two_models_are_served_by_an_engine_each(behind, portrait, tmp_path):
    first, second = behind[:2], compose(tmp_path, "qwen2", "mlp")
    options = {**OPTIONS, "max_model_len": 512}
    other = VllmEngine(*second[:2], folder=second[2], max_batch=8, options=options)
    engines = {"first": keep(behind[2]), "second": lambda *_, **__: other}
    face = portrait.crop((60, 0, 200, 140))
    landmarks = {"landmarks": [POINTS[0].tolist()]}
    with running(*first, name="first", others={"second": second[:2]}, make_engine=engines) as address:
        for name, (model, processor) in (("first", first), ("second", second[:2])):
            content = [{"type": "image_url", "image_url": {"url": as_url(face)}}, QUESTION[1]]
            status, text = complete(address, content, model=name, facekit=landmarks, temperature=None)
            inputs = processor(text=[write(processor, QUESTION)], images=[face], landmarks=[POINTS[0]])
            sure = generate(model, inputs)
            expected = processor.tokenizer.decode(sure.answer[: sure.tie], skip_special_tokens=True).strip()
            assert status == 200
            assert text.startswith(expected.rstrip("\N{REPLACEMENT CHARACTER}"))


def keep(engine):
    """A maker of an engine that runs already and goes on after its server has ended."""
    twin = copy.copy(engine)
    twin.start = twin.close = lambda: None
    return lambda *_, **__: twin


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A base, and a run of facekit's that trained an adapter over it."""
    folder = tmp_path_factory.mktemp("adapted")
    _, _, base = compose(folder, "llama", "region")
    lines = []
    for number in range(4):
        draw_noise(number).save(folder / f"{number}.png")
        turns = [Turn(role="user", content="<image>\nHow old?"), Turn(role="assistant", content="thirty")]
        picture = {"image": f"{number}.png", "landmarks": POINTS[0].tolist()}
        lines.append(FaceRecord(id=str(number), **picture, conversations=turns))
    settings = TrainingSettings(
        steps=4, batch_size=4, learning_rate=0.02, parts=("llm.lora",), lora={"rank": 4}, seed=0
    )  # fmt: skip
    train(*facekit.load(base), write_records(folder / "records.jsonl", lines), folder / "run", settings)
    return base, folder / "run"


def draw_noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8))


def test_an_adapter_of_facekits_writes_in_vllm_what_the_merged_model_writes(adapted, requests):
    base, run = adapted
    merged, processor = facekit.load(run)
    first = facekit.load(base)[0]
    prompts = [write(processor, content) for content, _, _ in requests]
    expected, before = (
        [
            generate(model, processor(text=[prompt], images=pictures or None, videos=clips or None))
            for prompt, (_, pictures, clips) in zip(prompts, requests, strict=True)
        ]
        for model in (merged, first)
    )
    with started(base, enable_lora=True, max_lora_rank=8) as engine:
        adapter = LoRARequest("faces", 1, str(run / "adapter"))
        replies = [ask_all(engine, prompts, requests, lora_request=how) for how in (adapter, None)]
    check_all(replies[0], expected)
    check_all(replies[1], before)
    assert sum(one == other for one, other in zip(*replies, strict=True)) < 8, "the adapter changes hardly anything"


@pytest.mark.parametrize("family", NATIVE)
def test_an_adapter_over_a_base_in_its_own_class_writes_in_vllm_what_the_merged_model_writes(
    family, tmp_path, monkeypatch
):
    head = {"num_attention_heads": 1, "num_key_value_heads": 1}  # of width 32
    for module in (small_vlms, foreign_checkpoints):
        monkeypatch.setattr(module, "TEXT", {**module.TEXT, **head})
    monkeypatch.setattr(small_vlms, "MROPE", {**small_vlms.MROPE, "mrope_section": [4, 4, 8]})
    base, run = tmp_path / "base", tmp_path / "run"
    small_vlms.save_small_vlm(family, base)
    (model, processor), (first, plain) = (facekit.load(f"hf:{base}") for _ in range(2))
    for images in (processor.image_processor, plain.image_processor):
        images.image_size, images.landmarker = 64, None
    records = RecordSet.read(write_synthetic_dataset(tmp_path / "faces", 4, seed=7, image_size=64))
    parts, lora = ("language_model.lora",), {"rank": 4}
    settings = TrainingSettings(steps=4, batch_size=4, learning_rate=0.02, parts=parts, lora=lora, seed=0)
    train(model, processor, records, run, settings)
    prompt = write(processor, QUESTION)
    pictures = [small_vlms.face_picture(number, 64, 64) for number in range(32)]
    expected, before = (
        [generate(each, processor(text=[prompt], images=[picture])) for picture in pictures]
        for each in (facekit.load(run)[0], first)
    )
    ids = processor.tokenizer(prompt, add_special_tokens=False)["input_ids"]  # as chats of vLLM's write them
    asked = [{"prompt_token_ids": ids, "multi_modal_data": {"image": picture}} for picture in pictures]
    with started(base, enable_lora=True, max_lora_rank=8) as engine:
        adapter = LoRARequest("faces", 1, str(run / "adapter"))
        replies = [
            [read(reply) for reply in engine.generate(asked, GREEDY, use_tqdm=False, lora_request=how)]
            for how in (adapter, None)
        ]
    assert replies[0] == expected
    assert replies[1] == before
    assert sum(one == other for one, other in zip(*replies, strict=True)) < 8, "the adapter changes hardly anything"
    assert len({tuple(each.answer) for each in expected}) > 4, "the answers hardly depend on what is seen"


def test_facekits_engine_opens_an_adapter_beside_its_base(adapted, requests):
    _, run = adapted
    merged, processor = facekit.load(run)
    source = ModelSource(run / "adapter", device="cpu")
    options = {**OPTIONS, "max_model_len": 512}
    start = choose_batch_engine("vllm", json.dumps(options), source)
    picture = requests[0][1][0]
    (face,) = processor.image_processor.prepare_media([picture], [])
    prompt = write(processor, QUESTION)
    with start(*source.load(), 4) as engine:
        text = engine.answer([medium_tensors(processor.image_processor, face)], prompt, NEW).result(120)
    sure = generate(merged, processor(text=[prompt], images=[picture]))
    expected = processor.tokenizer.decode(sure.answer[: sure.tie], skip_special_tokens=True).strip()
    assert text.startswith(expected.rstrip("\N{REPLACEMENT CHARACTER}"))


def test_an_adapter_that_vllm_does_not_take_is_refused_before_the_model_is_opened(adapted, tmp_path):
    adapt_with_peft(adapted[0], tmp_path / "adapter", 0.1, init_lora_weights="pissa")
    source = ModelSource(tmp_path / "adapter")
    with (
        pytest.raises(ConfigurationError, match=r"does not take the adapter .*init_lora_weights='pissa'.*--merge-lora"),
        choose_batch_engine("vllm", json.dumps(OPTIONS), source)(*source.load(), 4),
    ):
        pass


def as_format(schema):
    return JsonSchemaFormat.model_validate(
        {"type": "json_schema", "json_schema": {"name": "face", "schema": schema, "strict": True}}
    )


@pytest.fixture(scope="module")
def server(composed):
    """``vllm serve`` as people start it."""
    found = composed("llama", "region")
    model, processor, folder = found.model, found.processor, found.folder
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {"dtype": "float32", "max-model-len": "512", "max-num-seqs": "8", "port": str(port), "host": "127.0.0.1"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    flags = ["--enforce-eager", "--trust-request-mm-kwargs", "--served-model-name", "faces"]
    limits = ["--kv-cache-memory-bytes", str(64 << 20), "--media-io-kwargs", json.dumps({"video": {"num_frames": 4}})]
    # What `vllm serve` runs; the package vllm-cpu has not the name under which that looks for its own version.
    module = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command = [sys.executable, *module, *arguments, *flags, *limits]
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    process = subprocess.Popen(command, env=environment, cwd=folder)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, process)
        yield model, processor, address
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(address, process):
    for _ in range(400):
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(1)
    raise AssertionError("the server does not answer")


def complete(address, content, **options):
    body = {"model": "faces", "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": NEW}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps({**body, **options}).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return 200, json.load(reply)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def as_url(picture):
    content = io.BytesIO()
    picture.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def test_vllms_server_answers_chats_with_pictures_landmarks_and_clips(server, portrait, tmp_path):
    model, processor, address = server
    shown = [{"type": "image_url", "image_url": {"url": as_url(portrait)}}, QUESTION[1]]

    def expected(content, **media):
        written = generate(model, processor(text=[write(processor, content)], **media))
        return 200, processor.tokenizer.decode(written.answer[: written.tie], skip_special_tokens=True)

    def starts(reply, sure):  # vLLM keeps the beginning of a character back that the limit cut off
        return reply[0] == sure[0] and reply[1].startswith(sure[1].rstrip("\N{REPLACEMENT CHARACTER}"))

    found = complete(address, shown)
    assert starts(found, expected(QUESTION, images=[portrait]))
    given = complete(address, shown, mm_processor_kwargs={"landmarks": POINTS[:1].tolist()})
    assert starts(given, expected(QUESTION, images=[portrait], landmarks=[POINTS[0]]))
    assert given != found
    cat = [{"type": "image_url", "image_url": {"url": as_url(Image.fromarray(skimage.data.chelsea()))}}, QUESTION[1]]
    status, told = complete(address, cat)
    assert status == 400
    assert "no face was found" in told
    path = video_files.write_video(tmp_path / "clip.mp4", [np.asarray(portrait)] * 8)
    url = f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
    status, text = complete(address, [{"type": "video_url", "video_url": {"url": url}}, QUESTION[1]])
    assert status == 200
    assert text
