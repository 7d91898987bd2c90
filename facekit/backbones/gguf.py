"""Language models in a GGUF file, as llama.cpp and its relatives write them.

One file holds weights, configuration and tokenizer. The weights are unpacked: what is loaded is an ordinary model that
can be trained and saved.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from facekit.backbones.base import Backbone, check_vocabulary, ensure_pad_token, read_dtype
from facekit.backbones.chat_template import set_chat_template
from facekit.backbones.gguf_header import GgufHeader, read_gguf_header
from facekit.compat.transformers_gguf import scale_as_llama3, set_special_tokens, unpacking
from facekit.counted import counted
from facekit.errors import CheckpointError, InvalidSpecError, configuration_guard, first_line

_MAGIC = b"GGUF"


def load_gguf_backbone(
    argument: str | None = None,
    *,
    dtype: str = "float32",
    chat_template: str | None = None,
    attention: str | None = None,
) -> Backbone:
    """Load a causal language model and its tokenizer from a GGUF file, through transformers (extra ``gguf``).

    Args:
        argument: The file; quantised weights are unpacked, so the model has the size of ``dtype``, not of the file.
        dtype: A floating type of torch, such as ``bfloat16``.
        chat_template: ``plain``, ``vicuna`` or a Jinja file; replaces the file's own, and must be given where there is
            none.
        attention: Attention implementation of transformers, such as ``eager`` or ``sdpa``.

    Raises:
        InvalidSpecError: No argument, an option cannot be used, or a chat template must be chosen.
        CheckpointError: The file is missing, is no GGUF, or has an architecture, biases or a scaling of positions that
            transformers does not read.
    """
    if argument is None:
        raise InvalidSpecError("backbone 'gguf' needs a file: 'gguf:/models/vicuna-7b.Q8_0.gguf'")
    path, spec = Path(argument).expanduser(), f"gguf:{argument}"
    _check_file(path, spec)
    settings: dict[str, Any] = {"dtype": read_dtype(dtype), **unpacking()}
    if attention is not None:
        settings["attn_implementation"] = attention
    common: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    with configuration_guard(CheckpointError, f"backbone '{spec}' cannot be loaded", RuntimeError):
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **common)
            set_special_tokens(tokenizer, path)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(path.parent), output_loading_info=True, **common, **settings
            )
            model, report = loaded
        except (UnicodeDecodeError, IndexError, struct.error) as error:
            raise CheckpointError(f"backbone '{spec}': the file is damaged or cut off: {first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(
            f"backbone '{spec}' lacks {counted(len(missing), 'weight')}, the first is {missing[0]}; fetch it again"
        )
    with configuration_guard(CheckpointError, f"backbone '{spec}' cannot be loaded"):
        _refuse_lost(model, read_gguf_header(path), spec)
    model.config.__dict__.pop("quantization_config", None)
    ensure_pad_token(tokenizer)
    set_chat_template(tokenizer, chat_template, spec)
    check_vocabulary(model, tokenizer, spec)
    return Backbone(model, tokenizer)


def _check_file(path: Path, spec: str) -> None:
    if not path.is_file():
        what = "is a folder; name the file in it" if path.is_dir() else "does not exist"
        raise CheckpointError(f"backbone '{spec}': the file {what}")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise CheckpointError(f"backbone '{spec}': the file is no GGUF; its first bytes are not 'GGUF'")


def _refuse_lost(model: Any, header: GgufHeader, spec: str) -> None:
    """Refuse what transformers passes over in a file though answers depend on it; Llama 3's scaling is set."""
    values, tensors = header.values, header.tensors
    scaling = f"{values.get('general.architecture')}.rope.scaling"
    kind, factor = values.get(f"{scaling}.type", "none"), values.get(f"{scaling}.factor", 1.0)
    is_unscaled = not _scales_positions(model.config)
    has_factors = any(name.startswith("rope_factors_") for name in tensors)
    if model.config.model_type == "llama" and "rope_freqs.weight" in tensors and is_unscaled:
        has_factors |= not scale_as_llama3(model, header.read_floats("rope_freqs.weight"))
    has_biases = any(name.endswith(".bias") for name, _ in model.named_parameters())
    lost = (
        (kind != "none" and factor not in (0.0, 1.0) and is_unscaled, f"scaling of rotary positions ('{kind}')"),
        (has_factors and is_unscaled, "factors of rotary positions"),
        (any(name.endswith(".bias") for name in tensors) and not has_biases, "biases"),
    )
    for is_lost, what in lost:
        if is_lost:
            raise CheckpointError(
                f"backbone '{spec}': transformers does not read the file's {what}, without which its answers would be "
                "others; name the model that the file was made of by 'hf:'"
            )


def _scales_positions(config: Any) -> bool:
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [each.get("rope_type") for each in (parameters, *parameters.values()) if isinstance(each, dict)]
    return any(kind not in (None, "default") for kind in kinds)
