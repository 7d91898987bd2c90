"""TRL's own trainer takes the language model that facekit exports, and computes the benchmark's loss and gradients."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import facekit
from benchmarks import training
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


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # the name that older versions know
@pytest.mark.parametrize("load", ["face", "video"])
def test_a_step_of_its_trainer_learns_what_the_shared_prefix_does(load):
    chosen, shape = training.LOADS[load], training.SHAPES["smoke"]
    model = training.build_model(shape, chosen, "sdpa", torch.device("cpu"))
    ways = {way.name: way for way in training.build_ways(model, chosen, shape, "sdpa")}
    losses, gradients = {}, {}
    for name in ("shared", "trl"):
        losses[name] = float(ways[name].loss().detach())
        ways[name].go()
        gradients[name] = {key: value.grad.clone() for key, value in model.named_parameters() if value.requires_grad}
        model.zero_grad(set_to_none=True)
    assert ways["trl"].labelled == ways["shared"].labelled > 500
    assert losses["trl"] == pytest.approx(losses["shared"], abs=1e-5)
    assert gradients["trl"].keys() == gradients["shared"].keys()
    for name, value in gradients["shared"].items():
        torch.testing.assert_close(gradients["trl"][name], value, rtol=1e-3, atol=1e-6, msg=name)
