"""Examples that make data, against a model server on this machine: what was asked, what was kept, and why."""

from __future__ import annotations

import hashlib
import json
import re

from facekit.data.formats import read_records, verify_shards
from facekit.data.synthetic import write_synthetic_dataset

LABELS = ("gender", "race", "age_group")


def words_of(body):
    return body["messages"][1]["content"][0]["text"]


def test_fairfacegpt_is_made_of_a_fairface_folder(run_example, serve, tmp_path):
    run_example("draw_fairface.py", tmp_path / "FairFace", "--faces", 10)
    server, output = serve(), tmp_path / "fairfacegpt"
    arguments = (
        f"fairface:{tmp_path / 'FairFace'}", output, "--annotator", f"openai:gpt-4o?base_url={server.base_url}",
        "--max-cost", "1", "--on-no-face", "whole-image", "--workers", "1",
    )  # fmt: skip
    printed = run_example("generate_fairfacegpt.py", *arguments)
    assert "faces: 10 of 10 pictures" in printed
    low, high = (
        float(dollars) for dollars in re.search(r"80 calls are to be made, .*\$(\S+) to \$(\S+)", printed).groups()
    )
    assert 0 < low < high < 1
    assert "80 answers about 10 faces, 0 dropped; $0.28 spent" in printed  # 1,000 tokens read and 100 written a call
    assert verify_shards(output / "shards") == 10
    records = list(read_records(output / "records.jsonl", check_files=True))
    assert [len(record.conversations) for record in records] == [16] * 10
    assert list(read_records(output / "llava.json")) == records
    for record in records:
        asked = " ".join(turn.content for turn in record.conversations if turn.role == "user")
        assert not any(re.search(rf"\b{re.escape(record.groups[name])}\b", asked) for name in LABELS)
    calls = len(server.calls)
    again = run_example("generate_fairfacegpt.py", *arguments)
    assert "0 calls are to be made" in again
    assert len(server.calls) == calls == 80


def test_pictures_without_a_label_are_described_too(run_example, serve, photo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "me.png").write_bytes(photo.read_bytes())
    server = serve()
    printed = run_example(
        "generate_fairfacegpt.py", f"folder:{tmp_path / 'mine'}", tmp_path / "out", "--workers", "1", "--annotator",
        f"openai:gpt-4o?base_url={server.base_url}",
    )  # fmt: skip
    assert "faces: 1 of 1 pictures; without one: 0" in printed
    (record,) = read_records(tmp_path / "out" / "records.jsonl", check_files=True)
    assert len(record.conversations) == 2 * len(server.calls) == 16
    assert record.landmarks is not None


def test_faceinstruct_is_made_of_several_sets_and_a_judge_decides(run_example, serve, tmp_path):
    origins = [write_synthetic_dataset(tmp_path / f"faces-{seed}", 3, seed=seed, image_size=64) for seed in (1, 2)]

    def answer(body):
        digest = hashlib.sha256(words_of(body).encode()).hexdigest()
        if body["model"] != "judge":
            return f"The picture shows this in its outline, in its light and in its lines, number {digest}."
        overall = 4 if int(digest, 16) % 3 == 0 else 9
        return json.dumps({"image": 8, "label": 8, "completeness": 8, "overall": overall, "reason": "as it is"})

    server, output = serve(answer=answer), tmp_path / "faceinstruct"
    arguments = (
        output, *origins, "--annotator", f"openai:gpt-4o?base_url={server.base_url}", "--judge",
        f"openai:judge?base_url={server.base_url}",
    )  # fmt: skip
    printed = run_example("generate_faceinstruct.py", *arguments)
    kept, dropped, failed = map(int, re.search(r"(\d+) answers kept, (\d+) dropped, (\d+) failed", printed).groups())
    assert f"{dropped} rated low" in printed
    assert (kept > 0, dropped > 0, failed) == (True, True, 0)
    calls = len(server.calls)
    assert calls == 2 * (kept + dropped)
    records = list(read_records(output / "records.jsonl", check_files=True))
    assert {record.source["seed"] for record in records} == {
        record.source["seed"] for origin in origins for record in read_records(origin)
    }
    assert all(record.conversations[1].content.startswith("The picture shows this") for record in records)

    chosen_anew = run_example("generate_faceinstruct.py", *arguments, "--threshold", "3")
    assert f"{kept + dropped} answers kept, 0 dropped" in chosen_anew
    assert len(server.calls) == calls
