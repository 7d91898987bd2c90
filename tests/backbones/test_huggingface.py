"""Language models in the Hugging Face layout: chat templates, pad tokens, and what is wrong with a checkpoint."""

from __future__ import annotations

import json
import sys

import pytest
import torch
import transformers.dynamic_module_utils
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from facekit.backbones.base import ensure_pad_token
from facekit.backbones.huggingface import load_huggingface_backbone
from facekit.backbones.lora import lora_target_modules
from facekit.backbones.tiny import load_tiny_backbone, load_tiny_tokenizer
from facekit.catalog import current_registry
from facekit.errors import CheckpointError, InvalidSpecError, MissingExtraError
from facekit.spec import PartSpec

CHAT = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Me."},
    {"role": "user", "content": "Sure?"},
]


@pytest.fixture
def checkpoint(tmp_path):
    """A function that saves a small Llama, after a change to its tokenizer."""

    def save(change=lambda tokenizer: None):
        backbone = load_tiny_backbone(width=32, depth=1, heads=2)
        change(backbone.tokenizer)
        backbone.model.save_pretrained(tmp_path)
        backbone.tokenizer.save_pretrained(tmp_path)
        return str(tmp_path)

    return save


def drop_template(tokenizer):
    tokenizer.chat_template = None


def byte_tokenizer(special):
    vocabulary = {token: index for index, token in enumerate(["<|end|>", *special, "a", "b"])}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocab=vocabulary, merges=[])), eos_token="<|end|>")


def test_a_checkpoint_is_loaded_with_its_template(checkpoint):
    backbone = load_huggingface_backbone(checkpoint())
    assert type(backbone.model).__name__ == "LlamaForCausalLM"
    assert backbone.model.dtype == torch.float32
    assert backbone.tokenizer.apply_chat_template(CHAT[:1], tokenize=False) == "<|user|>Who?<|end|>"


def test_type_and_attention_can_be_chosen(checkpoint):
    backbone = load_huggingface_backbone(checkpoint(), dtype="bfloat16", attention="eager")
    assert backbone.model.dtype == torch.bfloat16
    assert backbone.model.config._attn_implementation == "eager"


def test_without_a_template_the_choices_are_named(checkpoint):
    folder = checkpoint(drop_template)
    with pytest.raises(InvalidSpecError, match="has no chat template") as caught:
        load_huggingface_backbone(folder)
    for choice in ("chat_template=vicuna", "chat_template=plain", "the path of a Jinja file"):
        assert choice in str(caught.value)
    backbone = load_huggingface_backbone(folder, chat_template="plain")
    written = backbone.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert written == "User: Who?\nAssistant: Me.<|end|>\nUser: Sure?\nAssistant:"


def test_vicuna_replaces_the_template(checkpoint):
    backbone = load_huggingface_backbone(checkpoint(), chat_template="vicuna")
    system = (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    )
    turns = "USER: Who? ASSISTANT: Me.<|end|>USER: Sure? ASSISTANT:"
    write = backbone.tokenizer.apply_chat_template
    assert write(CHAT, tokenize=False, add_generation_prompt=True) == system + turns
    own = [{"role": "system", "content": "Be brief."}, *CHAT]
    assert write(own, tokenize=False, add_generation_prompt=True) == "Be brief. " + turns


def test_a_template_may_come_from_a_file(checkpoint, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for message in messages %}[{{ message.content }}]{% endfor %}", encoding="utf-8-sig")
    backbone = load_huggingface_backbone(checkpoint(), chat_template=str(file))
    assert backbone.tokenizer.apply_chat_template(CHAT, tokenize=False) == "[Who?][Me.][Sure?]"


@pytest.mark.parametrize(("usual", "chosen"), [(None, "<|end|>"), ("[PAD]", "[PAD]")])
def test_a_missing_pad_token_is_chosen_from_the_vocabulary(usual, chosen):
    tokenizer = byte_tokenizer([] if usual is None else [usual])
    assert tokenizer.pad_token is None
    ensure_pad_token(tokenizer)
    assert tokenizer.pad_token == chosen
    ensure_pad_token(tokenizer)
    assert tokenizer.pad_token == chosen


def test_a_tokenizer_with_neither_pad_nor_end_is_refused():
    tokenizer = byte_tokenizer([])
    tokenizer.eos_token = None
    with pytest.raises(CheckpointError, match="neither a pad nor an end-of-text token"):
        ensure_pad_token(tokenizer)


@pytest.mark.parametrize(
    ("argument", "options", "error", "message"),
    [
        (None, {}, InvalidSpecError, "needs a hub id or a folder"),
        ("./nowhere", {}, CheckpointError, "no such folder"),
        ("~/nowhere/at/all", {}, CheckpointError, "no such folder"),
        ("a/b/c", {}, CheckpointError, "no such folder"),
    ],
)
def test_a_missing_checkpoint_is_told(argument, options, error, message):
    with pytest.raises(error, match=message):
        load_huggingface_backbone(argument, **options)


