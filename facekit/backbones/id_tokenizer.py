"""A fallback tokenizer for checkpoints without one: token 17 is written ``<17>``.

It invents no words: whoever reads such text sees at once that the real tokenizer is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from facekit.errors import ConfigurationError

_ID = r"<\d+>"
_TEMPLATE = "{% for message in messages %}{{ message.content | replace('\\n', '') }}{% endfor %}"


def build_id_tokenizer(config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Return a tokenizer whose vocabulary is ``<0>``, ``<1>``, … for every row of a language model.

    Args:
        config: The language model's configuration, with its vocabulary size and special tokens.
    """
    size = config.vocab_size
    tokenizer = Tokenizer(models.WordLevel({f"<{index}>": index for index in range(size)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_ID), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    special = {}
    for role in ("bos", "eos", "pad"):
        index = getattr(config, f"{role}_token_id", None)
        index = index[0] if isinstance(index, list) else index
        if index is not None and 0 <= index < size:
            special[f"{role}_token"] = f"<{index}>"
    special.setdefault("pad_token", special.get("eos_token", "<0>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=_TEMPLATE, **special)


def is_id_tokenizer(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is one of ``build_id_tokenizer``, or was saved from one."""
    return bool(tokenizer.chat_template == _TEMPLATE)


def refuse_words(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> None:
    """Make sure that texts for a tokenizer of ``build_id_tokenizer`` hold ids only; any other tokenizer passes.

    Raises:
        ConfigurationError: A text holds something else.
    """
    if not is_id_tokenizer(tokenizer):
        return
    known = "|".join([_ID, *map(re.escape, tokenizer.get_added_vocab())])
    for text in texts:
        words = re.sub(known, "", text)
        if words:
            raise ConfigurationError(
                f"the checkpoint has no tokenizer, so texts are token ids such as <17>, unlike {words[:40]!r}; load it "
                "with tokenizer=..., a folder or hub id"
            )
