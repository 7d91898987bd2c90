"""``NativeHiddenStates``: a model in its own class without its head, for trainers that compute the head themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from facekit.errors import ConfigurationError
from facekit.models.hidden_states import HiddenStates

if TYPE_CHECKING:
    from facekit.models.native.modeling import NativeModel


class NativeHiddenStates(HiddenStates):
    """A view of a model in its own class that ends before its head; all else is the model's own.

    Args:
        model: The whole model.
    """

    def __init__(self, model: NativeModel) -> None:
        self._model: Any = model

    def __call__(  # type: ignore[override]  # what else a composed model takes goes on to the model inside
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        landmarks: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Encode, merge and decode; arguments as those of ``NativeModel.forward``, without labels.

        Returns:
            What the model inside returns, ``last_hidden_state`` ``(B, L, D)`` among it.

        Raises:
            ConfigurationError: The model cannot be had without its head.
        """
        native: Any = self._model.native
        if native.base_model is native:
            raise ConfigurationError(
                f"{type(native).__name__} has no model without a head inside it, which this trainer asks for; train it "
                "on answers by 'facekit train'"
            )
        pictures, landmarks = self._model.read_pictures(pixel_values, None, landmarks)
        arguments = self._model.native_arguments(input_ids, pictures, attention_mask, position_ids)
        with self._model.seeing(pictures, landmarks):
            return native.base_model(**arguments, **kwargs)
