"""From a request to what the engine answers: media opened, faces found, the prompt written and measured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from facekit.counted import counted
from facekit.errors import ConfigurationError, FaceKitError, FaceNotFoundError, ImageError, VideoError
from facekit.faces import CroppedClip, CroppedFace, draw_overlay, read_clip
from facekit.faces.describing import describe_medium
from facekit.models.image_processing import FaceKitImageProcessor, Medium
from facekit.models.media import take_as_cropped
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions import MediumTensors, Sampling
from facekit.models.sessions.prompts import tokenize_prompts
from facekit.reports.images import image_url
from facekit.serving.json_format import JsonFormats, JsonGrammar
from facekit.serving.media import clip_file, open_picture, read_bytes
from facekit.serving.protocol import ChatRequest, ImagePart, TextFormat, TextPart, VideoPart
from facekit.serving.recent_media import PreparedMedium, RecentMedia, content_key
from facekit.serving.request_error import RequestError
from facekit.serving.settings import ServerSettings
from facekit.serving.token_scores import TokenWriter

_CHARACTERS_A_TOKEN = 32
_MAX_CLIP_FRAMES = 20_000
_GREEDY_BELOW = 1e-5


@dataclass(frozen=True)
class Question:
    """A request, ready for the engine.

    Args:
        prompt: The prompt.
        media: Its pictures and clips.
        key: Digest of these.
        prompt_tokens: Length of the prompt, visual tokens included.
        max_new_tokens: Longest answer in tokens.
        faces: What was found in each picture and clip, as the reply has it.
        tokens: Writes log-probabilities of the answer's tokens, where they are asked for.
        grammar: What the answer must be like; None for anything.
    """

    prompt: str
    media: tuple[MediumTensors, ...]
    key: bytes
    prompt_tokens: int
    max_new_tokens: int
    faces: tuple[dict[str, Any], ...]
    tokens: TokenWriter | None = None
    grammar: JsonGrammar | None = None


class QuestionReader:
    """Prepares requests; may be used from several threads.

    Args:
        model: The model, which knows the longest context.
        processor: Its processor.
        settings: The server's.
    """

    def __init__(
        self, model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, settings: ServerSettings
    ) -> None:
        self._config, self._processor, self._settings = model.config, processor, settings
        listed = model.generation_config.eos_token_id
        ends = [] if listed is None else listed if isinstance(listed, list) else [listed]
        self._formats, self._writer = JsonFormats(processor.tokenizer, ends), TokenWriter(processor.tokenizer)
        self._recent = RecentMedia(settings.cached_media)
        self._tokenizing = threading.Lock()  # padding and truncation are state of a tokenizer

    def read(self, request: ChatRequest) -> Question:
        """Open the media of a request, find faces, write and measure its prompt.

        Raises:
            RequestError: Something of it cannot be used; the message says what.
        """
        self._check_length(request)
        wanted = request.response_format
        grammar = None if wanted is None or isinstance(wanted, TextFormat) else self._formats.compile(wanted)
        chat, media = self._chat(request)
        tensors = tuple(each.tensors for each in media)
        frames = [len(each.pixel_values) for each in tensors]
        try:
            with self._tokenizing:
                prompt = self._processor.apply_chat_template(chat, add_generation_prompt=True)
                length = len(tokenize_prompts(self._processor, self._config, [prompt], [frames])[0])
        except FaceKitError as error:
            code = "context_length_exceeded" if "tokens" in str(error) else "invalid_value"
            raise RequestError(400, str(error), param="messages", code=code) from error
        faces = tuple(_describe(each.medium, overlay=request.facekit.overlay) for each in media)
        limit = self._limit(request, length)
        writer = self._writer if request.logprobs else None
        key = b"".join(each.digest for each in media)
        return Question(prompt, tensors, key, length, limit, faces, writer, grammar)

    def _check_length(self, request: ChatRequest) -> None:
        """Refuse what is far too long before it is tokenized, which takes its time while others wait."""
        context = getattr(self._config.get_text_config(), "max_position_embeddings", None)
        parts = (part for message in request.messages for part in message.parts)
        characters = sum(len(part.text) for part in parts if isinstance(part, TextPart))
        if context is not None and characters > _CHARACTERS_A_TOKEN * context:
            story = (
                f"the messages have {characters:,} characters, far beyond the {context:,} tokens that the model reads"
            )
            raise RequestError(400, f"{story}; send less", param="messages", code="context_length_exceeded")

    def _chat(self, request: ChatRequest) -> tuple[list[dict[str, Any]], list[PreparedMedium]]:
        """The chat with bare marks in place of its media, so that no template can open what a client names."""
        chat: list[dict[str, Any]] = []
        media: list[PreparedMedium] = []
        parts = [part for message in request.messages for part in message.parts if not isinstance(part, TextPart)]
        if len(parts) > self._settings.max_media:
            story = f"the request shows {len(parts)} pictures and clips; send at most {self._settings.max_media}"
            raise RequestError(400, story, param="messages")
        landmarks = self._landmarks(request, parts)
        for message in request.messages:
            entries: list[dict[str, Any]] = []
            for part in message.parts:
                if isinstance(part, TextPart):
                    entries.append({"type": "text", "text": part.text})
                    continue
                if message.role != "user":
                    raise RequestError(
                        400, f"a {message.role} message shows a picture; only users do", param="messages"
                    )
                entries.append({"type": "image" if isinstance(part, ImagePart) else "video"})
                shape, num_frames = landmarks[len(media)], request.facekit.num_frames
                media.append(self._read(part, shape, num_frames, number=len(media) + 1))
            chat.append({"role": "system" if message.role == "developer" else message.role, "content": entries})
        return chat, media

    def _landmarks(self, request: ChatRequest, parts: Sequence[ImagePart | VideoPart]) -> Sequence[np.ndarray | None]:
        given = request.facekit.landmarks
        if given is None:
            return [None] * len(parts)
        if len(given) != len(parts) or any(isinstance(part, VideoPart) for part in parts):
            shown = counted(len(parts), "picture")
            message = f"there are landmarks for {len(given)} of {shown}; give one entry for each"
            raise RequestError(400, message, param="facekit.landmarks")
        return [None if points is None else np.asarray(points, np.float32) for points in given]

    def read_medium(
        self,
        part: ImagePart | VideoPart,
        landmarks: np.ndarray | None = None,
        num_frames: int | None = None,
        *,
        number: int = 1,
        param: str = "messages",
    ) -> Medium:
        """Open a picture or clip and crop its face.

        Args:
            part: The picture or clip.
            landmarks: Of a picture that is cropped already.
            num_frames: Frames to choose of a clip.
            number: What messages call it.
            param: The field of the request that it stands in.

        Raises:
            RequestError: It cannot be used; the message says why.
        """
        return self._read(part, landmarks, num_frames, number=number, param=param).medium

    def _read(
        self,
        part: ImagePart | VideoPart,
        landmarks: np.ndarray | None,
        num_frames: int | None,
        *,
        number: int,
        param: str = "messages",
    ) -> PreparedMedium:
        processor: FaceKitImageProcessor = self._processor.image_processor
        bad_input: tuple[type[FaceKitError], ...] = (ImageError, FaceNotFoundError)
        if landmarks is not None:
            bad_input = (*bad_input, ConfigurationError)
        try:
            if isinstance(part, VideoPart):
                chosen = processor.num_frames if num_frames is None else num_frames
                content, subtype = read_bytes(part.video_url.url, "video", self._settings)
                prepare: Callable[[], Medium] = partial(self._prepare_clip, content, subtype, number, chosen)
                key = content_key(content, "video", subtype, chosen)
            else:
                content, _ = read_bytes(part.image_url.url, "image", self._settings)
                prepare = partial(self._prepare_picture, content, number, landmarks)
                key = content_key(content, "image", landmarks=landmarks)
            return self._recent.get(key, lambda: PreparedMedium.of(processor, prepare()))
        except bad_input as error:
            kind = "clip" if isinstance(part, VideoPart) else "picture"
            told = (
                str(error).replace("the given image", f"picture {number}").replace("the given clip", f"clip {number}")
            )
            raise RequestError(400, told, param=param, code=f"invalid_{kind}") from error

    def find_faces(self, part: ImagePart, *, param: str) -> tuple[Image.Image, list[CroppedFace]]:
        """Open a picture and find every face of it, largest first.

        Raises:
            RequestError: It cannot be opened; the message says why.
        """
        try:
            content, _ = read_bytes(part.image_url.url, "image", self._settings)
            picture = self._open(content, 1)
            return picture, self._processor.image_processor.find_faces(picture)
        except ImageError as error:
            raise RequestError(400, str(error), param=param, code="invalid_picture") from error

    def _open(self, content: bytes, number: int) -> Image.Image:
        return open_picture(content, f"picture {number}", self._settings.max_pixels)

    def _prepare_picture(self, content: bytes, number: int, landmarks: np.ndarray | None) -> Medium:
        picture = self._open(content, number)
        if landmarks is not None:
            return take_as_cropped(picture, landmarks)
        image_processor: FaceKitImageProcessor = self._processor.image_processor
        return image_processor.prepare(picture)

    def _prepare_clip(self, content: bytes, subtype: str, number: int, num_frames: int) -> Medium:
        settings = self._settings
        with clip_file(content, subtype) as path:
            try:
                clip = read_clip(
                    path,
                    num_frames,
                    max_pixels=settings.max_clip_pixels,
                    max_frames=_MAX_CLIP_FRAMES,
                    max_seconds=settings.max_clip_seconds,
                )
            except VideoError as error:  # of a temporary file, which is no path of the client's
                told = str(error).replace(f"'{path}'", f"clip {number}").replace(str(path), f"clip {number}")
                raise VideoError(told) from error
        image_processor: FaceKitImageProcessor = self._processor.image_processor
        return image_processor.prepare_clip(clip, num_frames)

    def _limit(self, request: ChatRequest, prompt_tokens: int) -> int:
        context = getattr(self._config.get_text_config(), "max_position_embeddings", None)
        room = None if context is None else context - prompt_tokens
        if request.limit is None:
            return self._settings.max_new_tokens if room is None else min(self._settings.max_new_tokens, room)
        if room is not None and request.limit > room:
            raise RequestError(
                400,
                f"the prompt has {prompt_tokens} tokens and the answer may have {request.limit}, but the model reads "
                f"{context} together; ask for at most {room}",
                param="max_tokens",
                code="context_length_exceeded",
            )
        return request.limit


def read_sampling(request: ChatRequest, choice: int) -> Sampling | None:
    """How the tokens of one choice are drawn; None for the most likely ones, which is so without a temperature."""
    draws = request.temperature is not None or request.top_p is not None or request.top_k is not None
    if not draws or (request.temperature is not None and request.temperature < _GREEDY_BELOW):
        return None
    temperature = 1.0 if request.temperature is None else float(request.temperature)
    top_p = 1.0 if request.top_p is None else float(request.top_p)
    seed = None if request.seed is None else (request.seed + choice) % 2**63
    try:
        return Sampling(temperature, top_p, request.top_k or 0, seed)
    except ConfigurationError as error:
        raise RequestError(400, str(error), param="temperature") from error


def _describe(medium: Medium, *, overlay: bool) -> dict[str, Any]:
    """Where the face of a picture, or of each frame of a clip, is; on request with a picture of it."""
    found = describe_medium(medium)
    if overlay:
        if isinstance(medium, CroppedClip):
            faces, entries = list(medium.frames), found["frames"]
        else:
            faces, entries = [medium], [found]
        for face, entry in zip(faces, entries, strict=True):
            entry["overlay"] = image_url(draw_overlay(face.image, face.landmarks), side=512)
    return found
