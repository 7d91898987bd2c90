"""Any causal language model in the Hugging Face layout, by hub id or by path.

It is apart because here others' files are read: what can be missing or wrong in them is told in one sentence.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from facekit.backbones.base import Backbone, ensure_pad_token
from facekit.errors import CheckpointError, InvalidSpecError
from facekit.registry import closest_match_hint

logger = logging.getLogger(__name__)

CHAT_TEMPLATE_FOLDER = Path(__file__).with_name("chat_templates")
CHAT_TEMPLATES = ("plain", "vicuna")


def load_huggingface_backbone(
    argument: str | None = None,
    *,
    dtype: str = "auto",
    chat_template: str | None = None,
    revision: str | None = None,
    attention: str | None = None,
) -> Backbone:
    """Load a causal language model and its tokenizer; code that comes with a checkpoint is never run.

    A tokenizer without a chat template gets ``plain`` (``User: ...``, ``Assistant: ...``), and a note is logged.

    Args:
        argument: Hub id, such as ``Qwen/Qwen2.5-0.5B-Instruct``, or a folder.
        dtype: ``auto`` (as the checkpoint has it), or a floating type of torch such as ``bfloat16``.
        chat_template: ``plain``, ``vicuna`` (the conversation of LLaVA-1.5 and Face-LLaVA), or a Jinja file; it
            replaces the tokenizer's own.
        revision: Branch, tag or commit on the hub.
        attention: Attention implementation of transformers, such as ``eager`` or ``sdpa``.

    Raises:
        InvalidSpecError: No argument, or an option cannot be used.
        CheckpointError: The checkpoint is missing, incomplete, or no causal language model.
    """
    if argument is None:
        raise InvalidSpecError("backbone 'hf' needs a hub id or a folder: 'hf:Qwen/Qwen2.5-0.5B-Instruct'")
    source = resolve_source(argument)
    common: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
    settings: dict[str, Any] = {"dtype": dtype if dtype == "auto" else read_dtype(dtype)}
    if attention is not None:
        settings["attn_implementation"] = attention
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        model, report = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True, **common, **settings)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"backbone 'hf:{argument}' cannot be loaded: {reason}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(f"backbone 'hf:{argument}' lacks {len(missing)} weights, the first is {missing[0]}")
    ensure_pad_token(tokenizer)
    set_chat_template(tokenizer, chat_template)
    check_vocabulary(model, tokenizer, argument)
    return Backbone(model, tokenizer)


def resolve_source(argument: str) -> str:
    """Return the folder or hub id that an argument means.

    Raises:
        CheckpointError: It is written as a path and there is no such folder, or the folder is no checkpoint.
    """
    path = Path(argument).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"backbone 'hf:{argument}': the folder has no config.json, so it is no checkpoint")
        return str(path)
    if path.is_absolute() or argument.startswith((".", "~")) or argument.count("/") > 1:
        raise CheckpointError(f"backbone 'hf:{argument}': there is no such folder")
    return argument


def read_dtype(name: str | torch.dtype) -> torch.dtype:
    """Return the floating type of torch that a name means.

    Raises:
        InvalidSpecError: torch has no floating type of that name.
    """
    dtype = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidSpecError(f"dtype={name} is no floating type; use float32, bfloat16 or float16")
    return dtype


def set_chat_template(tokenizer: PreTrainedTokenizerBase, choice: str | None) -> None:
    """Give the tokenizer the chosen chat template, or ``plain`` where it has none.

    Raises:
        InvalidSpecError: The choice is neither a known name nor a file.
    """
    if choice is None:
        if tokenizer.chat_template is not None:
            return
        logger.warning("the tokenizer has no chat template; 'plain' is used (choose one with chat_template=...)")
        choice = "plain"
    path = CHAT_TEMPLATE_FOLDER / f"{choice}.jinja" if choice in CHAT_TEMPLATES else Path(choice).expanduser()
    if not path.is_file():
        hint = closest_match_hint(choice, CHAT_TEMPLATES)
        raise InvalidSpecError(f"chat_template={choice} is neither a known template nor a file{hint}")
    tokenizer.chat_template = path.read_text(encoding="utf-8")


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, argument: str) -> None:
    """Raise CheckpointError where the tokenizer has ids that the model has no embedding for."""
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise CheckpointError(
            f"backbone 'hf:{argument}': the tokenizer has ids up to {highest}, the model only {rows} embeddings"
        )
