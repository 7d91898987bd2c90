import gguf
import pytest

from facekit.backbones.tiny import load_tiny_tokenizer
from facekit.compat import transformers_gguf
from facekit.compat.transformers_gguf import set_special_tokens


@pytest.fixture
def tokenizer():
    return load_tiny_tokenizer()


def write(path, **ids):
    writer = gguf.GGUFWriter(str(path), "llama")
    for name, value in ids.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_files_tokens_replace_those_that_an_old_transformers_mixed_up(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(transformers_gguf, "SWAPS_SPECIAL_TOKENS", True)
    set_special_tokens(tokenizer, write(tmp_path / "a.gguf", bos=5, eos=7))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (5, 7)


def test_a_token_that_the_file_does_not_name_is_left_alone(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(transformers_gguf, "SWAPS_SPECIAL_TOKENS", True)
    before = tokenizer.bos_token
    set_special_tokens(tokenizer, write(tmp_path / "a.gguf", eos=7))
    assert (tokenizer.bos_token, tokenizer.eos_token_id) == (before, 7)


def test_a_transformers_that_reads_them_right_is_trusted_and_the_file_not_opened(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(transformers_gguf, "SWAPS_SPECIAL_TOKENS", False)
    before = tokenizer.eos_token
    set_special_tokens(tokenizer, tmp_path / "absent.gguf")
    assert tokenizer.eos_token == before
