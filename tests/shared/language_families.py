"""Tiny random language models of every family that facekit promises, with tokenizers that have the family's tokens.

Conversations, special tokens and module names are those of the published checkpoints; sizes and weights are not. The
templates are ours and behave as the published ones do where a conversation has text only: what they trim, refuse, leave
out of earlier turns and write after the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}

LLAMA2 = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ bos_token + '[INST] ' + message.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + message.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# A thought, empty or not, stands in the answer to the last question only; earlier ones lose theirs.
QWEN3 = (
    "{% set last = namespace(question=-1) %}"
    "{% for message in messages %}{% if message.role == 'user' %}{% set last.question = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for message in messages %}{% set parts = message.content.split('</think>') %}"
    "{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.role != 'assistant' %}{{ message.content }}"
    "{% elif loop.index0 > last.question and (loop.last or parts | length > 1) %}"
    "{% set thought = parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '' %}"
    "{{ '<think>\n' + thought + '\n</think>\n\n' + parts[-1].lstrip('\n') }}"
    "{% else %}{{ parts[-1].lstrip('\n') if parts | length > 1 else message.content }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
GEMMA2 = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\n' }}"
    "{{ message.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# The system message stands at the head of the first question.
GEMMA3 = (
    "{{ bos_token }}{% set system = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
    "{% for message in (messages[1:] if system else messages) %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\n' }}"
    "{{ (system if loop.first else '') + message.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# 0.1: nothing is trimmed, and there is nothing that asks for an answer.
MISTRAL = (
    "{{ bos_token }}{% set system = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
    "{% for message in (messages[1:] if system else messages) %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles alternate') }}{% endif %}"
    "{% if message.role == 'user' %}{{ ' [INST] ' + (system if loop.first else '') + message.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + message.content + eos_token }}{% endif %}{% endfor %}"
)
# A conversation that asks for no answer is closed by the end token.
PHI3 = (
    "{% for message in messages %}{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}{% endfor %}"
    "{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}"
)

LLAMA_LAYERS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """How to build a family's tiny checkpoint, and what is known of it beforehand.

    Args:
        config: Name of its configuration class in transformers.
        tokens: Special tokens, in the order of their ids.
        eos: The end token of the tokenizer.
        ends: All tokens that end an answer.
        bos: Its begin token, which the tokenizer writes.
        pad: Its pad token.
        template: Its chat template; None where its checkpoints have none.
        linears: The linear layers of a decoder layer.
        options: Further values of the configuration.
        spare_rows: Rows of the embedding beyond the tokenizer's length.
        by_bytes: Whether the tokenizer is byte-level, as GPT-2's, or SentencePiece-like with byte fallback.
    """

    config: str
    tokens: tuple[str, ...]
    eos: str
    ends: tuple[str, ...]
    bos: str | None = None
    pad: str | None = None
    template: str | None = None
    linears: tuple[str, ...] = LLAMA_LAYERS
    options: Mapping[str, Any] = field(default_factory=dict)
    spare_rows: int = 0
    by_bytes: bool = True

    @property
    def exists(self) -> bool:
        """Whether this version of transformers has it."""
        return hasattr(transformers, self.config)

    def save(self, folder: Path, **sizes: int) -> None:
        """Write model and tokenizer, with untrained weights and, where they are given, other sizes."""
        tokenizer = self.build_tokenizer()
        values = {**SIZES, "num_key_value_heads": 2, **self.options, **sizes}
        config = getattr(transformers, self.config)(
            vocab_size=len(tokenizer) + self.spare_rows,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
            **values,
        )
        model = transformers.AutoModelForCausalLM.from_config(config)
        model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(self.ends))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    def build_tokenizer(self) -> PreTrainedTokenizerFast:
        """Every byte is an entry, behind the special tokens."""
        backend = _byte_level(self.tokens) if self.by_bytes else _sentencepiece(self.tokens)
        if self.bos is not None:
            begin = [(self.bos, backend.token_to_id(self.bos))]
            backend.post_processor = processors.TemplateProcessing(single=f"{self.bos} $A", special_tokens=begin)
        named = {"bos_token": self.bos, "eos_token": self.eos, "pad_token": self.pad, "chat_template": self.template}
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            additional_special_tokens=list(self.tokens),
            **{name: value for name, value in named.items() if value is not None},
        )


def _byte_level(special: tuple[str, ...]) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(special: tuple[str, ...]) -> Tokenizer:
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(0x21, 0x7F))]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return backend


_LLAMA_TOKENS = ("<unk>", "<s>", "</s>")
_QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
_LLAMA3_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>",
)  # fmt: skip

FAMILIES: dict[str, Family] = {
    "vicuna": Family("LlamaConfig", _LLAMA_TOKENS, "</s>", ("</s>",), bos="<s>", by_bytes=False),
    "llama2": Family("LlamaConfig", _LLAMA_TOKENS, "</s>", ("</s>",), bos="<s>", template=LLAMA2, by_bytes=False),
    "llama3": Family(
        "LlamaConfig", _LLAMA3_TOKENS, "<|eot_id|>", ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        bos="<|begin_of_text|>", template=LLAMA3,
    ),
    "qwen2": Family(
        "Qwen2Config", _QWEN_TOKENS, "<|im_end|>", ("<|endoftext|>", "<|im_end|>"), pad="<|endoftext|>",
        template=CHATML, options={"tie_word_embeddings": True}, spare_rows=5,
    ),
    "qwen3": Family(
        "Qwen3Config", _QWEN_TOKENS, "<|im_end|>", ("<|endoftext|>", "<|im_end|>"), pad="<|endoftext|>",
        template=QWEN3, options={"head_dim": 8}, spare_rows=5,
    ),
    "gemma3": Family(
        "Gemma3TextConfig", ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"), "<eos>",
        ("<eos>", "<end_of_turn>"), bos="<bos>", pad="<pad>", template=GEMMA3,
        options={"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 16},
    ),
    "mistral": Family(
        "MistralConfig", (*_LLAMA_TOKENS, "[INST]", "[/INST]"), "</s>", ("</s>",), bos="<s>", template=MISTRAL,
        options={"sliding_window": 16}, by_bytes=False,
    ),
    "phi": Family(
        "PhiConfig", ("<|endoftext|>",), "<|endoftext|>", ("<|endoftext|>",), spare_rows=3,
        options={"num_key_value_heads": 4, "partial_rotary_factor": 0.5},
        linears=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.dense", "mlp.fc1", "mlp.fc2"),
    ),
    "phi3": Family(
        "Phi3Config", (*_LLAMA_TOKENS, "<|endoftext|>", "<|assistant|>", "<|user|>", "<|end|>"), "<|endoftext|>",
        ("<|endoftext|>", "<|assistant|>", "<|end|>"), pad="<|endoftext|>", template=PHI3, spare_rows=9, by_bytes=False,
        linears=("self_attn.o_proj", "self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj"),
    ),
    "internlm3": Family(
        "InternLM3Config", (*_LLAMA_TOKENS, "<|im_start|>", "<|im_end|>"), "</s>", ("</s>", "<|im_end|>"), bos="<s>",
        pad="</s>", template="{{ bos_token }}" + CHATML, options={"head_dim": 8}, by_bytes=False,
    ),
}  # fmt: skip
