"""The chat-completions protocol as far as facekit speaks it: what a request may say, read strictly.

An unknown field, a wrong type and an option that is not offered are each a ``RequestError`` with status 400; nothing is
ignored in silence. Source of the field names: OpenAI's API reference, "Create chat completion"; ``video_url`` is
vLLM's, ``facekit`` is ours.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from facekit.faces import NUM_LANDMARKS
from facekit.serving.request_error import RequestError

_MAX_MESSAGES, _MAX_PARTS, _MAX_STOPS, _MAX_STOP_LENGTH, _MAX_TOKENS = 256, 64, 4, 200, 2**31
_MAX_TOP_LOGPROBS = 20
_EMPTY_FIELDS = ("refusal", "audio", "tool_calls", "function_call", "annotations", "reasoning_content")
"""Of a message of ours that a client sends back; they say nothing where they are empty."""
_NOT_OFFERED = (
    "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "audio", "modalities", "prediction",
    "logit_bias", "frequency_penalty", "presence_penalty", "reasoning_effort", "web_search_options", "store",
    "service_tier", "verbosity",
)  # fmt: skip
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "modalities": (None, ["text"]),
}

Content = TypeVar("Content", bound=BaseModel)
Number = StrictInt | StrictFloat
Coordinate = Annotated[Number, Field(ge=-4, le=5)]
Point = Annotated[list[Coordinate], Field(min_length=2, max_length=2, fail_fast=True)]
Landmarks = Annotated[list[Point], Field(min_length=NUM_LANDMARKS, max_length=NUM_LANDMARKS, fail_fast=True)]


class StrictModel(BaseModel):
    """What a client sends; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Address(StrictModel):
    """Where a picture or clip is: a data URL, or an address of an allowed host."""

    url: StrictStr
    detail: Literal["auto", "low", "high"] | None = None


class TextPart(StrictModel):
    """Words."""

    type: Literal["text"]
    text: StrictStr


class ImagePart(StrictModel):
    """A picture."""

    type: Literal["image_url"]
    image_url: Address


class VideoPart(StrictModel):
    """A clip."""

    type: Literal["video_url"]
    video_url: Address


StopText = Annotated[StrictStr, Field(min_length=1, max_length=_MAX_STOP_LENGTH)]
Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


class Message(StrictModel):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: StrictStr | Annotated[list[Part], Field(max_length=_MAX_PARTS, fail_fast=True)]
    name: StrictStr | None = None

    @property
    def parts(self) -> list[TextPart | ImagePart | VideoPart]:
        """The content as parts."""
        return [TextPart(type="text", text=self.content)] if isinstance(self.content, str) else list(self.content)


class StreamOptions(StrictModel):
    """What a stream has beside the words."""

    include_usage: StrictBool = False


class FaceOptions(StrictModel):
    """facekit's own part of a request.

    Args:
        landmarks: For each picture, in order, 68 points ``[x, y]`` in [0, 1] of a square picture that is cropped to the
            face already, or null; without it faces are found.
        overlay: Whether the reply has a picture of each crop with its landmarks and regions drawn.
        num_frames: Frames to choose of a clip.
    """

    landmarks: Annotated[list[Landmarks | None], Field(max_length=_MAX_PARTS, fail_fast=True)] | None = None
    overlay: StrictBool = False
    num_frames: Annotated[StrictInt, Field(ge=1, le=64)] | None = None


class TextFormat(StrictModel):
    """Free words."""

    type: Literal["text"]


class JsonObjectFormat(StrictModel):
    """A JSON object, whatever is in it."""

    type: Literal["json_object"]


class JsonSchema(StrictModel):
    """A JSON schema with its name; ``strict`` changes nothing, for every answer is held to the schema."""

    name: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    content: Annotated[dict[str, Any], Field(alias="schema")]
    description: StrictStr | None = None
    strict: StrictBool | None = None


class JsonSchemaFormat(StrictModel):
    """JSON as a schema says."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class ChatRequest(StrictModel):
    """The body of ``POST /v1/chat/completions``; fields as in OpenAI's reference."""

    model: StrictStr
    messages: Annotated[list[Message], Field(min_length=1, max_length=_MAX_MESSAGES, fail_fast=True)]
    max_tokens: Annotated[StrictInt, Field(ge=1, lt=_MAX_TOKENS)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1, lt=_MAX_TOKENS)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=0)] | None = None
    n: Annotated[StrictInt, Field(ge=1)] | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] | None = None
    stop: StopText | Annotated[list[StopText], Field(fail_fast=True)] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    user: StrictStr | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=_MAX_TOP_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    facekit: FaceOptions = FaceOptions()

    @property
    def limit(self) -> int | None:
        """Longest answer in tokens, where the request names one."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


def read_request(content: Any) -> ChatRequest:
    """Read the parsed JSON of a request.

    Raises:
        RequestError: It says something that is unknown, wrong or not offered; the message names the field.
    """
    if not isinstance(content, dict):
        raise RequestError(400, "the body is a JSON object with 'model' and 'messages'", code="invalid_body")
    said = dict(content)
    if isinstance(said.get("messages"), list):
        said["messages"] = [_without_empty_fields(message) for message in said["messages"]]
    for field in _NOT_OFFERED:
        if field in said and said.pop(field) not in _NEUTRAL.get(field, (None,)):
            raise RequestError(
                400, f"'{field}' is not offered here; leave it out", param=field, code="unsupported_parameter"
            )
    request = read_strictly(ChatRequest, said)
    if len(request.stops) > _MAX_STOPS:
        raise RequestError(400, f"'stop' has {len(request.stops)} texts; give at most {_MAX_STOPS}", param="stop")
    if request.stream_options is not None and not request.stream:
        raise RequestError(400, "'stream_options' belong to a stream; set 'stream', or leave them out", param="stream")
    if request.top_logprobs is not None and not request.logprobs:
        raise RequestError(400, "'top_logprobs' needs 'logprobs'; set it to true", param="top_logprobs")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise RequestError(400, "give 'max_tokens' or 'max_completion_tokens', not both", param="max_tokens")
    return request


def read_strictly(kind: type[Content], content: Any) -> Content:
    """Read parsed JSON as a kind of request.

    Raises:
        RequestError: It says something that is unknown or wrong; the message names the field.
    """
    if not isinstance(content, dict):
        fields = " and ".join(f"'{name}'" for name, field in kind.model_fields.items() if field.is_required())
        raise RequestError(400, f"the body is a JSON object with {fields}", code="invalid_body")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _explain(error) from error


def _without_empty_fields(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    return {name: value for name, value in message.items() if name not in _EMPTY_FIELDS or value not in (None, [], {})}


def _explain(error: ValidationError) -> RequestError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = [str(step) for step in first["loc"] if str(step) not in ("text", "image_url", "video_url", "str")]
    path = [step for place, step in enumerate(path) if place == 0 or step not in ("json_object", path[place - 1])]
    path = [step for step in path if not step.startswith(("list[", "constrained-", "function-"))]
    field = ".".join(path)
    if first["type"] == "extra_forbidden":
        return RequestError(400, f"there is no field '{field}'; leave it out", param=field, code="unknown_parameter")
    if first["type"] == "missing":
        return RequestError(400, f"the field '{field}' is missing", param=field, code="missing_required_parameter")
    return RequestError(400, f"'{field}' cannot be used: {first['msg']}", param=field, code="invalid_value")
