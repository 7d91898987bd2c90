"""The composed model: batches equal single samples, counts are checked, gradients and adapters behave."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForImageTextToText

import facekit
from facekit.encoders.base import VisionEncoder
from facekit.encoders.transform import ImageTransform
from facekit.errors import ConfigurationError
from facekit.models import FaceKitConfig, FaceKitForConditionalGeneration
from facekit.models.visual_tokens import merge_visual_tokens

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")


@pytest.fixture
def labelled(small, chat, make_batch):
    """A small model and a batch of two samples with labels."""
    model, processor = small
    inputs = make_batch(processor, [chat("How old?"), chat("Which expression?")])
    ignored = (inputs["input_ids"] == model.config.image_token_id) | (inputs["attention_mask"] == 0)
    return model, {**inputs, "labels": inputs["input_ids"].masked_fill(ignored, -100)}


def gradients(model, inputs):
    model.zero_grad()
    model(**inputs).loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def test_images_change_the_logits_and_so_do_landmarks(small, chat, make_batch):
    model, processor = small
    inputs = make_batch(processor, [chat()])
    with torch.no_grad():
        base = model(**inputs).logits
        dark = model(**{**inputs, "pixel_values": torch.zeros_like(inputs["pixel_values"])}).logits
        absent = model(**{**inputs, "landmarks": torch.full_like(inputs["landmarks"], float("nan"))}).logits
        without = model(**{**inputs, "landmarks": None}).logits
    assert (base - dark).abs().max() > 1e-4
    assert (base - absent).abs().max() > 1e-4
    torch.testing.assert_close(absent, without)


def test_visual_tokens_stand_exactly_where_the_image_token_is(small, chat, make_batch):
    model, processor = small
    inputs = make_batch(processor, [chat(), chat(images=2)], padding_side="left")
    features = model.get_image_features(inputs["pixel_values"], inputs["landmarks"])
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    is_visual = inputs["input_ids"] == model.config.image_token_id
    assert is_visual.sum() == features.shape[0] * features.shape[1]
    merged = merge_visual_tokens(is_visual, embeds, features)
    torch.testing.assert_close(merged[is_visual], features.flatten(0, 1))
    torch.testing.assert_close(merged[~is_visual], embeds[~is_visual])


@pytest.mark.parametrize("backbone", ["tiny", "hf-gemma3"])
def test_a_left_padded_batch_equals_one_by_one(compose, chat, make_batch, backbone):
    model, processor = compose(backbone=backbone)
    questions = ["Age?", "Which of the seven expressions does the face in this picture show?", "Glasses?"]
    batch = make_batch(processor, [chat(question) for question in questions], padding_side="left")
    lengths = batch["attention_mask"].sum(dim=1)
    assert lengths.unique().numel() > 1
    with torch.no_grad():
        together = model(**batch).logits
        answers = model.generate(**batch, max_new_tokens=8, min_new_tokens=8, do_sample=False)
        for row, length in enumerate(lengths):
            alone = {
                "input_ids": batch["input_ids"][row : row + 1, -length:],
                "attention_mask": batch["attention_mask"][row : row + 1, -length:],
                "pixel_values": batch["pixel_values"][row : row + 1],
                "landmarks": batch["landmarks"][row : row + 1],
            }
            torch.testing.assert_close(together[row, -length:], model(**alone).logits[0], atol=1e-4, rtol=0)
            answer = model.generate(**alone, max_new_tokens=8, min_new_tokens=8, do_sample=False)
            assert torch.equal(answers[row, -8:], answer[0, -8:])


def test_a_batch_may_mix_landmarks_present_and_absent_and_samples_without_image(small, chat, make_batch):
    model, processor = small
    chats = [chat("How old?"), chat("Are you well?", images=0), chat("How old?", images=2)]
    batch = make_batch(processor, chats, padding_side="right")
    batch["landmarks"][1] = float("nan")
    owners = ([0], [], [1, 2])
    with torch.no_grad():
        together = model(**batch).logits
        for row, media in enumerate(owners):
            length = int(batch["attention_mask"][row].sum())
            alone = model(
                input_ids=batch["input_ids"][row : row + 1, :length],
                pixel_values=batch["pixel_values"][media] if media else None,
                landmarks=batch["landmarks"][media] if media else None,
            ).logits
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-4, rtol=0)


def test_a_clip_costs_as_many_tokens_as_its_frames(small, picture):
    model, processor = small
    ids = processor.tokenizer(
        processor.expand_image_tokens(f"{processor.image_token} What?", frames=3), return_tensors="pt"
    )
    size = model.encoder.image_size
    clip = torch.randn(1, 3, 3, size, size)
    landmarks = torch.rand(1, 3, 68, 2)
    output = model(**ids, pixel_values=clip, landmarks=landmarks)
    assert output.image_hidden_states.shape == (1, 3 * model.tokens_per_frame, 48)


@pytest.mark.parametrize("wrong", ["more images", "fewer images", "no image"])
def test_a_mismatch_of_counts_names_both_numbers(small, chat, make_batch, wrong):
    model, processor = small
    inputs = make_batch(processor, [chat(), chat()])
    pixels = {"more images": [0, 1, 1], "fewer images": [0], "no image": []}[wrong]
    inputs["pixel_values"] = inputs["pixel_values"][pixels] if pixels else None
    inputs["landmarks"] = inputs["landmarks"][pixels] if pixels else None
    expected = 2 * model.tokens_per_frame
    given = len(pixels) * model.tokens_per_frame
    with pytest.raises(ConfigurationError, match=f"have {expected} image tokens but the images give {given}"):
        model(**inputs)


def test_the_mismatch_is_found_before_anything_is_encoded(small, chat, make_batch):
    model, processor = small
    inputs = make_batch(processor, [chat()])
    encoded = []
    model.encoder.register_forward_hook(lambda *given: encoded.append(1))
    with pytest.raises(ConfigurationError, match="image tokens"):
        model(**{**inputs, "pixel_values": inputs["pixel_values"].repeat(2, 1, 1, 1, 1), "landmarks": None})
    assert encoded == []


def test_images_without_input_ids_are_refused(small):
    model, _ = small
    embeds = torch.zeros(1, 4, 48)
    features = torch.zeros(1, 4, 48)
    with pytest.raises(ConfigurationError, match="without input_ids"):
        model(inputs_embeds=embeds, image_features=features)


def test_image_features_replace_pixels(small, chat, make_batch):
    model, processor = small
    inputs = make_batch(processor, [chat()])
    features = model.get_image_features(inputs["pixel_values"], inputs["landmarks"])
    text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(model(**text, image_features=features).logits, model(**inputs).logits)


def test_logits_to_keep_computes_the_last_only(small, chat, make_batch):
    model, processor = small
    inputs = make_batch(processor, [chat()])
    torch.testing.assert_close(model(**inputs, logits_to_keep=2).logits, model(**inputs).logits[:, -2:])


def test_the_loss_is_the_mean_cross_entropy_of_the_labelled_tokens(labelled):
    model, inputs = labelled
    output = model(**inputs)
    expected = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].flatten(0, 1).float(), inputs["labels"][:, 1:].flatten(), ignore_index=-100
    )
    torch.testing.assert_close(output.loss, expected)
    doubled = model(**inputs, num_items_in_batch=2 * (inputs["labels"][:, 1:] != -100).sum()).loss
    torch.testing.assert_close(doubled, expected / 2)


def test_every_part_gets_a_gradient(labelled):
    model, inputs = labelled
    found = gradients(model, inputs)
    untouched = {name for name, _ in model.named_parameters()} - set(found)
    assert untouched == set()
    for part in ("encoder", "connector", "language_model"):
        assert max(value.abs().max() for name, value in found.items() if name.startswith(part)) > 0


def test_gradient_checkpointing_gives_the_same_gradients(labelled):
    model, inputs = labelled
    model.train()
    plain = gradients(model, inputs)
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    checkpointed = gradients(model, inputs)
    assert plain.keys() == checkpointed.keys()
    for name, value in plain.items():
        torch.testing.assert_close(checkpointed[name], value, atol=1e-6, rtol=1e-5)


def test_checkpointing_keeps_no_activations_of_a_frozen_encoder(compose, chat, make_batch):
    model, processor = compose(encoder="hf")
    model.requires_grad_(False)
    model.train().gradient_checkpointing_enable()
    inputs = make_batch(processor, [chat()])
    assert not model.encoder(inputs["pixel_values"]).requires_grad
    assert model.get_input_embeddings()(inputs["input_ids"]).requires_grad
    model.disable_input_require_grads()
    assert not model.get_input_embeddings()(inputs["input_ids"]).requires_grad


def test_lora_trains_adapters_only_and_merges_to_the_same_logits(labelled):
    model, inputs = labelled
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    )
    trained = [name for name, value in adapted.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora_" in name and "language_model" in name for name in trained)
    before = {name: value.detach().clone() for name, value in adapted.named_parameters() if not value.requires_grad}
    optimizer = torch.optim.SGD([value for value in adapted.parameters() if value.requires_grad], lr=0.1)
    first = adapted(**inputs).loss
    first.backward()
    optimizer.step()
    assert adapted(**inputs).loss < first
    assert all(torch.equal(value, before[name]) for name, value in adapted.named_parameters() if name in before)
    with torch.no_grad():
        adapted.eval()
        logits = adapted(**inputs).logits
        answer = adapted.generate(**{k: v for k, v in inputs.items() if k != "labels"}, max_new_tokens=2)
        assert len(answer) == 2
        merged = adapted.merge_and_unload()
        torch.testing.assert_close(merged(**inputs).logits, logits, atol=1e-4, rtol=0)


def test_bfloat16_runs_and_stays_near_float32(compose, chat, make_batch):
    exact, processor = compose(encoder="hf", backbone="hf-llama")
    coarse, _ = compose(encoder="hf", backbone="hf-llama", dtype="bfloat16")
    assert {parameter.dtype for parameter in coarse.parameters()} == {torch.bfloat16}
    assert coarse.language_model.model.rotary_emb.inv_freq.dtype == torch.float32
    inputs = make_batch(processor, [chat()])
    with torch.no_grad():
        expected, found = exact(**inputs).logits, coarse(**inputs).logits
    assert found.dtype == torch.bfloat16
    assert (found - expected).norm() / expected.norm() < 0.05
    coarse(**inputs, labels=inputs["input_ids"]).loss.backward()


class TableEncoder(VisionEncoder):
    """An encoder of somebody else, with a table that it computes and no checkpoint holds."""

    hidden_size, grid, num_prefix_tokens, image_size = 32, (2, 2), 0, 16

    def __init__(self):
        super().__init__()
        self.transform = ImageTransform(16)
        self.embed = nn.Conv2d(3, 32, 8, stride=8)
        self.register_buffer("table", (torch.arange(1000, 1128).view(4, 32) / 7.0).sin(), persistent=False)

    @classmethod
    def from_spec(cls, argument=None, **options):
        return cls()

    @classmethod
    def from_config(cls, config):
        return cls()

    def to_config(self):
        return {}

    def encode_frames(self, frames):
        return rearrange(self.embed(frames), "f c rows cols -> f (rows cols) c") + self.table


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_encoder_of_somebody_else_is_saved_and_loaded_by_its_name(registry, dtype, tmp_path):
    registry.register("encoder", "table", TableEncoder)
    model, processor = facekit.create(
        encoder="table", connector="mlp", backbone="tiny?depth=1&width=48&heads=4", dtype=dtype
    )
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    reloaded, _ = facekit.load(tmp_path)
    assert isinstance(reloaded.encoder, TableEncoder)
    assert torch.equal(reloaded.encoder.table, model.encoder.table)
    pixels = torch.randn(1, 1, 3, 16, 16)
    torch.testing.assert_close(reloaded.get_image_features(pixels), model.get_image_features(pixels))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tables_that_no_checkpoint_holds_are_restored(dtype, tmp_path):
    model, processor = facekit.create(
        encoder="timm:eva02_tiny_patch14_224?layer=1", connector="mlp", backbone="tiny?depth=1&width=48", dtype=dtype
    )
    tables = dict(model.named_non_persistent_buffers())
    assert any(name.startswith("encoder") for name in tables)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    reloaded, _ = facekit.load(tmp_path)
    for name, table in reloaded.named_non_persistent_buffers():
        assert table.dtype == tables[name].dtype
        assert torch.equal(table, tables[name]), name


def test_a_checkpoint_is_safetensors_and_keeps_tied_embeddings_once(small, tmp_path):
    model, _ = small
    model.save_pretrained(tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.suffix in (".bin", ".pt", ".pth")] == []
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "language_model.model.embed_tokens.weight" in names
    assert "language_model.lm_head.weight" not in names
    reloaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert reloaded.get_output_embeddings().weight is reloaded.get_input_embeddings().weight


def test_resizing_the_vocabulary_keeps_the_old_logits(small, chat, make_batch, tmp_path):
    model, processor = small
    inputs = make_batch(processor, [chat()])
    with torch.no_grad():
        before = model(**inputs).logits
        model.resize_token_embeddings(800)
        after = model(**inputs).logits
    assert model.config.text_config.vocab_size == 800
    torch.testing.assert_close(after[..., : before.shape[-1]], before)
    model.save_pretrained(tmp_path)
    assert AutoModelForImageTextToText.from_pretrained(tmp_path).get_input_embeddings().num_embeddings == 800


def test_the_attention_implementation_reaches_the_language_model(small, chat, make_batch, tmp_path):
    model, processor = small
    model.save_pretrained(tmp_path)
    inputs = make_batch(processor, [chat()])
    eager = AutoModelForImageTextToText.from_pretrained(tmp_path, attn_implementation="eager")
    assert eager.language_model.config._attn_implementation == "eager"
    assert model.language_model.config._attn_implementation == "sdpa"
    with torch.no_grad():
        output = eager(**inputs, output_attentions=True, output_hidden_states=True)
        torch.testing.assert_close(output.logits, model(**inputs).logits, atol=1e-5, rtol=0)
    assert len(output.attentions) == 2
    assert len(output.hidden_states) == 3


def test_a_configuration_without_parts_is_refused():
    with pytest.raises(ConfigurationError, match="no image_token_id"):
        FaceKitForConditionalGeneration(FaceKitConfig())
    with pytest.raises(ConfigurationError, match="names no encoder"):
        FaceKitForConditionalGeneration(FaceKitConfig(image_token_id=5))
    with pytest.raises(ConfigurationError, match="model_type 'nonesuch'"):
        FaceKitConfig(text_config={"model_type": "nonesuch"})


def test_parts_whose_widths_differ_are_refused(small):
    model, _ = small
    config = FaceKitConfig(
        encoder=model.config.encoder,
        connector={**model.config.connector, "input_width": 64},
        text_config=model.config.text_config.to_dict(),
        image_token_id=5,
    )
    with pytest.raises(ConfigurationError, match="encoder has width 32 but the connector's input has width 64"):
        FaceKitForConditionalGeneration(config)


def test_the_configuration_survives_a_round_trip(small):
    model, _ = small
    again = FaceKitConfig.from_dict(model.config.to_dict())
    assert again.encoder == model.config.encoder
    assert again.connector == model.config.connector
    assert again.text_config.to_dict() == model.config.text_config.to_dict()
    assert again.image_token_id == model.config.image_token_id
