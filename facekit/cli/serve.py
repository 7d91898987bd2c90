"""``facekit serve``: a model behind an OpenAI-compatible server."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Annotated

import typer

from facekit.cli.engine_options import EngineArguments, EngineName, beside_engine
from facekit.cli.face_finding import OnNoFace, check_face_finding, choose_face_finding
from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.output import AsJson, say, show_json

logger = logging.getLogger(__name__)


@with_model_options()
def serve(
    model: Annotated[str, typer.Argument(help="A folder or hub id that facekit loads.")],
    name: Annotated[
        str | None, typer.Option(help="The model's name for clients; by default that of its folder.")
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Serve a page to try the model with, too, at the server's address.")
    ] = False,
    second_model: Annotated[
        str | None, typer.Option(help="A second model, which the page shows beside the first.")
    ] = None,
    second_name: Annotated[
        str | None, typer.Option(help="The second model's name for clients; by default that of its folder.")
    ] = None,
    engine: EngineName = "transformers",
    engine_options: EngineArguments = None,
    host: Annotated[str, typer.Option(help="The address to listen on; any but this machine's own needs a key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="FACEKIT_API_KEY", help="The key that clients must send.")
    ] = None,
    allow_hosts: Annotated[
        str | None, typer.Option(help="Hosts whose pictures are fetched, separated by commas; by default none.")
    ] = None,
    landmarker: Annotated[str | None, typer.Option(help="What finds faces, as in facekit ask; or none.")] = None,
    on_no_face: OnNoFace = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Answers that are written together.")] = 32,
    max_waiting: Annotated[int, typer.Option(min=0, help="Answers that wait beside these; more get status 429.")] = 64,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer where a request names no limit.")] = 256,
    *,
    opening: ModelOptions,
    as_json: AsJson = False,
) -> None:
    """Serve a model over HTTP in the form of OpenAI's chat completions, until Ctrl-C or SIGTERM.

    Pictures come as data URLs. What is being answered is finished before the server ends.
    """
    from facekit.errors import MissingExtraError
    from facekit.serving.settings import ServerSettings

    try:
        from facekit.serving.engines import choose_engine
        from facekit.serving.run import check_address
        from facekit.serving.run import serve as serve_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"serving needs {error.name}; run: pip install 'facekit-mllm[serve]'") from error

    settings = ServerSettings(
        name or _folder_name(model),
        host,
        port,
        api_key,
        tuple(part.strip() for part in (allow_hosts or "").split(",") if part.strip()),
        max_batch=max_batch,
        max_waiting=max_waiting,
        max_new_tokens=max_new_tokens,
        web=web,
    )
    second = _name_second(settings.name, second_model, second_name)
    check_face_finding(landmarker, on_no_face)
    check_address(settings)  # before models are loaded
    names = {settings.name: model} if second_model is None else {settings.name: model, second: second_model}
    sources = {each: beside_engine(engine, opening.source(path)) for each, path in names.items()}
    beside = {"max_media": settings.max_media, "models": len(sources)}
    make_engine = {each: choose_engine(engine, engine_options, source, **beside) for each, source in sources.items()}
    opened = {each: source.load() for each, source in sources.items()}
    for _, processor in opened.values():
        choose_face_finding(processor, landmarker, on_no_face)
    _warn_of_landmarkers({each: processor.image_processor.landmarker for each, (_, processor) in opened.items()})

    def tell(url: str) -> None:
        listed = " and ".join(f"'{each}'" for each in names)
        page = f"; the page is {url.removesuffix('v1')}" if web else ""
        say(f"serving {listed} at {url}{page}; Ctrl-C ends it")
        if as_json:
            show_json({"models": list(names), "url": url, "page": url.removesuffix("v1") if web else None})

    serve_model(*opened.pop(settings.name), settings, others=opened, make_engine=make_engine, on_ready=tell)


def _warn_of_landmarkers(specs: Mapping[str, str | None]) -> None:
    """Say beforehand which models find no faces here; requests that bring landmarks are answered all the same."""
    from facekit.errors import FaceKitError
    from facekit.faces.landmarker import load_landmarker

    for name, spec in specs.items():
        try:
            _ = None if spec is None else load_landmarker(spec)
        except FaceKitError as error:
            logger.warning("'%s' finds no faces in pictures: %s; or serve it with --landmarker", name, error)


def _name_second(first: str, model: str | None, name: str | None) -> str:
    """The second model's name; it must be another than the first's."""
    from facekit.errors import ConfigurationError

    if model is None:
        if name is not None:
            raise ConfigurationError("--second-name names no model; give --second-model, too, or leave it out")
        return ""
    chosen = name or _folder_name(model)
    if chosen == first:
        raise ConfigurationError(f"both models would be called '{first}'; give --second-name")
    return chosen


def _folder_name(model: str) -> str:
    """The last name of a folder or hub id, also of ``.`` and ``..``."""
    return os.path.basename(os.path.abspath(model))  # noqa: PTH100, PTH119 - links keep their own name
