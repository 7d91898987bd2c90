"""A request, one row of a batch: media, prompt, limit, sampling and callbacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from torch import Tensor
from transformers import PreTrainedConfig

from facekit.errors import ConfigurationError
from facekit.models.sessions.encoding import EncodedMedia

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one answer are drawn.

    The draw does not depend on what else is in the batch, up to the rounding of batched arithmetic.

    Args:
        temperature: Divides the logits.
        top_p: Tokens are drawn from the most likely ones that have this probability together.
        top_k: Tokens are drawn from that many most likely ones; 0 for all.
        seed: Of this answer; None takes one from PyTorch's global random state.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigurationError(f"temperature={self.temperature} is not above 0; leave sampling out to be greedy")
        if not 0 < self.top_p <= 1:
            raise ConfigurationError(f"top_p={self.top_p} is not in (0, 1]")
        if self.top_k < 0:
            raise ConfigurationError(f"top_k={self.top_k} is below 0; 0 draws from all tokens")


@dataclass(frozen=True)
class AnswerEnd:
    """How an answer ended.

    Args:
        tokens: That were written, the one that ends it included.
        reason: ``stop`` for such a token, ``length`` for the limit, ``cancelled`` where ``should_stop`` said so.
        text: The answer, known before the other rows of its batch have ended.
    """

    tokens: int
    reason: Literal["stop", "length", "cancelled"]
    text: str = field(default="", compare=False)


@dataclass(frozen=True)
class TokenScore:
    """A written token, and how likely the model held it for.

    Args:
        token: Its id.
        log_probability: Under the model's own distribution: temperature, truncation and constraints do not change it.
        most_likely: The ids that were most likely there, with their log-probabilities, in descending order.
    """

    token: int
    log_probability: float
    most_likely: tuple[tuple[int, float], ...] = ()


class TokenConstraint(Protocol):
    """Decides token by token how an answer may go on, such as a grammar does. One is for one answer."""

    def allowed(self, size: int) -> Tensor:
        """Which tokens may come next, ``(size,)`` of booleans; at least one, and an end token where it is complete."""
        ...

    def advance(self, token: int) -> None:
        """Take in the token that was written."""
        ...


@dataclass(frozen=True, eq=False)
class Request:
    """One question.

    Args:
        media: What it is about.
        prompt: The prompt, with one image or video token per picture or clip, see ``write_prompt``.
        max_new_tokens: Longest answer in tokens.
        sampling: How tokens are drawn; None for the most likely ones, or what ``generate`` has for all rows.
        on_text: Called with each new piece of the answer; the pieces joined are the answer. It must not raise.
        should_stop: Asked after each token; the answer ends where it returns True.
        on_end: Called once with how the answer ended. It must not raise.
        on_token: Called with each token but the one that ends the answer, before the piece of text that comes of it.
            It must not raise.
        top_tokens: How many of the most likely tokens ``on_token`` gets with each.
        constraint: What the answer must be like.

    Raises:
        ConfigurationError: ``max_new_tokens`` is below 1.
    """

    media: EncodedMedia
    prompt: str
    max_new_tokens: int = 64
    sampling: Sampling | None = None
    on_text: Callable[[str], None] | None = None
    should_stop: Callable[[], bool] | None = None
    on_end: Callable[[AnswerEnd], None] | None = None
    on_token: Callable[[TokenScore], None] | None = None
    top_tokens: int = 0
    constraint: TokenConstraint | None = None

    @property
    def needs_control(self) -> bool:
        """Whether its row has to be followed token by token."""
        listeners = (self.on_text, self.should_stop, self.on_end, self.on_token, self.constraint)
        return any(each is not None for each in listeners)

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigurationError(f"max_new_tokens={self.max_new_tokens} leaves no answer; give at least 1")


def bound_answers(requests: Sequence[Request], rows: Sequence[Tensor], config: PreTrainedConfig) -> list[Request]:
    """Return requests whose answers end within the language model's context; those that are cut are logged.

    Args:
        requests: The requests.
        rows: Token ids of their prompts, ``(L,)`` each, all shorter than the context.
        config: The model's, which knows the context.
    """
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context is None:
        return list(requests)
    rooms = [context - len(row) for row in rows]
    cut = [room for request, room in zip(requests, rooms, strict=True) if room < request.max_new_tokens]
    if cut:
        logger.warning(
            "%d of %d answers end after %d tokens or more, where the language model's context of %d tokens does; "
            "max_new_tokens=%d reaches beyond it",
            len(cut), len(requests), min(cut), context, max(request.max_new_tokens for request in requests),
        )  # fmt: skip
    return [
        request if room >= request.max_new_tokens else replace(request, max_new_tokens=room)
        for request, room in zip(requests, rooms, strict=True)
    ]
