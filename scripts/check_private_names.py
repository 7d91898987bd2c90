"""Fail where facekit reaches into what another library keeps private, anywhere but in ``facekit/compat``.

    python scripts/check_private_names.py [FOLDER]

Read from syntax trees alone, facekit's and, for base classes, the other libraries': nothing is imported. Reported are

* imports of a name or module with a leading underscore, and of modules that a library does not document;
* ``x._name``, ``getattr(x, "_name")`` and ``call(_name=...)`` where facekit itself defines no ``_name``;
* names in a class that its foreign base class has too, such as an overridden ``_save``.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BRIDGE = "compat"
"""The folder inside the package that may do all this."""

UNDOCUMENTED = (
    "accelerate.data_loader", "accelerate.state", "accelerate.utils.constants", "datasets.arrow_writer",
    "face_alignment.detection", "open_clip.factory", "peft.tuners.tuners_utils", "peft.utils.integrations",
    "peft.utils.other", "transformers.activations", "transformers.image_utils", "transformers.initialization",
    "transformers.integrations.sdpa_attention", "transformers.masking_utils",
    "transformers.models.auto.configuration_auto", "transformers.pytorch_utils",
    "transformers.utils.chat_template_utils", "transformers.utils.generic", "triton.runtime",
)  # fmt: skip
"""Modules without a leading underscore that their libraries do not promise to keep."""

_DOCUMENTED = {"_asdict", "_replace", "_fields", "_make", "_field_defaults", "_exit"}  # named tuples and os
_BY_NAME = {"getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller"}
_SEARCH_DEPTH = 2


@dataclass(frozen=True, order=True)
class Finding:
    """A line that reaches into another library."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}; use a public name, or move it to facekit/{BRIDGE}"


@dataclass
class Module:
    """A file: what is in it, its imports by the name that they have in it, and its classes.

    Args:
        path: The file.
        name: Its dotted name.
        nodes: All nodes of its tree; of another library's file, of its imports and of one class.
    """

    path: Path
    name: str
    nodes: list[ast.AST]

    @functools.cached_property
    def imports(self) -> dict[str, str]:
        """Dotted paths of what imports bind, by name."""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        return dict(_imported_names(self.nodes, package))

    @functools.cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Its classes by name."""
        return {node.name: node for node in self.nodes if isinstance(node, ast.ClassDef)}


def is_private(name: str) -> bool:
    """Whether a name is private by its underscore; ``__special__`` and ``_sunder_`` names are documented."""
    return name.startswith("_") and not name.endswith("_") and name not in _DOCUMENTED


def check(package: Path) -> list[Finding]:
    """Return what the modules of a package reach into, those of its folder ``compat`` left out.

    Args:
        package: The folder of the package; its name is that of the package.
    """
    modules = {module.name: module for module in _read(package)}
    outside = [module for module in modules.values() if module.name.split(".")[1:2] != [BRIDGE]]
    own = {name for module in outside for name in _defined_names(module.nodes)}
    found: set[Finding] = set()
    for module in outside:
        found |= {Finding(module.path, line, what) for line, what in _reaches(module, package.name, own)}
        found |= {Finding(module.path, line, what) for line, what in _overrides(module, modules)}
    return sorted(found)


def _read(package: Path) -> Iterator[Module]:
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Module(path, name, list(ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))))


def _imported_names(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{_source(node, package)}.{alias.name}") for alias in node.names)


def _source(node: ast.ImportFrom, package: str) -> str:
    """The module that a ``from`` import names, in full."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - (node.level - 1)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _defined_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Names that a module gives to something of its own."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own(node.value):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield node.asname or ""


def _is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _reaches(module: Module, package: str, own: set[str]) -> Iterator[tuple[int, str]]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _bad_import(node.lineno, alias.name, None, package)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield from _bad_import(node.lineno, node.module or "", alias.name, package)
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            yield node.lineno, f"{ast.unparse(node)} is private to another library"
        elif isinstance(node, ast.Call):
            for name in _names_in_call(node):
                if is_private(name) and name not in own:
                    yield node.lineno, f"'{name}' is private to another library"


def _bad_import(line: int, source: str, name: str | None, package: str) -> Iterator[tuple[int, str]]:
    parts = source.split(".") + ([name] if name else [])
    if parts[0] == package:
        return
    if any(is_private(part) for part in parts):
        yield line, f"{'.'.join(parts)} is private to {parts[0]}"
    elif any(f"{'.'.join(parts)}.".startswith(f"{each}.") for each in UNDOCUMENTED):
        yield line, f"{'.'.join(parts)} is not documented by {parts[0]}"


def _names_in_call(node: ast.Call) -> Iterator[str]:
    yield from (keyword.arg for keyword in node.keywords if keyword.arg)
    function = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if function in _BY_NAME:
        texts = (each.value for each in node.args if isinstance(each, ast.Constant))
        yield from (part for text in texts if isinstance(text, str) for part in text.split("."))


