"""FaceLLM: low-rank adapters on InternVL3, merged, and written for the engines that serve InternVL.

    python examples/train_facellm.py runs/fairfacegpt/records.jsonl runs/facellm-1b
    python examples/train_facellm.py runs/fairfacegpt/records.jsonl runs/facellm-8b model.preset=facellm-8b

Records come from examples/generate_fairfacegpt.py. The first command takes InternVL3-1B from the hub and an estimated
36 GB on a GPU, the second 58 GB; batch_size=2 accumulation=5 needs less. What follows the folder overrides the recipe
``facellm-lora``. A run that was stopped goes on with the same command.
"""

import argparse
from pathlib import Path

from transformers import AutoModelForImageTextToText

import facekit
from facekit.data import RecordSet
from facekit.models.interoperability import export
from facekit.reports import ProgressDisplay
from facekit.training import load_recipe, run_recipe


def main() -> None:
    """Train, ask, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    records, output = arguments.records, arguments.output

    recipe = load_recipe("facellm-lora", [f"records={records}", f"output={output}", *arguments.overrides])
    with ProgressDisplay() as progress:
        for result in run_recipe(recipe, resume=True, on_progress=progress):
            losses = result.training.history.losses
            print(f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {result.training.steps} steps; see {result.summary}")

    model, processor = facekit.load(output)  # adapters merged; output/adapter has them alone, in PEFT's layout
    record, folder = RecordSet.read(records).records[0], records.parent
    question = record.conversations[0].content
    (answer,) = facekit.ask(model, processor, record.media_paths(folder)[0], question)
    print(f"{question}\n  {answer}")

    exported = output / "internvl"
    if not exported.exists():
        export(model, processor, exported, "internvl-hf")
    theirs = AutoModelForImageTextToText.from_pretrained(exported)  # what vLLM, SGLang and transformers read
    print(f"{exported}: {type(theirs).__name__}")


if __name__ == "__main__":
    main()
