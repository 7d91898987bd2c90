"""Ask a trained model about a photograph; run ``make demo`` first, which trains one.

python examples/ask_a_photo.py [PHOTO] [MODEL]
"""

import sys

from PIL import Image

import facekit

if len(sys.argv) > 1:
    photo = Image.open(sys.argv[1])
else:
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut())
model, processor = facekit.load(sys.argv[2] if len(sys.argv) > 2 else "runs/demo")
questions = ["How old does this person look?", "Which expression is shown?"]
for question, answer in zip(questions, facekit.ask(model, processor, photo, questions), strict=True):
    print(f"{question}\n  {answer}")
