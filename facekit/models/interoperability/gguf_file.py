"""The language model of a composition as a GGUF file, for llama.cpp and its relatives, and for ``gguf:`` here.

What such a file can hold is Llama's and Qwen2's architecture with plain rotary positions, and a vocabulary that is
SentencePiece's or byte-level with one of the splits that llama.cpp knows. Everything else is refused before anything is
written; whether the file's tokenizer reads text as the model's does is tried afterwards, by llama.cpp's rules.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from facekit.compat.transformers_gguf import READS_VOCABULARIES
from facekit.errors import CheckpointError, ConfigurationError, MissingExtraError
from facekit.models.interoperability.chat_templates import original_chat_template
from facekit.models.interoperability.gguf_pieces import SentencePieces
from facekit.models.interoperability.merging import has_adapters
from facekit.models.modeling import FaceKitForConditionalGeneration, refuse_quantised
from facekit.models.processing import FaceKitProcessor

__all__ = ["GGUF_NAME", "write_gguf"]

logger = logging.getLogger(__name__)

GGUF_NAME = "model.gguf"
_ARCHITECTURES = {"llama": "LLAMA", "qwen2": "QWEN2"}
_ENDINGS = r"[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SPLITS = {
    _CONTRACTIONS + r"\p{N}{1,3}| ?" + _ENDINGS: "llama-bpe",
    _CONTRACTIONS + r"\p{N}| ?" + _ENDINGS: "qwen2",
}
"""llama.cpp's name of each split of text before byte pairs are merged."""
_PROBES = (
    "How old is the person?", "Two  spaces,\nnew line\n\n", "It's 12345 or 6.7%", "Zoë 笑顔 🙂 naïve", "<b>AU12</b>",
)  # fmt: skip
_SPACED = ("  Two  spaces,\nnew line\n\n",)


@dataclass(frozen=True)
class _Vocabulary:
    """What a GGUF file says of a tokenizer."""

    kind: str
    split: str | None
    tokens: list[str]
    types: list[int]
    scores: list[float] | None
    merges: list[str]
    begins_with_space: bool = False


def write_gguf(model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, folder: Path) -> Path:
    """Write the language model in its floating type; norms and biases in float32, as llama.cpp wants them.

    Args:
        model: The model, without adapters.
        processor: Its processor, whose tokenizer and chat template go into the file.
        folder: Where it goes; it is there.

    Returns:
        The file.

    Raises:
        ConfigurationError: The language model or its tokenizer is none that the format can hold, or this transformers
            cannot read the file back.
        MissingExtraError: gguf is not installed.
        CheckpointError: The tokenizer of the file reads text otherwise than the model's.
    """
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise MissingExtraError("a GGUF file needs gguf; run: pip install 'facekit-mllm[gguf]'") from error
    _refuse(model)
    config, tokenizer = model.config.text_config, processor.tokenizer
    vocabulary = _read_vocabulary(tokenizer, config.vocab_size, gguf.TokenType)
    if not READS_VOCABULARIES:
        raise ConfigurationError(
            "a GGUF file is read back before it counts, for which this transformers is too old; run: "
            "pip install 'transformers>=5.18'"
        )
    path = folder / GGUF_NAME
    part = path.with_name(f".{path.name}.part")
    writer = gguf.GGUFWriter(part, config.model_type)
    _write_configuration(writer, config)
    _write_tokenizer(writer, vocabulary, tokenizer)
    writer.add_chat_template(original_chat_template(str(processor.chat_template)))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[_ARCHITECTURES[config.model_type]], config.num_hidden_layers)
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    for name, value in _tensors(model):
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise ConfigurationError(f"a GGUF file of '{config.model_type}' has no place for the tensor '{name}'")
        kind = gguf.GGMLQuantizationType[kinds[value.dtype] if value.ndim > 1 else "F32"]
        writer.add_tensor(theirs, gguf.quants.quantize(value.float().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    _compare_tokenizers(tokenizer, vocabulary, part)
    return part.replace(path)


def _refuse(model: FaceKitForConditionalGeneration) -> None:
    config = model.config.text_config
    if has_adapters(model):
        raise ConfigurationError("a GGUF file holds no adapters; export the model as 'facekit' with --merge-lora first")
    refuse_quantised(model)
    if config.model_type not in _ARCHITECTURES:
        raise ConfigurationError(
            f"the language model is '{config.model_type}', and a GGUF file is written of "
            f"{' and '.join(_ARCHITECTURES)}; export it as 'language-model' and use llama.cpp's own converter"
        )
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    biased = any(name.endswith(".bias") for name in model.language_model.state_dict())
    problems = (
        (kind != "default", f"rotary positions of type '{kind}' are"),
        (config.hidden_act != "silu", f"the activation '{config.hidden_act}' is"),
        (config.model_type == "llama" and biased, "biases of Llama's layers are"),
        ("sliding_attention" in (getattr(config, "layer_types", None) or ()), "a sliding window of Qwen2's is"),
    )
    for is_there, what in problems:
        if is_there:
            raise ConfigurationError(f"{what} not written to a GGUF file; see 'language-model'")
    if model.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ConfigurationError(f"a GGUF file is written of float32, float16 and bfloat16, not of {model.dtype}")


def _write_configuration(writer: Any, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer: Any, vocabulary: _Vocabulary, tokenizer: PreTrainedTokenizerBase) -> None:
    writer.add_tokenizer_model(vocabulary.kind)
    if vocabulary.split is not None:
        writer.add_tokenizer_pre(vocabulary.split)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores is not None:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.begins_with_space)
    writer.add_token_merges(vocabulary.merges)
    for name in ("bos", "eos", "unk", "pad"):
        token = getattr(tokenizer, f"{name}_token_id")
        if token is not None and token < len(vocabulary.tokens):
            getattr(writer, f"add_{name}_token_id")(token)
    begun = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and begun)


