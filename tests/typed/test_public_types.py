"""What a type checker knows of public calls: mypy checks this file with the package, and it runs as a test.

A call that a type checker must refuse is marked ``type: ignore``; mypy complains about a mark that refuses nothing.
"""

from __future__ import annotations

from typing import assert_type

import pytest
from torch import Tensor

import facekit
from facekit.backbones import Backbone
from facekit.connectors import Connector
from facekit.connectors.mlp import MlpConnector
from facekit.errors import UnknownPartError
from facekit.models import FaceKitForConditionalGeneration, FaceKitProcessor, Preset
from facekit.registry import Kind


def test_the_names_of_a_kind_are_a_list_and_those_of_all_kinds_a_table() -> None:
    names = assert_type(facekit.list_parts("encoder"), list[str])
    table = assert_type(facekit.list_parts(), dict[Kind, list[str]])
    assert table["encoder"] == names


def test_a_decorated_part_keeps_its_own_type() -> None:
    with facekit.isolated_registry():

        @facekit.register_part("connector", "mean", summary="one token a frame")
        class Mean(MlpConnector):
            scale = 2.0

        @facekit.register_part("backbone", "none")
        def load_nothing(argument: str | None = None) -> Backbone:
            raise NotImplementedError

        built: type[Connector] = Mean
        assert_type(Mean.scale, float)
        assert_type(load_nothing(), Backbone) if built is None else None
        assert "mean" in facekit.list_parts("connector")


def test_what_is_no_part_of_its_kind_is_refused_by_the_type_checker() -> None:
    with facekit.isolated_registry():
        facekit.register_part("preset", "mine", Preset("tiny", "mlp", "tiny", "mine"))
        facekit.register_part("encoder", "by-path", "mine.encoders:Encoder", licence="MIT")
        facekit.register_part("preset", "wrong", MlpConnector)  # type: ignore[call-overload]
        facekit.register_part("encoder", "wrong", MlpConnector)  # type: ignore[call-overload]
        facekit.register_part("encoder", "odd", licence=3)  # type: ignore[call-overload]
        with pytest.raises(UnknownPartError):
            facekit.register_part("encodr", "wrong", MlpConnector)  # type: ignore[call-overload]


def test_a_model_comes_with_its_processor_and_questions_give_answers() -> None:
    model, processor = facekit.create(preset="facekit-tiny", landmarker="none")
    assert_type(model, FaceKitForConditionalGeneration)
    assert_type(processor, FaceKitProcessor)
    assert_type(model.tokens_per_frame, int)
    assert isinstance(next(model.parameters()), Tensor)