def test_a_hub_id_that_cannot_be_reached_is_told_in_one_line():
    with pytest.raises(CheckpointError, match="'nobody/nothing' is no folder here") as caught:
        load_huggingface_backbone("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_a_folder_without_configuration_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_huggingface_backbone(str(tmp_path))


def test_a_model_that_is_no_language_model_is_told(checkpoint, tmp_path):
    folder = checkpoint()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_huggingface_backbone(folder)


def test_truncated_weights_are_told(checkpoint, tmp_path):
    folder = checkpoint()
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_huggingface_backbone(folder)


def test_missing_weights_are_counted(checkpoint, tmp_path):
    folder = checkpoint()
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weight, the first is model\.norm\.weight"):
        load_huggingface_backbone(folder)


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(checkpoint):
    folder = checkpoint(lambda tokenizer: tokenizer.add_tokens([f"word{index}" for index in range(100)]))
    highest, rows = len(load_tiny_tokenizer()) + 99, load_tiny_backbone(width=32, depth=1, heads=2).model.vocab_size
    with pytest.raises(CheckpointError, match=f"ids up to {highest}, the model only {rows} embeddings"):
        load_huggingface_backbone(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float33"}, "dtype=float33 is no floating type"),
        ({"chat_template": "vicunia"}, "chat_template=vicunia is neither .* did you mean 'vicuna'"),
        ({"load_in": "3bit"}, "cannot use load_in=3bit: it takes 4bit or 8bit"),
        ({"trust_remote_code": "maybe"}, "cannot use trust_remote_code=maybe: it takes true or false"),
    ],
)
def test_options_that_cannot_be_used_are_refused(checkpoint, options, message):
    with pytest.raises(InvalidSpecError, match=message):
        current_registry().build("backbone", PartSpec("hf", checkpoint(), options))


OWN_CODE = """
import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class InternLM2Config(PreTrainedConfig):
    model_type = "internlm2"
    vocab_size: int = 300
    hidden_size: int = 16
    num_hidden_layers: int = 2


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.wqkv, self.wo = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.wqkv(x).unsqueeze(1).chunk(3, dim=-1)
        return self.wo(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).squeeze(1))


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.w1, self.w2, self.w3 = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        return self.w2(nn.functional.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention, self.feed_forward = Attention(width), FeedForward(width)

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.feed_forward(x)


class InternLM2ForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = InternLM2Config

    def __init__(self, config):
        super().__init__(config)
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.tok_embeddings

    def get_output_embeddings(self):
        return self.output

    def forward(self, input_ids=None, inputs_embeds=None, **kwargs):
        x = self.tok_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        for layer in self.layers:
            x = layer(x)
        return CausalLMOutputWithPast(logits=self.output(x))
"""


@pytest.fixture
def checkpoint_with_code(checkpoint, tmp_path, monkeypatch):
    """A checkpoint as InternLM2's are: a kind that transformers does not have, and Python files that build it."""
    folder = checkpoint()
    (tmp_path / "modeling_internlm2.py").write_text(OWN_CODE)
    source = {}
    exec(OWN_CODE, source)
    model = source["InternLM2ForCausalLM"](source["InternLM2Config"](vocab_size=1200))
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    target = "modeling_internlm2.InternLM2"
    config = {"model_type": "internlm2", "vocab_size": 1200, "hidden_size": 16, "num_hidden_layers": 2}
    config["auto_map"] = {"AutoConfig": f"{target}Config", "AutoModelForCausalLM": f"{target}ForCausalLM"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return folder


def test_code_of_a_checkpoint_is_refused_unless_it_is_asked_for(checkpoint_with_code):
    with pytest.raises(
        CheckpointError, match=r"'internlm2', which transformers does not have: .*modeling_internlm2\.py"
    ):
        load_huggingface_backbone(checkpoint_with_code)
    backbone = load_huggingface_backbone(checkpoint_with_code, trust_remote_code=True)
    assert type(backbone.model).__name__ == "InternLM2ForCausalLM"
    assert backbone.model(torch.tensor([[1, 2]])).logits.shape == (1, 2, 1200)
    layer = ("attention.wqkv", "attention.wo", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
    assert lora_target_modules(backbone.model) == [f"layers.{index}.{name}" for index in range(2) for name in layer]


def test_a_package_that_a_checkpoints_code_needs_is_named(checkpoint_with_code, tmp_path):
    code = tmp_path / "modeling_internlm2.py"
    code.write_text("import no_such_package_1\n" + OWN_CODE)
    with pytest.raises(MissingExtraError, match=r"needs a package that is missing: .*no_such_package_1"):
        load_huggingface_backbone(checkpoint_with_code, trust_remote_code=True)
