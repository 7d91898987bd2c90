"""Write the reference pages of the documentation: every public name of every room, and every command.

    python -m scripts.reference docs/reference     # `make docs` does it before it builds the site

Names come from the rooms' own ``__init__`` files, which are read and not run; what stands under a name is its
docstring, put there by mkdocstrings when the site is built. Commands come from the command line itself. The pages are
plain Markdown files, so that any site builder that knows mkdocstrings can take them.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

PACKAGE = "facekit"
_TYPE = re.compile(r"<(?:list\[)?(\w+)(?: range)?\]?>")  # of one value; click also says that it may be repeated
_OPTION = re.compile(r"(?<![\w/-])--[a-z][a-z-]*[a-z]")
_BOUNDS = (
    (re.compile(r"([\d.]+)<=x<=([\d.]+)"), r"\1 to \2"),
    (re.compile(r"x>=([\d.]+)"), r"at least \1"),
    (re.compile(r"x<=([\d.]+)"), r"at most \1"),
)


@dataclass(frozen=True)
class Room:
    """A package of facekit that exports names.

    Args:
        name: Its import, ``facekit.faces``.
        summary: The first sentence of its docstring.
        homes: By public name, the module that defines it; in alphabetical order.
        display: By public name, what its entry leaves out, as an option of mkdocstrings.
    """

    name: str
    summary: str
    homes: dict[str, str]
    display: dict[str, str] = field(default_factory=dict)

    @property
    def page(self) -> str:
        """File name of its page."""
        return f"{self.name}.md"


def read_rooms(root: Path) -> list[Room]:
    """Every package below ``root/facekit`` that exports names, the top first, then by name."""
    rooms = (_read_room(path, root) for path in sorted((root / PACKAGE).rglob("__init__.py")))
    return sorted((room for room in rooms if room.homes), key=lambda room: room.name)


def _read_room(path: Path, root: Path) -> Room:
    name = ".".join(path.parent.relative_to(root).parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.asname or alias.name: module for module, alias in _imports(tree, name)}
    listed = _listed(tree)
    public = imported if listed is None else {each: imported[each] for each in listed if each in imported}
    summary = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
    homes = {each: public[each] for each in sorted(public, key=str.lower) if each[0] != "_"}
    display = {each: option for each, home in homes.items() if (option := _display(root, home, each))}
    return Room(name, summary, homes, display)


def _display(root: Path, home: str, name: str) -> str | None:
    """What is nothing to readers: values made by calls and private functions, and private base classes."""
    path = root / Path(*home.split(".")).with_suffix(".py")
    if not path.exists():
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and any(getattr(each, "id", None) == name for each in targets):
            called = {getattr(each.func, "id", "") for each in ast.walk(node) if isinstance(each, ast.Call)}
            named = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            is_plain = called <= {"MappingProxyType", "range"} and not any(each[0] == "_" for each in named)
            return None if is_plain else "show_attribute_values: false"
        if isinstance(node, ast.ClassDef) and node.name == name:
            is_private = any(getattr(each, "id", "").startswith("_") for each in node.bases)
            return "show_bases: false" if is_private else None
    return None


def _imports(tree: ast.Module, room: str) -> Iterator[tuple[str, ast.alias]]:
    """What a room takes from its own package: of lazy rooms, what it imports for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{PACKAGE}."):
            yield from ((node.module, alias) for alias in node.names)


def _listed(tree: ast.Module) -> list[str] | None:
    """``__all__`` where it is written out, none where there is none; None where ``lazy_loader`` makes it."""
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        if any(getattr(each, "id", None) == "__all__" for each in node.targets):
            return list(ast.literal_eval(node.value))
        if any(getattr(each, "id", None) == "__all__" for target in node.targets for each in ast.walk(target)):
            return None
    return []


def write_room(room: Room) -> str:
    """Page of a room: each name under the import that users write, documented where it is defined."""
    parts = [f"# {room.name}\n\n{_plain(room.summary)}\n\nAll names are imported from `{room.name}`.\n"]
    for name, home in room.homes.items():
        options = ", ".join(["show_root_heading: true", *filter(None, [room.display.get(name)])])
        parts.append(f"::: {home}.{name}\n    options: {{{options}}}\n")
    return "\n".join(parts)


