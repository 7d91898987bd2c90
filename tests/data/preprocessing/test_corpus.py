"""A folder as the world has them: not a file of it is lost, whatever it is, and nothing ends the run."""

import json
import os

import pytest
from hostile_corpus import MEDIA, make_corpus

from facekit.catalog import isolated_registry
from facekit.data.convert import convert
from facekit.data.formats.shards import read_shards
from facekit.data.preprocessing import PreprocessSettings, preprocess
from facekit.data.records import read_records
from facekit.data.sources import read_source
from facekit.data.sources.file_walk import walk_files
from facekit.data.verification import verify
from facekit.faces.landmarker import Landmarker

pytest.importorskip("webdataset")
pytest.importorskip("av")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's about damaged tags

ROUNDS = int(os.environ.get("FACEKIT_CORPUS_ROUNDS", "15"))
"""About 45 files each; 60 make the 2,600 of a campaign."""


class NoFaces(Landmarker):
    """Finds nothing, at once: what is tried here is the opening of files."""

    second_look = False

    @classmethod
    def from_spec(cls, argument=None):
        return cls()

    def find_faces(self, image):
        return []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("world") / "corpus", rounds=ROUNDS)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "shards"
    settings = PreprocessSettings(landmarker="nobody", size=32, on_no_face="whole-image", records_per_shard=100)
    with isolated_registry() as registry:
        registry.register("landmarker", "nobody", NoFaces)
        return preprocess(f"folder:{corpus.root}", output, settings)


def test_every_file_is_found_once_as_what_it_is(corpus):
    found = {}
    for file in walk_files(corpus.root):
        name = os.path.relpath(os.fsencode(file.path), os.fsencode(corpus.root))
        assert name not in found
        found[name] = file.outcome
    assert found == corpus.expected
    assert len(found) > 40 * ROUNDS


def test_every_file_under_the_root_is_in_exactly_one_count(corpus, run):
    manifest = json.loads((run.output / "manifest.json").read_text())
    files, records = manifest["input"]["source"], manifest["input"]
    assert sum(files.values()) == run.summary.found == len(corpus.expected)
    assert files["kept"] == records["records"] == run.inputs == corpus.counts()[MEDIA]
    assert records["kept"] + sum(records["failed"].values()) == records["records"]
    assert f"files under the root: {run.summary.found:,}, each in one of these counts" in str(run.summary)


def test_every_record_is_in_a_shard_or_among_the_failures_with_a_reason(corpus, run):
    failures = [json.loads(line) for line in (run.output / "failures.jsonl").read_text().split("\n") if line]
    kept = [record.source["original"] for record in read_shards(run.output)]
    assert sorted(kept + [failure["media"] for failure in failures]) == sorted(
        os.fsdecode(name) for name, kind in corpus.expected.items() if kind == MEDIA
    )
    assert set(corpus.healthy) <= set(kept)
    assert all(failure["reason"] and "\n" not in failure["reason"] for failure in failures)
    assert {failure["kind"] for failure in failures} <= {"ImageError", "VideoError"}
    assert not any(failure["may_pass"] for failure in failures)


def test_what_came_out_is_whole_and_a_second_run_does_nothing(corpus, run):
    assert verify(run.output, open_media=True).faults == 0
    settings = PreprocessSettings(landmarker="nobody", size=32, on_no_face="whole-image", records_per_shard=100)
    with isolated_registry() as registry:
        registry.register("landmarker", "nobody", NoFaces)
        again = preprocess(f"folder:{corpus.root}", run.output, settings)
    assert (again.reused, again.records, again.failures) == (run.inputs, run.records, run.failures)


def test_records_of_it_are_written_and_read_back(corpus, tmp_path):
    result = convert(f"folder:{corpus.root}", tmp_path / "records.jsonl")
    assert len(read_records(result.path)) == corpus.counts()[MEDIA]


def test_opening_every_picture_leaves_each_file_in_one_count(corpus):
    records, summary = read_source("folder", corpus.root, check_images=True)
    names = {record.image or record.video for record in records}
    assert set(corpus.healthy) <= names
    assert summary.broken.count > 20
    assert sum(summary.count_outcomes().values()) == summary.found == len(corpus.expected)
