"""What prepares media for ``ComposedModel``: counts of tokens, dummies to measure memory with, pixels and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import MultiModalDataParser
from vllm.multimodal.processing import BaseDummyInputsBuilder, BaseMultiModalProcessor, BaseProcessingInfo
from vllm.multimodal.processing.processor import PromptReplacement

from facekit.errors import FaceKitError

MODALITIES = ("image", "video")
"""What prompts show.

Seen: vLLM 0.32.
Why: vLLM knows modalities by these words.
Until: it does no longer.
"""


class MediaParser(MultiModalDataParser):
    """Takes media that are prepared already beside those that vLLM knows.

    Seen: vLLM 0.32.
    Why: vLLM looks into every clip, and knows arrays and pictures only.
    Until: it leaves to the processor what it does not know, as it does with pictures.
    """

    prepared: type | None = None
    """Their class."""

    def _get_video_with_metadata(self, video: Any) -> tuple[Any, dict[str, Any] | None]:
        if self.prepared is not None and isinstance(video, self.prepared):
            return video, None
        found: tuple[Any, dict[str, Any] | None] = super()._get_video_with_metadata(video)
        return found


class MediaInfo(BaseProcessingInfo):
    """What vLLM asks about a model's media; a subclass opens the processor and counts.

    Seen: vLLM 0.32.
    Why: documented for models from outside, but its names have changed from release to release.
    Until: vLLM keeps them stable.
    """

    prepared: type | None = None
    """The class of media that are prepared already; none by default."""

    def get_data_parser(self) -> MediaParser:
        """Read the media of a request."""
        parser = MediaParser(
            expected_hidden_size=self._get_expected_hidden_size(),
            allow_missing_mm_embeddings=self.allow_missing_mm_embeddings,
        )
        parser.prepared = self.prepared
        return parser

    def count_tokens(self, frames: int) -> int:
        """Tokens of a picture (1 frame) or a clip."""
        raise NotImplementedError

    @property
    def frames_per_clip(self) -> int:
        """Frames of a clip where a request says nothing."""
        raise NotImplementedError

    @property
    def marks(self) -> dict[str, str]:
        """What stands for a picture and for a clip in a prompt, by modality."""
        raise NotImplementedError

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of pictures and clips."""
        return dict.fromkeys(MODALITIES)

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """Tokens of a picture and of a clip."""
        return {"image": self.count_tokens(1), "video": self.count_tokens(self.frames_per_clip)}

    def mark_ids(self) -> dict[str, int]:
        """The token of each mark; a mark that is no token of the vocabulary becomes one that stands behind it.

        vLLM tokenizes a prompt before it puts media in, and finds only whole tokens again. An added mark is gone from
        the prompt by the time the model sees it.
        """
        tokenizer = self.get_tokenizer()
        ids: dict[str, int] = {}
        for modality, mark in self.marks.items():
            found = tokenizer.encode(mark, add_special_tokens=False)
            if len(found) != 1:
                tokenizer.add_tokens([mark], special_tokens=True)
                found = tokenizer.encode(mark, add_special_tokens=False)
            ids[modality] = found[0]
        return ids


class DummyMedia(BaseDummyInputsBuilder[MediaInfo]):
    """Blank pictures and clips, with which vLLM measures how much memory the largest request takes.

    Seen: vLLM 0.32.
    Why: as of ``MediaInfo``.
    Until: as of ``MediaInfo``.
    """

    side = 64

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """A prompt of marks."""
        return "".join(mark * mm_counts.get(modality, 0) for modality, mark in self.info.marks.items())

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, Any]:
        """Blank pictures and clips; their size does not matter, for all are scaled to the encoder's."""
        size = {"width": self.side, "height": self.side}
        frames = self.info.frames_per_clip
        return {
            "image": self._get_dummy_images(**size, num_images=mm_counts.get("image", 0)),
            "video": self._get_dummy_videos(**size, num_frames=frames, num_videos=mm_counts.get("video", 0)),
        }


