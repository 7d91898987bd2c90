"""``list_parts``, ``describe_part`` and ``register_part``: what can be mixed, with exact types for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, overload

from facekit.catalog import current_registry
from facekit.registry import KINDS, Kind

if TYPE_CHECKING:
    from facekit.backbones.base import Backbone
    from facekit.connectors.base import Connector
    from facekit.encoders.base import VisionEncoder
    from facekit.endpoints.requests import Answerer
    from facekit.evaluation.tasks.definitions import Task
    from facekit.faces.landmarker import Landmarker
    from facekit.models.presets import Preset

    EncoderClass = TypeVar("EncoderClass", bound=type[VisionEncoder])
    ConnectorClass = TypeVar("ConnectorClass", bound=type[Connector])
    LandmarkerClass = TypeVar("LandmarkerClass", bound=type[Landmarker])
    BackboneLoader = TypeVar("BackboneLoader", bound=Callable[..., Backbone])
    AnnotatorMaker = TypeVar("AnnotatorMaker", bound=Callable[..., Answerer])
    DatasetMaker = TypeVar("DatasetMaker", bound=Callable[..., object])
    NamedPreset = TypeVar("NamedPreset", bound=Preset)
    NamedTask = TypeVar("NamedTask", bound=Task)


class Description(TypedDict, total=False):
    """What is said of a part that is registered; see ``facekit.registry.Part``.

    Attributes:
        summary: One line on what it is.
        licence: The licence of the code or weights behind it.
        source: Where it comes from.
        extra: The optional-dependency group that it needs.
        requires: Import names of the packages in that group.
        distribution: The distribution that the extra belongs to.
        details: Further facts by name.
        bare: Distributions by import name that are installed without their dependencies.
        replace: Whether the name may be taken.
    """

    summary: str
    licence: str
    source: str
    extra: str | None
    requires: tuple[str, ...]
    distribution: str
    details: Mapping[str, str]
    bare: Mapping[str, str]
    replace: bool


@overload
def list_parts(kind: None = None) -> dict[Kind, list[str]]: ...


@overload
def list_parts(kind: str) -> list[str]: ...


def list_parts(kind: str | None = None) -> dict[Kind, list[str]] | list[str]:
    """Return what can be mixed: the sorted names of one kind, or of every kind by kind.

    Args:
        kind: ``encoder``, ``connector``, ``backbone``, ``landmarker``, ``preset``, ``dataset``, ``annotator`` or
            ``task``; None for all of them.

    Raises:
        UnknownPartError: No such kind.
    """
    registry = current_registry()
    return {each: registry.names(each) for each in KINDS} if kind is None else registry.names(kind)


def describe_part(kind: str, name: str) -> dict[str, str | None]:
    """Return a part's name, summary, licence, source and, where it needs more packages, the command to install them.

    A dataset also has its ``task``, ``size`` and how to ``obtain`` it.

    Raises:
        UnknownPartError: No such kind or name; the message has the closest match.

    Examples:
        >>> import facekit
        >>> facekit.describe_part("connector", "region")["licence"]
        'Apache-2.0'
    """
    part = current_registry().part(kind, name)
    return {
        "kind": part.kind,
        "name": part.name,
        "summary": part.summary,
        "licence": part.licence,
        "source": part.source,
        "install": part.install_command,
        **part.details,
    }


@overload
def register_part(
    kind: Literal["encoder"],
    name: str,
    target: type[VisionEncoder] | str | None = None,
    **description: Unpack[Description],
) -> Callable[[EncoderClass], EncoderClass]: ...


@overload
def register_part(
    kind: Literal["connector"],
    name: str,
    target: type[Connector] | str | None = None,
    **description: Unpack[Description],
) -> Callable[[ConnectorClass], ConnectorClass]: ...


@overload
def register_part(
    kind: Literal["landmarker"],
    name: str,
    target: type[Landmarker] | str | None = None,
    **description: Unpack[Description],
) -> Callable[[LandmarkerClass], LandmarkerClass]: ...


@overload
def register_part(
    kind: Literal["backbone"],
    name: str,
    target: Callable[..., Backbone] | str | None = None,
    **description: Unpack[Description],
) -> Callable[[BackboneLoader], BackboneLoader]: ...


@overload
def register_part(
    kind: Literal["annotator"],
    name: str,
    target: Callable[..., Answerer] | str | None = None,
    **description: Unpack[Description],
) -> Callable[[AnnotatorMaker], AnnotatorMaker]: ...


@overload
def register_part(
    kind: Literal["dataset"],
    name: str,
    target: Callable[..., object] | str | None = None,
    **description: Unpack[Description],
) -> Callable[[DatasetMaker], DatasetMaker]: ...


@overload
def register_part(
    kind: Literal["preset"],
    name: str,
    target: Preset | str | None = None,
    **description: Unpack[Description],
) -> Callable[[NamedPreset], NamedPreset]: ...


@overload
def register_part(
    kind: Literal["task"],
    name: str,
    target: Task | str | None = None,
    **description: Unpack[Description],
) -> Callable[[NamedTask], NamedTask]: ...


def register_part(
    kind: Kind, name: str, target: object = None, **description: Unpack[Description]
) -> Callable[[Any], Any]:
    """Register a part of your own, directly or as a decorator.

    Args:
        kind: ``encoder``, ``connector``, ``landmarker``, ``backbone``, ``annotator``, ``dataset``, ``preset`` or
            ``task``.
        name: The name in spec strings.
        target: The part, or its import path ``package.module:attribute``; without it the call returns a decorator. It
            is a subclass of ``VisionEncoder``, ``Connector`` or ``Landmarker``; a function that returns a ``Backbone``
            or what answers requests; a subclass of ``facekit.data.sources.Source``; or a ``Preset`` or ``Task``.
        **description: See ``Description``.

    Returns:
        A decorator that registers what it decorates and returns it as it is; with ``target``, which is registered
        then, it only returns it.

    Raises:
        UnknownPartError: There is no such kind.
        InvalidSpecError: The name is taken and ``replace`` is not given, or it cannot stand in a spec string.
    """
    return current_registry().register(kind, name, target, **description)
