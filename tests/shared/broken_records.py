"""A records file of which every twentieth entry is broken, each in another of twenty ways."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}{% if message['role'] == 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A chat template that refuses what Gemma 2's and Mistral's refuse."""

MAX_TOKENS = 160
SHAPE = [[0.3 + 0.005 * point, 0.4 + 0.003 * point] for point in range(68)]
_LONG = " ".join(f"word{number}" for number in range(200))


def turns(*words, first="user"):
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [{"role": roles[index % 2], "content": each} for index, each in enumerate(words)]


ASKED = ("Joy or fear?", "Joy.", "How sure are you?", "Rather.")

WAYS = [
    ({"image": "nothing.png"}, "there is no file"),
    ({"image": "rubbish.png"}, "rubbish.png"),
    ({"image": "cut.png"}, "cut.png"),
    ({"image": "empty.png"}, "0 bytes"),
    ({"image": None, "video": ["0.png", "nothing.png"]}, "there is no file"),
    ({"conversations": []}, "no conversation"),
    ({"conversations": turns("Hello.", first="assistant")}, "no user turn"),
    ({"conversations": turns("Anybody?")}, "no assistant turn"),
    ({"conversations": turns("What do you see?", _LONG)}, "no answer that ends within"),
    ({"conversations": [{"role": "system", "content": "Be brief."}, *turns(*ASKED)]}, "System role not supported"),
    ({"conversations": [*turns("Look."), *turns(*ASKED[:2])]}, "must alternate"),
    ({"conversations": turns("Good day.", *ASKED, first="assistant")}, "must alternate"),
    ({"conversations": [{"role": "narrator", "content": "Once."}]}, "conversations.0.role"),
    ({"conversations": turns("  ", "Joy.")}, "a turn needs words"),
    ({"landmarks": SHAPE[:67]}, "landmarks must be 68 pairs"),
    ({"landmarks": [[96 * x, 96 * y] for x, y in SHAPE]}, "divided by the picture's width"),
    ({"landmarks": "nothing.npy"}, "cannot be read as .npy"),
    ({"landmarks": [SHAPE, SHAPE]}, "1 frame but landmarks for 2"),
    ({"mood": "joy"}, "field 'mood'"),
    (None, "Invalid JSON"),
]  # fmt: skip
"""What is wrong with an entry, and words of the reason; of the last one half of the line is missing."""


def write_broken_records(folder, count):
    """Write ``records.jsonl`` and its pictures.

    Returns:
        The path, and by id words of the reason for every entry that cannot be used.
    """
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "rubbish.png").write_bytes(b"no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:900])
    lines, broken = [], {}
    for index in range(count):
        name = f"face-{index:05d}"
        record = {"id": name, "image": f"{index % 8}.png", "landmarks": SHAPE, "conversations": turns(*ASKED)}
        if index % 3 == 0:
            record["independent_questions"] = True
        if index % 20 != 7:
            lines.append(json.dumps(record))
            continue
        change, reason = WAYS[index // 20 % len(WAYS)]
        if change is None:
            lines.append(json.dumps(record)[:60])
            broken[f"line {index + 1}"] = reason
        else:
            lines.append(json.dumps({key: value for key, value in {**record, **change}.items() if value is not None}))
            broken[name] = reason
    path = folder / "records.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path, broken
