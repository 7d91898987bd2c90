"""TRL's own trainer takes the language model that facekit exports, with its tokenizer and its chat template."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import facekit
from facekit.models.interoperability import export


@pytest.mark.filterwarnings("ignore:a call of ours:FutureWarning")  # TRL's own defaults
def test_an_exported_language_model_is_fine_tuned(tmp_path):
    model, processor = facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1", connector="mlp", backbone="tiny?width=48&depth=2&heads=4", seed=0
    )
    export(model, processor, tmp_path / "text", "language-model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "text")
    language = AutoModelForCausalLM.from_pretrained(tmp_path / "text")
    before = {name: value.clone() for name, value in language.named_parameters()}
    chat = [{"role": "user", "content": "Which expression?"}, {"role": "assistant", "content": "I see fear."}]
    settings = SFTConfig(
        output_dir=str(tmp_path / "run"), max_steps=40, per_device_train_batch_size=4, learning_rate=1e-2,
        logging_steps=1, report_to=[], use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(language, settings, train_dataset=Dataset.from_list([{"messages": chat}] * 160),
                         processing_class=tokenizer)  # fmt: skip
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    assert any(not torch.equal(value, before[name]) for name, value in language.named_parameters())
    prompt = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    with torch.no_grad():
        tokens = language.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "fear" in tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :])
