"""``VllmEngine``: vLLM in the place of facekit's own engine, behind the same server.

Answers begin and end one by one (continuous batching), and vLLM keeps what it read of a prompt for the next one that
begins alike. Faces are found, prompts are written and clients are answered as with facekit's own engine, whose model
stays beside it for region maps.
"""

from __future__ import annotations

import json
import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekit.compat.vllm.engine import Progress, Writer
from facekit.errors import ConfigurationError, EngineError, first_line
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions import AnswerEnd, MediumTensors, TokenScore
from facekit.models.sessions.control import TextStream
from facekit.models.sessions.prompts import tokenize_prompts
from facekit.serving.engine import Answer, Engine, Job, Task, fail, lost_schema
from facekit.serving.request_error import RequestError
from facekit.serving.vllm.adapters import ServedAdapter
from facekit.serving.vllm.sampling import sampling_options, warn_of_differences

logger = logging.getLogger(__name__)

_OF_CAPACITY = {
    "block_size", "cpu_offload_gb", "data_parallel_size", "disable_log_stats", "distributed_executor_backend",
    "enable_chunked_prefill", "enable_prefix_caching", "enforce_eager", "gpu_memory_utilization",
    "kv_cache_memory_bytes", "max_model_len", "max_num_batched_tokens", "max_num_seqs", "mm_processor_cache_gb",
    "pipeline_parallel_size", "tensor_parallel_size",
}  # fmt: skip
"""vLLM's options that change no answer but by rounding, or by the limit that ends it."""


@dataclass
class _Writing:
    """An answer while it is written."""

    job: Job
    stream: TextStream | None
    tokens: list[int] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)


