"""``facekit bench``: a benchmark of the field put to a model; ``facekit facexbench`` is an old name for one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli.belonging import refuse_alone
from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.output import AsJson, progress_display, say, show_json, show_table
from facekit.cli.previews import DryRun, show_previews

_MODEL = "A folder with a saved model, hf:ID, openai:MODEL?base_url=URL, or predictions:FILE."
_NAME = (
    "facexbench, face-human-bench, facebench or mer-unibench; "
    "lfw, calfw, cplfw, cfp-ff, cfp-fp, agedb-30, rfw, pairs or records (two pictures, same person or not); "
    "celeba-spoof, siw-mv2 or attacks (genuine or an attack)."
)


@with_model_options()
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=_NAME)],
    root: Annotated[Path, typer.Argument(help="The benchmark's own folder, or a list of your own.")],
    model: Annotated[str, typer.Argument(help=_MODEL)],
    setting: Annotated[
        str | None,
        typer.Option(
            help="facexbench: zero-shot, in-context or chain-of-thought; face-human-bench: en, zh, en-face or zh-face; "
            "mer-unibench: subtitles or silent."
        ),
    ] = None,
    extract: Annotated[
        str | None,
        typer.Option(help="A language model that reads answers: the option (face-human-bench), words (mer-unibench)."),
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="mer-unibench: the authors' folder emotion_wheel; by default that in ROOT.")
    ] = None,
    scoring: Annotated[
        str | None, typer.Option(help="Pairs and attacks: likelihood or generation; by default what the model can.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many questions, a sample; results say so.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer in tokens; models that think need thousands.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where answers, result and report go; a run goes on from there.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Questions at a time.")] = None,
    fresh: Annotated[bool, typer.Option(help="Drop the answers that are in --output.")] = False,
    dry_run: DryRun = False,
    *,
    opening: ModelOptions,
    as_json: AsJson = False,
) -> None:
    """Put a benchmark to a model, resumable, with one report."""
    from facekit.errors import UnknownPartError
    from facekit.evaluation import BENCHMARKS, open_model, preview_benchmark, run_benchmark
    from facekit.spec import closest_match_hint

    if name not in BENCHMARKS:
        raise UnknownPartError(f"there is no benchmark '{name}'{closest_match_hint(name, BENCHMARKS)}")
    if output is None:
        refuse_alone(context, "--output", "fresh")
    source = opening.source(model)
    asking: dict[str, Any] = {"setting": setting, "scoring": scoring, "wheels": wheels}
    asking |= {"limit": limit, "max_new_tokens": max_new_tokens}
    if dry_run:
        show_previews([preview_benchmark(source, name, root, extractor=extract, **asking)], output, as_json=as_json)
        return
    under_test = open_model(source, batch_size=batch_size)
    with progress_display() as progress:
        outcome = run_benchmark(
            under_test,
            name,
            root,
            output_dir=output,
            resume=not fresh,
            on_progress=progress,
            extractor=None if extract is None else open_model(extract),
            **asking,
        )
    if as_json:
        show_json(outcome.result)
    else:
        for table in outcome.tables:
            show_table(table)
    if outcome.page is not None:
        say(f"report  {outcome.page}")


@with_model_options()
def facexbench(
    model: Annotated[str, typer.Argument(help=_MODEL)],
    folder: Annotated[Path, typer.Argument(help="The benchmark's own folder.")],
    setting: Annotated[str, typer.Option(help="zero-shot, in-context or chain-of-thought.")] = "zero-shot",
    output: Annotated[Path | None, typer.Option(help="Where answers are kept; a run goes on from there.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Questions at a time.")] = None,
    fresh: Annotated[bool, typer.Option(help="Drop the answers that are in --output.")] = False,
    *,
    opening: ModelOptions,
    as_json: AsJson = False,
) -> None:
    """Put FaceXBench to a model; use "facekit bench facexbench FOLDER MODEL" instead."""
    from facekit.evaluation import facexbench_tables, open_model, run_facexbench

    say("'facekit facexbench MODEL FOLDER' is deprecated; use 'facekit bench facexbench FOLDER MODEL'")
    under_test = open_model(opening.source(model), batch_size=batch_size)
    with progress_display() as progress:
        result = run_facexbench(
            under_test, folder, setting=setting, output_dir=output, resume=not fresh, on_progress=progress
        )
    if as_json:
        show_json(result)
        return
    for table in facexbench_tables(result):
        show_table(table)
