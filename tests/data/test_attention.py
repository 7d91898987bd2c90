"""A packed token sees itself, the beginning of its document, and what came before it in its question."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask, flex_attention
from transformers import Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config

from facekit.data.attention import attention_masks, check_attention, layer_windows, segment_block_mask, segment_mask
from facekit.data.packing import DOCUMENT
from facekit.errors import ConfigurationError

SEGMENTS = torch.tensor([[0, 0, 1, 1, 2, -1]])
POSITIONS = torch.tensor([[0, 1, 2, 3, 2, 0]])


def configured(kind, attention="sdpa", **options):
    config = kind(num_hidden_layers=2, **options)
    config._attn_implementation = attention
    return config


def visible(mask):
    return mask[0, 0].int().tolist()


def test_a_question_sees_the_shared_beginning_and_its_own_past():
    assert visible(segment_mask(SEGMENTS, POSITIONS)) == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_a_window_is_counted_in_positions_not_in_places():
    assert visible(segment_mask(SEGMENTS, POSITIONS, window=2))[4] == [0, 1, 0, 0, 1, 0]
    assert visible(segment_mask(SEGMENTS, POSITIONS, window=2))[3] == [0, 0, 1, 1, 0, 0]


def test_documents_of_a_row_do_not_see_each_other():
    segments = torch.tensor([[0, 1, DOCUMENT, DOCUMENT + 1, DOCUMENT + 2]])
    positions = torch.tensor([[0, 1, 0, 1, 1]])
    assert visible(segment_mask(segments, positions)) == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 0, 1],
    ]


@pytest.mark.parametrize("window", [None, 5])
def test_the_block_mask_says_the_same_and_leaves_blocks_out(window):
    generator = torch.Generator().manual_seed(0)
    shared, question, count = 256, 128, 6
    segments = torch.cat([torch.zeros(shared), torch.arange(1, count + 1).repeat_interleave(question)]).long()[None]
    positions = torch.cat([torch.arange(shared), (shared + torch.arange(question)).repeat(count)])[None]
    dense, block = segment_mask(segments, positions, window), segment_block_mask(segments, positions, window)
    length = segments.shape[1]
    assert torch.equal(create_mask(block.mask_mod, 1, 1, length, length, device="cpu"), dense)
    assert block.sparsity() > 50
    query, key, value = torch.randn(3, 1, 2, length, 16, generator=generator)
    with torch.no_grad():
        expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=dense)
        torch.testing.assert_close(flex_attention(query, key, value, block_mask=block), expected, rtol=0, atol=1e-5)


def test_every_kind_of_layer_has_its_window():
    assert layer_windows(configured(LlamaConfig)) == {None: None}
    assert layer_windows(configured(MistralConfig, sliding_window=9)) == {None: 9}
    assert layer_windows(configured(Qwen2Config)) == {"full_attention": None}
    kinds = ["sliding_attention", "full_attention"]
    gemma = configured(Gemma3TextConfig, sliding_window=7, layer_types=kinds)
    assert layer_windows(gemma) == {"full_attention": None, "sliding_attention": 7}


def test_masks_have_the_form_that_the_language_model_takes():
    plain = attention_masks(SEGMENTS, POSITIONS, configured(LlamaConfig))
    assert torch.equal(plain, segment_mask(SEGMENTS, POSITIONS))
    kinds = ["sliding_attention", "full_attention"]
    masks = attention_masks(SEGMENTS, POSITIONS, configured(Gemma3TextConfig, sliding_window=2, layer_types=kinds))
    assert torch.equal(masks["full_attention"], plain)
    assert torch.equal(masks["sliding_attention"], segment_mask(SEGMENTS, POSITIONS, 2))
    additive = attention_masks(SEGMENTS, POSITIONS, configured(LlamaConfig, "eager"), dtype=torch.bfloat16)
    assert additive.dtype == torch.bfloat16
    assert torch.equal(additive == 0, plain)
    assert additive.min() == torch.finfo(torch.bfloat16).min
    blocks = attention_masks(SEGMENTS, POSITIONS, configured(LlamaConfig, "flex_attention"))
    assert torch.equal(create_mask(blocks.mask_mod, 1, 1, 6, 6, device="cpu"), plain)


def test_what_cannot_keep_questions_apart_is_refused():
    with pytest.raises(ConfigurationError, match="uses 'flash_attention_2'"):
        check_attention(configured(LlamaConfig, "flash_attention_2"))
    recurrent = configured(Qwen2Config)
    recurrent.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(ConfigurationError, match="layers of the kind linear_attention"):
        check_attention(recurrent)
    chunked = configured(LlamaConfig)
    chunked.attention_chunk_size = 8
    with pytest.raises(ConfigurationError, match="attends in chunks"):
        check_attention(chunked)
