"""``ComposedModel``: a language model of vLLM's behind a vision module of somebody else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.models.interfaces import SupportsLoRA, SupportsMultiModal, SupportsPP
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    StageMissingLayer,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)

from facekit.errors import CheckpointError

_VISION = "vision"


class ComposedModel(nn.Module, SupportsMultiModal, SupportsPP, SupportsLoRA):
    """A vision module and one of vLLM's own language models; a subclass gives the first and encodes with it.

    The configuration has ``text_config`` and ``image_token_id``. In the checkpoint, the language model's tensors are
    below ``language_model.``, all others are the vision module's and have its own names.

    Seen: vLLM 0.32.
    Why: vLLM marks the parts of a multimodal model by private context managers, and there is no class to derive from.
    Until: vLLM has one for a tower, a connector and a language model.
    """

    packed_modules_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - vLLM asks the class; see __init__
    # Adapters of the language model name its modules as they are in it; checkpoints as they are in the whole model.
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={"model.": "language_model.model.", "lm_head.": "language_model.lm_head."}
    )
    configure_mm_token_handling: Any  # these three are SupportsMultiModal's
    _mark_tower_model: Any
    _mark_language_model: Any

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        settings = vllm_config.model_config
        self.config = settings.hf_config
        self.dtype: torch.dtype = settings.dtype
        self.configure_mm_token_handling(self.config.text_config.vocab_size, [self.config.image_token_id])
        with self._mark_tower_model(vllm_config, {"image", "video"}):
            self.vision = self.build_vision(self.config).to(vllm_config.device_config.device).eval()
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=self.config.text_config,
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.packed_modules_mapping = dict(getattr(self.language_model, "packed_modules_mapping", {}))
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def build_vision(self, config: Any) -> nn.Module:
        """Build the vision module of a configuration, without its weights."""
        raise NotImplementedError

    def encode(self, fields: dict[str, list[Tensor]]) -> list[Tensor]:
        """Encode pictures, or clips.

        Args:
            fields: What the processor gave of each, by name and without the modality in it.

        Returns:
            ``(n, D)`` of each.
        """
        raise NotImplementedError

    def embed_multimodal(self, **kwargs: Any) -> list[Tensor]:
        """Encode what a step's prompts show; fields are named ``image_…`` and ``video_…``."""
        encoded: list[Tensor] = []
        for modality in ("image_", "video_"):
            fields = {
                name.removeprefix(modality): list(values)
                for name, values in kwargs.items()
                if name.startswith(modality)
            }
            if fields:
                encoded += [features.to(self.dtype) for features in self.encode(fields)]
        return encoded

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the language model without its head."""
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Run the head; the image token is never written, whatever a request's sampling says."""
        logits: Tensor | None = self.language_model.compute_logits(hidden_states)
        if logits is not None and self.config.image_token_id < logits.shape[-1]:
            # The least finite number rather than minus infinity, which JSON has no word for in log-probabilities.
            logits[..., self.config.image_token_id] = torch.finfo(logits.dtype).min
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Read a checkpoint's tensors; vLLM's loader reads those of the language model."""
        is_there = not isinstance(self.vision, StageMissingLayer)
        wanted = self.vision.state_dict() if is_there else {}
        found: set[str] = set()

        def of_language_model() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in weights:
                if name.startswith("language_model."):
                    yield name, tensor
                elif name in wanted:
                    _check_shape(name, tensor, wanted[name])
                    wanted[name].copy_(tensor)
                    found.add(name)
                elif is_there:
                    raise CheckpointError(f"the weights have {name}, beyond what config.json describes")

        loaded: set[str] = AutoWeightsLoader(self).load_weights(of_language_model())
        missing = sorted(wanted.keys() - found)
        if missing:
            raise CheckpointError(f"the weights lack {len(missing)} tensors, among them {missing[0]}")
        return loaded | {f"{_VISION}.{name}" for name in found}

    def get_mm_mapping(self) -> MultiModelKeys:
        """Names of the parts, by which vLLM knows what an adapter adapts."""
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector=f"{_VISION}.connector", tower_model=f"{_VISION}.encoder"
        )


def _check_shape(name: str, tensor: Tensor, wanted: Tensor) -> None:
    if tensor.shape != wanted.shape:
        raise CheckpointError(
            f"the weights have {name} of shape {tuple(tensor.shape)}, where config.json describes {tuple(wanted.shape)}"
        )
