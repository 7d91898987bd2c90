"""Per-row control of batched generation: limits, stop strings, streaming, sampling, constraints and log-probabilities.

All of it hangs on two hooks of ``generate``, a stopping criterion and logits processors, so that the loop itself stays
that of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    LogitsProcessor,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from facekit.models.sessions.requests import AnswerEnd, Request, Sampling, TokenScore

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


class LastLogits:
    """The logits of a model's last forward pass, as it computed them.

    Inside the ``with`` block of ``watching`` they are kept; processors of ``generate`` change copies of them.
    """

    def __init__(self) -> None:
        self._last: Tensor | None = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Keep the logits of the module that ``generate`` calls."""

        def keep(module: nn.Module, arguments: Any, output: Any) -> None:
            self._last = output.logits[:, -1]

        handle = getattr(model, "native", model).register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()
            self._last = None

    def score(self, row: int, token: int, count: int) -> TokenScore:
        """How likely a token of a row was, and which ``count`` tokens were most likely."""
        assert self._last is not None
        logs = self._last[row].float().log_softmax(dim=-1)
        best = logs.topk(min(count, len(logs)))
        most_likely = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return TokenScore(token, float(logs[token]), most_likely)


class RowControl(StoppingCriteria):
    """Ends each row at its own limit or when its request says so, and streams its tokens.

    Args:
        requests: Of the rows.
        width: Tokens of the prompts, padding included.
        ends: The tokens that end an answer.
        decode: Turns token ids into text.
        logits: The model's of the last step, where a request asks how likely its tokens are.

    Attributes:
        lengths: Tokens that each row had when it ended; None before.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        width: int,
        ends: Collection[int],
        decode: Callable[[list[int]], str],
        logits: LastLogits | None = None,
    ) -> None:
        self.lengths: list[int | None] = [None] * len(requests)
        self._requests, self._width, self._ends, self._logits = requests, width, frozenset(ends), logits
        self._decode = decode
        self._streams = [None if each.on_text is None else TextStream(decode, each.on_text) for each in requests]

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Say of each row whether it has ended, ``(B,)``."""
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self.lengths[row] is None:
                self._step(row, token, input_ids[row, self._width :])
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)

    def finish(self, texts: Sequence[str]) -> None:
        """Send what is left of answers that something else than this ended."""
        for stream, text in zip(self._streams, texts, strict=True):
            if stream is not None:
                stream.finish(text)

    def _step(self, row: int, token: int, written: Tensor) -> None:
        request, stream, count = self._requests[row], self._streams[row], len(written)
        if request.on_token is not None and self._logits is not None and token not in self._ends:
            request.on_token(self._logits.score(row, token, request.top_tokens))
        if stream is not None:
            stream.push(token)
        wants_stop = request.should_stop is not None and request.should_stop()
        if not (wants_stop or token in self._ends or count >= request.max_new_tokens):
            return
        self.lengths[row] = count
        text = self._decode(written.tolist()).strip()
        if stream is not None:
            stream.finish(text)
        if request.on_end is not None:
            is_end = token in self._ends
            request.on_end(AnswerEnd(count, "stop" if is_end else "cancelled" if wants_stop else "length", text))


class RowConstraints(LogitsProcessor):
    """Leaves each row the tokens that its request's constraint allows; rows without one stay as they are.

    Args:
        requests: Of the rows.
        control: What ends rows; a row that has ended is not followed further.
    """

    def __init__(self, requests: Sequence[Request], control: RowControl) -> None:
        self._rows = [
            (row, request.constraint) for row, request in enumerate(requests) if request.constraint is not None
        ]
        self._control, self._has_begun = control, False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the logits ``(B, vocabulary)``, -inf where a token must not come."""
        scores = scores.clone()
        for row, constraint in self._rows:
            if self._control.lengths[row] is not None:
                continue
            if self._has_begun:
                constraint.advance(int(input_ids[row, -1]))
            allowed = constraint.allowed(scores.shape[1])
            scores[row].masked_fill_(~allowed.to(scores.device), -torch.inf)
        self._has_begun = True
        return scores


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