def _overrides(module: Module, modules: dict[str, Module]) -> Iterator[tuple[int, str]]:
    for each in module.classes.values():
        bases = {dotted: private_names(dotted) for dotted in _foreign_bases(each, module, modules)}
        for line, name in _members(each):
            holder = next((dotted for dotted, names in bases.items() if name in names), None)
            if holder is not None:
                yield line, f"{each.name}.{name} overrides what is private to {holder}"


def _foreign_bases(node: ast.ClassDef, module: Module, modules: dict[str, Module]) -> Iterator[str]:
    """Dotted paths of the classes of other libraries that a class derives from, through classes of the package too."""
    for base in node.bases:
        dotted = _dotted(base, module)
        if dotted is None:
            continue
        head, _, name = dotted.rpartition(".")
        home = modules.get(head)
        if home is None and dotted.partition(".")[0] == module.name.partition(".")[0]:
            home = next((each for each in modules.values() if name in each.classes), None)
        if home is None:
            yield dotted
        elif name in home.classes and home.classes[name] is not node:
            yield from _foreign_bases(home.classes[name], home, modules)


def _dotted(node: ast.expr, module: Module) -> str | None:
    if isinstance(node, ast.Subscript):
        return _dotted(node.value, module)
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, module)
        return before and f"{before}.{node.attr}"
    if isinstance(node, ast.Name):
        return f"{module.name}.{node.id}" if node.id in module.classes else module.imports.get(node.id)
    return None


def _members(node: ast.ClassDef) -> Iterator[tuple[int, str]]:
    """Private names of a class: its methods, its attributes, and those that its methods set."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(each.name):
            yield each.lineno, each.name
        for target in getattr(each, "targets", [getattr(each, "target", None)]):
            if isinstance(target, ast.Name) and is_private(target.id):
                yield each.lineno, target.id
    for each in ast.walk(node):
        is_set = isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and _is_own(each.value)
        if is_set and is_private(each.attr):
            yield each.lineno, each.attr


@functools.cache
def private_names(dotted: str) -> frozenset[str]:
    """Return the private names of a class of another library and of its bases; none where it is not found.

    Args:
        dotted: Where it is imported from, such as ``transformers.Trainer``; it may be defined elsewhere in the library.
    """
    found = _find_class(dotted)
    if found is None:
        return frozenset()
    module, node = found
    names = {name for _, name in _members(node)}
    for base in node.bases:
        path = _dotted(base, module)
        if path is not None and path != dotted:
            names |= private_names(path)
    return frozenset(names)


def _find_class(dotted: str) -> tuple[Module, ast.ClassDef] | None:
    top, *inner, name = dotted.split(".")
    if top in sys.stdlib_module_names or (not inner and "." not in dotted):
        return None
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.origin:
        return None
    folder = Path(spec.origin).parent
    files: list[Path] = [Path(spec.origin)]
    for part in inner:
        if (folder / part).is_dir():
            folder = folder / part
            files = []
        elif (folder / f"{part}.py").is_file():
            files = [folder / f"{part}.py"]
    pattern = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
    for path in (*files, *_files_below(folder)):
        text = path.read_text(encoding="utf-8", errors="replace")
        if pattern.search(text):
            return _parse_foreign(path, text, top, name)
    return None


@functools.cache
def _files_below(folder: Path) -> tuple[Path, ...]:
    """Python files of a folder, the nearest first."""
    levels = ["*.py", *("/".join(["*"] * depth) + "/*.py" for depth in range(1, _SEARCH_DEPTH + 1))]
    return tuple(path for level in levels for path in sorted(folder.glob(level)))


def _parse_foreign(path: Path, text: str, top: str, name: str) -> tuple[Module, ast.ClassDef] | None:
    """Parse one class of a file and its imports; other libraries' files are long."""
    parts = path.with_suffix("").parts
    dotted = ".".join(parts[len(parts) - 1 - parts[::-1].index(top) :]).removesuffix(".__init__")
    body = re.search(rf"^class {re.escape(name)}\b.*?(?=^[^\s#)\]}}]|\Z)", text, re.MULTILINE | re.DOTALL)
    imports = re.findall(r"^(?:from|import) [^\n(]*(?:\([^)]*\))?", text, re.MULTILINE)
    others = (f"class {each}: ..." for each in re.findall(r"^class (\w+)", text, re.MULTILINE) if each != name)
    try:
        tree = ast.parse("\n".join([*imports, *others, body.group() if body else ""]))
    except SyntaxError:
        tree = ast.parse(text)
    module = Module(path, dotted, list(tree.body))
    return (module, module.classes[name]) if name in module.classes else None


def main() -> int:
    """Print what was found; 1 where there was something."""
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "facekit"
    found = check(package)
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
