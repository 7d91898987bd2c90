"""A tiny Llama written as GGUF, as llama.cpp's converter writes it, and loaded as a backbone."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from transformers import LlamaConfig, LlamaForCausalLM

from facekit.backbones import load_gguf_backbone
from facekit.errors import CheckpointError, InvalidSpecError

gguf = pytest.importorskip("gguf")

PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(0x21, 0x7F))]
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}{{ eos_token }}{% endfor %}"
WEIGHTS = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(PIECES), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def write(path, model, kind=gguf.GGMLQuantizationType.F32, template=TEMPLATE, leave_out=(), extra=(), scaling=None):
    """Write as llama.cpp's converter does: rows of queries and keys are reordered from halves to pairs."""
    config, weights = model.config, model.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    types = gguf.TokenType
    writer.add_tokenizer_model("llama")
    writer.add_token_list(PIECES)
    writer.add_token_scores([0.0] * len(PIECES))
    writer.add_token_types([types.UNKNOWN, types.CONTROL, types.CONTROL, *[types.BYTE] * 256, *[types.NORMAL] * 95])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    if template is not None:
        writer.add_chat_template(template)
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    for layer in range(config.num_hidden_layers):
        names |= {f"blk.{layer}.{theirs}": f"model.layers.{layer}.{ours}" for theirs, ours in WEIGHTS.items()}
    for theirs, ours in names.items():
        if theirs in leave_out:
            continue
        value = weights[f"{ours}.weight"]
        if theirs.endswith(("attn_q", "attn_k")):
            heads = config.num_attention_heads if theirs.endswith("q") else config.num_key_value_heads
            value = rearrange(value, "(h two d) c -> (h d two) c", h=heads, two=2)
        array = value.contiguous().numpy()
        if kind is not gguf.GGMLQuantizationType.F32 and array.ndim == 2:
            writer.add_tensor(f"{theirs}.weight", gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{theirs}.weight", array)
    for name, value in dict(extra).items():
        writer.add_tensor(name, value.numpy())
    if scaling is not None:
        writer.add_rope_scaling_type(scaling[0])
        writer.add_rope_scaling_factor(scaling[1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 1e-5), ("Q8_0", 2e-2)])
def test_a_gguf_gives_the_logits_of_the_model_that_was_written(tmp_path, llama, kind, tolerance):
    write(tmp_path / "tiny.gguf", llama, gguf.GGMLQuantizationType[kind])
    backbone = load_gguf_backbone(str(tmp_path / "tiny.gguf"))
    assert type(backbone.model) is LlamaForCausalLM
    assert backbone.model.dtype == torch.float32
    ids = torch.tensor([[1, 260, 270, 280, 2]])
    with torch.no_grad():
        expected, logits = llama(ids).logits, backbone.model(ids).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=tolerance)


def test_what_was_loaded_is_an_ordinary_model_that_trains_and_saves(tmp_path, llama):
    write(tmp_path / "tiny.gguf", llama, gguf.GGMLQuantizationType.Q8_0)
    model = load_gguf_backbone(str(tmp_path / "tiny.gguf"), dtype="bfloat16").model
    assert model.dtype == torch.bfloat16
    ids = torch.tensor([[1, 260, 270]])
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.save_pretrained(tmp_path / "saved")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "saved")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_tokenizer_comes_from_the_file_too(tmp_path, llama):
    write(tmp_path / "tiny.gguf", llama)
    tokenizer = load_gguf_backbone(str(tmp_path / "tiny.gguf")).tokenizer
    assert tokenizer.eos_token == "</s>"
    assert tokenizer.decode(tokenizer("Who is it?", add_special_tokens=False)["input_ids"]) == "Who is it?"
    written = tokenizer.apply_chat_template([{"role": "user", "content": "Who?"}], tokenize=False)
    assert written == "user: Who?</s>"


