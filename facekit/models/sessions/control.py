"""Per-row control of batched generation: limits, stop strings, streaming and sampling.

All of it hangs on two hooks of ``generate``, a stopping criterion and a logits processor, so that the loop itself stays
that of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from facekit.models.sessions.requests import AnswerEnd, Request, Sampling

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """An answer as pieces of text while its tokens come; the pieces joined are the whole answer.

    Args:
        decode: Turns token ids into text.
        on_text: Called with each piece.
    """

    def __init__(self, decode: Callable[[list[int]], str], on_text: Callable[[str], None]) -> None:
        self._decode, self._on_text = decode, on_text
        self._tokens: list[int] = []
        self._sent = ""

    def push(self, token: int) -> None:
        """Take the next token; half a character, and space that may be the answer's end, wait for the next."""
        self._tokens.append(token)
        text = self._decode(self._tokens).strip()
        if not text.endswith(_INCOMPLETE):
            self._send(text)

    def finish(self, text: str) -> None:
        """Send what is left of the whole answer."""
        self._send(text)

    def _send(self, text: str) -> None:
        if len(text) > len(self._sent) and text.startswith(self._sent):
            self._on_text(text[len(self._sent) :])
            self._sent = text


class RowControl(StoppingCriteria):
    """Ends each row at its own limit or when its request says so, and streams its tokens.

    Args:
        requests: Of the rows.
        width: Tokens of the prompts, padding included.
        ends: The tokens that end an answer.
        decode: Turns token ids into text.

    Attributes:
        lengths: Tokens that each row had when it ended; None before.
    """

    def __init__(
        self, requests: Sequence[Request], width: int, ends: Collection[int], decode: Callable[[list[int]], str]
    ) -> None:
        self.lengths: list[int | None] = [None] * len(requests)
        self._requests, self._width, self._ends = requests, width, frozenset(ends)
        self._streams = [None if each.on_text is None else TextStream(decode, each.on_text) for each in requests]

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Say of each row whether it has ended, ``(B,)``."""
        count = input_ids.shape[1] - self._width
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self.lengths[row] is None:
                self._step(row, token, count)
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)

    def finish(self, texts: Sequence[str]) -> None:
        """Send what is left of the answers."""
        for stream, text in zip(self._streams, texts, strict=True):
            if stream is not None:
                stream.finish(text)

    def _step(self, row: int, token: int, count: int) -> None:
        request, stream = self._requests[row], self._streams[row]
        if stream is not None:
            stream.push(token)
        wants_stop = request.should_stop is not None and request.should_stop()
        if not (wants_stop or token in self._ends or count >= request.max_new_tokens):
            return
        self.lengths[row] = count
        if request.on_end is not None:
            is_end = token in self._ends
            request.on_end(AnswerEnd(count, "stop" if is_end else "cancelled" if wants_stop else "length"))


class RowSampling(LogitsProcessor):
    """Draws the next token of each row with its own temperature, truncation and seed; other rows stay as they are.

    Gumbel noise is added to the logits, so that the most likely token afterwards is a sample from their distribution
    (Maddison, Tarlow and Minka 2014, arXiv 1411.0030): ``generate`` itself stays greedy.

    Args:
        samplings: Of the rows; None for greedy ones.
    """

    def __init__(self, samplings: Sequence[Sampling | None]) -> None:
        self._rows = [
            (row, _warpers(sampling), _generator(sampling.seed))
            for row, sampling in enumerate(samplings)
            if sampling is not None
        ]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the logits ``(B, vocabulary)`` with the noise of this step."""
        scores = scores.clone()
        smallest = torch.finfo(torch.float32).tiny
        for row, warpers, generator in self._rows:
            logits = scores[row : row + 1]
            for warper in warpers:
                logits = warper(input_ids[row : row + 1], logits)
            noise = torch.empty(scores.shape[1]).exponential_(generator=generator).clamp_min(smallest).log()
            scores[row] = logits[0] - noise.to(scores.device, scores.dtype)
        return scores


def _warpers(sampling: Sampling) -> list[Any]:
    warpers: list[Any] = [TemperatureLogitsWarper(float(sampling.temperature))]
    if sampling.top_k > 0:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(float(sampling.top_p)))
    return warpers


def _generator(seed: int | None) -> torch.Generator:
    chosen = int(torch.randint(2**62, ())) if seed is None else seed
    return torch.Generator().manual_seed(chosen)
