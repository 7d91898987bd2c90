"""Errors: other libraries' exceptions become one sentence of facekit's."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import yaml
from huggingface_hub.errors import StrictDataclassFieldValidationError

from facekit.errors import (
    CheckpointError,
    ImageError,
    InvalidSpecError,
    OutputError,
    TrainingInterrupted,
    configuration_guard,
    first_line,
    yaml_fault,
)


def test_an_errors_next_line_is_told_where_the_first_ends_in_a_colon():
    assert first_line(ValueError("wrong field:\n   width is text\nmore")) == "wrong field: width is text"
    assert first_line(ValueError("wrong field\nmore")) == "wrong field"
    assert first_line(ValueError("")) == "ValueError"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb How old?\n", "line 2: could not find expected ':'"),
        ("a: 1\nb: [1, 2\nc: 3\n", "line 3: expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", "line 2: found character"),
    ],
)
def test_yaml_that_cannot_be_read_is_told_by_line_in_a_few_words(text, told):
    with pytest.raises(yaml.YAMLError) as raised:
        yaml.safe_load(text)
    assert yaml_fault(raised.value).startswith(told)
    assert "\n" not in yaml_fault(raised.value)
    assert yaml_fault(OSError("no such file")) == "no such file"


def guarded(fault, *others):
    with configuration_guard(CheckpointError, "'x' cannot be loaded", *others):
        raise fault


@pytest.mark.parametrize(
    "fault", [OSError("no file\nat all"), KeyError("width"), TypeError("width"), AttributeError("width")]
)
def test_what_a_wrong_configuration_raises_becomes_one_sentence(fault):
    with pytest.raises(CheckpointError) as caught:
        guarded(fault)
    assert str(caught.value) == f"'x' cannot be loaded: {first_line(fault)}"
    assert caught.value.__cause__ is fault


def test_a_field_that_the_hubs_dataclasses_refuse_is_a_configuration_fault():
    with pytest.raises(CheckpointError, match="cannot be loaded: Validation error for field 'width': TypeError: text"):
        guarded(StrictDataclassFieldValidationError("width", TypeError("text")))


def test_errors_of_facekit_pass_the_guard_as_they_are():
    with pytest.raises(InvalidSpecError, match=r"^dtype=int8 is no floating type$"):
        guarded(InvalidSpecError("dtype=int8 is no floating type"))


def test_the_guard_covers_further_exceptions_only_where_they_are_named():
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        guarded(RuntimeError("out of memory"))
    with pytest.raises(CheckpointError, match=r"^'x' cannot be loaded: out of memory$"):
        guarded(RuntimeError("out of memory"), RuntimeError)


def test_errors_load_no_other_library():
    program = "import sys, facekit.errors; print({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("error", [OutputError("shard cannot be written", "disk full", "make room"),
                                   TrainingInterrupted("saved", "go on"), ImageError("no picture")])  # fmt: skip
def test_errors_come_out_of_worker_processes_as_they_were(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
