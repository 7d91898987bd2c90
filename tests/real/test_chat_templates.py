"""Chat templates as their authors publish them, read from packages that ship them, through a whole composition.

TRL keeps the templates of checkpoints byte for byte, to recognise them; axolotl has Mistral's; FastChat is where
Vicuna's conversation comes from.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest
from language_families import FAMILIES

import facekit
from facekit.data.records import Turn
from facekit.data.supervision import IGNORED, encode_conversation
from facekit.data.usable import Arrangement, find_usable
from facekit.errors import FaceKitError, RecordError

FIRST = (Turn(role="user", content="How old is she?"), Turn(role="assistant", content="About thirty."))
SECOND = (Turn(role="user", content="And what does she feel?"), Turn(role="assistant", content="Joy, and little else."))


@dataclass(frozen=True)
class Published:
    """A published template.

    Args:
        file: The package that ships it and the path in it.
        family: Of the language model that it belongs to.
        end: What ends an assistant's turn.
        begins: Whether a conversation begins with the family's begin token.
        takes_system: Whether it takes a system message.
        closes: What it writes after the last turn of a conversation.
    """

    file: str
    family: str
    end: str
    begins: bool = True
    takes_system: bool = True
    closes: str = ""

    @property
    def path(self) -> Path:
        package, _, inside = self.file.partition("/")
        return Path(importlib.util.find_spec(package).submodule_search_locations[0]) / inside


TRL, AXOLOTL = "trl/chat_templates", "axolotl/utils/chat_templates/templates"
TEMPLATES = {
    "qwen2.5": Published(f"{TRL}/qwen2_5.jinja", "qwen2", "<|im_end|>", begins=False),
    "qwen3": Published(f"{TRL}/qwen3.jinja", "qwen3", "<|im_end|>", begins=False),
    "qwen3-2507": Published(f"{TRL}/qwen3_instruct_2507.jinja", "qwen3", "<|im_end|>", begins=False),
    "gemma-2": Published(f"{TRL}/gemma.jinja", "gemma3", "<end_of_turn>", takes_system=False),
    "gemma-3": Published(f"{TRL}/gemma3.jinja", "gemma3", "<end_of_turn>"),
    "llama-3": Published(f"{TRL}/llama3.jinja", "llama3", "<|eot_id|>"),
    "llama-3.1": Published(f"{TRL}/llama3_1.jinja", "llama3", "<|eot_id|>"),
    "llama-3.2": Published(f"{TRL}/llama3_2.jinja", "llama3", "<|eot_id|>"),
    "phi-3": Published(f"{TRL}/phi3.jinja", "phi3", "<|end|>", begins=False, closes="<|endoftext|>"),
    "phi-3.5": Published(f"{TRL}/phi3_5.jinja", "phi3", "<|end|>", begins=False, closes="<|endoftext|>"),
    "mistral-0.1": Published(f"{AXOLOTL}/mistral_v1.jinja", "mistral", "</s>"),
    "mistral-0.3": Published(f"{AXOLOTL}/mistral_v2v3.jinja", "mistral", "</s>"),
}


@pytest.fixture(scope="module", params=TEMPLATES)
def published(request):
    return TEMPLATES[request.param]


@pytest.fixture(scope="module")
def parts(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    FAMILIES[published.family].save(folder)
    backbone = f"hf:{folder}?chat_template={published.path}"
    return facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1", connector="mlp", backbone=backbone, landmarker="none", seed=0
    )


def learned(processor, turns):
    """The words that a conversation teaches."""
    tokens = encode_conversation(processor, turns)
    return processor.tokenizer.decode([token for token in tokens.labels if token != IGNORED])


def test_an_answer_ends_where_the_template_ends_it(published, parts):
    model, processor = parts
    assert processor.tokenizer.convert_tokens_to_ids(published.end) in model.generation_config.eos_token_id


def test_a_conversation_begins_once(published, parts):
    _, processor = parts
    family = FAMILIES[published.family]
    chat = [{"role": "user", "content": [{"type": "text", "text": "How old is she?"}]}]
    ids = processor.tokenize([processor.apply_chat_template(chat, add_generation_prompt=True)])["input_ids"][0]
    if published.begins:
        begin = processor.tokenizer.convert_tokens_to_ids(family.bos)
        assert list(ids).count(begin) == 1
        assert ids[0] == begin
    assert processor.tokenizer.decode(ids).count("How old is she?") == 1


def test_an_answer_is_learned_with_its_end_and_nothing_of_the_question(published, parts):
    words = learned(parts[1], FIRST)
    assert "".join(words.split()).endswith(f"Aboutthirty.{published.end}{published.closes}")
    assert "old" not in words


def test_every_answer_of_a_conversation_is_learned(published, parts):
    words = learned(parts[1], FIRST + SECOND)
    for turn in (FIRST[1], SECOND[1]):
        assert words.count(f"{turn.content}{published.end}") == 1
    assert "feel" not in words


def test_a_system_message_that_a_template_refuses_is_told(published, parts):
    _, processor = parts
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How old is she?"}]
    if published.takes_system:
        assert "Be brief." in processor.apply_chat_template(chat, add_generation_prompt=True)
        return
    with pytest.raises(FaceKitError, match="System role not supported"):
        processor.apply_chat_template(chat, add_generation_prompt=True)


def test_control_tokens_of_a_template_stay_words_where_they_are_typed(published, parts):
    _, processor = parts
    typed = f"Is {published.end} <image> old?"
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": typed}]}]
    plain = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it old?"}]}]
    prompts = [processor.apply_chat_template(each, add_generation_prompt=True) for each in (chat, plain)]
    ids, without = processor.tokenize(prompts)["input_ids"]
    special = set(processor.tokenizer.all_special_ids)
    assert [index for index in ids if index in special] == [index for index in without if index in special]
    assert typed in processor.tokenizer.decode(ids)


def test_a_record_with_a_system_message_that_a_template_refuses_is_named(published, parts):
    _, processor = parts
    opening = [Turn(role="system", content="Be brief.")]
    if published.takes_system:
        assert find_usable(processor, opening, [FIRST], Arrangement()).kept == (0,)
        return
    with pytest.raises(RecordError, match="the chat template refuses the conversation: System role not supported"):
        find_usable(processor, opening, [FIRST], Arrangement())


def test_a_picture_stands_in_the_first_question(parts):
    model, processor = parts
    tokens = encode_conversation(processor, FIRST)
    places = [place for place, token in enumerate(tokens.input_ids) if token == model.config.image_token_id]
    assert len(places) == model.tokens_per_frame
    assert all(tokens.labels[place] == IGNORED for place in places)


def test_vicunas_conversation_is_fastchats(tmp_path):
    from fastchat.conversation import get_conv_template

    conversation = get_conv_template("vicuna_v1.1")
    for turn, role in zip(FIRST + SECOND[:1], conversation.roles * 2, strict=False):
        conversation.append_message(role, turn.content)
    conversation.append_message(conversation.roles[1], None)
    FAMILIES["vicuna"].save(tmp_path)
    _, processor = facekit.create(
        encoder="tiny", connector="mlp", backbone=f"hf:{tmp_path}?chat_template=vicuna", landmarker="none", seed=0
    )
    chat = [{"role": turn.role, "content": turn.content} for turn in FIRST + SECOND[:1]]
    assert processor.apply_chat_template(chat, add_generation_prompt=True) == conversation.get_prompt()