class MediaProcessor(BaseMultiModalProcessor[MediaInfo]):
    """Pixels, prompts and hashes; a subclass prepares media.

    An option whose value is a list with an entry for each picture or clip is named in ``per_item``; an entry is part of
    the hash of its own item, and of that alone.

    Seen: vLLM 0.32.
    Why: documented for models from outside, but by methods with underscores; its own handling of options takes no
        lists that belong to items, and would give one picture the cached tensors of another.
    Until: vLLM has options of items, and public names.
    """

    per_item: Mapping[str, str] = {}
    """Names of such options, by modality."""

    def __init__(self, info: MediaInfo, dummy_inputs: DummyMedia) -> None:
        super().__init__(info, dummy_inputs)
        self.mark_ids = info.mark_ids()

    def prepare(self, modality: str, media: Sequence[Any], options: Mapping[str, Any]) -> Mapping[str, list[Any]]:
        """Prepare pictures, or clips.

        Args:
            modality: ``image`` or ``video``.
            media: Pictures of PIL, or arrays ``(frames, H, W, 3)``.
            options: What the request and the server say, those of ``per_item`` with an entry for each of ``media``.

        Returns:
            For each field a list with a tensor for each; ``landmarks`` or whatever else the model encodes with.

        Raises:
            FaceKitError: They cannot be prepared.
        """
        raise NotImplementedError

    def count_frames(self, fields: Mapping[str, Any]) -> int:
        """Frames of a picture or clip that ``prepare`` prepared."""
        raise NotImplementedError

    def digest(self, modality: str, entry: Any) -> bytes:
        """Bytes by which two entries of a ``per_item`` option are told apart."""
        raise NotImplementedError

    def dummy_entry(self, modality: str) -> Any:
        """The entry of a ``per_item`` option for a blank picture or clip."""
        raise NotImplementedError

    def get_dummy_inputs(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> Any:
        """Blank media, prepared without looking for anything in them."""
        inputs = super().get_dummy_inputs(seq_len, mm_counts, mm_options)
        entries = {
            self.per_item[modality]: [self.dummy_entry(modality)] * count for modality, count in mm_counts.items()
        }
        inputs.hf_processor_mm_kwargs = {**inputs.hf_processor_mm_kwargs, **entries}
        return inputs

    def _call_hf_processor(self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, Any]) -> Any:
        from transformers import BatchFeature

        options = self.info.ctx.get_merged_mm_kwargs(hf_kwargs)
        data: dict[str, list[Any]] = {}
        for modality in MODALITIES:
            media = hf_data.get(f"{modality}s")
            if not media:
                continue
            others = set(self.per_item.values()) - {self.per_item[modality]}
            own = {name: value for name, value in options.items() if name not in others}
            try:
                prepared = self.prepare(modality, media, own)
            except FaceKitError as error:
                raise VLLMValidationError(str(error)) from error
            data |= {f"{modality}_{name}": values for name, values in prepared.items()}
        return BatchFeature(data)

    def _get_mm_fields_config(
        self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, Any]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {name: MultiModalFieldConfig.batched(name.partition("_")[0]) for name in hf_inputs}

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, Any], out_mm_kwargs: Any
    ) -> Sequence[PromptReplacement]:
        token = self.info.get_hf_config().image_token_id

        def replacement(modality: str, target: int) -> PromptReplacement:
            def write(index: int) -> list[int]:
                fields = out_mm_kwargs[modality][index].get_data()
                own = {name.removeprefix(f"{modality}_"): value for name, value in fields.items()}
                return [token] * self.info.count_tokens(self.count_frames(own))

            return PromptReplacement(modality=modality, target=[target], replacement=write)

        targets = [(modality, self.mark_ids[modality]) for modality in MODALITIES if modality in mm_items]
        if "image" in mm_items and token != self.mark_ids["image"]:  # as the model's own prompts have it
            targets.append(("image", token))
        return [replacement(*each) for each in targets]

    def _postprocess_prompt(self, prompt: list[int]) -> list[int]:
        """Begin with the beginning-of-text token once: vLLM adds none to a chat, and one to any other prompt."""
        tokenizer = self.info.get_tokenizer()
        start = tokenizer.bos_token_id
        if start is None or tokenizer.encode("")[:1] != [start]:
            return prompt
        rest = prompt
        while rest[:1] == [start]:
            rest = rest[1:]
        return [start, *rest]

    def _get_mm_hashes(self, inputs: Any) -> dict[str, list[str]]:
        options = inputs.hf_processor_mm_kwargs
        shared = {name: value for name, value in options.items() if name not in self.per_item.values()}
        base = super()._get_mm_hashes(replace(inputs, hf_processor_mm_kwargs=shared))
        return {modality: self._add_entries(modality, hashes, options) for modality, hashes in base.items()}

    def _add_entries(self, modality: str, hashes: Sequence[str], options: Mapping[str, Any]) -> list[str]:
        entries = self._entries(modality, options, len(hashes))
        if entries is None:
            return list(hashes)
        try:
            digests = [hashlib.blake2b(self.digest(modality, entry), digest_size=16).hexdigest() for entry in entries]
        except FaceKitError as error:
            raise VLLMValidationError(str(error)) from error
        return [f"{known}-{own}" for known, own in zip(hashes, digests, strict=True)]

    def _entries(self, modality: str, options: Mapping[str, Any], count: int) -> Sequence[Any] | None:
        name = self.per_item[modality]
        entries = options.get(name)
        if entries is None:
            return None
        if not isinstance(entries, Sequence) or isinstance(entries, str) or len(entries) != count:
            raise VLLMValidationError(
                f"{name} is a list with one entry for each {modality}, of which the request has {count}"
            )
        return entries

    def _get_cache_missing_processor_kwargs(self, inputs: Any, mm_is_cached: Mapping[str, Sequence[bool]]) -> Any:
        options = dict(inputs.hf_processor_mm_kwargs)
        for modality, cached in mm_is_cached.items():
            entries = self._entries(modality, options, len(cached))
            if entries is not None:
                kept = [entry for entry, known in zip(entries, cached, strict=True) if not known]
                options[self.per_item[modality]] = kept
        return options