def _read_vocabulary(tokenizer: PreTrainedTokenizerBase, size: int, types: Any) -> _Vocabulary:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    read = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    if read["model"].get("type") != "BPE":
        raise ConfigurationError(f"a GGUF file holds vocabularies of byte pairs, unlike {type(tokenizer).__name__}'s")
    added = {entry["id"]: entry for entry in read["added_tokens"]}
    names = {index: token for token, index in tokenizer.get_vocab().items()}
    tokens = [names.get(index, f"[PAD{index}]") for index in range(size)]
    is_spm = bool(read["model"].get("byte_fallback"))
    kinds = []
    for index, token in enumerate(tokens):
        if index in added:
            kinds.append(types.CONTROL if added[index]["special"] else types.USER_DEFINED)
        elif index not in names:
            kinds.append(types.UNUSED)
        else:
            kinds.append(types.BYTE if is_spm and token.startswith("<0x") and len(token) == 6 else types.NORMAL)
    merges = [each if isinstance(each, str) else " ".join(each) for each in read["model"]["merges"]]
    if not merges:
        raise ConfigurationError(
            "a GGUF file holds vocabularies of byte pairs, and this tokenizer has no merges of them"
        )
    if not is_spm:
        return _Vocabulary("gpt2", _find_split(read.get("pre_tokenizer")), tokens, kinds, None, merges)
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    scores = [-float(ranks.get(token, 0)) for token in tokens]
    first = tokenizer("a", add_special_tokens=False)["input_ids"][0]
    return _Vocabulary("llama", None, tokens, kinds, scores, merges, str(names[first]).startswith("▁"))


def _find_split(pre_tokenizer: Any) -> str:
    """llama.cpp's name of a byte-level split."""
    parts = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer or {}])
    first = parts[0]
    if first.get("type") == "ByteLevel" and first.get("use_regex", True):
        return "gpt-2"
    pattern = first.get("pattern", {}).get("Regex", "")
    if pattern not in _SPLITS:
        raise ConfigurationError(
            f"llama.cpp does not know how this tokenizer splits text ({pattern[:60] or first.get('type')}), so it "
            "would read other words; export it as 'language-model'"
        )
    return _SPLITS[pattern]


def _tensors(model: FaceKitForConditionalGeneration) -> Iterator[tuple[str, Tensor]]:
    """Names and values; rows of Llama's queries and keys in the order that GGUF has them, pairs instead of halves."""
    config = model.config.text_config
    for name, value in model.language_model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        value = value.detach().cpu()
        if config.model_type == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            value = rearrange(value, "(h two d) c -> (h d two) c", h=heads, two=2)
        yield name, value.contiguous()


def _compare_tokenizers(tokenizer: PreTrainedTokenizerBase, vocabulary: _Vocabulary, path: Path) -> None:
    def ours(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    again = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, local_files_only=True)
    read_back: Callable[[str], list[int]] = lambda text: again(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    if vocabulary.scores is None:
        _refuse_others(ours, read_back, (*_PROBES, *_SPACED))
        return
    added = (index for index in tokenizer.added_tokens_decoder if index < len(vocabulary.tokens))
    controls = {vocabulary.tokens[index]: index for index in added}
    pieces = SentencePieces(
        vocabulary.tokens, vocabulary.scores, controls, begins_with_space=vocabulary.begins_with_space
    )
    _refuse_others(ours, pieces.read, _PROBES)
    edges = (*_SPACED, *(f"{token}word" for token in controls))
    others = [text for text in edges if pieces.read(text) != ours(text)]
    if others:
        logger.warning(
            "llama.cpp reads %s otherwise than the model's tokenizer: it puts a space before text that begins with "
            "one, or that follows a control token; give it token ids of such prompts",
            " and ".join(map(repr, others[:2])),
        )
    if any(read_back(text) != ours(text) for text in (*_PROBES, *_SPACED)):
        logger.warning(
            "'gguf:' here reads some text otherwise than llama.cpp and the model's tokenizer, spaces above all"
        )


def _refuse_others(ours: Callable[[str], list[int]], theirs: Callable[[str], list[int]], texts: Sequence[str]) -> None:
    for text in texts:
        expected, found = ours(text), theirs(text)
        if expected != found:
            raise CheckpointError(
                f"a GGUF file cannot hold this tokenizer: {text!r} would be read as {found[:8]}, not {expected[:8]}; "
                "export it as 'language-model'"
            )
