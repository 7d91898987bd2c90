"""``open_model``: models under test by spec string; Hugging Face checkpoints and recorded answers.

All keep to the protocol of ``facekit.evaluation.tasks.questions``, and ``open_model`` finds them by a spec string.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from facekit.answers.reading import Rule
from facekit.backbones.base import choose_device, read_dtype
from facekit.backbones.quantization import read_quantization
from facekit.data.identity import describe_items
from facekit.data.record_files import read_text
from facekit.errors import ConfigurationError, InvalidSpecError, RecordError
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.models.endpoint_model import EndpointModel
from facekit.evaluation.tasks.extraction import Extractor
from facekit.evaluation.tasks.prompts import CLOSED, RECORDED, TRAINED
from facekit.evaluation.tasks.questions import ModelUnderTest, Question, well_formed
from facekit.hub import fetch_folder
from facekit.models.foreign_prompts import escape_chat, tokenize_chats
from facekit.models.identity import sample_weights
from facekit.models.interoperability.recognition import NATIVE_SETTINGS, CheckpointFormat, recognise
from facekit.models.load import check_placing
from facekit.models.native.loading import open_in_own_class
from facekit.models.native.region import REGION_FOLDER
from facekit.models.placement import check_device_map
from facekit.models.sessions import option_tokens, question_log_likelihoods
from facekit.models.source import ModelSource
from facekit.spec import PartSpec, PositiveInt, call_with_options, options_for

logger = logging.getLogger(__name__)


class HuggingFaceModel:
    """Any model of ``AutoModelForImageTextToText`` with its processor; pictures are seen whole.

    Args:
        model: The model.
        processor: Its processor, with a chat template.
        name: Its name in reports.
        batch_size: Questions at a time; questions of like length go together.
        options: How it was opened, which a resumed run is compared by beside its name and weights.
    """

    prompt_style = CLOSED

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        batch_size: int = 8,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
        self.model, self.processor, self.batch_size = model.eval(), processor, batch_size
        self.name = well_formed(name)
        self._options = dict(options or {})

    @property
    def identity(self) -> dict[str, str]:
        """How it was opened and a sample of its weights, so that it is another one under the same name."""
        return {**self._options, "weights": sample_weights(self.model)}

    @classmethod
    def load(
        cls,
        path: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device | None = None,
        load_in: Literal["4bit", "8bit"] | None = None,
        tokenizer: str | Path | None = None,
        revision: str = "main",
        device_map: str | None = None,
        batch_size: PositiveInt = 8,
    ) -> HuggingFaceModel:
        """Load a checkpoint by hub id or path; code that comes with a checkpoint is never run.

        Args:
            path: Hub id or folder.
            dtype: ``auto``, as saved, or a floating type.
            device: Where the model is put; by default a GPU where there is one.
            load_in: ``4bit`` or ``8bit`` packs the whole model but its head.
            tokenizer: A tokenizer in place of the checkpoint's: folder or hub id.
            revision: Branch, tag or commit on the hub.
            device_map: Instead of ``device``, how the model is divided among devices; as in transformers.
            batch_size: Questions at a time.

        Raises:
            CheckpointError: It cannot be loaded.
        """
        check_device_map(device_map, device)
        where = choose_device(device)
        floating = None if dtype == "auto" else read_dtype(dtype)
        placing: dict[str, Any] = {}
        if load_in is not None:
            placing = {"quantization_config": read_quantization(load_in, floating), "device_map": {"": where}}
        if device_map is not None:
            placing["device_map"] = device_map
        folder = fetch_folder(path, revision)
        if (folder / REGION_FOLDER).is_dir():
            logger.warning(
                "'%s' has region attention, which its own class does not know; leave 'hf:' out to evaluate it", path
            )
        model, processor = open_in_own_class(folder, dtype=floating, tokenizer=tokenizer, **placing)
        is_placed = load_in is not None or device_map is not None
        placed = model if is_placed else model.to(where)
        options = {"dtype": str(placed.dtype), "load_in": load_in or "", "revision": revision}
        options |= {"tokenizer": "" if tokenizer is None else str(tokenizer)}
        return cls(placed, processor, name=f"hf:{path}", batch_size=batch_size, options=options)

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Answer questions greedily; see ``ModelUnderTest``."""
        pictures = {
            index: len(question.pictures) if question.record is None else 1 for index, question in enumerate(questions)
        }
        order = sorted(pictures, key=lambda index: (questions[index].max_new_tokens, pictures[index],
                                                    len(questions[index].text)))  # fmt: skip
        for start in range(0, len(order), self.batch_size):
            indices = order[start : start + self.batch_size]
            inputs = self._inputs([questions[index] for index in indices])
            limit = max(questions[index].max_new_tokens for index in indices)
            with torch.inference_mode():
                tokens = self.model.generate(**inputs, max_new_tokens=limit, do_sample=False)
            texts = self.processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            yield from zip(indices, (text.strip() for text in texts), strict=True)

    def score_options(self, questions: Sequence[Question]) -> Iterator[tuple[int, dict[str, float]]]:
        """Log-probability of each question's options; see ``ScoresOptions``."""
        subjects: dict[object, list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            subjects[question.subject].append(index)
        for indices in subjects.values():
            prompts = [self._inputs([questions[index]]) for index in indices]
            options = [self._option_ids(questions[index]) for index in indices]
            for index, sums in zip(indices, question_log_likelihoods(self.model, prompts, options), strict=True):
                yield index, dict(zip(questions[index].options, sums, strict=True))

    def _option_ids(self, question: Question) -> list[list[int]]:
        chat = escape_chat(self.processor, _chat(question))
        prompt = self.processor.apply_chat_template(chat, add_generation_prompt=True)
        return [option_tokens(self.processor.tokenizer, prompt, option) for option in question.options]

    def _inputs(self, questions: Sequence[Question]) -> Any:
        self.processor.tokenizer.padding_side = "left"
        chats = [_chat(question) for question in questions]
        inputs = tokenize_chats(
            self.processor, chats, add_generation_prompt=True, processor_kwargs={"padding": len(questions) > 1}
        )
        return inputs.to(self.model.device)


class RecordedModel:
    """Answers that were given elsewhere, from a JSON-lines file.

    Each line has ``answer``, null where there is none, and either ``question``, the question's id, or ``id`` and, for
    records, ``task`` (and ``item``, for tasks that ask about each label), as in ``predictions.jsonl``.

    Args:
        path: The file.

    Attributes:
        extracted: Question to the label in words that a language model read in its answer (``--extract``).

    Raises:
        RecordError: It cannot be read; the message has the line.
    """

    prompt_style = RECORDED

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = well_formed(f"predictions:{self.path}")
        self._answers: dict[str, str] = {}
        self.extracted: dict[str, str] = {}
        for number, line in enumerate(read_text(self.path, "predictions").split("\n"), 1):
            if line.strip():
                self._read(line, number)

    @property
    def identity(self) -> dict[str, str]:
        """The file's contents."""
        return {"answers": describe_items(json.dumps(each) for each in sorted(self._answers.items()))}

    def __contains__(self, question: str) -> bool:
        return question in self._answers

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Look the answers up; see ``ModelUnderTest``.

        Raises:
            RecordError: The file has no answer to a question.
        """
        for index, question in enumerate(questions):
            if question.id not in self._answers:
                raise RecordError(f"{self.path} has no answer to '{question.id}'; it needs one for every question")
            yield index, self._answers[question.id]

    def _read(self, line: str, number: int) -> None:
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise TypeError("the line is no object")
            if "run" in entry:
                return
            keys = [str(entry[name]) for name in ("id", "task", "item") if entry.get(name) is not None]
            key, answer = str(entry.get("question") or "/".join(keys)), entry["answer"]
            self._answers[key] = "" if answer is None else str(answer)
            self.extracted.pop(key, None)
            if entry.get("rule") == Rule.EXTRACTED and entry.get("prediction") is not None:
                self.extracted[key] = str(entry["prediction"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecordError(f"{self.path}, line {number}: needs 'answer' and 'question' or 'id' ({error})") from error


def open_model(spec: str | ModelSource, *, batch_size: int | None = None) -> ModelUnderTest:
    """Open a model under test by a spec string.

    Args:
        spec: A folder or hub id of a model of facekit; ``hf:ID`` with options ``dtype``, ``device``, ``load_in``,
            ``tokenizer``, ``revision``, ``device_map``; ``openai:MODEL`` with the options of
            ``EndpointModel.from_spec``; or ``predictions:FILE``. As a ``ModelSource`` it says how a model that runs
            here is opened.
        batch_size: Pictures or questions at a time, for models that run here.

    Raises:
        InvalidSpecError: The spec names no such kind, or has an unknown option.
        ConfigurationError: The source has an option that means nothing for such a model.
        CheckpointError: A checkpoint cannot be loaded.
        RecordError: A predictions file cannot be read.
    """
    source = spec if isinstance(spec, ModelSource) else ModelSource(spec)
    spec, kind = str(source.path), _kind(source)
    sizes: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    if kind is None:
        return FaceKitModel(*source.load(), name=spec, prompt_style=default_prompt_style(source), **sizes)
    parsed = _parse(source, kind)
    chosen = {name: getattr(source, name) for name in source.given}
    context = {**sizes, **chosen} if kind == "hf" else {}
    return call_with_options(f"model '{kind}'", _OPENED[kind], parsed.argument, parsed.options, **context)


def check_model(spec: str | ModelSource) -> None:
    """Make sure that ``open_model``, whose errors these are, would find a model and take its options.

    None is opened, and nobody is called: a key need not be there. Of ``hf:ID`` only the options are looked at.
    """
    source = spec if isinstance(spec, ModelSource) else ModelSource(spec)
    kind = _kind(source)
    if kind is None:
        source.check()
        return
    parsed = _parse(source, kind)
    if kind == "hf":
        chosen = {name: getattr(source, name) for name in source.given}
        options = {**options_for(f"model '{kind}'", _OPENED[kind], parsed.options, chosen), **chosen}
        check_placing(**{name: options.get(name) for name in ("dtype", "device", "load_in", "device_map")})
        return
    options = {name: value for name, value in parsed.options.items() if name != "key_env"}
    call_with_options(f"model '{kind}'", _OPENED[kind], parsed.argument, options)


def _parse(source: ModelSource, kind: str) -> PartSpec:
    """The spec of a model that is none of facekit's; refuses options beside it that mean nothing there."""
    parsed = PartSpec.parse(str(source.path))
    if parsed.argument is None:
        raise InvalidSpecError(f"the model spec '{source.path}' has no name after '{kind}:'")
    if kind != "hf":
        source.refuse("does not run here")
    source.refuse(
        "has no towers of Face-LLaVA", allowed=("device", "dtype", "load_in", "tokenizer", "revision", "device_map")
    )
    return parsed


_OPENED: dict[str, Callable[..., ModelUnderTest]] = {
    "hf": HuggingFaceModel.load,
    "openai": EndpointModel.from_spec,
    "predictions": RecordedModel,
}


def open_extractor(spec: str, *, every: bool = False) -> Extractor:
    """Open the language model that maps answers to labels, by the spec string ``openai:MODEL?base_url=…``.

    Args:
        spec: The model at an endpoint.
        every: Whether it is asked about every answer, not only where the rules read none.

    Raises:
        InvalidSpecError: The spec names no model at an endpoint, or has an unknown option.
    """
    _refuse_extractor(spec)
    return Extractor(open_model(spec), every)


def check_extractor(spec: str) -> None:
    """Make sure that ``open_extractor``, whose errors these are, would take a spec; nobody is called."""
    _refuse_extractor(spec)
    check_model(spec)


def _refuse_extractor(spec: str) -> None:
    if not spec.startswith("openai:"):
        raise InvalidSpecError(
            f"'{spec}' cannot extract labels: it takes a language model at an endpoint, openai:MODEL?base_url=URL"
        )


def default_prompt_style(spec: str | ModelSource) -> str:
    """How tasks are put by default to a model that a spec string names; it is not opened.

    Returns:
        ``trained`` for what facekit composed or trained an adapter of, ``recorded`` for a file of answers, else
        ``closed``.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    source = spec if isinstance(spec, ModelSource) else ModelSource(spec)
    kind = _kind(source)
    if kind is not None:
        return RECORDED if kind == "predictions" else CLOSED
    recognised = recognise(fetch_folder(source.path, source.revision, weights=False))
    is_ours = recognised.format in (CheckpointFormat.FACEKIT, CheckpointFormat.ADAPTER)
    return TRAINED if is_ours or (recognised.folder / NATIVE_SETTINGS).is_file() else CLOSED


def scores_options(spec: str | ModelSource) -> bool:
    """Whether a model that a spec string names gives likelihoods; it is not opened."""
    return _kind(spec if isinstance(spec, ModelSource) else ModelSource(spec)) not in ("openai", "predictions")


def is_own_model(spec: str | ModelSource) -> bool:
    """Whether a spec names a model that facekit opens in its own class, and not one of others or recorded answers."""
    return _kind(spec if isinstance(spec, ModelSource) else ModelSource(spec)) is None


def _kind(source: ModelSource) -> str | None:
    """What stands before the colon of a spec string; None for folders and hub ids."""
    spec = str(source.path)
    kind = spec.partition(":")[0]
    return None if kind not in ("hf", "openai", "predictions") or Path(spec).exists() else kind


def _chat(question: Question) -> list[dict[str, Any]]:
    pictures = [{"type": "image", "image": picture} for picture in question.open_pictures()]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": question.text}]}]
