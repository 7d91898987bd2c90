"""A misbehaving endpoint, and a client that is killed three times: nothing is lost, nothing is asked twice."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

from facekit.data.ledger import FINISHED, call_key
from facekit.datagen.calls import ANNOTATE
from facekit.datagen.recipe import load_recipe
from facekit.endpoints.outcomes import ACCEPTED

CLIENT = """
import sys
from facekit.datagen import GenerationSettings, generate
records, output, recipe, url = sys.argv[1:]
generate(records, output, recipe, annotator=f"openai:chaos?base_url={url}",
         settings=GenerationSettings(concurrency=8, attempts=8, backoff=0.02))
"""


def stored_keys(output):
    """Keys of the calls that are stored as finished, read while the client may be writing."""
    path = output / "ledger.sqlite"
    if not path.exists():
        return set()
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        rows = database.execute("SELECT stage, record, aspect, version, state FROM calls").fetchall()
    except sqlite3.OperationalError:
        return set()
    finally:
        database.close()
    return {call_key(*row[:4]) for row in rows if row[4] in FINISHED}


def start_client(faces, output, recipe_path, server):
    environment = {**os.environ, "OPENAI_API_KEY": "sk-chaos-0123456789"}
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(faces), str(output), str(recipe_path), server.base_url],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_every_call_ends_with_one_answer_or_a_reason_although_the_client_is_killed_three_times(
    make_faces, recipe_path, serve, tmp_path
):
    faces, output = make_faces(120), tmp_path / "out"
    server = serve(
        too_many=0.10, server_error=0.05, dropped=0.02, malformed=0.02, refusal=0.01, latency=(0.005, 0.05), seed=1
    )
    chance, stored_before_kill = random.Random(11), []
    for _ in range(3):
        calls_before = len(server.calls)
        client = start_client(faces, output, recipe_path, server)
        wanted = calls_before + chance.randint(25, 60)
        deadline = time.monotonic() + 60
        while len(server.calls) < wanted and client.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        assert client.poll() is None, client.stdout.read()
        client.send_signal(signal.SIGKILL)
        client.wait()
        client.stdout.close()
        stored_before_kill.append((len(server.calls), stored_keys(output)))
    client = start_client(faces, output, recipe_path, server)
    words, _ = client.communicate(timeout=120)
    assert client.returncode == 0, words

    recipe = load_recipe(recipe_path)
    expected = {(f"face-{index}", aspect) for index in range(120) for aspect in ("look", "mood")}
    lines = [json.loads(line) for line in (output / "answers.jsonl").read_text().splitlines()]
    failures = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    accepted = Counter((line["id"], line["aspect"]) for line in lines)
    failed = Counter((line["id"], line["aspect"]) for line in failures)
    assert set(accepted) | set(failed) == expected
    assert max((accepted + failed).values()) == 1
    assert all(line["reason"] for line in failures)
    assert all(line["answer"] and line["model"] == "chaos-served" and line["cost"] == 0.0 for line in lines)
    assert len(lines) > 230

    outcomes = Counter(call.outcome for call in server.calls)
    assert {"answered", "429", "500", "dropped", "malformed", "refusal"} <= set(outcomes)
    for calls_at_kill, stored in stored_before_kill:
        asked_later = {call.key for call in server.calls[calls_at_kill:]}
        assert not stored & asked_later
    # an answer is delivered once, but for the calls in flight at each of the three kills, and second tries
    delivered = Counter(call.key for call in server.calls if call.outcome == "answered")
    assert sum(count - 1 for count in delivered.values()) <= 3 * 8
    assert sum(len(stored) for _, stored in stored_before_kill) > 30

    database = sqlite3.connect(output / "ledger.sqlite")
    rows = database.execute("SELECT record, aspect, version, state, attempts FROM calls").fetchall()
    database.close()
    assert {row[:2] for row in rows} == expected
    assert {row[2] for row in rows} == set(recipe.prompt_versions().values())
    assert sum(row[3] == ACCEPTED for row in rows) >= len(lines)
    assert all(call_key(ANNOTATE, *row[:3]) in {call.key for call in server.calls} for row in rows)
