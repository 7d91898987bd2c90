"""Prices of calls: the price table, the estimate before a call, and the cost after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from facekit.endpoints.requests import Reply, Request, Usage
from facekit.errors import ConfigurationError, yaml_fault
from facekit.spec import closest_match_hint

MILLION = 1_000_000
CHARACTERS_PER_TOKEN = 3.5
"""Of English prompts; low, so that estimates are high."""
TOKENS_PER_MESSAGE = 8
_TILE, _LARGE_SIDE, _SHORT_SIDE = 512, 2048, 768

Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Price(BaseModel):
    """The price of one model.

    Attributes:
        input: Dollars per million tokens read.
        output: Dollars per million tokens written.
        batch: Share of the price in the Batch API; None where it has no such price.
        image_base: Tokens of any picture.
        image_tile: Further tokens for each tile of 512 pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Amount
    output: Amount
    batch: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    image_base: Amount = 85
    image_tile: Amount = 170

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Dollars for tokens read and written."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / MILLION

    def in_batch(self) -> Price:
        """The price of the same model in the Batch API."""
        share = 1.0 if self.batch is None else self.batch
        return self.model_copy(update={"input": self.input * share, "output": self.output * share})


UNKNOWN_PRICE = Price(input=0.0, output=0.0)
_TABLE = TypeAdapter(dict[str, Price])


def load_prices(path: str | Path | None = None) -> dict[str, Price]:
    """The table of prices.

    Args:
        path: A YAML file of the user's, whose entries come before the built-in ones.

    Returns:
        Price by model name or pattern, in order of precedence.

    Raises:
        ConfigurationError: If the file cannot be read or an entry is wrong; the message names it.
    """
    table = _read(resources.files("facekit.endpoints") / "prices.yaml", "the built-in price table")
    if path is None:
        return table
    own = _read(Path(path), f"price table {path}")
    return own | {name: price for name, price in table.items() if name not in own}


def find_price(table: Mapping[str, Price], model: str) -> Price | None:
    """The first entry whose name or pattern fits a model, or None."""
    exact = table.get(model)
    return exact or next((price for pattern, price in table.items() if fnmatchcase(model, pattern)), None)


def prompt_tokens(request: Request, price: Price) -> int:
    """An estimate of the tokens that a request makes the model read, on the high side.

    Pictures count as for GPT-4o: fitted into 2048 pixels, then to 768 on the shorter side, then cut into tiles of 512
    (OpenAI, "Images and vision", cost of high detail), at the largest size that the request may send.
    """
    text = (len(request.system) + len(request.prompt)) / CHARACTERS_PER_TOKEN + 2 * TOKENS_PER_MESSAGE
    if request.media is None:
        return math.ceil(text)
    side = min(request.media.image_side, _LARGE_SIDE, _SHORT_SIDE)
    picture = price.image_base + price.image_tile * math.ceil(side / _TILE) ** 2
    return math.ceil(text + request.media.count * picture)


def reply_tokens(request: Request, reply: Reply, price: Price) -> tuple[int, int]:
    """Tokens read and written: the endpoint's count, or an estimate where it gives none."""
    read = prompt_tokens(request, price) if reply.prompt_tokens is None else reply.prompt_tokens
    written = math.ceil(len(reply.text) / CHARACTERS_PER_TOKEN)
    return read, written if reply.completion_tokens is None else reply.completion_tokens


def charged_tokens(request: Request, usage: Usage, price: Price) -> tuple[int, int]:
    """Tokens read and written for a reply that cannot be used: the endpoint's count, or the most that they can be."""
    read = prompt_tokens(request, price) if usage.prompt_tokens is None else usage.prompt_tokens
    return read, request.max_tokens if usage.completion_tokens is None else usage.completion_tokens


def model_price(table: Mapping[str, Price], model: str, *, required: bool = False) -> Price:
    """The price of a model; of one that the table lacks, nothing.

    Args:
        table: The table of prices.
        model: The model.
        required: Whether a budget is to be kept, for which there must be a price.

    Raises:
        ConfigurationError: If a price is required and there is none.
    """
    price = find_price(table, model)
    if price is None and required:
        raise ConfigurationError(
            f"the price table has no model '{model}', so a budget cannot be kept{closest_match_hint(model, table)}; "
            "add it in a file of your own and pass it with --prices"
        )
    return price or UNKNOWN_PRICE


def _read(path: Path | resources.abc.Traversable, name: str) -> dict[str, Price]:
    try:
        return _TABLE.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{name} cannot be read ({yaml_fault(error)}); give a YAML file of models and prices"
        ) from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise ConfigurationError(f"{name}, {where}: {problem['msg']} (got {problem['input']!r})") from error
