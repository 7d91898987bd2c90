"""Ask a model behind ``facekit serve`` with the openai client: an answer, where the face is, and a stream.

    facekit serve runs/demo --name demo                      # in another terminal
    python examples/ask_a_server.py photo.jpg overlay.png

The server speaks OpenAI's chat completions, so any client for them will do. It finds the face, and its reply says
where.
"""

import argparse
import base64
from pathlib import Path

import numpy as np
from openai import OpenAI

from facekit.faces import draw_overlay, open_image

QUESTIONS = ("How old does this person look?", "Which expression does the face show?")


def main() -> None:
    """Ask two questions, stream a third, draw the face."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("overlay", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--key", default="none", help="FACEKIT_API_KEY of the server, where it has one")
    arguments = parser.parse_args()

    client = OpenAI(base_url=arguments.url, api_key=arguments.key)
    model = client.models.list().data[0].id
    encoded = base64.b64encode(arguments.photo.read_bytes()).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}}

    for question in QUESTIONS:  # the picture is encoded once: the server keeps it for further questions
        content = [picture, {"type": "text", "text": question}]
        reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
        print(f"{question}\n  {reply.choices[0].message.content}")

    content = [picture, {"type": "text", "text": "Describe the face."}]
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": content}],
        stream=True,
        max_tokens=48,
        temperature=0.7,
        seed=1,
    )
    for piece in stream:
        print(piece.choices[0].delta.content or "", end="", flush=True)
    print()

    (seen,) = reply.facekit["media"]  # beside OpenAI's fields; in pixels of the picture
    image = open_image(arguments.photo)
    draw_overlay(image, np.array(seen["landmarks"]) / image.size).save(arguments.overlay)
    print(f"face at {seen['box']}: {arguments.overlay}")


if __name__ == "__main__":
    main()
