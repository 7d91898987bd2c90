"""Packed questions have the losses and gradients of the questions apart, to the rounding of float32."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from facekit.data.dataset import FaceExample
from facekit.data.packing import DOCUMENT, pack_rows, pack_sequences
from facekit.data.supervision import SupervisedTokens
from facekit.training.loop.losses import average_samples, find_targets, supervised_loss, token_losses
from facekit.training.loop.prefix_attention import IMPLEMENTATION, packed_inputs, split_attention
from facekit.training.trainable.parts import gradient_checkpointing

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def resolve(model, batch):
    """What the trainer does with a batch: the model's inputs and the loss's targets."""
    inputs = {name: value.to(model.device) for name, value in batch.items()}
    segments = inputs.pop("segments", None)
    if segments is not None:
        inputs.update(packed_inputs(segments, inputs["position_ids"], model.config.get_text_config()))
    return inputs, find_targets(inputs.pop("labels"), segments)


def sample_losses(model, batch):
    inputs, targets = resolve(model, batch)
    return average_samples(token_losses(model, model.get_output_embeddings(), inputs, targets), targets)


def loss_of(model, batch, **options):
    inputs, targets = resolve(model, batch)
    return supervised_loss(model, model.get_output_embeddings(), inputs, targets, **options)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def assert_same_gradients(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("row_tokens", [None, 90])
@pytest.mark.parametrize("connector", ["mlp", "region"])
@pytest.mark.parametrize(
    ("family", "attention"),
    [
        ("llama", "sdpa"), ("qwen2", "sdpa"), ("gemma3", "sdpa"), ("gemma3", "eager"),
        ("llama", IMPLEMENTATION), ("qwen2", IMPLEMENTATION), ("gemma3", IMPLEMENTATION),
    ],
)  # fmt: skip
def test_packed_losses_and_gradients_are_those_of_separate_samples(
    composed, questions, collate, family, attention, connector, row_tokens
):
    model = composed(family, connector, attention)
    packed, apart = questions(model)
    batch = collate(packed, row_tokens=row_tokens)
    assert len(batch["input_ids"]) == (len(packed) if row_tokens is None else 2)
    assert (batch["segments"] == -1).any()
    found = sample_losses(model, batch)
    separate = [example for examples in apart for example in examples]
    one_by_one = torch.cat([sample_losses(model, collate([example])) for example in separate])
    order = [0, 1, 2, 3] if row_tokens is None else members_of_rows(packed, row_tokens)
    starts = torch.tensor([0, *(len(examples) for examples in apart)]).cumsum(0)
    expected = torch.cat([one_by_one[starts[image] : starts[image + 1]] for image in order])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    padded = sample_losses(model, collate(separate))
    torch.testing.assert_close(padded, one_by_one, rtol=0, atol=1e-6)
    assert_same_gradients(gradients(model, found.mean()), gradients(model, one_by_one.mean()))


def members_of_rows(packed, row_tokens):
    return [member for row in pack_rows(packed, row_tokens) for member in row.members]


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_logits_of_labelled_tokens_give_the_loss_of_all_logits(composed, questions, collate, family):
    model = composed(family)
    _, apart = questions(model)
    batch = collate([examples[0] for examples in apart])
    seen = []
    handle = model.get_output_embeddings().register_forward_hook(
        lambda module, given, result: seen.append(result.shape)
    )
    whole = model(**batch).loss
    labelled = loss_of(model, batch)
    handle.remove()
    assert seen[0][:2] == batch["labels"].shape
    assert seen[1][:2] == (1, int((batch["labels"] != -100).sum()))
    torch.testing.assert_close(labelled, whole, rtol=0, atol=1e-6)
    assert_same_gradients(gradients(model, labelled), gradients(model, model(**batch).loss))


def test_averages_are_per_token_or_per_sample(composed, questions, collate):
    model = composed()
    packed, apart = questions(model)
    batch = collate(packed)
    alone = [model(**collate([example])) for examples in apart for example in examples]
    counts = torch.tensor([float((each.labels != -100).sum()) for examples in apart for each in examples])
    losses = torch.stack([output.loss for output in alone])
    assert counts.min() < counts.max()
    torch.testing.assert_close(loss_of(model, batch, average="sample"), losses.mean(), rtol=0, atol=1e-6)
    by_token = (losses * counts).sum() / counts.sum()
    torch.testing.assert_close(loss_of(model, batch, average="token"), by_token, rtol=0, atol=1e-6)
    assert not torch.isclose(by_token, losses.mean(), atol=1e-4)
    halves = loss_of(model, batch, average="token", items=2 * int(counts.sum()))
    torch.testing.assert_close(2 * halves, by_token, rtol=0, atol=1e-6)


def test_the_first_token_of_a_question_is_predicted_by_the_end_of_the_shared_beginning():
    labels = torch.tensor([[-100, -100, 11, 12, 21, -100]])
    segments = torch.tensor([[0, 0, 1, 1, 2, -1]])
    targets = find_targets(labels, segments)
    assert targets.sources.tolist() == [1, 2, 1]
    assert targets.labels.tolist() == [11, 12, 21]
    assert (targets.samples.tolist(), targets.sample_count) == ([0, 0, 1], 2)


def test_a_first_token_that_nothing_comes_before_is_not_predicted():
    labels = torch.tensor([[-100, 11, 21, 22, 31]])
    segments = torch.tensor([[0, 1, DOCUMENT + 1, DOCUMENT + 1, DOCUMENT + 2]])
    targets = find_targets(labels, segments)
    assert targets.labels.tolist() == [11, 22]
    assert targets.sources.tolist() == [0, 2]


def test_a_batch_without_labels_has_no_targets():
    targets = find_targets(torch.full((2, 3), -100))
    assert (len(targets.labels), targets.sample_count) == (0, 0)


def test_a_row_is_a_sample_where_nothing_is_packed():
    targets = find_targets(torch.tensor([[7, 8, -100], [-100, -100, 9]]))
    assert targets.sources.tolist() == [0, 4]
    assert targets.samples.tolist() == [0, 1]


@pytest.mark.parametrize(
    "parts", [("connector",), ("language_model",), ("encoder",), ("encoder", "connector", "language_model")]
)
def test_gradient_checkpointing_changes_no_gradient_whatever_is_frozen(composed, questions, collate, parts):
    model = composed("qwen2", "region")
    packed, _ = questions(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.partition(".")[0] in parts)
    runs = []
    layer = model.language_model.model.layers[0]
    layer.self_attn.register_forward_hook(lambda *_: runs.append(1))
    plain = gradients(model, loss_of(model, collate(packed)))
    assert len(runs) == 1
    with gradient_checkpointing(model, parts):
        checkpointed = gradients(model, loss_of(model, collate(packed)))
    assert len(runs) == 3
    assert {name.partition(".")[0] for name in plain} == set(parts)
    assert_same_gradients(checkpointed, plain)
    assert not layer.gradient_checkpointing


def test_attention_in_pieces_is_used_inside_its_block_only(composed, questions, collate):
    model = composed("gemma3", "region")
    packed, _ = questions(model)
    segments = collate(packed)["segments"]
    expected = sample_losses(model, collate(packed))
    with split_attention(model.language_model):
        told = packed_inputs(segments, collate(packed)["position_ids"], model.config.get_text_config())
        assert len(told["packed_layout"].questions) == 10
        found = sample_losses(model, collate(packed))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert model.config.get_text_config()._attn_implementation == "sdpa"
    eager = composed(attention="eager")
    with split_attention(eager.language_model):
        assert eager.config.get_text_config()._attn_implementation == "eager"


def test_without_a_layout_attention_in_pieces_is_that_of_sdpa(composed, questions, collate):
    model = composed("gemma3")
    _, apart = questions(model)
    batch = collate([examples[0] for examples in apart])
    expected = model(**batch).logits
    with split_attention(model.language_model):
        torch.testing.assert_close(model(**batch).logits, expected, rtol=0, atol=0)


def test_text_without_a_shared_beginning_is_packed_too(composed, collate):
    model = composed()
    texts = [SupervisedTokens([7, 8, 9, 10], [-100, 8, 9, 10]), SupervisedTokens([11, 12, 13], [-100, 12, 13])]
    columns = {name: torch.tensor(column) for name, column in vars(pack_sequences(texts, 0)).items()}
    nothing = torch.zeros(0, 68, 2)
    packed = FaceExample(0, None, nothing, **columns)
    apart = [FaceExample(0, None, nothing, torch.tensor(each.input_ids), torch.tensor(each.labels)) for each in texts]
    expected = torch.cat([sample_losses(model, collate([example])) for example in apart])
    for rows in ([packed], [packed, packed]):
        batch = collate(rows, row_tokens=20)
        torch.testing.assert_close(sample_losses(model, batch), expected.repeat(len(rows)), rtol=0, atol=1e-6)
        with split_attention(model.language_model):
            torch.testing.assert_close(sample_losses(model, batch), expected.repeat(len(rows)), rtol=0, atol=1e-6)


@needs_gpu
@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3"])
def test_flex_attention_has_the_losses_and_gradients_of_sdpa(composed, questions, collate, family):
    results = []
    for attention in ("sdpa", "flex_attention"):
        model = composed(family, "region", attention).cuda()
        packed, _ = questions(model)
        losses = sample_losses(model, collate(packed, multiple=128))
        results.append((losses, gradients(model, losses.mean())))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=0, atol=1e-5)
    for name, gradient in results[1][1].items():
        torch.testing.assert_close(gradient, results[0][1][name], rtol=1e-3, atol=1e-4)


@needs_gpu
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_fused_loss_is_the_plain_one(composed, questions, collate, family):
    pytest.importorskip("liger_kernel")
    model = composed(family, "region").cuda()
    packed, _ = questions(model)
    plain, fused = (loss_of(model, collate(packed), fused=each) for each in (False, True))
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-5)
    plain_gradients, fused_gradients = gradients(model, plain), gradients(model, fused)
    for name, gradient in fused_gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=1e-3, atol=1e-4)


def test_cross_entropy_of_a_single_token_is_what_its_logits_say(composed, questions, collate):
    model = composed()
    _, apart = questions(model)
    batch = collate([apart[0][0]])
    inputs, targets = resolve(model, batch)
    logits = model(**inputs).logits.flatten(0, 1)
    expected = F.cross_entropy(logits[targets.sources[0]][None], targets.labels[:1])
    found = token_losses(model, model.get_output_embeddings(), inputs, targets)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
