"""Imports put off until they are needed: modules of other libraries that are imported for what hardly any process uses.

A module put off is in ``sys.modules`` and in its package without its contents. Its file runs when one of its attributes
or submodules is first asked for; from then on it is the module that the plain import makes. Only the command line asks
for this, at the start of verbs that answer: how a process imports is not for a library to choose.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import _bootstrap
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import MappingProxyType, ModuleType
from typing import Any

DEFERRED: Mapping[str, Sequence[str]] = MappingProxyType(
    {"scipy.optimize": ("linear_sum_assignment",), "torchvision.datasets": (), "torchvision.models": ()}
)
"""The modules to put off, with those of their functions that are handed out before, and load the module when called.

Seen: transformers 5.17 to 5.24, torchvision 0.29, scipy 1.13 to 1.17.
Why: transformers imports torchvision for its resampling, which imports all its architectures and data sets, and
    ``scipy.optimize`` for a function of its losses for detection: 490 modules, which ``facekit ask`` does not use.
Until: these libraries import them when they are used.
"""

_locks: Any = _bootstrap  # the type checker does not know of the locks of imports
_put_off: dict[str, tuple[Loader, Sequence[str]]] = {}


def defer_imports(modules: Mapping[str, Sequence[str]] = DEFERRED) -> None:
    """Put off these modules, of those that are not imported yet, until something of them is asked for.

    Args:
        modules: Names of packages and modules, and names of functions in each that may be imported without loading it.

    Seen: Python 3.11 to 3.14.
    Why: ``importlib.util.LazyLoader`` loads a package as soon as a submodule's import asks for its ``__path__``, then
        runs that submodule twice.
    Until: Python 3.15, which has lazy imports, is the oldest supported version.
    """
    if not any(isinstance(each, _Finder) and each.modules == modules for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder(modules))


class _Finder(MetaPathFinder):
    """Finds the modules to put off, and sees to it that the package of a submodule runs first."""

    def __init__(self, modules: Mapping[str, Sequence[str]]) -> None:
        self.modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self.modules:
            spec = PathFinder.find_spec(fullname, path, target)
            if spec is not None and isinstance(spec.loader, SourceFileLoader):
                spec.loader = _DeferringLoader(spec.loader, self.modules[fullname])
            return spec
        package = fullname.rpartition(".")[0]
        if package not in _put_off or package not in sys.modules:
            return None
        _load(sys.modules[package])
        loaded = sys.modules.get(fullname)
        if loaded is None:
            return None
        spec = ModuleSpec(fullname, _LoadedLoader(loaded))
        loaded.__spec__ = spec  # or importlib takes the module's own, and runs its file once more
        return spec


class _DeferringLoader(Loader):
    def __init__(self, loader: SourceFileLoader, functions: Sequence[str]) -> None:
        self._loader, self._functions = loader, functions

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self._loader  # for whoever asks for the source or for data files
        for name in self._functions:
            setattr(module, name, _deferred_function(module, name))
        _put_off[module.__name__] = (self._loader, self._functions)
        module.__class__ = _DeferredModule


class _LoadedLoader(Loader):
    """Hands over a module that its package imported while this import waited for the package."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _DeferredModule(ModuleType):
    """A module put off; loading makes it a plain one, so that no ``super()`` can follow."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            _load(self)
        return ModuleType.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        _load(self)
        if type(self) is _DeferredModule:  # its own file asks, while it runs
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name.startswith("__") and name.endswith("__")):
            _load(self)
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _load(self)
        ModuleType.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        _load(self)
        return list(ModuleType.__dir__(self))


def _deferred_function(module: ModuleType, name: str) -> Callable[..., Any]:
    def deferred(*args: Any, **kwargs: Any) -> Any:
        _load(module)
        return getattr(module, name)(*args, **kwargs)

    deferred.__name__ = deferred.__qualname__ = name
    deferred.__module__ = module.__name__
    return deferred


def _load(module: ModuleType) -> None:
    """Run a module's file if that was put off; another thread waits meanwhile, as it would at the plain import."""
    name, contents = module.__name__, object.__getattribute__(module, "__dict__")
    try:
        with _locks._ModuleLockManager(name):
            waiting = _put_off.pop(name, None)
            if waiting is None:  # it is loaded, or its own file asks
                return
            loader, functions = waiting
            handed_out = {each: contents.pop(each) for each in functions}
            try:
                loader.exec_module(module)
            except BaseException:
                contents.update(handed_out)
                _put_off[name] = waiting
                raise
            if type(module) is _DeferredModule:
                module.__class__ = ModuleType  # type: ignore[assignment]  # the plain class again
    except _locks._DeadlockError:  # two threads wait for each other: this one goes on with what there is
        return