class VllmEngine(Engine):
    """A checkpoint in vLLM, and the thread that steps it.

    Args:
        model: The same model, for its configuration and for region maps.
        processor: Its processor.
        folder: Its checkpoint, in facekit's own format; of a model with an adapter that of the base.
        adapter: The adapter, which vLLM applies to every answer.
        max_batch: Answers that are written together.
        max_media: Pictures and clips of a request; None for any number.
        options: Further arguments of vLLM's engine; its floating type is the model's where they do not say otherwise.
        on_batch: Called at the end of each answer with how many were written then, and its seconds.
        **kwargs: Settings of facekit's own engine, which mean nothing here.

    Raises:
        MissingExtraError: vLLM is not installed.
        ConfigurationError: vLLM does not open the checkpoint.
    """

    def __init__(
        self,
        model: FaceKitForConditionalGeneration,
        processor: FaceKitProcessor,
        *,
        folder: Path,
        adapter: ServedAdapter | None = None,
        max_batch: int = 32,
        max_media: int | None = 8,
        options: Mapping[str, Any] | None = None,
        on_batch: Callable[[int, float], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, processor, max_batch=max_batch, on_batch=on_batch)
        chosen: dict[str, Any] = {"dtype": str(model.dtype).removeprefix("torch."), **(options or {})}
        if max_media is not None:
            chosen = {"limit_mm_per_prompt": {"image": max_media, "video": max_media}, **chosen}
        self._options = dict(options or {})
        files: dict[str, Any] = {} if adapter is None else {"adapter": adapter.folder, "rank": adapter.rank}
        self.writer = Writer(folder, max_batch, chosen, **files)
        warn_of_differences(model.generation_config)
        self._writing: dict[str, _Writing] = {}
        ends = model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        self._count = 0
        self._is_dead = False

    @property
    def is_working(self) -> bool:
        """Whether it may still answer; once vLLM's own process has died it does not."""
        return super().is_working and not self._is_dead

    @property
    def identity(self) -> Mapping[str, str]:
        """The options of vLLM that may change an answer; those of memory and speed alone do not."""
        return deciding_options(self._options)

    def _work(self) -> None:
        is_open = True
        while is_open or self._writing:
            is_open = is_open and self._admit()
            if self._writing:
                self._step()
        self.writer.close()

    def _admit(self) -> bool:
        """Begin what waits, and wait for something where nothing is being written; False once no more comes."""
        while len(self._writing) < self._max_batch:
            try:
                job = self._jobs.get(block=not self._writing)
            except queue.Empty:
                break
            if job is None:
                return False
            if isinstance(job, Task):
                job.run()
            elif job.claim():
                try:
                    self._begin(job)
                except ConfigurationError as error:
                    fail(job, RequestError(400, str(error)))
                except Exception as error:  # noqa: BLE001 - it belongs to this job and not to the thread
                    self._note_death(error)
                    fail(job, error)
        return True

    def _begin(self, job: Job) -> None:
        frames = [len(medium.pixel_values) for medium in job.media]
        ids = tokenize_prompts(self.processor, self.model.config, [job.prompt], [frames])[0].tolist()
        marks = {**self.writer.marks, "image": int(self.model.config.image_token_id or 0)}
        media: dict[str, list[tuple[str, MediumTensors]]] = {}
        for medium in job.media:
            media.setdefault(_modality(medium), []).append((medium.digest().hex(), medium))
        counts = [self.processor.count_visual_tokens(count) for count in frames]
        prompt = collapse(ids, marks["image"], counts, [marks[_modality(medium)] for medium in job.media])
        generation, limit = self.model.generation_config, job.max_new_tokens
        how = sampling_options(job.sampling, generation, image_token=marks["image"], longest=limit)
        self._count += 1
        key = str(self._count)
        self.writer.begin(
            key,
            prompt,
            media,
            max_tokens=limit,
            sampling=how,
            top_tokens=None if job.on_token is None else job.top_tokens,
            schema=None if job.grammar is None else job.grammar.schema,
        )
        self._writing[key] = _Writing(job, None if job.on_text is None else TextStream(self._decode, job.on_text))

    def _decode(self, tokens: list[int]) -> str:
        return str(self.processor.tokenizer.decode(tokens, skip_special_tokens=True))

    def _step(self) -> None:
        try:
            for progress in self.writer.step():
                self._take_safely(progress)
        except Exception as error:
            if not all(writing.job.future.done() for writing in self._writing.values()):  # somebody waits yet
                logger.exception("vLLM failed")
            self._note_death(error)
            failure = (
                error
                if isinstance(error, EngineError)
                else EngineError(f"vLLM failed ({first_line(error)}); its log above has the reason")
            )
            for key, writing in self._writing.items():
                fail(writing.job, failure)
                with suppress(Exception):  # it has failed, and may do so again
                    self.writer.end(key)
            self._writing.clear()

    def _take_safely(self, new: Progress) -> None:
        """Take what is new of an answer; where that fails, it costs this answer alone."""
        writing = self._writing.get(new.key)
        if writing is None:  # given up
            return
        try:
            self._take(new, writing)
        except Exception as error:
            logger.exception("an answer could not be taken from vLLM")
            fail(writing.job, error)
            if self._writing.pop(new.key, None) is not None and new.reason is None:
                self.writer.end(new.key)

    def _note_death(self, error: Exception) -> None:
        self._is_dead = self._is_dead or isinstance(error, EngineError)

    def _take(self, new: Progress, writing: _Writing) -> None:
        job = writing.job
        for index, token in enumerate(new.tokens):
            if job.on_token is not None and token not in self._ends:
                value, ranked = new.scores[index]
                job.on_token(TokenScore(token, value, ranked[: job.top_tokens]))
            writing.tokens.append(token)
            if writing.stream is not None:
                writing.stream.push(token)
        if new.reason == "error":
            self._writing.pop(new.key)
            reason = "vLLM ended the answer; its log has the reason"
            fail(job, EngineError(reason) if job.grammar is None else lost_schema(reason))
        elif new.reason is not None:
            if new.reason == "length" and len(writing.tokens) < job.max_new_tokens:
                logger.warning("an answer ends after %d tokens, where vLLM's context does", len(writing.tokens))
            self._finish(new.key, AnswerEnd(len(writing.tokens), new.reason))
        elif job.should_stop():
            self.writer.end(new.key)
            self._finish(new.key, AnswerEnd(len(writing.tokens), "cancelled"))

    def _finish(self, key: str, end: AnswerEnd) -> None:
        together = len(self._writing)
        writing = self._writing.pop(key)
        seconds = time.monotonic() - writing.began
        self._typical_seconds = 0.7 * self._typical_seconds + 0.3 * seconds
        if self._on_batch is not None:
            self._on_batch(together, seconds)
        if end.reason == "stop" and not self._follows_schema(writing):
            fail(writing.job, lost_schema("vLLM ended it there"))
            return
        text = self._decode(writing.tokens).strip()
        if writing.stream is not None:
            writing.stream.finish(text)
        with suppress(InvalidStateError):  # its client has gone
            writing.job.future.set_result(Answer(text, end))

    def _follows_schema(self, writing: _Writing) -> bool:
        """Whether an answer that has ended is as its schema says; vLLM ends one where it can follow it no further."""
        grammar = writing.job.grammar
        written = [token for token in writing.tokens if token not in self._ends]
        return grammar is None or grammar.accepts(written)


def collapse(ids: Sequence[int], image_token: int, counts: Sequence[int], marks: Sequence[int]) -> list[int]:
    """Write one mark for each medium where a prompt has its visual tokens.

    Args:
        ids: Token ids of the prompt.
        image_token: Stands for each visual token.
        counts: Visual tokens of each medium, in their order.
        marks: What to write for each.
    """
    collapsed: list[int] = []
    media = zip(counts, marks, strict=True)
    position = 0
    while position < len(ids):
        if ids[position] == image_token:
            count, mark = next(media)
            collapsed.append(mark)
            position += count
        else:
            collapsed.append(ids[position])
            position += 1
    return collapsed


def deciding_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Return those of vLLM's options that may change an answer, as ``engine_options``; nothing where there are none."""
    deciding = {name: value for name, value in options.items() if name not in _OF_CAPACITY}
    return {"engine_options": json.dumps(deciding, sort_keys=True)} if deciding else {}


def _modality(medium: MediumTensors) -> str:
    return "video" if medium.is_clip else "image"
