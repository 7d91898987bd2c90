"""A language model as GGUF: ``gguf:`` reads it back with the same logits and tokens, or it is refused."""

import pytest
import torch
from small_runs import small_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

import facekit
from facekit.backbones import load_gguf_backbone
from facekit.compat.transformers_gguf import READS_VOCABULARIES
from facekit.errors import ConfigurationError
from facekit.models.interoperability import export, gguf_file
from facekit.models.interoperability.gguf_file import _SPLITS

gguf = pytest.importorskip("gguf")

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)
SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def sentence_pieces():
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(0x21, 0x7F))]
    merges = [("o", "l"), ("ol", "d"), ("▁", "old"), ("i", "s"), ("▁", "is")]
    pieces += ["".join(each) for each in merges]
    tokenizer = Tokenizer(
        models.BPE({piece: index for index, piece in enumerate(pieces)}, merges, byte_fallback=True, unk_token="<unk>",
                   fuse_unk=True)
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def byte_pairs(split):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("o", "l"), ("ol", "d"), ("Ġ", "old"), ("i", "s"), ("1", "2"), ("12", "3")]
    pieces = ["<unk>", "<s>", "</s>", "<|endoftext|>", *letters, *("".join(each) for each in merges)]
    tokenizer = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def save(folder, kind, tokenizer, **options):
    """A language model with its tokenizer, as transformers saves them; gives the vocabulary's size."""
    named = ("<unk>", "<s>", "</s>", "<|endoftext|>")
    tokenizer.add_special_tokens([token for token in named if tokenizer.token_to_id(token) is not None])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    classes = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[kind]
    model = classes[1](classes[0](vocab_size=len(fast) + 5, **SIZES, **options))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_()
    model.save_pretrained(folder)
    return f"hf:{folder}"


LLAMA3, QWEN2 = _SPLITS


@pytest.mark.skipif(not READS_VOCABULARIES, reason="this transformers reads vocabularies otherwise")
@pytest.mark.parametrize(
    ("kind", "tokenizer", "options"),
    [
        ("llama", sentence_pieces, {}),
        ("llama", lambda: byte_pairs(LLAMA3), {"tie_word_embeddings": True}),
        ("qwen2", lambda: byte_pairs(QWEN2), {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_was_written_has_the_logits_and_tokens_of_the_model(tmp_path, kind, tokenizer, options, dtype):
    spec = save(tmp_path / "llm", kind, tokenizer(), **options)
    encoder = "tiny?image_size=64&width=32&depth=1"
    model, processor = facekit.create(encoder=encoder, connector="mlp", backbone=spec, seed=0)
    model.to(getattr(torch, dtype))
    export(model, processor, tmp_path / "out", "gguf")
    again = load_gguf_backbone(str(tmp_path / "out" / "model.gguf"), dtype=dtype)
    ids = torch.randint(3, 100, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = model.language_model(ids).logits, again.model(ids).logits
    assert expected.float().std() > 0.05
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if dtype == "float32" else 2e-2)
    words = "How old is it? 12345 笑顔\n"
    assert again.tokenizer(words)["input_ids"] == processor.tokenizer(words)["input_ids"]
    chat = [{"role": "user", "content": "Hello"}]
    assert again.tokenizer.apply_chat_template(chat, tokenize=False) == "<s>user: Hello"
    assert again.tokenizer.eos_token == "</s>"


def test_what_the_format_cannot_hold_is_refused_in_one_sentence(tmp_path):
    model, processor = small_model("mlp")
    with pytest.raises(ConfigurationError, match=r"llama\.cpp does not know how this tokenizer splits text"):
        export(model, processor, tmp_path / "a", "gguf")
    assert not any((tmp_path / "a").iterdir())
    model.config.text_config.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    with pytest.raises(ConfigurationError, match="rotary positions of type 'linear'"):
        export(model, processor, tmp_path / "b", "gguf")
    model.config.text_config.model_type = "gemma3_text"
    with pytest.raises(ConfigurationError, match="'gemma3_text', and a GGUF file is written of llama and qwen2"):
        export(model, processor, tmp_path / "c", "gguf")


def test_a_transformers_that_cannot_read_the_file_back_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_file, "READS_VOCABULARIES", False)
    spec = save(tmp_path / "llm", "qwen2", byte_pairs(QWEN2))
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone=spec, seed=0)
    with pytest.raises(ConfigurationError, match=r"too old; run: pip install 'transformers>=5\.18'"):
        export(model, processor, tmp_path / "out", "gguf")
    assert not any((tmp_path / "out").iterdir())
