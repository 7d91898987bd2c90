"""Small Llama and Qwen2 language models whose tokenizers a GGUF file can hold."""

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from facekit.models.interoperability.gguf_file import _SPLITS

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)
SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def sentence_pieces(others=()):
    """A vocabulary as SentencePiece's, of which transformers puts a space before the first word alone."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(0x21, 0x7F))]
    merges = [("o", "l"), ("ol", "d"), ("▁", "old"), ("i", "s"), ("▁", "is")]
    pieces += ["".join(each) for each in merges] + list(others)
    tokenizer = Tokenizer(
        models.BPE({piece: index for index, piece in enumerate(pieces)}, merges, byte_fallback=True, unk_token="<unk>",
                   fuse_unk=True)
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def prepended():
    """The same as Llama 2's was published: a space before all text, at its beginning and after control tokens."""
    tokenizer = sentence_pieces()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    return tokenizer


def unprefixed():
    """The same without a space before text."""
    tokenizer = sentence_pieces()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    return tokenizer


def byte_pairs(split):
    """A byte-level vocabulary with a split of text before it."""
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
