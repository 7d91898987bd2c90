"""Options of encoder specs and layer numbers: what is read and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.encoders.options import boolean, integer, positive_integer, read_options, resolve_layer
from facekit.errors import InvalidSpecError

KNOWN = {"layer": integer, "width": positive_integer, "pretrained": boolean}


def test_only_given_options_come_back_converted():
    assert read_options("any", {"layer": "-2", "pretrained": "True"}, KNOWN) == {"layer": -2, "pretrained": True}
    assert read_options("any", {}, KNOWN) == {}


def test_an_unknown_option_is_answered_with_the_closest_and_all_known_ones():
    with pytest.raises(InvalidSpecError) as caught:
        read_options("any", {"layers": "1"}, KNOWN)
    assert str(caught.value) == (
        "encoder 'any' has no option 'layers'; did you mean 'layer'? (known: layer, pretrained, width)"
    )
    with pytest.raises(InvalidSpecError, match="no option 'x'; known: layer, pretrained, width"):
        read_options("any", {"x": "1"}, KNOWN)


@pytest.mark.parametrize(("name", "text"), [("layer", "1.5"), ("width", "-3"), ("pretrained", "yes please")])
def test_an_option_that_cannot_be_read_is_named_with_its_text(name, text):
    with pytest.raises(InvalidSpecError, match=f"cannot use {name}={text}: it takes"):
        read_options("any", {name: text}, KNOWN)


@given(count=st.integers(1, 60), data=st.data())
def test_a_layer_counts_from_either_end(count, data):
    layer = data.draw(st.integers(1, count))
    assert resolve_layer("any", layer, count) == layer - 1
    assert resolve_layer("any", layer - count - 1, count) == layer - 1


@given(count=st.integers(1, 60), beyond=st.integers(1, 9))
def test_layers_that_are_not_there_are_refused(count, beyond):
    for layer in (0, count + beyond, -count - beyond):
        with pytest.raises(InvalidSpecError, match=f"but no layer {layer}"):
            resolve_layer("any", layer, count)
