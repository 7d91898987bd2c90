"""The image processor: pictures and clips to ``pixel_values`` and ``landmarks``.

Training uses it without the text side, to read pictures ahead of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ImagesKwargs

from facekit.catalog import DEFAULT_LANDMARKER
from facekit.encoders.transform import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, ImageTransform
from facekit.errors import ConfigurationError, FaceNotFoundError
from facekit.faces import CroppedClip, CroppedFace, Landmarker, prepare_clip, prepare_face, prepare_faces
from facekit.faces.crop import DEFAULT_MARGIN
from facekit.faces.frames import FRAMES_PER_CLIP
from facekit.faces.images import ImageSource
from facekit.faces.landmarker import load_landmarker
from facekit.faces.prepare import ON_NO_FACE
from facekit.faces.video import ClipSource
from facekit.models.media import (
    AnyClip,
    flatten_clips,
    flatten_images,
    split_clip_landmarks,
    split_landmarks,
    take_as_cropped,
    take_clip_as_cropped,
)
from facekit.models.prepared import PreparedPictures

Medium: TypeAlias = CroppedFace | CroppedClip


NO_LANDMARKER = "none"
"""Whole pictures, in files and on the command line: transformers leaves None out of the files that it writes."""


class FaceKitImageProcessor(BaseImageProcessor):
    """Prepares pictures as the model's encoder was trained to see them.

    Args:
        image_size: Height and width in pixels.
        image_mean: Subtracted per channel, on the scale [0, 1].
        image_std: Divided by, per channel.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
        landmarker: Spec of the landmarker; it is loaded when it is first needed. None for models that were trained on
            whole pictures: no face is looked for, and there are no landmarks.
        crop_margin: Added on each side of the face, as a fraction of it.
        on_no_face: ``raise``, or ``whole-image``: the picture is used whole, padded to a square, without landmarks.
        num_frames: Frames of a clip that the model sees, evenly spaced.
        crop_per_frame: Whether every frame of a clip is cropped around its own face; otherwise one square is cut from
            all of them, see ``facekit.faces.prepare_clip``.
        framing: See ``facekit.encoders.transform.ImageTransform``, as for the two that follow.
        shortest_edge: For framing ``crop``.
        resizer: ``pil`` or ``torchvision``.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    model_input_names = ["pixel_values", "landmarks", "num_frames"]  # noqa: RUF012 - the base class has it as a plain class attribute
    valid_kwargs = ImagesKwargs

    def __init__(
        self,
        image_size: int = 224,
        image_mean: Sequence[float] = OPENAI_CLIP_MEAN,
        image_std: Sequence[float] = OPENAI_CLIP_STD,
        interpolation: str = "bicubic",
        landmarker: str | None = DEFAULT_LANDMARKER,
        crop_margin: float = DEFAULT_MARGIN,
        on_no_face: str = "raise",
        num_frames: int = FRAMES_PER_CLIP,
        crop_per_frame: bool = True,
        framing: str = "pad",
        shortest_edge: int | None = None,
        resizer: str = "pil",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_frames < 1:
            raise ConfigurationError(f"num_frames is at least 1, not {num_frames}")
        if on_no_face not in ON_NO_FACE:
            raise ConfigurationError(f"on_no_face is one of {', '.join(ON_NO_FACE)}, not '{on_no_face}'")
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.interpolation = interpolation
        self.landmarker = landmarker
        self.crop_margin = crop_margin
        self.on_no_face = on_no_face
        self.num_frames = num_frames
        self.crop_per_frame = crop_per_frame
        self.framing, self.shortest_edge, self.resizer = framing, shortest_edge, resizer
        self._loaded_landmarker: tuple[str, Landmarker] | None = None
        self._prepared: PreparedPictures | None = None
        _ = self.transform

    def with_prepared(self, pictures: PreparedPictures) -> FaceKitImageProcessor:
        """A copy for which these pictures, given by their names, are prepared already; it saves the same file."""
        twin = copy(self)
        twin._prepared = pictures
        return twin

    @classmethod
    def from_transform(cls, transform: ImageTransform, **options: Any) -> FaceKitImageProcessor:
        """Build the processor of an encoder's transform; ``options`` are the constructor's others."""
        frame: dict[str, Any] = {
            "framing": transform.framing,
            "shortest_edge": transform.shortest_edge,
            "resizer": transform.resizer,
        }
        return cls(transform.image_size, transform.mean, transform.std, transform.interpolation, **frame, **options)

    @property
    def landmarker(self) -> str | None:
        """Spec of the landmarker; None, which may be written ``none``, for whole pictures."""
        return self._landmarker

    @landmarker.setter
    def landmarker(self, spec: str | None) -> None:
        self._landmarker = None if spec == NO_LANDMARKER else spec

    @property
    def transform(self) -> ImageTransform:
        """The transform that the values describe."""
        mean, std = tuple(self.image_mean), tuple(self.image_std)
        return ImageTransform(
            self.image_size,
            mean,  # type: ignore[arg-type]
            std,  # type: ignore[arg-type]
            self.interpolation,  # type: ignore[arg-type]
            self.framing,  # type: ignore[arg-type]
            self.shortest_edge,
            self.resizer,  # type: ignore[arg-type]
        )

    def __call__(  # type: ignore[override]  # clips and landmarks beside pictures; transformers passes it names
        self,
        images: ImageSource | Sequence[Any] | None = None,
        *,
        videos: ClipSource | Sequence[Any] | None = None,
        landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        video_landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        num_frames: int | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare pictures, then clips.

        Args:
            images: A picture (PIL, path, URL or array), a list of them, or nested lists as chats have them.
            videos: A clip (path or URL of a video file, array ``(frames, H, W, 3)``, list of pictures), or a list.
            landmarks: Without it, the face is found, cropped, and its landmarks are carried along. With it, the
                pictures are taken as cropped already: per picture ``(68, 2)`` in [0, 1], or None.
            video_landmarks: The same for clips: per clip ``(frames, 68, 2)``, for as many frames as the clip has or
                as are chosen of it, or None.
            num_frames: Frames to choose of each clip, in place of the processor's.
            return_tensors: Ignored: the result is always tensors.
            **kwargs: Ignored, for callers that pass options of other image processors.

        Returns:
            As ``convert``.

        Raises:
            ImageError: A picture or, as ``VideoError``, a clip cannot be opened.
            FaceNotFoundError: A picture or clip shows no face and ``on_no_face`` is ``raise``.
            ConfigurationError: There is nothing to prepare, or the landmarks are not as many, have another shape, or
                belong to a picture that is not square.
        """
        pictures = [] if images is None else flatten_images(images)
        clips = [] if videos is None else flatten_clips(videos)
        return self.convert(
            self.prepare_media(
                pictures, clips, landmarks=landmarks, video_landmarks=video_landmarks, num_frames=num_frames
            )
        )

    def prepare_media(
        self,
        pictures: Sequence[ImageSource],
        clips: Sequence[AnyClip] = (),
        *,
        landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        video_landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        num_frames: int | None = None,
    ) -> list[Medium]:
        """Open and crop pictures, then clips; arguments and errors as in ``__call__``, in flat lists."""
        if not pictures and not clips:
            raise ConfigurationError("there is no picture to prepare")
        media: list[Medium]
        if landmarks is None:
            media = [self.prepare(picture) for picture in pictures]
        else:
            points = split_landmarks(landmarks, len(pictures))
            media = [take_as_cropped(picture, shape) for picture, shape in zip(pictures, points, strict=True)]
        if video_landmarks is None:
            return [*media, *(self.prepare_clip(clip, num_frames) for clip in clips)]
        shapes = split_clip_landmarks(video_landmarks, len(clips))
        count = self.num_frames if num_frames is None else num_frames
        return [*media, *(take_clip_as_cropped(clip, shape, count) for clip, shape in zip(clips, shapes, strict=True))]

    def convert(self, media: Sequence[Medium]) -> BatchFeature:
        """Return the tensors of pictures and clips that are cropped already.

        Args:
            media: Faces and clips, in the order of their tokens.

        Returns:
            ``pixel_values`` ``(B_media, T, 3, H, W)`` and ``landmarks`` ``(B_media, T, 68, 2)``, absent ones NaN. Where
            numbers of frames differ, T is the largest, the rest is padded with zeros and NaN, and ``num_frames``
            ``(B_media,)`` says how many are real.
        """
        clips = [medium.frames if isinstance(medium, CroppedClip) else (medium,) for medium in media]
        pixels = [torch.stack([self._pixels_of(face) for face in frames]) for frames in clips]
        points = [torch.from_numpy(np.stack([face.landmarks_or_absent for face in frames])) for frames in clips]
        return BatchFeature(stack_media(pixels, points))

    def prepare(self, picture: ImageSource) -> CroppedFace:
        """Find the largest face of a picture and return its square crop with the landmarks.

        Without a landmarker it is the whole picture, without landmarks.

        Args:
            picture: A PIL image, a path, a URL or an array.

        Raises:
            ImageError: The picture cannot be opened.
            FaceNotFoundError: It shows no face and ``on_no_face`` is ``raise``.
            MissingExtraError: The landmarker's package is not installed.
        """
        if self._prepared is not None and picture in self._prepared:
            return self._prepared.face(str(picture))
        if self.landmarker is None:
            return take_as_cropped(picture, None)
        return prepare_face(
            picture,
            self._load_landmarker(),
            margin=self.crop_margin,
            on_no_face=self.on_no_face,
        )

    def find_faces(self, picture: ImageSource) -> list[CroppedFace]:
        """Find every face of a picture and return its square crop with the landmarks, as ``prepare`` does of one.

        Args:
            picture: A PIL image, a path, a URL or an array.

        Returns:
            The crops, largest face first; none where no face is found or there is no landmarker.

        Raises:
            ImageError: The picture cannot be opened.
            MissingExtraError: The landmarker's package is not installed.
        """
        if self.landmarker is None:
            return []
        try:
            return prepare_faces(picture, self._load_landmarker(), margin=self.crop_margin)
        except FaceNotFoundError:
            return []

    def _pixels_of(self, face: CroppedFace) -> Tensor:
        return self.transform(face.image) if self._prepared is None else self._prepared.pixels(face, self.transform)

    def prepare_clip(self, clip: AnyClip, num_frames: int | None = None) -> CroppedClip:
        """Follow the largest face through a clip and return its square crops with the landmarks.

        Args:
            clip: The path or URL of a video file, an array ``(frames, H, W, 3)``, a list of pictures; or crops, which
                are returned as they are.
            num_frames: Frames to choose, in place of the processor's.

        Raises:
            VideoError: The clip cannot be read.
            ImageError: A picture of a list cannot be opened.
            FaceNotFoundError: No frame shows a face and ``on_no_face`` is ``raise``.
            MissingExtraError: The landmarker's package or PyAV is not installed.
        """
        if isinstance(clip, CroppedClip):
            return clip
        if self.landmarker is None:
            return take_clip_as_cropped(clip, None, self.num_frames if num_frames is None else num_frames)
        return prepare_clip(
            clip,
            self._load_landmarker(),
            num_frames=self.num_frames if num_frames is None else num_frames,
            margin=self.crop_margin,
            crop_per_frame=self.crop_per_frame,
            on_no_face=self.on_no_face,
        )

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Return what was given: pictures are opened when they are prepared, with facekit's bounds and errors."""
        return image_url_or_urls

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values from which ``from_dict`` rebuilds the processor."""
        twin = copy(self)  # without the loaded landmarker, which need not be one that can be copied
        values = {name: value for name, value in super(FaceKitImageProcessor, twin).to_dict().items() if name[0] != "_"}
        return {**values, "landmarker": NO_LANDMARKER if self.landmarker is None else self.landmarker}

    def _load_landmarker(self) -> Landmarker:
        if self.landmarker is None:
            raise ConfigurationError("this processor has no landmarker; set image_processor.landmarker, such as 'mesh'")
        if self._loaded_landmarker is None or self._loaded_landmarker[0] != self.landmarker:
            self._loaded_landmarker = (self.landmarker, load_landmarker(self.landmarker))
        return self._loaded_landmarker[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded_landmarker": None, "_prepared": None}


def stack_media(pixels: Sequence[Tensor], landmarks: Sequence[Tensor]) -> dict[str, Tensor]:
    """Stack images and clips of different length; see ``FaceKitImageProcessor.convert``.

    Args:
        pixels: Each ``(T, 3, H, W)``; an empty sequence leaves pixels out.
        landmarks: Each ``(T, 68, 2)``.
    """
    lengths = [len(points) for points in landmarks]
    batch = {"landmarks": pad_sequence(list(landmarks), batch_first=True, padding_value=float("nan"))}
    if pixels:
        batch["pixel_values"] = pad_sequence(list(pixels), batch_first=True)
    if len(set(lengths)) > 1:
        batch["num_frames"] = torch.tensor(lengths)
    return batch
