"""The one reader of spec options: its grammar, what it refuses and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.catalog import current_registry, isolated_registry
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.spec import PositiveInt, Range, call_with_options, option_types, read_options, read_value

KNOWN = {"layer": int, "width": PositiveInt, "pretrained": bool, "share": Annotated[float, Range(0, 1)]}


@pytest.mark.parametrize("word", ["true", "yes", "on", "1", "True", "YES", "On"])
def test_every_word_for_true_is_read_everywhere(word):
    assert read_value(word, bool) is True


@pytest.mark.parametrize("word", ["false", "no", "off", "0", "False", "NO", "Off"])
def test_every_word_for_false_is_read_everywhere(word):
    assert read_value(word, bool) is False


@given(st.integers())
def test_integers_survive_being_written_and_read(value):
    assert read_value(str(value), int) == read_value(value, int) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_being_written_and_read(value):
    assert read_value(str(value), float) == read_value(value, float) == value


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1,2, 3", list[int], [1, 2, 3]),
        ("a,b", tuple[str, ...], ("a", "b")),
        (["a", "b"], list[str], ["a", "b"]),
        ("auto", int | Literal["auto"], "auto"),
        ("3", int | Literal["auto"], 3),
        ("3", int | None, 3),
        (None, int | None, None),
        ("4bit", Literal["4bit", "8bit"] | None, "4bit"),
        ("~/x", Path, Path("~/x").expanduser()),
        ("x", Any, "x"),
        (3, float, 3.0),
    ],
)
def test_text_becomes_a_value_of_the_declared_type(text, kind, value):
    read = read_value(text, kind)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("maybe", bool, "it takes true or false"),
        ("1.5", int, "it takes an integer"),
        ("1_000", int, "it takes an integer"),
        (True, int, "it takes an integer"),
        (1.0, int, "it takes an integer"),
        ("nan", float, "it takes a number"),
        ("1e999", float, "it takes a number"),
        ("", str, "it takes a name or a path"),
        (3, str, "it takes a name or a path"),
        ("two", PositiveInt, "it takes an integer from 1"),
        ("0", PositiveInt, "it takes an integer from 1"),
        ("1.2", Annotated[float, Range(0, 1)], "it takes a number from 0 to 1"),
        ("0", Annotated[float, Range(above=0)], "it takes a number above 0"),
        ("2bit", Literal["4bit", "8bit"] | None, "it takes 4bit or 8bit"),
        ("never", Annotated[int, Range(0)] | Literal["auto"], "it takes an integer from 0 or auto"),
        ("1,,2", list[int], "it takes an integer, or several with commas between them"),
        (None, int, "it takes an integer"),
    ],
)
def test_what_is_of_another_type_is_answered_with_what_it_takes(text, kind, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        read_value(text, kind)


def test_only_given_options_come_back_converted():
    assert read_options("part 'any'", {"layer": "-2", "pretrained": "True"}, KNOWN) == {"layer": -2, "pretrained": True}
    assert read_options("part 'any'", {}, KNOWN) == {}


def test_an_unknown_option_is_answered_with_the_closest_and_all_known_ones():
    with pytest.raises(InvalidSpecError) as caught:
        read_options("encoder 'any'", {"layers": "1"}, KNOWN)
    assert str(caught.value) == (
        "encoder 'any' has no option 'layers'; did you mean 'layer'? (known: layer, pretrained, share, width)"
    )
    with pytest.raises(InvalidSpecError, match=r"^encoder 'any' has no option 'x'; known: layer, pretrained, share"):
        read_options("encoder 'any'", {"x": "1"}, KNOWN)
    with pytest.raises(InvalidSpecError, match=r"^annotator 'any' has no option 'x'; it has none$"):
        read_options("annotator 'any'", {"x": "1"}, {})


def test_an_option_that_cannot_be_read_is_named_with_its_part_and_text():
    with pytest.raises(InvalidSpecError, match=r"^encoder 'any' cannot use width=-3: it takes an integer from 1$"):
        read_options("encoder 'any'", {"width": "-3"}, KNOWN)


def describe(argument=None, *, width: PositiveInt = 1, ratio=0.5, flag=False, key=None):
    return argument, width, ratio, flag, key


class Described:
    def __init__(self, argument: str | None, *, width: int, **rest: str) -> None:
        self.argument, self.width, self.rest = argument, width, rest


def misdescribed(argument: str | None = None, *, width: Nowhere = 1) -> None:  # noqa: F821
    """Annotated with a name that there is not."""


def test_types_come_from_annotations_or_else_from_defaults():
    assert option_types(describe) == {"width": PositiveInt, "ratio": float, "flag": bool, "key": Any}
    assert option_types(Described) == {"width": int}


def test_options_reach_a_target_as_values_and_context_as_it_is():
    given = {"width": "3", "ratio": "0.25", "flag": "on"}
    assert call_with_options("part 'x'", describe, "y", given, key=5) == ("y", 3, 0.25, True, 5)


def test_a_spec_cannot_set_what_the_program_passes():
    with pytest.raises(InvalidSpecError, match="part 'x' has no option 'key'"):
        call_with_options("part 'x'", describe, None, {"key": "1"}, key=5)


def test_a_target_with_open_options_gets_the_unnamed_ones_as_text():
    built = call_with_options("part 'x'", Described, "y", {"width": "3", "other": "4"})
    assert (built.argument, built.width, built.rest) == ("y", 3, {"other": "4"})


def test_an_option_without_a_default_has_to_be_given():
    with pytest.raises(InvalidSpecError, match=r"^part 'x' needs the option 'width'$"):
        call_with_options("part 'x'", Described, None, {})


def test_an_annotation_that_does_not_exist_is_one_sentence():
    with pytest.raises(ConfigurationError, match=r"options of misdescribed cannot be read .*'Nowhere'.* at run time$"):
        option_types(misdescribed)


def test_every_part_that_the_catalogue_builds_declares_the_types_of_its_options():
    registry = current_registry()
    for kind in ("encoder", "backbone", "landmarker", "annotator"):
        for name in registry.names(kind):
            if not registry.part(kind, name).is_installed:
                continue
            part = registry.load(kind, name)
            types = option_types(getattr(part, "from_spec", part))
            assert Any not in types.values(), (kind, name, types)
            assert types or (kind, name) in {("encoder", "fusion")}, (kind, name)


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("encoder", "tiny?widht=64", r"encoder 'tiny' has no option 'widht'; did you mean 'width'\? \(known: depth, "),
        ("encoder", "iresnet?identity=maybe", "encoder 'iresnet' cannot use identity=maybe: it takes true or false"),
        ("backbone", "tiny?depth=0", "backbone 'tiny' cannot use depth=0: it takes an integer from 1"),
        ("backbone", "hf:x?load_in=2bit", "backbone 'hf' cannot use load_in=2bit: it takes 4bit or 8bit"),
        (
            "landmarker",
            "dlib?upscale=-1",
            "upscale=-1: it takes an integer from 0 or auto",
        ),
        (
            "landmarker",
            "given:x?coordinates=feet",
            "coordinates=feet: it takes pixels, normalised or crop256",
        ),
        ("connector", "mlp?deph=3", r"connector 'mlp' has no option 'deph'; did you mean 'depth'\?"),
        (
            "connector",
            "region?proximity=maybe",
            "cannot use proximity=maybe: it takes true or false",
        ),
    ],
)
def test_every_kind_of_part_refuses_in_the_same_words(kind, spec, words):
    context = {"input_width": 7, "output_width": 12} if kind == "connector" else {}
    with pytest.raises(InvalidSpecError, match=words):
        current_registry().build(kind, spec, **context)


def test_a_connector_is_built_with_the_widths_of_the_program_only():
    widths = {"input_width": 7, "output_width": 12}
    assert current_registry().build("connector", "mlp?depth=3&keep_prefix_tokens=off", **widths).depth == 3
    with pytest.raises(InvalidSpecError, match="has no option 'input_width'"):
        current_registry().build("connector", "mlp?input_width=9", **widths)


def test_a_plain_function_of_a_plugin_is_built_by_its_signature():
    with isolated_registry() as registry:
        registry.register("backbone", "mine", describe)
        assert registry.build("backbone", "mine:y?width=4&flag=no") == ("y", 4, 0.5, False, None)
