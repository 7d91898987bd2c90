"""Layer numbers of encoders: counted from either end, and refused where there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.encoders.layers import resolve_layer
from facekit.errors import InvalidSpecError


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
