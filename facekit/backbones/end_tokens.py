"""The end-of-turn tokens of a language model: its own and those that its chat template writes."""

from __future__ import annotations

from typing import Any

from facekit.backbones.base import Backbone


def find_end_tokens(backbone: Backbone) -> list[int]:
    """Return the tokens that end an answer: the model's and the tokenizer's own, and what the chat template writes.

    A language model that was never trained on chats does not list the end of a turn, yet it is what it learns to
    write once it is trained on the template.
    """
    tokenizer, known = backbone.tokenizer, backbone.model.generation_config.eos_token_id
    ends = set(known if isinstance(known, list) else [known]) | {tokenizer.eos_token_id}
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    written: Any = tokenizer.apply_chat_template(turns, tokenize=False)
    after = tokenizer(written.rpartition("answer")[2], add_special_tokens=False)["input_ids"]
    if after and after[0] in tokenizer.all_special_ids:
        ends.add(after[0])
    return sorted(end for end in ends if end is not None)