def test_a_file_without_a_template_needs_a_choice(tmp_path, llama):
    write(tmp_path / "tiny.gguf", llama, template=None)
    with pytest.raises(InvalidSpecError, match=r"gguf:.*has no chat template.*chat_template=vicuna"):
        load_gguf_backbone(str(tmp_path / "tiny.gguf"))
    backbone = load_gguf_backbone(str(tmp_path / "tiny.gguf"), chat_template="vicuna")
    written = backbone.tokenizer.apply_chat_template([{"role": "user", "content": "Who?"}], tokenize=False)
    assert written.endswith("questions. USER: Who? ")


def test_files_that_cannot_be_used_are_told(tmp_path, llama):
    with pytest.raises(InvalidSpecError, match="needs a file"):
        load_gguf_backbone()
    with pytest.raises(CheckpointError, match="the file does not exist"):
        load_gguf_backbone(str(tmp_path / "none.gguf"))
    with pytest.raises(CheckpointError, match="is a folder; name the file in it"):
        load_gguf_backbone(str(tmp_path))
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(CheckpointError, match="the file is no GGUF"):
        load_gguf_backbone(str(tmp_path / "text.gguf"))
    write(tmp_path / "short.gguf", llama, leave_out=("blk.1.ffn_up",))
    with pytest.raises(CheckpointError, match=r"lacks 1 weight, the first is .*layers\.1\.mlp\.up_proj"):
        load_gguf_backbone(str(tmp_path / "short.gguf"))
    whole = tmp_path / "whole.gguf"
    write(whole, llama)
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="the file is damaged or cut off"):
        load_gguf_backbone(str(whole))


def llama3():
    torch.manual_seed(0)
    rope = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    config = LlamaConfig(
        vocab_size=len(PIECES), hidden_size=256, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=131072, bos_token_id=1, eos_token_id=2, rope_parameters=rope,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                value.mul_(8)  # so that attention is sharp, and positions matter
    return model, 10000.0 ** (-torch.arange(0, 128, 2) / 128) / model.model.rotary_emb.inv_freq


def test_llama_3s_scaling_of_rotary_positions_is_read_from_its_factors_and_saved(tmp_path):
    model, factors = llama3()
    write(tmp_path / "long.gguf", model, extra={"rope_freqs.weight": factors})
    again = load_gguf_backbone(str(tmp_path / "long.gguf")).model
    ids = torch.randint(3, 300, (1, 400), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = model(ids).logits, again(ids).logits
        again.config.rope_parameters, rotary = {"rope_type": "default", "rope_theta": 10000.0}, again.model.rotary_emb
        again.model.rotary_emb = type(rotary)(config=again.config)
        unscaled = again(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (unscaled - expected).abs().max() > 1e-2
    load_gguf_backbone(str(tmp_path / "long.gguf")).model.save_pretrained(tmp_path / "saved")
    with torch.no_grad():
        saved = LlamaForCausalLM.from_pretrained(tmp_path / "saved")(ids).logits
    torch.testing.assert_close(saved, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"extra": {"rope_freqs.weight": torch.linspace(1, 5, 8)}}, "factors of rotary positions"),
        ({"extra": {"rope_factors_long.weight": torch.linspace(1, 5, 8)}}, "factors of rotary positions"),
        ({"extra": {"blk.0.attn_q.bias": torch.ones(64)}}, "biases"),
        ({"scaling": (gguf.RopeScalingType.YARN, 4.0)}, r"scaling of rotary positions \('yarn'\)"),
    ],
)
def test_what_transformers_would_pass_over_is_refused(tmp_path, llama, options, words):
    write(tmp_path / "other.gguf", llama, **options)
    with pytest.raises(CheckpointError, match=rf"does not read the file's {words}, without which its answers"):
        load_gguf_backbone(str(tmp_path / "other.gguf"))


def test_factors_and_scaling_that_change_nothing_are_no_hindrance(tmp_path, llama):
    ones = {"rope_freqs.weight": torch.ones(8)}
    write(tmp_path / "tiny.gguf", llama, extra=ones, scaling=(gguf.RopeScalingType.LINEAR, 1.0))
    assert load_gguf_backbone(str(tmp_path / "tiny.gguf")).model.config.rope_parameters["rope_type"] == "default"
