"""The processor: pictures, clips and chats to the model's tensors.

The text side is here: chat template, image tokens, padding; pixels and landmarks come from the image processor.

In a prompt every picture is written as the image token and every clip as the video token, once each, in the order in
which the model shall read them. Before a prompt is tokenized, each of these marks is replaced by as many image tokens
as the picture or clip costs, frame by frame; the video token is no entry of the vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from numpy.typing import ArrayLike
from transformers import BatchEncoding, BatchFeature, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from facekit.backbones.id_tokenizer import refuse_words
from facekit.compat.transformers_templates import marks_answers, render_marked_template
from facekit.errors import ConfigurationError, first_line
from facekit.faces import CroppedClip
from facekit.models.assistant_mask import Spans, mask_tokens, move_spans
from facekit.models.chat import VIDEO_MARK, FlatChat, Message, flatten_chat, is_chat
from facekit.models.control_tokens import ControlTokens
from facekit.models.image_processing import FaceKitImageProcessor
from facekit.models.landmark_rows import add_landmark_rows
from facekit.models.media import flatten_clips, flatten_images
from facekit.models.text_batch import tokenize_batch


class FaceKitProcessor(ProcessorMixin):
    """Turns pictures, clips and chats into ``pixel_values``, ``landmarks``, ``input_ids`` and ``attention_mask``.

    Args:
        image_processor: Prepares the pictures and clips.
        tokenizer: The language model's, with the image token added; it is set to pad on the left, as generation needs.
        tokens_per_frame: How many visual tokens an image costs.
        image_token: Stands for a picture in prompts, and in ``input_ids`` for every visual token.
        chat_template: Jinja source in place of the tokenizer's own.
        tokens_per_video_frame: How many visual tokens a frame of a clip costs; by default as many as an image.
        video_token: Stands for a clip in prompts; see the module.

    Attributes:
        landmarks_in_pixels: Write the landmarks into ``pixel_values``, from which the model reads them, and not beside
            them: for trainers that pass on only tensors that they know by name, such as TRL's GRPO; see
            ``facekit.models.landmark_rows``. It is not saved.

    Raises:
        ConfigurationError: The image token is not one token of the tokenizer, or is the video token too.
    """

    def __init__(
        self,
        image_processor: FaceKitImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        tokens_per_frame: int = 1,
        image_token: str = "<image>",
        chat_template: str | None = None,
        tokens_per_video_frame: int | None = None,
        video_token: str = VIDEO_MARK,
        **kwargs: Any,
    ) -> None:
        template = chat_template or tokenizer.chat_template
        super().__init__(image_processor, tokenizer, chat_template=template)  # type: ignore[no-untyped-call]  # transformers has no types here
        tokenizer.padding_side = "left"
        self.tokens_per_frame = tokens_per_frame
        self.tokens_per_video_frame = tokens_per_frame if tokens_per_video_frame is None else tokens_per_video_frame
        self.landmarks_in_pixels = False
        self.image_token = image_token
        self.video_token = video_token
        self.image_token_id: int = tokenizer.convert_tokens_to_ids(image_token)  # type: ignore[assignment]
        if image_token not in tokenizer.get_vocab():
            raise ConfigurationError(
                f"the tokenizer does not know the image token '{image_token}'; add it, or name one it has"
            )
        if not video_token or image_token in video_token or video_token in image_token:
            raise ConfigurationError(
                f"the video token '{video_token}' is empty or overlaps the image token '{image_token}'; choose another"
            )

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[Any] | None = None,
        *,
        videos: Any = None,
        landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        video_landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        num_frames: int | None = None,
        padding: bool | str | None = None,
        padding_side: str | None = None,
        add_special_tokens: bool | None = None,
        return_tensors: str | None = "pt",
        local_files: bool = False,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare pictures, clips, text, or several of them; a batch may mix prompts with any of them.

        Args:
            images: A picture (PIL, path, URL or array), or lists of them in the order of their image tokens.
            text: A prompt in which every picture is written as the image token and every clip as the video token, or a
                chat, which is given the chat template and the start of the answer; or a list of either. Pictures and
                clips inside chats are used where ``images`` and ``videos`` are None.
            videos: A clip (path or URL of a video file, array ``(frames, H, W, 3)``, list of pictures), or lists of
                them in the order of their video tokens.
            landmarks: See ``FaceKitImageProcessor``: with it, the pictures are taken as cropped already.
            video_landmarks: The same for clips.
            num_frames: Frames to choose of each clip, in place of the image processor's.
            padding: As in transformers; by default several texts are padded to the longest.
            padding_side: ``left``, which is the default, or ``right``.
            add_special_tokens: Whether the tokenizer adds its own; by default unless the prompt starts with one.
            return_tensors: ``pt`` by default; None gives lists for the text.
            local_files: Let ``image_url`` in chats name files of this machine; see ``facekit.models.chat``.
            **kwargs: Passed to the tokenizer.

        Returns:
            ``input_ids`` and ``attention_mask`` ``(B, L)`` where text was given; ``pixel_values``
            ``(B_media, T, 3, H, W)`` and ``landmarks`` ``(B_media, T, 68, 2)`` where pictures or clips were, in the
            order of their tokens, and ``num_frames`` ``(B_media,)`` where their lengths differ.

        Raises:
            ConfigurationError: Nothing was given, the pictures or clips are not as many as their tokens, or truncation
                cut image tokens off.
            ImageError: A picture or, as ``VideoError``, a clip cannot be opened.
            FaceNotFoundError: A picture or clip shows no face.
        """
        if images is None and text is None and videos is None:
            raise ConfigurationError("the processor was given neither images nor text; give one of them")
        data: dict[str, Any] = {}
        pictures = [] if images is None else flatten_images(images)
        clips = [] if videos is None else flatten_clips(videos)
        marks = [self.image_token] * len(pictures) + [self.video_token] * len(clips)
        prompts: list[str] = []
        if text is not None:
            prompts, chat_images, chat_videos = self._read_prompts(text, local_files=local_files)
            pictures = chat_images if images is None else pictures
            clips = chat_videos if videos is None else clips
            marks = [mark for prompt in prompts for mark in self.find_marks(prompt)]
            self._check_media_counts(marks, len(pictures), len(clips))
        media: list[Any] = []
        if pictures or clips:
            options: dict[str, Any] = {
                "landmarks": landmarks,
                "video_landmarks": video_landmarks,
                "num_frames": num_frames,
            }
            prepared = self.image_processor.prepare_media(pictures, clips, **options)
            queues = {self.image_token: iter(prepared), self.video_token: iter(prepared[len(pictures) :])}
            media = [next(queues[mark]) for mark in marks]
        if text is not None:
            frames = [len(medium.frames) if isinstance(medium, CroppedClip) else 1 for medium in media]
            padding = len(prompts) > 1 if padding is None else padding
            options = {**kwargs.pop("text_kwargs", {}), **kwargs, "padding": padding, "padding_side": padding_side}
            data.update(self.tokenize(prompts, frames=frames, add_special_tokens=add_special_tokens, **options))
        if media:
            data.update(self._convert(media))
        return BatchFeature(data, tensor_type=return_tensors)

    def _convert(self, media: Sequence[Any]) -> dict[str, Any]:
        tensors = dict(self.image_processor.convert(media))
        if not self.landmarks_in_pixels:
            return tensors
        landmarks, frames = tensors["landmarks"], tensors.get("num_frames")
        return {"pixel_values": add_landmark_rows(tensors["pixel_values"], landmarks, frames)}

    def apply_chat_template(  # type: ignore[override]  # tensors are the default; what else it takes is in kwargs
        self,
        conversation: Sequence[Any],
        chat_template: str | None = None,
        *,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str | None = None,
        return_assistant_tokens_mask: bool = False,
        padding: bool | str | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        local_files: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Write a chat, or a list of chats, as the prompt that the language model was trained on.

        Args:
            conversation: Messages; content is text, or entries of type ``text``, ``image`` and ``video``, see
                ``facekit.models.chat.flatten_chat``.
            chat_template: Jinja source in place of the processor's.
            tokenize: Whether to go on to tokens.
            return_dict: Whether to return all that the model takes rather than ``input_ids``.
            return_tensors: ``pt`` for tensors, padded; by default tokens are lists, each as long as its chat, as with
                the processors of transformers. Pixels and landmarks are tensors in any case.
            return_assistant_tokens_mask: Add ``assistant_masks``, 1 where the assistant writes, as training labels
                would have it; the chat template has to mark it by ``{% generation %}``.
            padding: As in ``__call__``; by default only where ``return_tensors`` asks for tensors.
            processor_kwargs: Passed to ``__call__``, such as ``landmarks`` or ``num_frames``.
            local_files: Let ``image_url`` name files of this machine; see ``facekit.models.chat``.
            **kwargs: Passed to the tokenizer's ``apply_chat_template``, such as ``add_generation_prompt``.

        Returns:
            Text or a list of texts, with one image token per picture and one video token per clip; or tokens, a row for
            each chat. Control tokens that somebody typed are escaped in it, see ``facekit.models.control_tokens``.

        Raises:
            ConfigurationError: See ``flatten_chat``; or the chat template refuses the chat, or marks no answers.
        """
        one = is_chat(conversation)
        chats = [conversation] if one else conversation
        flat = [self.flatten(chat, local_files=local_files) for chat in chats]
        options = {"chat_template": chat_template or self.chat_template, **kwargs, "tokenize": False}
        if not tokenize:
            texts = [self._render(chat.messages, **options) for chat in flat]
            return texts[0] if one else texts
        marked = return_assistant_tokens_mask
        rendered = [
            self._render_marked(chat.messages, options) if marked else (self._render(chat.messages, **options), ())
            for chat in flat
        ]
        prompts = [text for text, _ in rendered]
        images = [chat.images for chat in flat] if any(chat.images for chat in flat) else None
        videos = [clip for chat in flat for video in chat.videos for clip in flatten_clips(video)] or None
        padding = padding if padding is not None or return_tensors is not None else False
        options = {"return_tensors": return_tensors, "padding": padding, **(processor_kwargs or {})}
        if marked:
            options["answer_spans"] = [spans for _, spans in rendered]
        inputs = self(images=images, text=prompts, videos=videos, **options)
        return inputs if return_dict else inputs["input_ids"]

    @property
    def control_tokens(self) -> ControlTokens:
        """The tokens that stay words where people type them; ``control_tokens.escape`` writes words for a prompt."""
        marks = (self.image_token, self.video_token)
        return ControlTokens.of(self.tokenizer, self.chat_template, marks)

    def flatten(self, chat: Sequence[Message], *, local_files: bool = False) -> FlatChat:
        """Turn a chat's content into text, control tokens in its words escaped; see ``flatten_chat``."""
        return flatten_chat(chat, self.image_token, self.video_token, self.control_tokens, local_files=local_files)

    def count_visual_tokens(self, frames: int) -> int:
        """How many visual tokens an image (1 frame) or a clip of that many frames costs."""
        return frames * (self.tokens_per_frame if frames == 1 else self.tokens_per_video_frame)

    def find_marks(self, text: str) -> list[str]:
        """Return the image and video tokens of a prompt in their order."""
        return self._mark_pattern.findall(text)

    def expand_image_tokens(self, text: str, frames: int | Sequence[int] = 1) -> str:
        """Replace every image or video token of a prompt by as many image tokens as its picture or clip costs.

        Args:
            text: The prompt.
            frames: Frames of each, in order; or one number for all of them.

        Raises:
            ConfigurationError: There are not as many numbers as image and video tokens.
        """
        marks = len(self.find_marks(text))
        counts = [frames] * marks if isinstance(frames, int) else list(frames)
        if len(counts) != marks:
            raise ConfigurationError(f"a prompt has {marks} image and video tokens, but frames for {len(counts)}")
        costs = iter(counts)
        return self._mark_pattern.sub(lambda _: self.image_token * self.count_visual_tokens(next(costs)), text)

    def tokenize(
        self,
        prompts: Sequence[str],
        *,
        frames: int | Sequence[int] = 1,
        add_special_tokens: bool | None = None,
        answer_spans: Sequence[Spans] | None = None,
        **options: Any,
    ) -> BatchEncoding:
        """Expand the image and video tokens of prompts and tokenize them.

        Args:
            prompts: Texts with one image or video token per picture or clip, as ``apply_chat_template`` returns them.
            frames: Frames of each picture (1) or clip, in order through all prompts; or one number for all of them.
            add_special_tokens: See ``__call__``.
            answer_spans: For each prompt, begin and end in characters of what the assistant writes in it; adds
                ``assistant_masks``, 1 for the tokens of it.
            **options: Passed to the tokenizer, such as ``padding`` or ``return_offsets_mapping``; offsets count in
                the expanded text.

        Raises:
            ConfigurationError: There are not as many numbers as image and video tokens, truncation cut image tokens
                off, or the checkpoint came without a tokenizer and a prompt holds words.
        """
        marks = [len(self.find_marks(prompt)) for prompt in prompts]
        counts = [frames] * sum(marks) if isinstance(frames, int) else list(frames)
        if len(counts) != sum(marks):
            raise ConfigurationError(f"prompts have {sum(marks)} image and video tokens, but frames for {len(counts)}")
        remaining = iter(counts)
        expanded = [
            self.expand_image_tokens(prompt, [next(remaining) for _ in range(count)])
            for prompt, count in zip(prompts, marks, strict=True)
        ]
        refuse_words(self.tokenizer, expanded)
        adds = [
            self.adds_special_tokens(text) if add_special_tokens is None else add_special_tokens for text in expanded
        ]
        if answer_spans is not None:
            options["return_offsets_mapping"] = True
        encoding = tokenize_batch(self.tokenizer, self.control_tokens, expanded, adds, **options)
        for prompt, ids in zip(expanded, encoding["input_ids"], strict=True):
            expected, kept = self.count_expanded(prompt), list(ids).count(self.image_token_id)
            if expected != kept:
                raise ConfigurationError(f"truncation left {kept} of {expected} image tokens; allow a longer text")
        if answer_spans is not None:
            moved = self._move_spans(prompts, answer_spans, counts)
            rows = zip(expanded, encoding.pop("offset_mapping"), moved, strict=True)
            encoding["assistant_masks"] = [[int(each) for each in mask_tokens(*row)] for row in rows]
        return encoding

    def _move_spans(self, prompts: Sequence[str], spans: Sequence[Spans], frames: Sequence[int]) -> list[Spans]:
        """Spans of prompts in the texts in which their marks are expanded."""
        lengths = iter([len(text) for text in self.media_texts(frames)])
        moved: list[Spans] = []
        for prompt, each in zip(prompts, spans, strict=True):
            marks = list(self._mark_pattern.finditer(prompt))
            moved.append(move_spans(each, marks, [next(lengths) for _ in marks]))
        return moved

    def count_expanded(self, text: str) -> int:
        """How many visual tokens a text has whose image tokens are expanded."""
        return text.count(self.image_token)

    def media_texts(self, frames: Sequence[int]) -> list[str]:
        """What stands for each picture (1 frame) or clip in the text of a prompt."""
        return [self.image_token * self.count_visual_tokens(count) for count in frames]

    def lay_out(self, messages: Sequence[Message]) -> list[Message]:
        """Messages of plain text as the chat template takes them."""
        return list(messages)

    def adds_special_tokens(self, prompt: str) -> bool:
        """Whether the tokenizer shall add its own special tokens: not where the chat template wrote them."""
        return not (self.tokenizer.bos_token and prompt.startswith(self.tokenizer.bos_token))

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that the model takes."""
        return ["input_ids", "attention_mask", *self.image_processor.model_input_names]

    @property
    def _mark_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, (self.image_token, self.video_token))))

    def _render_marked(self, messages: Sequence[Message], options: dict[str, Any]) -> tuple[str, Spans]:
        """A chat as text, and what the assistant writes in it."""
        template = options["chat_template"]
        if not isinstance(template, str) or not marks_answers(template):
            raise ConfigurationError(
                "the chat template does not mark what the assistant writes, so there is no mask of it; put "
                "{% generation %} and {% endgeneration %} around it, or train by 'facekit train', which needs no marks"
            )
        try:
            variables = {name: value for name, value in options.items() if name not in ("chat_template", "tokenize")}
            return render_marked_template(self.tokenizer, self.lay_out(messages), template, **variables)
        except TemplateError as error:
            raise ConfigurationError(f"the chat template refuses the chat: {first_line(error)}") from error

    def _render(self, messages: Sequence[Message], **options: Any) -> str:
        try:
            written: str = self.tokenizer.apply_chat_template(self.lay_out(messages), **options)
            return written
        except TemplateError as error:
            raise ConfigurationError(f"the chat template refuses the chat: {first_line(error)}") from error

    def _read_prompts(self, text: str | Sequence[Any], *, local_files: bool) -> tuple[list[str], list[Any], list[Any]]:
        entries: list[Any] = [text] if isinstance(text, str) or is_chat(text) else list(text)
        prompts, images, videos = [], [], []
        for entry in entries:
            if isinstance(entry, str):
                prompts.append(entry)
                continue
            flat = self.flatten(entry, local_files=local_files)
            images += flat.images
            videos += [clip for video in flat.videos for clip in flatten_clips(video)]
            prompts.append(self.apply_chat_template(entry, add_generation_prompt=True, local_files=local_files))
        return prompts, images, videos

    def _check_media_counts(self, marks: list[str], pictures: int, clips: int) -> None:
        tokens = marks.count(self.image_token)
        if tokens != pictures:
            raise ConfigurationError(
                f"the text has {tokens} image tokens '{self.image_token}' but {pictures} images were given; "
                "write one token per image"
            )
        tokens = marks.count(self.video_token)
        if tokens != clips:
            raise ConfigurationError(
                f"the text has {tokens} video tokens '{self.video_token}' but {clips} videos were given; "
                "write one token per video"
            )
