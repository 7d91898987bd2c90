"""Pictures and chats to the model's tensors.

The text side is here: chat template, image tokens, padding; pixels and landmarks come from the image processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike
from transformers import BatchEncoding, BatchFeature, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from facekit.errors import ConfigurationError
from facekit.models.chat import flatten_chat, is_chat
from facekit.models.image_processing import FaceKitImageProcessor, flatten_images


class FaceKitProcessor(ProcessorMixin):
    """Turns pictures and chats into ``pixel_values``, ``landmarks``, ``input_ids`` and ``attention_mask``.

    Args:
        image_processor: Prepares the pictures.
        tokenizer: The language model's, with the image token added; it is set to pad on the left, as generation needs.
        tokens_per_frame: How many visual tokens a frame costs.
        image_token: Stands for a picture in prompts, and in ``input_ids`` for every visual token.
        chat_template: Jinja source in place of the tokenizer's own.

    Raises:
        ConfigurationError: The image token is not one token of the tokenizer.
    """

    def __init__(
        self,
        image_processor: FaceKitImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        tokens_per_frame: int = 1,
        image_token: str = "<image>",
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template or tokenizer.chat_template)
        tokenizer.padding_side = "left"
        self.tokens_per_frame = tokens_per_frame
        self.image_token = image_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        if image_token not in tokenizer.get_vocab():
            raise ConfigurationError(f"the tokenizer does not know the image token '{image_token}'")

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[Any] | None = None,
        *,
        landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        padding: bool | str | None = None,
        padding_side: str | None = None,
        add_special_tokens: bool | None = None,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare pictures, text, or both.

        Args:
            images: A picture (PIL, path, URL or array), or lists of them in the order of their image tokens.
            text: A prompt in which every picture is written as the image token, or a chat, which is given the chat
                template and the start of the answer; or a list of either. Pictures inside chats are used where
                ``images`` is None.
            landmarks: See ``FaceKitImageProcessor``: with it, the pictures are taken as cropped already.
            padding: As in transformers; by default several texts are padded to the longest.
            padding_side: ``left``, which is the default, or ``right``.
            add_special_tokens: Whether the tokenizer adds its own; by default unless the prompt starts with one.
            return_tensors: ``pt`` by default; None gives lists for the text.
            **kwargs: Passed to the tokenizer.

        Returns:
            ``input_ids`` and ``attention_mask`` ``(B, L)`` where text was given, ``pixel_values``
            ``(B_media, 1, 3, H, W)`` and ``landmarks`` ``(B_media, 1, 68, 2)`` where pictures were.

        Raises:
            ConfigurationError: Nothing was given, the pictures are not as many as the image tokens, or truncation
                cut image tokens off.
            ImageError: A picture cannot be opened.
            FaceNotFoundError: A picture shows no face.
        """
        if images is None and text is None:
            raise ConfigurationError("the processor was given neither images nor text")
        data: dict[str, Any] = {}
        pictures = [] if images is None else flatten_images(images)
        if text is not None:
            prompts, chat_images = self._read_prompts(text)
            pictures = chat_images if images is None else pictures
            self._check_image_count(prompts, len(pictures))
            padding = len(prompts) > 1 if padding is None else padding
            options = {**kwargs.pop("text_kwargs", {}), **kwargs, "padding": padding, "padding_side": padding_side}
            data.update(self.tokenize(prompts, add_special_tokens=add_special_tokens, **options))
        if pictures:
            data.update(self.image_processor(pictures, landmarks=landmarks))
        return BatchFeature(data, tensor_type=return_tensors)

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        chat_template: str | None = None,
        *,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str | None = "pt",
        processor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Write a chat, or a list of chats, as the prompt that the language model was trained on.

        Args:
            conversation: Messages; content is text, or entries of type ``text`` and ``image``, see
                ``facekit.models.chat.flatten_chat``.
            chat_template: Jinja source in place of the processor's.
            tokenize: Whether to go on to tensors.
            return_dict: Whether to return all tensors rather than ``input_ids``.
            return_tensors: As in ``__call__``.
            processor_kwargs: Passed to ``__call__``, such as ``landmarks``.
            **kwargs: Passed to the tokenizer's ``apply_chat_template``, such as ``add_generation_prompt``.

        Returns:
            Text or a list of texts, with one image token per picture; or tensors.

        Raises:
            ConfigurationError: See ``flatten_chat``.
        """
        one = is_chat(conversation)
        flat = [flatten_chat(chat, self.image_token) for chat in ([conversation] if one else conversation)]
        options = {"chat_template": chat_template or self.chat_template, **kwargs, "tokenize": False}
        prompts = [self.tokenizer.apply_chat_template(chat.messages, **options) for chat in flat]
        if not tokenize:
            return prompts[0] if one else prompts
        images = [chat.images for chat in flat] if any(chat.images for chat in flat) else None
        inputs = self(images=images, text=prompts, return_tensors=return_tensors, **(processor_kwargs or {}))
        return inputs if return_dict else inputs["input_ids"]

    def expand_image_tokens(self, text: str, frames: int = 1) -> str:
        """Repeat every image token for as many visual tokens as a picture, or a clip of that many frames, costs."""
        return text.replace(self.image_token, self.image_token * (self.tokens_per_frame * frames))

    def tokenize(
        self, prompts: Sequence[str], *, frames: int = 1, add_special_tokens: bool | None = None, **options: Any
    ) -> BatchEncoding:
        """Expand the image tokens of prompts and tokenize them.

        Args:
            prompts: Texts with one image token per picture, as ``apply_chat_template`` returns them.
            frames: Frames that each image token stands for; more than one for clips.
            add_special_tokens: See ``__call__``.
            **options: Passed to the tokenizer, such as ``padding`` or ``return_offsets_mapping``; offsets count in
                the expanded text.

        Raises:
            ConfigurationError: Truncation cut image tokens off.
        """
        expanded = [self.expand_image_tokens(prompt, frames) for prompt in prompts]
        if add_special_tokens is None:
            add_special_tokens = self.adds_special_tokens(expanded[0])
        encoding = self.tokenizer(expanded, add_special_tokens=add_special_tokens, **options)
        for prompt, ids in zip(expanded, encoding["input_ids"], strict=True):
            expected, kept = prompt.count(self.image_token), list(ids).count(self.image_token_id)
            if expected != kept:
                raise ConfigurationError(f"truncation left {kept} of {expected} image tokens; allow a longer text")
        return encoding

    def adds_special_tokens(self, prompt: str) -> bool:
        """Whether the tokenizer shall add its own special tokens: not where the chat template wrote them."""
        return not (self.tokenizer.bos_token and prompt.startswith(self.tokenizer.bos_token))

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that the model takes."""
        return ["input_ids", "attention_mask", *self.image_processor.model_input_names]

    def _read_prompts(self, text: str | Sequence[Any]) -> tuple[list[str], list[Any]]:
        entries: list[Any] = [text] if isinstance(text, str) or is_chat(text) else list(text)
        prompts, images = [], []
        for entry in entries:
            if isinstance(entry, str):
                prompts.append(entry)
                continue
            images += flatten_chat(entry, self.image_token).images
            prompts.append(self.apply_chat_template(entry, add_generation_prompt=True))
        return prompts, images

    def _check_image_count(self, prompts: list[str], pictures: int) -> None:
        tokens = sum(prompt.count(self.image_token) for prompt in prompts)
        if tokens != pictures:
            raise ConfigurationError(
                f"the text has {tokens} image tokens '{self.image_token}' but {pictures} images were given"
            )
