"""Streamed text and sampling of single rows, apart from any model."""

from __future__ import annotations

import pytest
import torch

from facekit.models.sessions.control import RowSampling, TextStream
from facekit.models.sessions.requests import Sampling


def stream(pieces, whole=None):
    """What listeners hear of tokens that are written as ``pieces`` of bytes."""
    heard = []
    decode = lambda ids: b"".join(pieces[: len(ids)]).decode("utf-8", errors="replace")  # noqa: E731
    text = TextStream(decode, heard.append)
    for token in range(len(pieces)):
        text.push(token)
    text.finish(decode(list(range(len(pieces)))).strip() if whole is None else whole)
    return heard


def test_half_a_character_waits_for_its_other_half():
    face = "😀".encode()
    assert stream([b"a ", face[:2], face[2:], b"!"]) == ["a", " 😀", "!"]


def test_space_around_an_answer_is_not_sent():
    assert stream([b" \n", b"yes", b" ", b"no", b"  "]) == ["yes", " no"]


def test_what_a_tokenizer_takes_back_is_not_sent_twice():
    assert stream([b"yes", b" no"], whole="yes") == ["yes", " no"]
    assert stream([b"yes"], whole="yes, no") == ["yes", ", no"]


def test_draws_follow_the_distribution():
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    drawing = RowSampling([Sampling(seed=seed) for seed in range(4000)])
    drawn = drawing(torch.zeros(4000, 1, dtype=torch.long), logits.expand(4000, -1)).argmax(-1)
    shares = drawn.bincount(minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("sampling", "possible"),
    [({"top_k": 1}, {0}), ({"top_p": 0.6}, {0, 1}), ({"temperature": 0.01}, {0}), ({"temperature": 50.0}, {0, 1, 2})],
)
def test_truncation_and_temperature_bound_what_is_drawn(sampling, possible):
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(200, -1)
    drawing = RowSampling([Sampling(seed=seed, **sampling) for seed in range(200)])
    assert set(drawing(torch.zeros(200, 1, dtype=torch.long), logits).argmax(-1).tolist()) == possible


def test_greedy_rows_keep_their_logits():
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    changed = RowSampling([None, Sampling(seed=0), None])(torch.zeros(3, 1, dtype=torch.long), logits)
    assert torch.equal(logits, before)
    assert torch.equal(changed[[0, 2]], before[[0, 2]])
    assert not torch.equal(changed[1], before[1])
