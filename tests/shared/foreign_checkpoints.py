"""Tiny checkpoints of LLaVA-1.5 and InternVL as transformers saves them, with tokenizers and processors."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
INTERNVL_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{'<|im_end|>\n'}}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
)
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 320}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip


def byte_tokenizer(special, **options):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    begin = options.get("bos_token")
    if begin is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, vocabulary[begin])]
        )
    loaded = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)
    loaded.add_special_tokens({"additional_special_tokens": special})
    return loaded


def draw_everything(model):
    """Weights large enough that every part shows in the logits; usual untrained ones hardly move them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            scale = 1.5 * value.shape[-1] ** -0.5 if value.ndim > 1 else 0.2
            offset = 1.0 if value.ndim == 1 and bool((value == 1).all()) else 0.0
            value.copy_(offset + scale * torch.randn(value.shape, generator=generator))


def save_llava(folder, *, tower="clip_vision_model", **changes):
    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
    tokenizer = byte_tokenizer(special, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    config = LlavaConfig(
        vision_config={"model_type": tower, **VISION},
        text_config={"model_type": "llama", **TEXT},
        **{"image_token_index": 4, "image_seq_length": 16, **changes},
    )
    model = LlavaForConditionalGeneration(config)
    draw_everything(model)
    model.save_pretrained(folder)
    side = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    processor.save_pretrained(folder)
    return model.eval(), processor


def save_internvl(folder, **changes):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    tokenizer = byte_tokenizer(
        special,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    config = InternVLConfig(
        vision_config=VISION,
        text_config={"model_type": "qwen2", **TEXT},
        **{"image_token_id": 5, "image_seq_length": 4, "tie_word_embeddings": False, **changes},
    )
    model = InternVLForConditionalGeneration(config)
    draw_everything(model)
    model.tie_weights()
    model.save_pretrained(folder)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    side = {"height": 32, "width": 32}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=side, image_mean=mean, image_std=std, crop_to_patches=True),
        tokenizer,
        InternVLVideoProcessor(size=side, image_mean=mean, image_std=std),
        image_seq_length=4,
        chat_template=INTERNVL_TEMPLATE,
    )
    processor.save_pretrained(folder)
    return model.eval(), processor
