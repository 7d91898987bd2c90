"""Find circles among the imports of a package's files: ``python scripts/check_cycles.py [PACKAGE_FOLDER]``.

import-linter watches the layers between rooms; a circle inside a room passes it. Imports inside functions count, since
they only hide a circle; imports under ``TYPE_CHECKING`` do not. A name that a package resolves lazily
(``lazy_loader.attach``) leads to the file that its ``TYPE_CHECKING`` block names. That importing a file runs the
``__init__`` of its package is no edge.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

Imports = dict[str, set[str]]


def read_imports(root: Path) -> Imports:
    """Return, for every module of a package, the modules of the same package that it imports.

    Args:
        root: The package's folder.

    Raises:
        ValueError: The folder is no package.
    """
    if not (root / "__init__.py").is_file():
        raise ValueError(f"{root} is no package: it has no __init__.py")
    paths = {_module_name(root, path): path for path in sorted(root.rglob("*.py"))}
    trees = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in paths.items()}
    lazy = {
        name: dict(_named_imports(trees[name], name, only_typing=True))
        for name, path in paths.items()
        if path.name == "__init__.py"
    }
    imports: Imports = {}
    for name, tree in trees.items():
        package = name if name in lazy else name.rpartition(".")[0]
        found: set[str] = set()
        for imported, origin in _named_imports(tree, package):
            found |= _resolve(imported, origin, lazy, trees.keys())
        imports[name] = found - {name}
    return imports


def find_cycles(imports: Imports) -> list[list[str]]:
    """Return the groups of modules that reach each other, each sorted, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    cycles: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for target in sorted(imports.get(module, ())):
            if target not in order:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in stack:
                lowest[module] = min(lowest[module], order[target])
        if lowest[module] == order[module]:
            start = stack.index(module)
            group = stack[start:]
            del stack[start:]
            if len(group) > 1:
                cycles.append(sorted(group))

    for module in sorted(imports):
        if module not in order:
            visit(module)
    return sorted(cycles)


def _module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _named_imports(tree: ast.Module, package: str, *, only_typing: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the name and the module of every import statement; for ``import a.b`` the name is empty."""
    typing = {id(node) for block in _typing_blocks(tree) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if (id(node) in typing) != only_typing:
            continue
        if isinstance(node, ast.Import):
            yield from (("", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((alias.name, origin) for alias in node.names)


def _typing_blocks(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from node.body


def _resolve(name: str, origin: str, lazy: dict[str, dict[str, str]], modules: Collection[str]) -> set[str]:
    """The files that an import statement leads to: the module, and what a package takes the name from."""
    if f"{origin}.{name}" in modules:
        return {f"{origin}.{name}"}
    if origin not in modules:
        return set()
    behind = lazy.get(origin, {}).get(name)
    return {origin} if behind is None else {origin, *_resolve(name, behind, lazy, modules)}


def main(arguments: list[str]) -> int:
    """Print every circle; return 1 where there is one."""
    root = Path(arguments[0]) if arguments else Path(__file__).parents[1] / "facekit"
    cycles = find_cycles(read_imports(root))
    for group in cycles:
        print(f"these files import each other: {', '.join(group)}")
    return 1 if cycles else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
