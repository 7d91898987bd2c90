"""The local hub against huggingface_hub itself: what the other tests of this room stand on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session
from local_hub import TOKEN

WEIGHTS = bytes(range(256)) * 64


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "published"
    (made / "sub").mkdir(parents=True)
    (made / "config.json").write_text('{"model_type": "nothing"}')
    (made / "sub" / "notes.txt").write_text("a note")
    (made / "model.safetensors").write_bytes(WEIGHTS)
    return made


def test_the_client_was_imported_with_the_address_of_the_local_hub(hub):
    assert hub.address == constants.ENDPOINT


@pytest.mark.parametrize("place", [("192.0.2.1", 80), ("2001:db8::1", 80)])
def test_a_connection_that_leaves_the_machine_is_refused(place):
    with (
        socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET) as outgoing,
        pytest.raises(ConnectionRefusedError, match="wanted to reach"),
    ):
        outgoing.connect(place)


def test_a_name_of_another_machine_is_not_looked_up():
    with pytest.raises(ConnectionRefusedError, match="wanted to reach"):
        socket.getaddrinfo("huggingface.co", 443)


def test_a_snapshot_is_the_folder(hub, folder):
    commit = hub.publish("org/model", folder)
    found = snapshot_download("org/model")
    assert found.endswith(f"snapshots/{commit}")
    for path in ("config.json", "sub/notes.txt", "model.safetensors"):
        assert Path(found, path).read_bytes() == (folder / path).read_bytes()


def test_large_files_come_from_the_storage_without_the_token(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.publish("org/model", folder)
    hf_hub_download("org/model", "model.safetensors")
    head, get = hub.requests
    assert (head.method, head.path) == ("HEAD", "/org/model/resolve/main/model.safetensors")
    assert head.headers["authorization"] == f"Bearer {TOKEN}"
    assert get.method == "GET"
    assert get.headers["host"] == hub.storage.removeprefix("http://")
    assert "authorization" not in get.headers


def test_small_files_are_redirected_to_their_commit(hub, folder):
    commit = hub.publish("org/model", folder)
    hf_hub_download("org/model", "config.json")
    paths = [request.path for request in hub.requests if request.method == "GET"]
    assert paths == [f"/api/resolve-cache/models/org/model/{commit}/config.json"]


def test_a_part_of_a_file_can_be_asked_for(hub, folder):
    hub.publish("org/model", folder)
    location = get_hf_file_metadata(f"{hub.address}/org/model/resolve/main/model.safetensors").location
    parts = {"bytes=10-19": WEIGHTS[10:20], "bytes=16000-": WEIGHTS[16000:], "bytes=-5": WEIGHTS[-5:]}
    for wanted, part in parts.items():
        answer = get_session().get(location, headers={"Range": wanted})
        assert (answer.status_code, answer.content) == (206, part)
    assert get_session().get(location, headers={"Range": f"bytes={len(WEIGHTS)}-"}).status_code == 416


def test_branches_tags_and_commits_are_revisions(hub, folder):
    first = hub.publish("org/model", folder)
    hub.tag("org/model", "v1", first)
    (folder / "config.json").write_text('{"model_type": "another"}')
    second = hub.publish("org/model", folder)
    hub.publish("org/model", folder, branch="try/it")
    ends = {name: snapshot_download("org/model", revision=name)[-40:] for name in ("main", "v1", first, "try/it")}
    assert ends["main"] == second
    assert ends["v1"] == ends[first] == first
    assert ends["try/it"] not in (first, second)
    references = HfApi().list_repo_refs("org/model")
    assert [each.name for each in references.branches] == ["main", "try/it"]
    assert [each.name for each in references.tags] == ["v1"]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_what_is_not_there_is_told_as_the_hub_tells_it(token, hub, folder, monkeypatch):
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.publish("org/model", folder)
    with pytest.raises(RepositoryNotFoundError) as caught:
        hf_hub_download("org/other", "config.json")
    assert caught.value.response.status_code == (401 if token is None else 404)
    with pytest.raises(RevisionNotFoundError):
        snapshot_download("org/model", revision="v9")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("org/model", "other.json")


def test_a_gated_repository_is_listed_but_its_files_are_refused(hub, folder, monkeypatch):
    hub.publish("org/model", folder, gated=True)
    assert HfApi().model_info("org/model").gated == "manual"
    for status in (401, 403):
        with pytest.raises(GatedRepoError) as caught:
            hf_hub_download("org/model", "config.json")
        assert caught.value.response.status_code == status
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.granted.add("org/model")
    assert hf_hub_download("org/model", "config.json")


def test_a_wrong_token_is_refused(hub, folder, monkeypatch):
    hub.publish("org/model", folder)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HfHubHTTPError) as caught:
        hf_hub_download("org/model", "config.json")
    assert not isinstance(caught.value, RepositoryNotFoundError)
    assert caught.value.response.status_code == 401


def test_a_cut_download_goes_on_where_it_was_cut(hub, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 250)  # what is read by then counts in whole chunks
    hub.publish("org/model", folder)
    hub.cut("model.safetensors", 1000, 500)
    assert Path(hf_hub_download("org/model", "model.safetensors")).read_bytes() == WEIGHTS
    ranges = [request.headers.get("range") for request in hub.asked("GET", "model.safetensors")]
    assert ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_a_hub_that_is_gone_refuses_connections(hub, folder):
    hub.publish("org/model", folder)
    hub.close()
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("org/model")


def test_an_upload_becomes_a_commit(hub, folder, tmp_path):
    client = HfApi(token=TOKEN)
    client.create_repo("tester/made", private=True)
    before = client.model_info("tester/made").sha
    client.upload_folder(repo_id="tester/made", folder_path=folder, commit_message="All of it")
    assert client.model_info("tester/made").sha != before
    assert client.model_info("tester/made").private is True
    found = snapshot_download("tester/made", token=TOKEN)
    assert Path(found, "model.safetensors").read_bytes() == WEIGHTS
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("tester/made", local_dir=tmp_path / "elsewhere")


def test_an_upload_needs_a_token(hub, folder):
    with pytest.raises(HfHubHTTPError):
        HfApi(token=False).create_repo("tester/made")
    assert hub.repositories == {}
