"""The interface of connectors: vision tokens in, tokens in the language model's space out.

Third-party packages subclass it too; how a spec or a configuration becomes a connector is written once here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.spec import closest_match_hint, read_options


class Connector(nn.Module, ABC):
    """Turns the vision encoder's tokens of a sample into visual tokens for the language model.

    A subclass names its constructor arguments beyond the two widths in ``options``, with their types, and keeps each as
    an attribute of the same name: spec strings, ``to_config`` and ``from_config`` follow from that.

    Attributes:
        input_width: C, the width of the encoder's tokens.
        output_width: D, the width of the language model.
        options: name and type of every further constructor argument.
        uses_landmarks: whether landmarks change what comes out.
    """

    input_width: int
    output_width: int
    options: ClassVar[Mapping[str, type]] = {}
    uses_landmarks: ClassVar[bool] = False

    @abstractmethod
    def tokens_per_frame(self, grid: tuple[int, int], num_prefix_tokens: int) -> int:
        """How many visual tokens a frame costs.

        Args:
            grid: rows and columns of the encoder's patches.
            num_prefix_tokens: P, class and register tokens before the patches.
        """

    @abstractmethod
    def forward(self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor | None = None) -> Tensor:
        """Project the tokens of a batch.

        Args:
            tokens: ``(B, T, P + N, C)``, prefix tokens first, then ``N = rows * cols`` patches, row-major.
            grid: rows and columns.
            landmarks: ``(B, T, 68, 2)``, iBUG-68, x then y in ``[0, 1]`` of the encoder's image; NaN rows are absent.

        Returns:
            ``(B, T * tokens_per_frame, D)``, frame by frame.
        """

    @classmethod
    def convert_argument(cls, argument: str) -> dict[str, Any]:
        """Turn the argument of a spec string (after the ``:``) into constructor arguments; by default there is none.

        Raises:
            InvalidSpecError: this connector takes no argument, or not this one.
        """
        raise InvalidSpecError(f"{cls.__name__} takes no argument, got {argument!r}; options follow a '?'")

    @classmethod
    def from_spec(cls, argument: str | None = None, *, input_width: int, output_width: int, **options: Any) -> Self:
        """Build the connector that a spec string names, such as ``region?num_heads=8&proximity=false``.

        Args:
            argument: what stands after the ``:``.
            input_width: C, the encoder's ``hidden_size``.
            output_width: D, the language model's width.
            **options: the spec's options, as text or as values.

        Raises:
            InvalidSpecError: the argument or an option cannot be used.
            ConfigurationError: the options do not fit the widths.
        """
        converted = {} if argument is None else cls.convert_argument(argument)
        converted |= read_options(cls.__name__, options, cls.options)
        return cls(input_width, output_width, **converted)

    def to_config(self) -> dict[str, Any]:
        """Return JSON-ready values from which ``from_config`` rebuilds the module, without weights or name."""
        return {name: getattr(self, name) for name in ("input_width", "output_width", *self.options)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the module that ``to_config`` described, with fresh weights.

        Raises:
            ConfigurationError: a key is missing or unknown.
        """
        missing = {"input_width", "output_width"} - set(config)
        if missing:
            raise ConfigurationError(f"a {cls.__name__} configuration lacks {', '.join(sorted(missing))}")
        for name in config:
            known = ("input_width", "output_width", *cls.options)
            if name not in known:
                hint = closest_match_hint(name, known)
                raise ConfigurationError(f"a {cls.__name__} configuration has an unknown key '{name}'{hint}")
        return cls(**config)


def count_prefix_tokens(tokens: Tensor, grid: tuple[int, int], input_width: int) -> int:
    """P, the tokens of each frame before its ``rows * cols`` patches.

    Raises:
        ConfigurationError: the tensor has other axes, another width, or fewer tokens than patches.
    """
    shape = tuple(tokens.shape)
    if len(shape) != 4 or shape[3] != input_width:
        raise ConfigurationError(f"tokens have shape {shape}, the connector takes (B, T, P + N, {input_width})")
    prefix_tokens = shape[2] - grid[0] * grid[1]
    if prefix_tokens < 0:
        raise ConfigurationError(f"a frame has {shape[2]} tokens, fewer than its grid of {grid[0]} x {grid[1]} patches")
    return prefix_tokens
