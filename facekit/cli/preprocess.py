"""``facekit preprocess``: the faces of a whole dataset, cropped into shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.catalog import DEFAULT_LANDMARKER
from facekit.cli.belonging import refuse_alone
from facekit.cli.limits import MaxFailures, read_limit
from facekit.cli.output import AllowOutside, AsJson, progress_display, say, show, show_json
from facekit.cores import count_usable_cores
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.data.preprocessing import FeatureResult, PreprocessPlan, PreprocessResult, PreprocessSettings


def preprocess(
    context: typer.Context,
    origin: Annotated[str, typer.Argument(help="A file of records, or a dataset: name:folder?option=value")],
    output: Annotated[Path, typer.Argument(help="The folder to write; start again with the same one to go on.")],
    landmarker: Annotated[str, typer.Option(help="Spec of the landmarker.")] = DEFAULT_LANDMARKER,
    size: Annotated[int, typer.Option(help="Side of the crops in pixels.")] = 256,
    margin: Annotated[float, typer.Option(help="Added on each side of the face, as a fraction of it.")] = 0.25,
    frames: Annotated[int, typer.Option(help="Frames taken of a clip.")] = 8,
    faces: Annotated[str, typer.Option(help="largest, or all: a record for every face of a picture")] = "largest",
    on_no_face: Annotated[str, typer.Option(help="skip, or whole-image")] = "skip",
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    media: Annotated[Path | None, typer.Option(help="Folder that paths in the input are relative to.")] = None,
    allow_outside: AllowOutside = False,
    retry_failed: Annotated[
        bool, typer.Option(help="Do again what failed in an earlier run, whatever the reason.")
    ] = False,
    max_failures: MaxFailures = "0",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray")] = "local",
    ray_address: Annotated[str | None, typer.Option(help="The Ray cluster to join.")] = None,
    records_per_shard: Annotated[int, typer.Option(help="Records of the input per shard.")] = 500,
    features: Annotated[
        str | None, typer.Option(help="Spec of a frozen encoder: its tokens of all faces go to OUTPUT/features.")
    ] = None,
    video_features: Annotated[str | None, typer.Option(help="Spec of the encoder for clips, if another.")] = None,
    features_dtype: Annotated[str, typer.Option(help="Floating type of encoder and tokens: the model's.")] = "float32",
    feature_cache_bytes: Annotated[int, typer.Option(min=1, help="Most bytes of tokens.")] = 50 << 30,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; open no picture, write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Detect, crop and landmark every face of a dataset; may be stopped and started again without loss.

    The exit status is 0 where all is well, 1 where more failed than --max-failures, 2 where nothing came out.
    """
    from facekit.data import confinement
    from facekit.data.preprocessing import check_encoders, check_engine, plan_preprocessing
    from facekit.data.preprocessing import preprocess as run
    from facekit.errors import ConfigurationError

    if video_features is not None and features is None:
        raise ConfigurationError("--video-features goes with --features, the encoder for images")
    if features is None:
        refuse_alone(context, "--features", "features_dtype", "feature_cache_bytes")
    check_engine(engine)
    if engine != "ray":
        refuse_alone(context, "--engine ray", "ray_address")
    if allow_outside:
        confinement.allow_outside()
    allowed = read_limit(max_failures)
    settings = _settings(
        landmarker=landmarker, size=size, margin=margin, frames=frames, faces=faces, on_no_face=on_no_face,
        records_per_shard=records_per_shard,
    )  # fmt: skip
    if features is not None:
        check_encoders(features, video_features, dtype=features_dtype)
    if dry_run:
        plan = plan_preprocessing(origin, output, settings, split=split, media_folder=media)
        if as_json:
            show_json({"plan": plan, "features": features})
        else:
            _show_plan(plan, features)
        return
    with progress_display() as progress:
        result = run(
            origin,
            output,
            settings,
            split=split,
            media_folder=media,
            retry_failed=retry_failed,
            workers=workers or count_usable_cores(),
            engine=engine,
            address=ray_address,
            on_progress=progress,
        )
    if not as_json:
        _show(result)
    encoded = None
    if features is not None and result.records:
        encoded = _encode(result.output, features, video_features, features_dtype, feature_cache_bytes)
        if not as_json:
            _show_encoded(encoded)
    if as_json:
        show_json({**_as_facts(result), "features": encoded})
    if not result.records:
        raise typer.Exit(2)
    lost = 0 if result.summary is None else result.summary.lost
    if result.failed > allowed(result.inputs + lost):
        raise typer.Exit(1)


def _settings(**values: Any) -> PreprocessSettings:
    from pydantic import ValidationError

    from facekit.data.preprocessing import PreprocessSettings
    from facekit.data.records import describe_problem
    from facekit.errors import ConfigurationError

    try:
        return PreprocessSettings(**values)
    except ValidationError as error:
        raise ConfigurationError(describe_problem(error)) from error


def _as_facts(result: PreprocessResult) -> dict[str, Any]:
    return {
        "output": result.output,
        "records": result.records,
        "shards": result.shards,
        "inputs": result.inputs,
        "reused": result.reused,
        "failures": result.failures,
        "source": result.summary,
    }


def _show(result: PreprocessResult) -> None:
    if result.summary is not None:
        show(str(result.summary))
    reused = f", {result.reused:,} of the input done before" if result.reused else ""
    show(f"{counted(result.records, 'face')} in {counted(result.shards, 'shard')}{reused}: {result.output}")
    failed = sum(result.failures.values())
    show(f"  {counted(result.inputs, 'record')}: {result.inputs - failed:,} kept, {failed:,} failed")
    for kind, count in result.failures.items():
        show(f"  {count:,} failed: {kind}")
    if result.failures:
        show(f"  reasons: {result.output / 'failures.jsonl'}")


def _show_plan(plan: PreprocessPlan, features: str | None) -> None:
    show(f"{counted(plan.records, 'record')} would go to {plan.output}")
    for medium, count in plan.media.items():
        show(f"  {count:,} with {medium}" if medium != "nothing" else f"  {count:,} without a picture or clip")
    show(f"  {counted(plan.shards, 'shard')}, {plan.noted:,} of them noted as done by an earlier run")
    for name, value in plan.settings.model_dump().items():
        show(f"  {name.replace('_', ' ')}: {value}")
    if features is not None:
        show(f"  tokens of {features} would go to {plan.output / 'features'}")
    say("a dry run: no picture was opened and nothing was written")


def _encode(output: Path, encoder: str, video_encoder: str | None, dtype: str, limit: int) -> FeatureResult:
    from facekit.data.preprocessing import encode_shards

    with progress_display() as progress:
        return encode_shards(output, encoder, video_encoder, dtype=dtype, limit=limit, on_progress=progress)


def _show_encoded(result: FeatureResult) -> None:
    show(f"{counted(result.computed, 'face')} encoded, {result.found:,} before: feature_cache={result.folder}")
    if result.stopped is not None:
        show(f"  not all are kept: {result.stopped}")
