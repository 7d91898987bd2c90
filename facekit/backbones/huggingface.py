"""Any causal language model in the Hugging Face layout, by hub id or by path.

Whatever is missing or wrong in such a checkpoint is reported in one sentence.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

from facekit.backbones.base import (
    Backbone,
    check_vocabulary,
    ensure_pad_token,
    read_dtype,
)
from facekit.backbones.chat_template import set_chat_template
from facekit.backbones.quantization import read_quantization
from facekit.counted import counted
from facekit.errors import CheckpointError, InvalidSpecError, MissingExtraError, configuration_guard, first_line
from facekit.hub import fetch_folder, is_hub_id, pinned_revision, tell_nearest_folder

__all__ = ["load_huggingface_backbone", "read_dtype", "resolve_source"]

logger = logging.getLogger(__name__)


def load_huggingface_backbone(
    argument: str | None = None,
    *,
    dtype: str = "auto",
    chat_template: str | None = None,
    revision: str | None = None,
    attention: str | None = None,
    load_in: Literal["4bit", "8bit"] | None = None,
    trust_remote_code: bool = False,
) -> Backbone:
    """Load a causal language model and its tokenizer.

    Args:
        argument: Hub id, such as ``Qwen/Qwen2.5-0.5B-Instruct``, or a folder.
        dtype: ``auto`` (as the checkpoint has it), or a floating type of torch such as ``bfloat16``.
        chat_template: ``plain``, ``vicuna`` (the conversation of LLaVA-1.5 and Face-LLaVA), or a Jinja file; it
            replaces the tokenizer's own, and must be given where there is none.
        revision: Branch, tag or commit on the hub.
        attention: Attention implementation of transformers, such as ``eager`` or ``sdpa``.
        load_in: ``4bit`` or ``8bit``, through bitsandbytes (extra ``quantization``); for inference and for training
            adapters.
        trust_remote_code: Whether Python files that come with the checkpoint may be run, which some families such as
            InternLM2 need; read them first.

    Raises:
        InvalidSpecError: No argument, an option cannot be used, or a chat template must be chosen.
        CheckpointError: The checkpoint is missing, incomplete, no causal language model, or needs its own code.
        MissingExtraError: ``load_in`` or the checkpoint's own code needs packages that are not installed.
    """
    if argument is None:
        raise InvalidSpecError("backbone 'hf' needs a hub id or a folder: 'hf:Qwen/Qwen2.5-0.5B-Instruct'")
    source, spec = resolve_source(argument), f"hf:{argument}"
    code = ("*.py",) if trust_remote_code else ()
    folder = fetch_folder(source, revision or "main", weights=False, also=code)
    settings: dict[str, Any] = {"dtype": dtype if dtype == "auto" else read_dtype(dtype)}
    if attention is not None:
        settings["attn_implementation"] = attention
    if load_in is not None:
        settings["quantization_config"] = read_quantization(load_in, None if dtype == "auto" else read_dtype(dtype))
    try:
        with configuration_guard(CheckpointError, f"backbone '{spec}' cannot be loaded", RuntimeError, SafetensorError):
            if not trust_remote_code:
                _refuse_own_code(folder, spec)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
            folder = fetch_folder(source, pinned_revision(folder), also=code)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, output_loading_info=True, trust_remote_code=trust_remote_code, **settings
            )
            model, report = loaded
    except ImportError as error:
        raise MissingExtraError(f"backbone '{spec}' needs a package that is missing: {first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(
            f"backbone '{spec}' lacks {counted(len(missing), 'weight')}, the first is {missing[0]}; fetch it again"
        )
    model.config.name_or_path = tokenizer.name_or_path = source  # where it comes from, not where it is kept
    ensure_pad_token(tokenizer)
    set_chat_template(tokenizer, chat_template, spec)
    check_vocabulary(model, tokenizer, spec)
    return Backbone(model, tokenizer)


def resolve_source(argument: str) -> str:
    """Return the folder or hub id that an argument means.

    Raises:
        CheckpointError: It is written as a path and there is no such folder, or the folder is no checkpoint.
    """
    path = Path(argument).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(
                f"backbone 'hf:{argument}': the folder has no config.json, so it is no checkpoint; name another"
            )
        return str(path)
    if not is_hub_id(argument):
        near = tell_nearest_folder(argument) or "; check the path"
        raise CheckpointError(f"backbone 'hf:{argument}': there is no such folder{near}")
    return argument


def _refuse_own_code(folder: Path, spec: str) -> None:
    """Raise CheckpointError where only Python files of the checkpoint could build the model."""
    config, _ = PreTrainedConfig.get_config_dict(folder)
    own_code = config.get("auto_map") or {}
    target = own_code.get("AutoModelForCausalLM") or own_code.get("AutoConfig")
    if target and config.get("model_type") not in CONFIG_MAPPING:
        file = target.rpartition("--")[2].partition(".")[0]
        raise CheckpointError(
            f"backbone '{spec}' is of the kind '{config.get('model_type')}', which transformers does not have: it runs "
            f"code of its own ({file}.py); read it, and allow it with '{spec}?trust_remote_code=true'"
        )
