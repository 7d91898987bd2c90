"""Mix an encoder, a connector and a language model, save the result, and load it again the Hugging Face way.

    python examples/mix_parts.py runs/mixed

Swap the spec strings for real ones, such as ``openclip:ViT-L-14?pretrained=openai`` and
``hf:Qwen/Qwen2.5-0.5B-Instruct``; ``facekit list`` shows what there is.
"""

import sys

from transformers import AutoModelForImageTextToText, AutoProcessor

import facekit

folder = sys.argv[1] if len(sys.argv) > 1 else "runs/mixed"
model, processor = facekit.create(encoder="tiny", connector="region", backbone="tiny", seed=0)
model.save_pretrained(folder)
processor.save_pretrained(folder)

import facekit.models  # noqa: E402 - registers facekit with the auto classes, for programs that never call facekit.create

model = AutoModelForImageTextToText.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder)
parameters = sum(parameter.numel() for parameter in model.parameters())
print(f"{parameters / 1e6:.1f} million parameters, {model.tokens_per_frame} tokens an image, saved in {folder}")
