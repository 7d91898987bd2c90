"""Region attention on a base in its own class: FRLP and FRGCA at its projected image tokens, tile by tile.

The base is untouched: a forward hook stands where its image tokens are ready, and what is new lies in a folder of its
own beside the base or its adapter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from facekit.compat.safetensors import save_file
from facekit.compat.transformers_vlms import deepstack_levels, hook_image_tokens
from facekit.connectors.region_gated import RegionEnrichment
from facekit.errors import CheckpointError, ConfigurationError, first_line
from facekit.models.native.tiles import Tiles
from facekit.spec import PartSpec, read_options

REGION = "region"
"""The name of the connector in specs, and of its module among those of a base's projector."""

REGION_FOLDER = "facekit_connector"
"""The folder beside a base or its adapter that holds its region attention."""

REGION_BASES = frozenset(
    {
        "gemma3", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "qwen2_5_vl", "qwen2_vl", "qwen3_5",
        "qwen3_vl", "smolvlm",
    }
)  # fmt: skip
"""Families whose image tokens stand in rows of tiles, known by test, by ``config.model_type``."""

ImageTokensHook = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]
"""Takes projected image tokens and deepstack features, and returns what stands in their place."""

_CONFIG, _WEIGHTS = "connector.json", "connector.safetensors"
_MOST_LEVELS = 64
_OPTIONS = {"num_heads": int, "proximity": bool, "landmark_hidden_width": int, "deepstack": bool}

_enrichment: ContextVar[ImageTokensHook | None] = ContextVar("facekit_image_tokens", default=None)


@contextmanager
def image_tokens_through(change: ImageTokensHook) -> Iterator[None]:
    """Let a function change the image tokens of models with ``watch_image_tokens`` inside the ``with`` block."""
    before = _enrichment.set(change)
    try:
        yield
    finally:
        _enrichment.reset(before)


def watch_image_tokens(model: PreTrainedModel) -> None:
    """Put the hook into a model; without ``image_tokens_through`` it changes nothing."""
    hook_image_tokens(model, _change_tokens)