def write_command(name: str, command: TyperCommand) -> str:
    """Page of a command: what it does, how it is called, what may be given to it."""
    context = typer.Context(command, info_name=f"{PACKAGE} {name}")
    usage = " ".join(map(_capitals, command.collect_usage_pieces(context)))
    rows = [_row(each, context) for each in command.params if not getattr(each, "hidden", False)]
    table = "\n".join(_table("argument or option", "meaning", rows))
    return (
        f"# {PACKAGE} {name}\n\n{_plain(command.help)}\n\n"
        f"```text\n{PACKAGE} {name} {usage}\n```\n\n{table}\n\n"
        f"Options that all commands have stand under [commands](../index.md#commands).\n"
    )


def _row(parameter: TyperArgument | TyperOption, context: typer.Context) -> str:
    """Row of a table: how it is written, and what its help says of it, bounds and default included."""
    spelled, text = parameter.get_help_record(context) or (parameter.name, "")
    for pattern, words in _BOUNDS:
        text = pattern.sub(words, text)
    spelled = _TYPE.sub(lambda kind: f"<{kind[1].lower()}>", spelled or "")
    if isinstance(parameter, TyperArgument):
        spelled = _capitals(spelled.partition(" <")[0])
    return f"| `{spelled}` | {_cell(_plain(text))} |"


def _capitals(argument: str) -> str:
    """An argument as command lines have it: ``{model}`` is ``MODEL``; one with dots of its own stays as written."""
    return argument.strip("{}.") if "…" in argument else argument.replace("{", "").replace("}", "").upper()


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def _plain(text: str | None) -> str:
    """Help as Markdown: click's marks of paragraphs are none of it, RST's literals and options are its code."""
    pieces = (text or "").replace("\b", "").replace("``", "`").strip().split("`")
    pieces[::2] = [_OPTION.sub(r"`\g<0>`", piece) for piece in pieces[::2]]
    return "`".join(pieces)


def write_index(rooms: list[Room], commands: dict[str, TyperCommand], group: TyperGroup) -> str:
    """First page of the reference: the rooms, the commands and what all commands take."""
    context = typer.Context(group, info_name=PACKAGE)
    shared = [_row(each, context) for each in group.params if not getattr(each, "hidden", False)]
    named = [f"| [`{room.name}`]({room.page}) | {_plain(room.summary)} |" for room in rooms]
    verbs = [
        f"| [`{PACKAGE} {name}`](commands/{name}.md) | {_plain(each.get_short_help_str(120))} |"
        for name, each in commands.items()
    ]
    parts = [
        "# Reference\n\nEvery public name, by the package that exports it, and every command. Names that begin",
        "with an underscore, and modules that are not listed here, may change without notice.\n",
        "## Packages\n",
        *_table("package", "what it offers", named),
        "\n## Commands\n",
        *_table("command", "what it does", verbs),
        "\nAll commands take these, before their name:\n",
        *_table("option", "meaning", shared),
    ]
    return "\n".join(parts) + "\n"


def _table(first: str, second: str, rows: list[str]) -> list[str]:
    return [f"| {first} | {second} |", "| --- | --- |", *rows]


def read_commands() -> tuple[TyperGroup, dict[str, TyperCommand]]:
    """The command line as a whole, and by name each command that is neither hidden nor deprecated."""
    from facekit.cli.main import app

    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    kept = {name: each for name, each in group.commands.items() if not (each.hidden or each.deprecated)}
    return group, dict(sorted(kept.items()))


def write_reference(root: Path, folder: Path) -> list[Path]:
    """Write all pages below ``folder``.

    Args:
        root: Folder that holds the package's folder.
        folder: Where the pages go; pages there of what is no more are removed.

    Returns:
        The pages that were written, the first page first.
    """
    rooms = read_rooms(root)
    group, commands = read_commands()
    pages = {folder / "index.md": write_index(rooms, commands, group)}
    pages |= {folder / room.page: write_room(room) for room in rooms}
    pages |= {folder / "commands" / f"{name}.md": write_command(name, each) for name, each in commands.items()}
    (folder / "commands").mkdir(parents=True, exist_ok=True)
    for stale in set(folder.rglob("*.md")) - set(pages):
        stale.unlink()
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return list(pages)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scripts.reference FOLDER")
    written = write_reference(Path(__file__).parent.parent, Path(sys.argv[1]))
    print(f"{len(written)} pages under {sys.argv[1]}")
