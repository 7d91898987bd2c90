"""The registry: parts by kind and name, imported only when they are used.

A part is a class or function named by an import path, so that listing hundreds of parts imports none of them.
``facekit/spec.py`` has the spec strings that name one. Other packages add parts through the entry-point group
``facekit.parts``. This file knows no part; ``facekit/catalog.py`` lists the built-in ones.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from facekit.errors import InvalidSpecError, MissingExtraError, UnknownPartError
from facekit.spec import PartSpec, call_with_options, closest_match_hint, options_for, read_options

__all__ = ["ENTRY_POINT_GROUP", "KINDS", "Kind", "Part", "PartSpec", "Registry", "closest_match_hint"]

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "facekit.parts"
Kind = Literal["encoder", "connector", "backbone", "landmarker", "preset", "dataset", "annotator", "task"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Part:
    """A registry entry, which imports nothing of the part.

    Args:
        kind: One of ``KINDS``.
        name: The name in spec strings.
        target: The object itself, or its import path ``package.module:attribute``.
        summary: One line on what it is.
        licence: The licence of the code or weights behind it.
        source: Where it comes from: a paper, a package, a hub.
        extra: The optional-dependency group of the distribution that it needs, if any.
        requires: Import names of the packages in that group, checked before loading.
        distribution: The distribution that the extra belongs to.
        details: Further facts by name, such as a dataset's ``task``, ``size`` and ``obtain``.
        bare: Further packages by import name, with their distributions, that are installed without their own
            dependencies, which no extra can say; the part itself finds out whether it needs them.
    """

    kind: str
    name: str
    target: Any
    summary: str = ""
    licence: str = ""
    source: str = ""
    extra: str | None = None
    requires: tuple[str, ...] = ()
    distribution: str = "facekit-mllm"
    details: Mapping[str, str] = field(default_factory=dict, hash=False)
    bare: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def install_command(self) -> str | None:
        """The command that installs what the part needs beyond the core, or None."""
        return self._install_command(with_extra=True, bare=self.bare)

    @property
    def missing_command(self) -> str | None:
        """The command that installs what of it is missing here, or None; nothing is imported."""
        bare = [name for name in self.bare if not _is_found(name)]
        return self._install_command(with_extra=not all(map(_is_found, self.requires)), bare=bare)

    def _install_command(self, *, with_extra: bool, bare: Iterable[str]) -> str | None:
        steps = [f"pip install '{self.distribution}[{self.extra}]'"] if with_extra and self.extra else []
        steps += [f"pip install --no-deps {self.bare[name]}" for name in bare]
        return " && ".join(steps) or None

    @property
    def is_installed(self) -> bool:
        """Whether the packages that the part requires can be found; nothing is imported."""
        return all(map(_is_found, (*self.requires, *self.bare)))

    def load(self) -> Any:
        """Import and return the part.

        Raises:
            MissingExtraError: A package that the part requires is not installed.
        """
        missing = [name for name in self.requires if not _is_found(name)]
        if missing:
            how = self.missing_command or f"pip install {' '.join(missing)}"
            raise MissingExtraError(f"{self.kind} '{self.name}' needs {', '.join(missing)}; install it with: {how}")
        if not isinstance(self.target, str):
            return self.target
        module_name, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module_name), attribute)


def _is_found(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _maker(part: Any) -> Any:
    return getattr(part, "from_spec", part)


def _declared_options(label: str, part: Any, spec: PartSpec) -> Mapping[str, Any]:
    """The options of a spec, read where the part names their types."""
    declared = getattr(part, "options", None)
    return read_options(label, spec.options, declared) if isinstance(declared, Mapping) else spec.options


class Registry:
    """Parts by kind and name.

    Args:
        parts: The parts to begin with.
        discover_plugins: Whether to look for parts of other installed packages (entry-point group
            ``facekit.parts``) when something is first listed or looked up. Each entry point is a function that is
            called with the registry.
    """

    def __init__(self, parts: Iterable[Part] = (), *, discover_plugins: bool = False) -> None:
        self._parts: dict[str, dict[str, Part]] = {kind: {} for kind in KINDS}
        self._plugins_pending = discover_plugins
        for part in parts:
            self.add(part)

    def add(self, part: Part, *, replace: bool = False) -> None:
        """Add a part.

        Raises:
            UnknownPartError: The kind does not exist.
            InvalidSpecError: The name is taken and ``replace`` is false, or it cannot stand in a spec string.
        """
        parts = self._of_kind(part.kind)
        if not part.name or set(part.name) & set(":? +,"):
            raise InvalidSpecError(f"a part's name has none of ':', '?', '+', ',' and spaces, unlike {part.name!r}")
        if part.name in parts and not replace:
            raise InvalidSpecError(f"{part.kind} '{part.name}' is registered already; pass replace=True to override it")
        parts[part.name] = part

    def register(
        self, kind: str, name: str, target: Any = None, *, replace: bool = False, **description: Any
    ) -> Callable[[Any], Any]:
        """Register a part, directly or as a decorator.

        Args:
            kind: One of ``KINDS``.
            name: The name in spec strings.
            target: The object or its import path; without it the call returns a decorator.
            replace: Whether the name may be taken.
            **description: ``summary``, ``licence``, ``source``, ``extra``, ``requires``, ``distribution``,
                ``details``, ``bare``.

        Returns:
            A decorator that registers what it decorates (or the identity where ``target`` is given).
        """

        def decorate(decorated: Any) -> Any:
            self.add(Part(kind, name, decorated, **description), replace=replace)
            return decorated

        if target is not None:
            decorate(target)
            return lambda decorated: decorated
        return decorate

    def names(self, kind: str) -> list[str]:
        """Return the sorted names of a kind's parts."""
        self._load_plugins()
        return sorted(self._of_kind(kind))

    def part(self, kind: str, name: str) -> Part:
        """Return what is known of a part.

        Raises:
            UnknownPartError: No such kind or name; the message has the closest match.
        """
        self._load_plugins()
        parts = self._of_kind(kind)
        if name not in parts:
            raise UnknownPartError(f"unknown {kind} '{name}'{closest_match_hint(name, parts)}")
        return parts[name]

    def load(self, kind: str, name: str) -> Any:
        """Import and return a part; raises what ``part`` and ``Part.load`` raise."""
        return self.part(kind, name).load()

    def build(self, kind: str, spec: str | PartSpec, **context: Any) -> Any:
        """Build what a spec names: by the part's ``from_spec``, or, where it has none, by calling it.

        Either takes the spec's argument and, as keyword-only arguments, the options, whose types are read from the
        signature. A class whose ``from_spec`` takes ``**options`` may name their types in a mapping ``options``.

        Args:
            kind: One of ``KINDS``.
            spec: The spec.
            **context: Further keyword-only arguments, which a spec cannot set.

        Raises:
            UnknownPartError: No such part.
            MissingExtraError: A package that it requires is not installed.
            InvalidSpecError: The spec is malformed, or its argument or an option cannot be used.
        """
        spec = PartSpec.parse(spec) if isinstance(spec, str) else spec
        part, label = self.load(kind, spec.name), f"{kind} '{spec.name}'"
        return call_with_options(label, _maker(part), spec.argument, _declared_options(label, part, spec), **context)

    def check(self, kind: str, spec: str | PartSpec) -> None:
        """Make sure that what a spec names could be built elsewhere: a part that is not installed has a name alone.

        Args:
            kind: One of ``KINDS``.
            spec: The spec; its options are read, and no file that it names is looked for.

        Raises:
            UnknownPartError: No such part.
            InvalidSpecError: The spec is malformed, or an option cannot be used.
        """
        spec = PartSpec.parse(spec) if isinstance(spec, str) else spec
        described = self.part(kind, spec.name)
        if not all(map(_is_found, described.requires)):
            return
        part, label = described.load(), f"{kind} '{spec.name}'"
        options_for(label, _maker(part), _declared_options(label, part, spec), {})

    def copy(self) -> Registry:
        """Return an independent registry with the same parts: what is registered in one is unknown to the other."""
        self._load_plugins()
        return Registry(part for parts in self._parts.values() for part in parts.values())

    def _of_kind(self, kind: str) -> dict[str, Part]:
        if kind not in self._parts:
            raise UnknownPartError(f"unknown kind of part '{kind}'{closest_match_hint(kind, self._parts)}")
        return self._parts[kind]

    def _load_plugins(self) -> None:
        if not self._plugins_pending:
            return
        self._plugins_pending = False
        for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
            try:
                entry_point.load()(self)
            except Exception as error:  # noqa: BLE001 - a foreign package must not take facekit down with it
                logger.warning("the plugin '%s' was left out: %s: %s", entry_point.value, type(error).__name__, error)
