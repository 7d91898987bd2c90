"""``Writer``: vLLM's engine, stepped by whoever owns it, with prompts and media that are prepared already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from facekit.errors import ConfigurationError, EngineError, MissingExtraError, first_line


@dataclass(frozen=True)
class Progress:
    """What a step added to an answer.

    Args:
        key: The answer's.
        tokens: New tokens.
        scores: Of each new token, where asked for: its log-probability, and the most likely tokens with theirs.
        reason: How the answer ended, or None.

    Seen: vLLM 0.32.
    Why: what vLLM returns is no documented type.
    Until: it is.
    """

    key: str
    tokens: tuple[int, ...]
    scores: tuple[tuple[float, tuple[tuple[int, float], ...]], ...]
    reason: Literal["stop", "length", "error"] | None


class Writer:
    """vLLM's engine with one checkpoint, for one thread.

    Args:
        folder: The checkpoint.
        max_answers: That are written together.
        options: Further arguments of vLLM's ``EngineArgs``.
        adapter: A folder with a LoRA adapter for every answer.
        rank: Its largest rank, or more.

    Raises:
        MissingExtraError: vLLM is not installed.
        ConfigurationError: It does not open the checkpoint or the adapter, or has no such option.

    Seen: vLLM 0.32.
    Why: ``LLM`` writes whole batches and ``AsyncLLM`` wants an event loop; what both are made of is undocumented.
    Until: vLLM documents ``LLMEngine.step``.
    """

    def __init__(
        self,
        folder: Path,
        max_answers: int,
        options: Mapping[str, Any],
        *,
        adapter: Path | None = None,
        rank: int = 16,
    ) -> None:
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # standard output is for results
        try:
            from vllm import EngineArgs, SamplingParams
            from vllm.config import StructuredOutputsConfig
            from vllm.exceptions import VLLMClientError
            from vllm.lora.request import LoRARequest
            from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
            from vllm.v1.engine.exceptions import EngineDeadError
            from vllm.v1.engine.llm_engine import LLMEngine
        except ImportError as error:
            raise MissingExtraError("the engine vllm needs vLLM, as its own documentation installs it") from error
        self._sampling, self._delta = SamplingParams, RequestOutputKind.DELTA
        self._structured = StructuredOutputsParams
        self._adapter = None if adapter is None else LoRARequest(adapter.name or "adapter", 1, str(adapter.absolute()))
        self._refusals, self._death = (ValueError, VLLMClientError), EngineDeadError
        try:
            follows = StructuredOutputsConfig(backend="guidance")  # as facekit's own engine follows JSON schemas
            defaults: dict[str, Any] = {"max_num_seqs": max_answers, "structured_outputs_config": follows}
            if adapter is not None:
                _check_adapter(adapter, rank)
                defaults |= {"enable_lora": True, "max_lora_rank": rank}
            arguments = EngineArgs(model=str(folder), **{**defaults, **options})
            self._engine = LLMEngine.from_engine_args(arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigurationError(f"vLLM does not open '{folder}': {first_line(error)}") from error
        self.marks: dict[str, int] = self._engine.renderer.get_mm_processor().mark_ids

    def begin(
        self,
        key: str,
        tokens: Sequence[int],
        media: Mapping[str, Sequence[tuple[str, Any]]],
        *,
        max_tokens: int,
        sampling: Mapping[str, Any],
        top_tokens: int | None = None,
        schema: str | None = None,
    ) -> None:
        """Add an answer to those that are written.

        Args:
            key: By which ``step`` tells of it.
            tokens: The prompt, with one mark for each medium.
            media: Prepared media by modality, each with a name by which vLLM caches it.
            max_tokens: Longest answer.
            sampling: Further arguments of vLLM's ``SamplingParams``, such as ``temperature``.
            top_tokens: How many of the most likely tokens are told with each; None for no scores.
            schema: A JSON schema that the answer is to follow.

        Raises:
            ConfigurationError: vLLM refuses it, because the prompt is longer than its context for example.
            EngineError: vLLM has failed before.
        """
        prompt: dict[str, Any] = {"prompt_token_ids": list(tokens)}
        if media:
            prompt["multi_modal_data"] = {kind: [medium for _, medium in each] for kind, each in media.items()}
            prompt["multi_modal_uuids"] = {kind: [name for name, _ in each] for kind, each in media.items()}
        try:
            asked = self._sampling(
                max_tokens=max_tokens,
                logprobs=top_tokens,
                output_kind=self._delta,
                detokenize=False,
                structured_outputs=None if schema is None else self._structured(json=schema),
                **sampling,
            )
            self._engine.add_request(key, prompt, asked, lora_request=self._adapter)
        except self._death as error:
            raise EngineError(f"vLLM has failed ({first_line(error)}); its log has the reason") from error
        except self._refusals as error:
            raise ConfigurationError(f"vLLM refuses the request: {first_line(error)}") from error

    def end(self, key: str) -> None:
        """Give an answer up."""
        self._engine.abort_request([key])

    def step(self) -> Iterator[Progress]:
        """Write a token of every answer, and tell what is new.

        Raises:
            EngineError: vLLM's process has died.
        """
        try:
            replies = self._engine.step()
        except self._death as error:
            raise EngineError(f"vLLM has failed ({first_line(error)}); its log has the reason") from error
        for reply in replies:
            (new,) = reply.outputs
            reason: Literal["stop", "length", "error"] | None = None
            if reply.finished:
                reason = new.finish_reason if new.finish_reason in ("length", "error") else "stop"
            yield Progress(
                reply.request_id,
                tuple(new.token_ids),
                tuple(_scores(new)),
                reason,
            )

    def close(self) -> None:
        """End the engine's processes."""
        self._engine.engine_core.shutdown()


def _check_adapter(folder: Path, rank: int) -> None:
    """Let vLLM look at an adapter's configuration before it opens the model; an answer would be the first to fail.

    Raises:
        ConfigurationError: vLLM does not take it.
    """
    from vllm.config.lora import LoRAConfig
    from vllm.lora.peft_helper import PEFTHelper

    try:
        PEFTHelper.from_local_dir(str(folder), None).validate_legal(LoRAConfig(max_lora_rank=rank))
    except (ValueError, TypeError, OSError) as error:
        raise ConfigurationError(
            f"vLLM does not take the adapter in '{folder}' ({first_line(error).rstrip('.')}); write one model with "
            f"'facekit export {folder} FOLDER --merge-lora' and open that"
        ) from error


def _scores(new: Any) -> Iterator[tuple[float, tuple[tuple[int, float], ...]]]:
    for token, entries in zip(new.token_ids, new.logprobs or (), strict=False):
        ranked = sorted(entries.items(), key=lambda entry: entry[1].rank)
        yield entries[token].logprob, tuple((each, entry.logprob) for each, entry in ranked)
