"""One word for one thing in every signature, and old names that go on working with a warning."""

from __future__ import annotations

import inspect
import sys
import types
import warnings
from contextlib import suppress

import pytest

from facekit.data import convert as conversion
from facekit.data.preprocessing import encode_shards, preprocess
from facekit.data.synthetic import write_synthetic_dataset
from facekit.datagen import dry_run, generate
from facekit.demo import run_demo
from facekit.deprecations import changed_default, renamed_arguments, renamed_function
from facekit.evaluation import (
    JudgePanel,
    ask_for_explanations,
    evaluate,
    evaluate_model,
    judge_answers,
    run_facexbench,
    write_report,
)
from facekit.models.interoperability import export
from facekit.training import run_recipe, train

LONG_RUNNING = (
    train, run_recipe, evaluate, evaluate_model, run_facexbench, ask_for_explanations, judge_answers, JudgePanel,
    preprocess, encode_shards, conversion.convert, generate, run_demo, write_synthetic_dataset,
)  # fmt: skip
WRITING = (export, write_report, dry_run)
FILES = {"convert": "output"}
"""``convert`` writes one file or a folder, so its argument is no ``output_dir``."""
OTHER_WORDS = {
    "output_dir": {"output", "out", "folder", "out_dir", "output_folder", "target", "directory", "save_dir"},
    "resume": {"restart", "fresh", "continue_", "go_on"},
    "on_progress": {"progress", "callback", "progress_callback", "listener"},
    "seed": {"random_state", "random_seed", "rng"},
    "dtype": {"torch_dtype", "precision", "data_type"},
}
READ = {"run_facexbench": {"folder"}, "write_synthetic_dataset": {"progress"}}
"""The benchmark's own folder is read; the last is an argument that is deprecated already."""


@pytest.mark.parametrize("function", [*LONG_RUNNING, *WRITING], ids=lambda function: function.__name__)
def test_a_public_function_has_the_one_word_for_one_thing(function):
    given = inspect.signature(function).parameters
    allowed = READ.get(function.__name__, set()) | {FILES.get(function.__name__, "")}
    for word, others in OTHER_WORDS.items():
        assert not (others & set(given)) - allowed, f"{function.__name__} says {others & set(given)} for {word}"
    if "resume" in given:
        assert given["resume"].default is False
        assert given["resume"].kind is inspect.Parameter.KEYWORD_ONLY
    if "on_progress" in given:
        assert given["on_progress"].default is None
        assert given["on_progress"].annotation == "ProgressListener | None"
    for name in ("device", "dtype", "seed", "on_progress"):
        assert name not in given or given[name].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [
        (preprocess, "output", "output_dir"),
        (encode_shards, "output", "output_dir"),
        (generate, "output", "output_dir"),
        (dry_run, "output", "output_dir"),
        (run_demo, "output", "output_dir"),
        (export, "folder", "output_dir"),
        (write_report, "folder", "output_dir"),
        (write_synthetic_dataset, "folder", "output_dir"),
        (JudgePanel, "folder", "output_dir"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_old_name_works_and_the_warning_names_the_new_one(call, old, new, tmp_path):
    parameters = inspect.signature(call).parameters
    required = [each.name for each in parameters.values() if each.default is each.empty and each.name != new]
    missing = dict.fromkeys(required)
    words = rf"{call.__name__}\({old}=\.\.\.\) is deprecated; use {call.__name__}\({new}=\.\.\.\)$"
    with pytest.warns(DeprecationWarning, match=words) as caught, suppress(Exception):  # None is no argument of most
        call(**missing, **{old: object()})
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.raises(TypeError, match=f"got both '{old}' and '{new}'"):
        call(**missing, **{old: tmp_path, new: tmp_path})


def test_an_argument_goes_on_under_its_new_name():
    @renamed_arguments(folder="output_dir", progress="on_progress")
    def write(count: int, output_dir: str, *, on_progress: str = "none") -> tuple[int, str, str]:
        return count, output_dir, on_progress

    with pytest.warns(
        DeprecationWarning, match=r"write\(folder=\.\.\.\) is deprecated; use .*write\(output_dir=\.\.\.\)"
    ):
        assert write(3, folder="here") == (3, "here", "none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write(3, "here", on_progress="some") == (3, "here", "some")
    with pytest.raises(TypeError, match="multiple values"), pytest.warns(DeprecationWarning, match="folder"):
        write(3, "here", folder="there")
    assert list(inspect.signature(write).parameters) == ["count", "output_dir", "on_progress"]


def test_a_function_goes_on_under_its_old_name():
    def register_model(name: str) -> str:
        return name.upper()

    old = renamed_function("register", register_model)
    with pytest.warns(DeprecationWarning, match=r"register\(\) is deprecated; use register_model\(\)$"):
        assert old("a") == "A"


def test_a_warning_is_at_the_line_outside_the_package():
    inside = types.ModuleType("facekit.somewhere")
    code = "def call(function):\n    return function(old=1)\n"
    exec(compile(code, "somewhere.py", "exec"), inside.__dict__)

    @renamed_arguments(old="new")
    def function(new: int) -> int:
        return new

    with pytest.warns(DeprecationWarning, match="old") as caught:
        assert inside.call(function) == 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, sys._getframe().f_lineno - 1)


def test_a_default_that_changes_holds_on_with_a_warning_where_it_matters():
    @changed_default("resume", True, matters=lambda given: given["output_dir"] is not None)
    def run(output_dir: str | None = None, *, resume: bool = False) -> bool:
        return resume

    with pytest.warns(DeprecationWarning, match="will take resume=False by default, not resume=True; say which"):
        assert run("here") is True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run() is False
        assert run("here", resume=False) is False
        assert run("here", resume=True) is True
