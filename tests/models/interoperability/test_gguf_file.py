"""A language model as GGUF: ``gguf:`` reads it back with the same logits and tokens, or it is refused."""

import pytest
import torch
from gguf_models import LLAMA3, QWEN2, byte_pairs, prepended, save, sentence_pieces, unprefixed
from small_runs import small_model

import facekit
from facekit.backbones import load_gguf_backbone
from facekit.compat.transformers_gguf import READS_VOCABULARIES
from facekit.errors import CheckpointError, ConfigurationError
from facekit.models.interoperability import export, gguf_file

gguf = pytest.importorskip("gguf")


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


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("llama", {"attention_bias": True}, "biases of Llama's layers are not written"),
        ("llama", {"mlp_bias": True}, "biases of Llama's layers are not written"),
        ("llama", {"hidden_act": "gelu"}, "the activation 'gelu' is not written"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
            "a sliding window of Qwen2's is not written",
        ),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(tmp_path, kind, options, words):
    spec = save(tmp_path / "llm", kind, byte_pairs(QWEN2), **options)
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone=spec, seed=0)
    with pytest.raises(ConfigurationError, match=words):
        export(model, processor, tmp_path / "out", "gguf")
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.skipif(not READS_VOCABULARIES, reason="this transformers reads vocabularies otherwise")
def test_tokens_behind_the_vocabulary_are_left_out(tmp_path):
    spec = save(tmp_path / "llm", "llama", unprefixed())
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone=spec, seed=0)
    size = model.config.text_config.vocab_size
    tokenizer = processor.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<{index}>" for index in range(10)]})
    tokenizer.pad_token = "<9>"
    assert tokenizer.pad_token_id >= size
    export(model, processor, tmp_path / "out", "gguf")
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    assert len(reader.get_field("tokenizer.ggml.tokens").contents()) == size
    assert reader.get_field("tokenizer.ggml.padding_token_id") is None


@pytest.mark.skipif(not READS_VOCABULARIES, reason="this transformers reads vocabularies otherwise")
def test_a_file_takes_its_name_when_it_is_whole(tmp_path, monkeypatch):
    spec = save(tmp_path / "llm", "qwen2", byte_pairs(QWEN2))
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone=spec, seed=0)
    seen = []

    def stop(*rest):
        seen.extend(path.name for path in (tmp_path / "out").iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf_file, "_compare_tokenizers", stop)
    with pytest.raises(KeyboardInterrupt):
        export(model, processor, tmp_path / "out", "gguf")
    assert seen == [".model.gguf.part"]
    assert not any((tmp_path / "out").iterdir())


def test_a_transformers_that_cannot_read_the_file_back_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_file, "READS_VOCABULARIES", False)
    spec = save(tmp_path / "llm", "qwen2", byte_pairs(QWEN2))
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone=spec, seed=0)
    with pytest.raises(ConfigurationError, match=r"too old; run: pip install 'transformers>=5\.18'"):
        export(model, processor, tmp_path / "out", "gguf")
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.skipif(not READS_VOCABULARIES, reason="this transformers reads vocabularies otherwise")
@pytest.mark.parametrize(
    ("tokenizer", "begins_with_space", "differs"),
    [(prepended, True, False), (unprefixed, False, False), (sentence_pieces, True, True)],
)
def test_the_file_says_whether_llama_cpp_puts_a_space_before_text_and_a_difference_is_told(
    tmp_path, caplog, tokenizer, begins_with_space, differs
):
    spec = save(tmp_path / "llm", "llama", tokenizer())
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone=spec, seed=0)
    export(model, processor, tmp_path / "out", "gguf")
    field = gguf.GGUFReader(tmp_path / "out" / "model.gguf").get_field("tokenizer.ggml.add_space_prefix")
    assert field.contents() is begins_with_space
    assert ("llama.cpp reads '  Two  spaces" in caplog.text) is differs


def test_a_vocabulary_that_llama_cpp_would_read_otherwise_is_refused_and_no_file_is_left(tmp_path):
    pieces = sentence_pieces(others=["wo"])  # a token that no merge makes: llama.cpp joins whatever is one
    spec = save(tmp_path / "llm", "llama", pieces)
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone=spec, seed=0)
    if not READS_VOCABULARIES:
        pytest.skip("this transformers reads vocabularies otherwise")
    with pytest.raises(CheckpointError, match=r"'Two  spaces.*' would be read as"):
        export(model, processor, tmp_path / "out", "gguf")
    assert not any((tmp_path / "out").iterdir())
