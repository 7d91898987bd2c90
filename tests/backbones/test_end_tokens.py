"""The end-of-turn tokens that answers of a backbone stop at."""

from __future__ import annotations

from facekit.backbones.end_tokens import find_end_tokens
from facekit.backbones.tiny import load_tiny_backbone


def test_the_end_of_a_turn_ends_an_answer_even_where_the_model_does_not_say_so():
    backbone = load_tiny_backbone(width=32, depth=1, heads=2)
    tokenizer = backbone.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|turn|>{% endfor %}"
    assert find_end_tokens(backbone) == [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|turn|>")]
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert find_end_tokens(backbone) == [tokenizer.eos_token_id]
