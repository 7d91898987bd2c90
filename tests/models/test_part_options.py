"""Options of a spec as arguments of a function."""

import pytest

from facekit.errors import InvalidSpecError
from facekit.models.part_options import call_with_options
from facekit.registry import PartSpec


def strict(argument=None, *, width="1"):
    return argument, width


def lenient(argument=None, **options):
    return argument, options


def test_argument_and_options_reach_the_function():
    assert call_with_options(strict, PartSpec.parse("x:y?width=3")) == ("y", "3")
    assert call_with_options(lenient, PartSpec.parse("x?a=1")) == (None, {"a": "1"})


def test_an_unknown_option_is_refused_with_the_closest_name():
    with pytest.raises(InvalidSpecError, match="'x' has no option 'with'; did you mean 'width'"):
        call_with_options(strict, PartSpec.parse("x?with=3"))
