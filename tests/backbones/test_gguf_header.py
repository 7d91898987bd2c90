"""The header of a GGUF file, against gguf's own reader, and of damaged files."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from facekit.backbones.gguf_header import read_gguf_header

gguf = pytest.importorskip("gguf")


@pytest.fixture
def file(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_token_list(["a", "bc", ""])
    writer.add_token_scores([1.0, 2.0, 3.0])
    writer.add_float32("some.float", 0.5)
    writer.add_bool("some.bool", True)
    writer.add_uint64("some.large", 1 << 40)
    writer.add_string("some.text", "笑顔")
    writer.add_tensor("first.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("second.weight", np.arange(5, dtype=np.float32))
    writer.add_tensor("half.weight", np.arange(5, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "a.gguf"


def test_numbers_texts_and_tensors_are_those_that_were_written(file):
    header = read_gguf_header(file)
    assert header.values["some.text"] == "笑顔"
    assert (header.values["some.float"], header.values["some.bool"], header.values["some.large"]) == (
        0.5,
        True,
        1 << 40,
    )
    assert "tokenizer.ggml.tokens" not in header.values
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    assert list(header.tensors) == list(theirs)
    for name in ("first.weight", "second.weight"):
        assert header.read_floats(name) == theirs[name].data.flatten().tolist()


def test_a_tensor_of_another_type_or_cut_off_is_told(file):
    with pytest.raises(ValueError, match=r"'half\.weight' is no tensor of float32"):
        read_gguf_header(file).read_floats("half.weight")
    header = read_gguf_header(file)
    file.write_bytes(file.read_bytes()[: header.tensors["second.weight"][2] + 4])
    with pytest.raises(ValueError, match="or cut off"):
        read_gguf_header(file).read_floats("second.weight")


def test_every_cut_of_the_header_is_told(file):
    content = file.read_bytes()
    end = min(place for _, _, place in read_gguf_header(file).tensors.values())
    for length in range(4, end - 40):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match="it ends within"):
            read_gguf_header(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<IIQQ", 0, 1, 0, 0), "version 1"),
        (struct.pack("<IIQQQ1sI", 0, 3, 0, 1, 1, b"a", 77), "value of the unknown type 77"),
        (struct.pack("<IIQQQ1sIIQ", 0, 3, 0, 1, 1, b"a", 9, 9, 1), "list of the unknown type 9"),
        (struct.pack("<IIQQQ1sIIQ", 0, 3, 0, 1, 1, b"a", 9, 8, 1 << 60), "it ends within"),
        (struct.pack("<IIQQQ1sIIQQ", 0, 3, 1, 1, 1, b"a", 9, 0, 1 << 60, 0), "it ends within"),
        (struct.pack("<IIQQQ1sI", 0, 3, 1, 0, 1, b"a", 1 << 30), "has 1073741824 dimensions"),
    ],
)
def test_what_no_file_has_is_told_at_once(tmp_path, content, message):
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_gguf_header(tmp_path / "a.gguf")
