"""The options that say what answers: facekit's own engine or vLLM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from facekit.evaluation import ModelUnderTest
    from facekit.models.source import ModelSource
    from facekit.serving.batch import EngineStarter

EngineName = Annotated[
    str,
    typer.Option("--engine", help="transformers, or vllm: continuous batching, where vLLM is installed."),
]
EngineArguments = Annotated[
    str | None,
    typer.Option(
        "--engine-options",
        help="Arguments of vLLM's engine as a JSON object, such as '{\"max_model_len\": 4096}'.",
    ),
]


def beside_engine(engine: str, source: ModelSource) -> ModelSource:
    """A model as it is opened beside an engine: by default on the CPU where vLLM takes the GPU's memory for itself."""
    from dataclasses import replace

    return replace(source, device="cpu") if engine == "vllm" and source.device is None else source


def choose_engines(
    engine: str, options: str | None, sources: Sequence[ModelSource], scoring: str
) -> list[EngineStarter | None]:
    """What starts the engine of each model under test; None for models that are none of facekit's.

    Raises:
        FaceKitError: The engine cannot answer with the first model, or is asked for likelihoods.
    """
    from facekit.evaluation import is_own_model
    from facekit.serving.batch import choose_batch_engine

    check_engines(engine, options, sources, scoring)
    return [choose_batch_engine(engine, options, each) if is_own_model(each) else None for each in sources]


def check_engines(engine: str, options: str | None, sources: Sequence[ModelSource], scoring: str) -> None:
    """Refuse what ``choose_engines`` does, without looking at a model."""
    from facekit.errors import ConfigurationError
    from facekit.evaluation import is_own_model
    from facekit.serving.engines import check_engine

    if engine != "transformers" and scoring == "likelihood":
        raise ConfigurationError(f"the engine {engine} scores no options; leave --engine or --scoring likelihood out")
    if engine != "transformers" and not is_own_model(sources[0]):
        raise ConfigurationError(f"--engine {engine} is for models of facekit, not '{sources[0].path}'; leave it out")
    check_engine(engine, options)


@contextmanager
def answered_by(start: EngineStarter | None, under_test: ModelUnderTest) -> Iterator[None]:
    """Let a model under test be answered by an engine inside the ``with`` block."""
    from facekit.evaluation.models.answering import FaceKitModel

    if start is None or not isinstance(under_test, FaceKitModel):
        yield
        return
    with start(under_test.model, under_test.processor, under_test.batch_size) as engine:
        under_test.engine = engine
        try:
            yield
        finally:
            under_test.engine = None
