"""Prompt styles: what a task is asked by, as facekit's models learned it, closed, or in words of one's own.

``trained`` asks the questions that facekit's models are trained on. ``closed`` asks a stranger, who has to be told the
labels and the form of the answer. A YAML file has one prompt for each task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import yaml

from facekit.errors import ConfigurationError, UnknownPartError, yaml_fault
from facekit.evaluation.tasks.definitions import Task, load_tasks

TRAINED, CLOSED, RECORDED = "trained", "closed", "recorded"
LABEL = "{label}"
"""Stands, in the prompt of a task that asks about each label, for that label in words."""


@dataclass(frozen=True)
class PromptStyle:
    """What tasks are asked by.

    Args:
        name: ``trained``, ``closed``, ``recorded`` (answers from a file, so that nothing is asked), or the name of the
            file that has the prompts.
        prompts: Prompt by task, where they are from a file.
    """

    name: str
    prompts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, style: str | Path | Self) -> Self:
        """Return a style by its name, or from the YAML file that the name is the path of.

        Raises:
            ConfigurationError: There is no such style or file, or the file is malformed.
            UnknownPartError: The file has a prompt for a task that there is not.
        """
        if isinstance(style, PromptStyle):
            return style
        if str(style) in (TRAINED, CLOSED, RECORDED):
            return cls(str(style))
        path = Path(style)
        if not path.is_file():
            raise ConfigurationError(
                f"prompts are '{TRAINED}', '{CLOSED}' or a YAML file with a prompt for each task, not '{style}'"
            )
        return cls(path.name, _read(path))

    def check(self, tasks: Sequence[Task]) -> None:
        """Make sure that every task has a prompt.

        Raises:
            ConfigurationError: A task has none, or asks about each label and its prompt does not say where.
        """
        if self.name in (TRAINED, CLOSED, RECORDED):
            return
        missing = [task.name for task in tasks if task.name not in self.prompts]
        if missing:
            raise ConfigurationError(
                f"{self.name} has no prompt for {', '.join(missing)}; write one for each, or leave them out"
            )
        for task in tasks:
            if task.ask_each is not None and LABEL not in self.prompts[task.name]:
                raise ConfigurationError(
                    f"{self.name}: '{task.name}' asks about each label, so its prompt needs {LABEL} where that stands"
                )

    def phrase(self, task: Task, truths: Sequence[Any]) -> Task:
        """Return the task as it is asked in this style.

        Args:
            task: The task.
            truths: Its labels in the records.
        """
        own = self.prompts.get(task.name)
        if own is not None:
            return replace(task, question=own, ask_each=None if task.ask_each is None else _ask_each(own))
        if self.name != CLOSED or task.closed is None:
            return task
        task = replace(task, question=task.closed(truths))
        if not task.closed_options:
            return task
        words = dict(zip(task.options, task.closed_options, strict=True))
        positive = None if task.positive is None else words[task.positive]
        return replace(task, options=task.closed_options, positive=positive)


def _ask_each(prompt: str) -> Any:
    def ask(truth: Mapping[str, Any]) -> dict[str, str]:
        return {name: prompt.replace(LABEL, name.replace("_", " ").lower()) for name in truth}

    return ask


def _read(path: Path) -> dict[str, str]:
    try:
        prompts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"prompts {path} cannot be read ({yaml_fault(error)}); write 'TASK: PROMPT'"
        ) from error
    if not isinstance(prompts, dict) or not prompts:
        raise ConfigurationError(f"prompts {path} has to be a mapping of tasks to prompts, such as 'age: How old?'")
    for task, prompt in prompts.items():
        try:
            load_tasks([str(task)])
        except UnknownPartError as error:
            raise UnknownPartError(f"prompts {path}: {error}") from error
        if not isinstance(prompt, str) or not prompt.strip():
            raise ConfigurationError(f"prompts {path}: the prompt for '{task}' is {prompt!r}, and has to be a text")
    return prompts
