import json
import sys

import pytest

from facekit.data.formats import read_records
from facekit.datagen import GenerationSettings, generate
from facekit.datagen.exports import EXPORTS
from facekit.errors import ConfigurationError, MissingExtraError


def described(faces, recipe_path, output, *formats):
    return generate(faces, output, recipe_path, settings=GenerationSettings(formats=formats))


def test_every_format_gives_back_the_records_of_the_run_and_a_second_run_replaces_it(faces, recipe_path, tmp_path):
    output = tmp_path / "out"
    for turn in range(2):
        result = described(faces, recipe_path, output, *EXPORTS)
        assert result.exports == {name: output / place for name, place in EXPORTS.items()}
        records = list(read_records(output / "records.jsonl", check_files=True))
        assert len(records) == 10
        for format in ("llava", "sharegpt", "datasets"):
            assert list(read_records(result.exports[format], format)) == records, format
        shards = list(read_records(output / "webdataset", media_folder=tmp_path / f"unpacked-{turn}"))
        unpacked = [(tmp_path / f"unpacked-{turn}" / record.image).read_bytes() for record in shards]
        assert unpacked == [(output / record.image).read_bytes() for record in records]
        assert [record.model_copy(update={"image": "x"}) for record in shards] == [
            record.model_copy(update={"image": "x"}) for record in records
        ]
    info = json.loads((output / "dataset_info.json").read_text())
    assert info["sharegpt"]["file_name"] == "sharegpt.json"
    assert not [path for path in output.iterdir() if path.name.endswith((".new", ".old"))]


def test_the_card_says_how_the_records_were_made(faces, recipe_path, tmp_path, serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-card-secret-12345")
    rating = json.dumps({"image": 8, "label": 9, "completeness": 7, "overall": 9, "reason": "x"})
    server = serve(answer=lambda body: rating if body["model"] == "judge" else "The face shows a calm look.")
    result = generate(
        faces, tmp_path / "out", recipe_path, annotator=f"openai:m?base_url={server.base_url}",
        judge=f"openai:judge?base_url={server.base_url}", settings=GenerationSettings(threshold=8.5),
    )  # fmt: skip
    card = result.card.read_text()
    assert result.card == tmp_path / "out" / "README.md"
    assert card.startswith("---\n")
    assert "10 records (10 images)" in card
    assert "m-served (20 answers)" in card
    assert "rated by judge from 1 to 10; those below 8.5 were left out" in card
    versions = json.loads((tmp_path / "out" / "generation.json").read_text())["prompt_versions"]
    assert all(f"{aspect} {version}" in card for aspect, version in versions.items())
    assert "sk-card" not in card


def test_what_was_left_out_is_on_the_card(faces, recipe_path, tmp_path, serve):
    server = serve(answer=lambda body: "The expression is happiness, it seems.")
    result = generate(faces, tmp_path / "out", recipe_path, annotator=f"openai:m?base_url={server.base_url}")
    assert "- Left out: contradicts the label, 5 times." in result.card.read_text()
    assert "The answers were not rated." in result.card.read_text()


@pytest.mark.parametrize(("spoil", "formats", "words"), [
    (lambda output: None, ("sharegtp",), "did you mean 'sharegpt'"),
    (lambda output: (output / "README.md").write_text("mine"), (), "is no card of facekit's"),
    (lambda output: (output / "webdataset").mkdir() or (output / "webdataset" / "shard-000000.tar").touch()
     or (output / "datasets").symlink_to(output / "webdataset"), ("datasets",), "is in the way of the export"),
])  # fmt: skip
def test_what_cannot_be_written_is_refused_before_anybody_is_asked(
    faces, recipe_path, tmp_path, serve, spoil, formats, words
):
    server, output = serve(), tmp_path / "out"
    output.mkdir()
    spoil(output)
    with pytest.raises(ConfigurationError, match=words):
        generate(
            faces, output, recipe_path, annotator=f"openai:m?base_url={server.base_url}",
            settings=GenerationSettings(formats=formats),
        )  # fmt: skip
    assert server.calls == []


def test_a_missing_package_is_named_before_anybody_is_asked(faces, recipe_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(MissingExtraError, match=r"facekit-mllm\[datasets\]"):
        described(faces, recipe_path, tmp_path / "out", "webdataset")