def _change_tokens(tokens: Tensor, deepstack: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    change = _enrichment.get()
    return (tokens, deepstack) if change is None else change(tokens, deepstack)


def enrich_tiles(region: RegionEnrichment, tiles: Tiles, landmarks: Tensor) -> ImageTokensHook:
    """Return the function that enriches the image tokens of pictures by their landmarks.

    Args:
        region: FRLP and FRGCA.
        tiles: Of each picture.
        landmarks: ``(B, 68, 2)`` of the pictures; NaN rows are absent.
    """

    def change(tokens: Tensor, deepstack: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        frames, grid = tiles.map_landmarks(landmarks), square_grid(tokens, len(landmarks) * len(tiles.origins))
        split = [each.reshape(len(frames), grid[0] * grid[1], -1) for each in (tokens, *deepstack)]
        enriched, behind = region(split[0], grid, frames.to(tokens.device), tuple(split[1:]))
        return enriched.reshape(tokens.shape), tuple(each.reshape(tokens.shape) for each in behind)

    return change


def record_maps(
    region: RegionEnrichment, tiles: Tiles, landmarks: Tensor, keep: Callable[[Tensor], None]
) -> ImageTokensHook:
    """Return a function that hands on the attention maps ``(B, H, 9, rows, columns)`` of the tile that is the whole.

    Arguments as for ``enrich_tiles``; it changes nothing.
    """

    def record(tokens: Tensor, deepstack: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        count = len(tiles.origins)
        rows, columns = square_grid(tokens, len(landmarks) * count)
        whole = tokens.reshape(len(landmarks), count, rows * columns, -1)[:, tiles.whole]
        maps = region.attention_maps(whole, (rows, columns), landmarks.to(tokens.device))
        keep(maps.transpose(2, 3).unflatten(3, (rows, columns)))
        return tokens, deepstack

    return record


def square_grid(tokens: Tensor, tiles: int) -> tuple[int, int]:
    """Rows and columns of a tile's tokens; pictures are squares, and so are their tiles.

    Args:
        tokens: ``(tiles, n, D)`` or ``(tiles * n, D)``.
        tiles: Their number.

    Raises:
        ConfigurationError: The tokens are no square for each tile.
    """
    total = tokens.shape[:-1].numel()
    side = isqrt(total // tiles)
    if side * side * tiles != total:
        raise ConfigurationError(
            f"the base makes {total} image tokens of {tiles} tiles, which are no square each, so region attention "
            "cannot place them; choose another image_size"
        )
    return side, side


def build_region(model: PreTrainedModel, spec: PartSpec) -> RegionEnrichment:
    """Build the region attention that a connector's spec names for a base.

    Args:
        model: The base in its own class.
        spec: ``region``, with ``num_heads``, ``proximity``, ``landmark_hidden_width`` and ``deepstack``.

    Raises:
        ConfigurationError: The spec names another connector, the base is not reached, or the options do not fit it.
        InvalidSpecError: An option cannot be used.
    """
    if spec.name != REGION or spec.argument is not None:
        raise ConfigurationError(
            f"{type(model).__name__} is opened in its own class, whose projector stays; the connector '{spec}' would "
            f"replace it, only '{REGION}' goes behind it"
        )
    check_reached(model)
    options = read_options(f"'{REGION}' over a base in its own class", spec.options, _OPTIONS)
    levels = deepstack_levels(model) if options.pop("deepstack", False) else None
    if levels == 0:
        raise ConfigurationError(f"{type(model).__name__} has no deepstack features; leave deepstack out")
    return RegionEnrichment(model.config.get_text_config().hidden_size, deepstack_levels=levels or 0, **options)


def check_reached(model: PreTrainedModel) -> None:
    """Raise ConfigurationError for a base of another family than ``REGION_BASES``."""
    if model.config.model_type not in REGION_BASES:
        raise ConfigurationError(
            f"nobody has tested in which order {type(model).__name__} puts its image tokens, so region attention does "
            f"not go onto it; it goes onto {', '.join(sorted(REGION_BASES))}"
        )


def write_region(region: RegionEnrichment, folder: Path) -> Path:
    """Write region attention into its own folder beside a base or an adapter, and return it."""
    path = folder / REGION_FOLDER
    path.mkdir(parents=True, exist_ok=True)
    config = {"name": REGION, **region.to_config()}
    (path / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in region.state_dict().items()}
    save_file(weights, path / _WEIGHTS, metadata={"format": "pt"})
    return path


def remove_region(folder: Path) -> None:
    """Remove what ``write_region`` wrote for another model, so that it is not loaded with one that has none."""
    path = folder / REGION_FOLDER
    for name in (_CONFIG, _WEIGHTS):
        (path / name).unlink(missing_ok=True)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def describe_region(folder: Path) -> RegionEnrichment | None:
    """Build what ``write_region`` described, its weights drawn anew; None where there is none.

    Raises:
        CheckpointError: The description cannot be read, or is missing beside weights.
    """
    path = folder / REGION_FOLDER / _CONFIG
    if not path.is_file():
        if path.with_name(_WEIGHTS).exists():
            raise CheckpointError(f"'{path}' is missing, which describes {_WEIGHTS} beside it; copy the folder again")
        return None
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("name", None) != REGION:
            raise ValueError(f"it is no connector '{REGION}'")
        if not isinstance(config.get("proximity", True), bool):
            raise ValueError(f"proximity is true or false, not {config['proximity']!r}")
        if not 0 <= config.get("deepstack_levels", 0) <= _MOST_LEVELS:
            raise ValueError(f"deepstack_levels is from 0 to {_MOST_LEVELS}, not {config['deepstack_levels']!r}")
        return RegionEnrichment.from_config(config)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"'{path}' cannot be read: {first_line(error)}") from error


def read_region(folder: Path) -> RegionEnrichment | None:
    """Read what ``write_region`` wrote beside a base or an adapter; None where there is none.

    Raises:
        CheckpointError: It is damaged or incomplete.
    """
    region = describe_region(folder)
    if region is None:
        return None
    path = folder / REGION_FOLDER / _WEIGHTS
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"'{path}' is missing or damaged: {first_line(error)}") from error
    own = region.state_dict()
    unfit = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
    unfit += sorted(set(weights) - set(own))
    if unfit:
        raise CheckpointError(f"'{path}' does not hold what {_CONFIG} beside it describes, such as {unfit[0]}")
    dtype = next(iter(weights.values())).dtype
    region.to(dtype if dtype.is_floating_point else torch.float32).load_state_dict(weights)
    return region
