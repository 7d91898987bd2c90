"""The demo's language model: a small Llama with random weights and a byte-level tokenizer of its own.

Nothing is downloaded: the tokenizer's files are part of the package, written by ``scripts/build_tiny_tokenizer.py``.
"""

from __future__ import annotations

from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from facekit.backbones.base import Backbone
from facekit.errors import InvalidSpecError
from facekit.spec import PositiveInt

TOKENIZER_FOLDER = Path(__file__).with_name("tiny_tokenizer")
_VOCABULARY_MULTIPLE = 64


def load_tiny_backbone(
    argument: str | None = None,
    *,
    width: PositiveInt = 192,
    depth: PositiveInt = 4,
    heads: PositiveInt = 6,
    context: PositiveInt = 2048,
) -> Backbone:
    """Build a small Llama with random weights.

    The vocabulary is padded to a multiple of 64, so that a few more special tokens fit without resizing.

    Args:
        argument: Not used; a spec is ``tiny?width=192&depth=4``.
        width: Hidden width, a multiple of ``heads`` with an even quotient; the MLP is 8/3 of it, as in Llama.
        depth: Number of layers.
        heads: Number of attention heads.
        context: Longest sequence in tokens.

    Raises:
        InvalidSpecError: There is an argument, or the heads do not fit the width.
    """
    if argument is not None:
        raise InvalidSpecError(f"backbone 'tiny' takes no argument, got '{argument}'; options follow a '?'")
    if width % heads or (width // heads) % 2:
        raise InvalidSpecError(
            f"backbone 'tiny' needs an even head width, not width={width} with heads={heads}; "
            f"choose a width that is a multiple of {2 * heads}"
        )
    tokenizer = load_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=_VOCABULARY_MULTIPLE * (len(tokenizer) // _VOCABULARY_MULTIPLE + 1),
        hidden_size=width,
        intermediate_size=max(1, round(8 * width / 3 / 32)) * 32,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Backbone(LlamaForCausalLM(config), tokenizer)


def load_tiny_tokenizer() -> PreTrainedTokenizerBase:
    """Return the tokenizer in the package: about a thousand byte-level entries, so any text can be written in it."""
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(str(TOKENIZER_FOLDER))
    return tokenizer
