"""What vLLM is told of how an answer is drawn, so that it keeps to the checkpoint's own settings."""

from __future__ import annotations

import logging

from transformers import GenerationConfig

from facekit.models.sessions import Sampling
from facekit.serving.vllm.sampling import sampling_options, warn_of_differences


def options(how=None, longest=8, **settings):
    return sampling_options(how, GenerationConfig(**settings), image_token=7, longest=longest)


def test_the_most_likely_tokens_are_written_unless_a_request_draws():
    assert options() == {"temperature": 0.0}
    assert options(temperature=0.7, do_sample=True) == {"temperature": 0.0}, "as facekit.ask, whatever is saved"
    drawn = options(Sampling(0.5, 0.9, 40, seed=3))
    assert drawn == {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 3}


def test_a_checkpoints_penalty_shortest_answer_and_suppressed_tokens_are_kept_to():
    settings = {"repetition_penalty": 1.3, "min_new_tokens": 20, "suppress_tokens": [7, 9]}
    assert options(**settings) == {
        "temperature": 0.0, "repetition_penalty": 1.3, "min_tokens": 8, "logit_bias": {9: -100.0}
    }  # fmt: skip
    assert options(longest=30, **settings)["min_tokens"] == 20
    assert "logit_bias" not in options(suppress_tokens=[7]), "the image token is never written anyway"


def test_settings_that_vllm_does_not_know_are_named_and_others_are_not(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_differences(GenerationConfig(repetition_penalty=1.1, suppress_tokens=[3]))
        assert caplog.text == ""
        warn_of_differences(GenerationConfig(no_repeat_ngram_size=3, bad_words_ids=[[5]]))
    assert "sets no_repeat_ngram_size and bad_words_ids, which vLLM does not know" in caplog.text
