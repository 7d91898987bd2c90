"""Commands in guides: each verb exists, and every option that is written has been given to it by the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scripts.reference import read_commands

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PAGES = [page for page in PAGES if "reference" not in page.parts]
BLOCK = re.compile(r"^```(?:bash|console|sh)\b[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
GROUP, COMMANDS = read_commands()


def commands_of(page: Path) -> list[list[str]]:
    """What follows ``facekit`` in the shell blocks of a page, as words."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.search(r"(?:^|--no-python )(?:\.venv/bin/)?facekit\s+(\S.*)$", line.partition(" # ")[0])
            if command and not line.lstrip().startswith("#"):
                found.append(shlex.split(command[1].partition(" |")[0].partition(" &")[0]))
    return found


def options_of(command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_a_page_calls_commands_and_options_that_there_are(page):
    for words in commands_of(page):
        while words and words[0].startswith("--"):
            assert words[0].partition("=")[0] in options_of(GROUP) | {"--help", "--version"}, words
            words = words[1:] if "=" in words[0] or len(words) < 2 or words[1] in COMMANDS else words[2:]
        if not words:
            continue
        verb, *rest = words
        assert verb in COMMANDS, f"{page.name}: there is no command facekit {verb}"
        known = options_of(COMMANDS[verb]) | {"--help"}
        for word in rest:
            name = word.partition("=")[0]
            if re.fullmatch(r"--[a-z][a-z-]*", name):
                assert name in known, f"{page.name}: facekit {verb} has no {name}"


def test_commands_in_blocks_are_found():
    assert sum(len(commands_of(page)) for page in PAGES) > 80
    assert ["train", "recipe=mine.yaml", "--resume"] in commands_of(ROOT / "docs" / "training.md")


RECIPES = sorted((ROOT / "facekit" / "training" / "recipes").glob("*.yaml"))


def commands_above(recipe: Path) -> list[list[str]]:
    """The commands in the comment that a recipe opens with, as words behind ``facekit``."""
    comment = "\n".join(
        line.removeprefix("#") for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")
    ).replace("\\\n", " ")
    return [shlex.split(line.strip())[1:] for line in comment.splitlines() if line.startswith("   facekit ")]


def test_commands_above_recipes_are_found():
    assert sum(len(commands_above(recipe)) for recipe in RECIPES) >= 2 * len(RECIPES)


@pytest.mark.parametrize(
    "words",
    [words for recipe in RECIPES for words in commands_above(recipe)]
    + [words for page in PAGES for words in commands_of(page) if words[:1] == ["ask"]],
    ids=" ".join,
)
def test_a_command_has_its_arguments_in_their_order(words):
    verb, *rest = words
    names = [word.partition("=")[0] for word in rest if word.startswith("--")]
    assert set(names) <= options_of(COMMANDS[verb]), words
    if verb == "ask" and "--batch" not in names:
        assert rest[0].startswith("$") or Path(rest[0]).suffix in (".jpg", ".png", ".mp4"), words
