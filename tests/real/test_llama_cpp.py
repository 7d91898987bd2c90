"""llama.cpp reads what ``facekit export --format gguf`` writes: the same tokens, probabilities and greedy answers.

In float32 with a cache in float32 the log-probabilities are those of the model up to rounding; in half precision
llama.cpp rounds between other steps.
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import contextmanager

import pytest
import torch
import xllamacpp
from gguf_models import LLAMA3, QWEN2, byte_pairs, prepended, save, sentence_pieces, unprefixed

import facekit
from facekit.compat.transformers_gguf import READS_VOCABULARIES
from facekit.models.interoperability import export

pytestmark = pytest.mark.skipif(not READS_VOCABULARIES, reason="this transformers reads vocabularies otherwise")

TEXTS = (
    "How old is it?", "two  spaces,\nnew line\n\n\t", "It's 12345 or 6.7%; is 123 OLD?", "Zoë 笑顔 🙂 naïve", "a",
    "x\r\n y  ", "I'LL we've", "…—\u00a0\u200d", "<b>AU12</b>",
)  # fmt: skip
SPACED = ("  two  spaces", " ", "</s> <s> old", "old</s> old", "<s>old is")
NEW = 16
TOLERANCES = {"float32": 5e-5, "float16": 0.03, "bfloat16": 0.25}
"""Of the standard deviation of the model's log-probabilities."""


@contextmanager
def llama_cpp(path):
    """A file behind llama.cpp's server, on one core; gives a function from an address and a request to the reply."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx, settings.n_parallel, settings.n_gpu_layers, settings.port = 128, 1, 0, 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.warmup = settings.fit_params = False
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(settings)

    def post(address, **content):
        body, kind = json.dumps(content).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(server.listening_address + address, body, kind)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    yield post


def read(post, text):
    return post("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]


def compose(folder, kind, tokenizer, options):
    """A composition with weights that show in every logit."""
    spec = save(folder / "llm", kind, tokenizer(), **options)
    encoder = "tiny?image_size=64&width=32&depth=1"
    model, processor = facekit.create(encoder=encoder, connector="mlp", backbone=spec, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.language_model.named_parameters():
            if value.ndim > 1:
                scale = 1.0 if "embed" in name else 2.0 * value.shape[-1] ** -0.5
                value.copy_(scale * torch.randn(value.shape, generator=generator))
    return model, processor


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("kind", "tokenizer", "options"),
    [
        ("llama", prepended, {}),
        ("llama", lambda: byte_pairs(LLAMA3), {"tie_word_embeddings": True}),
        ("qwen2", lambda: byte_pairs(QWEN2), {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    ],
    ids=["llama-sentencepiece", "llama-byte-pairs", "qwen2"],
)
def test_tokens_probabilities_and_greedy_answers_are_those_of_the_model(tmp_path, kind, tokenizer, options, dtype):
    model, processor = compose(tmp_path, kind, tokenizer, options)
    export(model.to(getattr(torch, dtype)), processor, tmp_path / "out", "gguf")
    size = model.config.text_config.vocab_size
    prompt = torch.randint(3, 100, (1, 24), generator=torch.Generator().manual_seed(1))
    written = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, do_sample=False
    )[0].tolist()
    with torch.no_grad():
        expected = model.language_model(torch.tensor([written])).logits[0].float().log_softmax(dim=-1)
    with llama_cpp(tmp_path / "out" / "model.gguf") as post:
        for text in (*TEXTS, *SPACED):
            assert read(post, text) == processor.tokenizer(text, add_special_tokens=False)["input_ids"], text
        chat = [{"role": "user", "content": "Hello"}]
        assert post("/apply-template", messages=chat)["prompt"] == "<s>user: HelloA:"
        greedy = post("/completion", prompt=prompt[0].tolist(), n_predict=NEW, temperature=0, return_tokens=True)
        letter, worst = read(post, "xx")[-1], 0.0
        for place in range(24, len(written)):
            # Of half a character it tells no probabilities, so it is made to write a letter; they stay the model's.
            asked = {"prompt": written[:place], "n_predict": 1, "n_probs": size, "logit_bias": [[letter, 1000.0]]}
            reply = post("/completion", **asked, cache_prompt=False)
            found = torch.full((size,), torch.nan)
            for entry in reply["completion_probabilities"][0]["top_logprobs"]:
                found[entry["id"]] = entry["logprob"]
            assert not found.isnan().any()
            worst = max(worst, float((found - expected[place - 1]).abs().max()))
        assert worst / float(expected.std()) < TOLERANCES[dtype]
    if dtype == "float32":
        assert greedy["tokens"] == written[24:]
        assert len({*written[24:]}) > NEW // 2


@pytest.mark.parametrize("tokenizer", [sentence_pieces, unprefixed])
def test_text_has_the_same_tokens_where_a_vocabulary_puts_no_space_before_all_of_it(tmp_path, tokenizer):
    model, processor = compose(tmp_path, "llama", tokenizer, {})
    export(model, processor, tmp_path / "out", "gguf")
    texts = TEXTS if tokenizer is sentence_pieces else (*TEXTS, *SPACED)
    with llama_cpp(tmp_path / "out" / "model.gguf") as post:
        for text in texts:
            assert read(post, text) == processor.tokenizer(text, add_special_tokens=False)["input_ids"], text
