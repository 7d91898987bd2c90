"""The configuration of the composed model: its encoder, connector and language model.

It imports no part, so that a checkpoint can be recognised without building anything.
"""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from facekit.errors import ConfigurationError, configuration_guard

_AUTO_MAP = {"AutoModelForImageTextToText": "facekit.FaceKitForConditionalGeneration"}
"""Names no code to be downloaded: the class is registered when facekit is imported, and registered ones go first."""


class FaceKitConfig(PreTrainedConfig):
    """Names the parts of a model and holds what each needs to be rebuilt without its weights.

    Attributes:
        encoder: ``{"name": registered name, **encoder.to_config()}``.
        connector: ``{"name": registered name, **connector.to_config()}``.
        text_config: The language model's own configuration, or its values with ``model_type``.
        image_token_id: The token that stands in ``input_ids`` for every visual token.
        video_encoder: As ``encoder``, for clips; without it ``encoder`` sees the frames of clips too.
    """

    model_type = "facekit"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 - the base class has it as a plain class attribute

    encoder: dict[str, Any] | None = None
    connector: dict[str, Any] | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    image_token_id: int | None = None
    tie_word_embeddings: bool = False
    video_encoder: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Turn the language model's values into its configuration class."""
        if not isinstance(self.text_config, PreTrainedConfig):
            values = dict(self.text_config or {})
            model_type = values.pop("model_type", "llama")
            if model_type not in CONFIG_MAPPING:
                raise ConfigurationError(
                    f"text_config has the model_type '{model_type}', which this version of transformers does not know; "
                    "install a newer one"
                )
            message = f"text_config does not describe a language model of the type '{model_type}'"
            with configuration_guard(ConfigurationError, message):
                self.text_config = CONFIG_MAPPING[model_type](**values)
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        # Trainers that build a reference model from a saved folder look here for the class that opens it.
        self.auto_map = dict(_AUTO_MAP)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]  # transformers has no types here
