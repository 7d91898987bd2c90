"""Writes the tokenizer of the tiny backbone: byte-level BPE, trained on the questions and answers of the templates.

    python scripts/build_tiny_tokenizer.py

Run it again after the templates change; models trained with the old files keep their own copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from facekit.data.labels import ACTION_UNITS, EXPRESSIONS, SYNTHETIC_ATTRIBUTES
from facekit.data.templates import ANSWERS, NO_ATTRIBUTES, NO_UNITS, QUESTIONS

FOLDER = Path(__file__).parents[1] / "facekit" / "backbones" / "tiny_tokenizer"
VOCABULARY_SIZE = 1024
SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
WORD = r" ?AU\d+| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|assistant|>' }}
{%- endif -%}
"""


def read_corpus() -> Iterator[str]:
    """Yield the sentences that the tokenizer shall write in few tokens: every wording with every label."""
    yield from (question for wordings in QUESTIONS.values() for question in wordings)
    labels = {
        "expression": EXPRESSIONS,
        "action_units": (*(f"{unit}, {unit} and {unit}" for unit in ACTION_UNITS), NO_UNITS),
        "attributes": (*(f"{words}, {words} and {words}" for words in SYNTHETIC_ATTRIBUTES.values()), NO_ATTRIBUTES),
        "age": [str(age) for age in range(1, 100)],
        "manipulation": ("genuine", "manipulated"),
    }
    yield from (wording.format(label) for task, words in labels.items() for wording in ANSWERS[task] for label in words)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train the tokenizer; an action unit is one token, a number as many as it has digits."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(read_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


if __name__ == "__main__":
    fast = build_tokenizer()
    fast.save_pretrained(FOLDER)
    print(f"{len(fast)} entries written to {FOLDER}")
