"""Face-LLaVA in two stages: region attention alone, then the whole connector and the language model.

    python examples/train_face_llava.py runs/faceinstruct/records.jsonl runs/face-llava
    python examples/train_face_llava.py runs/demo/data/train/records.jsonl runs/tiny model.preset=facekit-tiny \
        model.dtype=null precision=float32 accumulation=1 lr=2e-3

Records have landmarks and conversations (examples/generate_faceinstruct.py). The first command starts from the released
Face-LLaVA weights and is estimated to take 76 GB for the first stage and 179 GB for the second, which therefore wants
several GPUs (examples/train_multi_node.slurm) or adapters: stages.finetune.train=[connector,llm.lora]. The second runs
on two CPU cores, on the faces that ``make demo`` draws. What follows the folder overrides the recipe ``face-llava``.
"""

import argparse
from pathlib import Path

import facekit
from facekit.data import RecordSet
from facekit.reports import ProgressDisplay
from facekit.training import Listeners, StagePlan, load_recipe, run_recipe


def show_plan(plan: StagePlan) -> None:
    """Print what a stage trains, and at which rate."""
    print(f"stage {plan.stage.name}, from {plan.start}, about {plan.estimate}")
    for part in plan.parts:
        rate = "frozen" if part.learning_rate is None else f"rate {part.learning_rate:g}"
        print(f"  {part.name}: {part.trainable:,} of {part.parameters:,} parameters, {rate}")


def main() -> None:
    """Train both stages and set their answers side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()

    given = [f"records={arguments.records}", f"output={arguments.output}", *arguments.overrides]
    recipe = load_recipe("face-llava", given)
    with ProgressDisplay() as progress:
        run_recipe(recipe, resume=True, on_progress=progress, listeners=Listeners(on_plan=show_plan))

    record = RecordSet.read(arguments.records).records[0]
    question, truth = record.conversations[0].content, record.conversations[1].content
    print(f"{question}\n  truth: {truth}")
    for stage in recipe.stages:
        folder = recipe.folder_of(stage.name)
        model, processor = facekit.load(folder)
        face = {"image": record.media_paths(arguments.records.parent)[0], "landmarks": record.landmarks}
        print(f"  {stage.name}: {facekit.ask(model, processor, questions=question, **face)[0]}")
        facekit.region_maps(model, processor, **face).draw().save(folder / "region-maps.png")


if __name__ == "__main__":
    main()
