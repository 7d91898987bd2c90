"""The address to listen on is tried before anything is loaded."""

import errno
import os
import socket

import pytest

import facekit
from facekit.errors import ConfigurationError
from facekit.serving.run import check_address
from facekit.serving.settings import ServerSettings


@pytest.fixture
def taken():
    """A port that another server has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use_is_one_sentence_with_the_reason_of_the_system_alone(taken):
    with pytest.raises(ConfigurationError) as caught:
        check_address(ServerSettings("model", "127.0.0.1", taken))
    reason = os.strerror(errno.EADDRINUSE)
    assert str(caught.value) == f"127.0.0.1:{taken} cannot be listened on ({reason}); choose another --port"


def test_a_host_that_is_none_is_told(monkeypatch):
    with pytest.raises(ConfigurationError, match=r"nowhere\.invalid:8000 cannot be listened on \(.+\)"):
        check_address(ServerSettings("model", "nowhere.invalid", 8000, "key"))


def test_the_address_is_tried_before_the_model_is_loaded(taken, run_facekit, tmp_path):
    status, _, error = run_facekit("serve", tmp_path, "--port", taken)
    assert status == 2
    assert "cannot be listened on" in error


def test_a_model_whose_landmarker_is_not_here_is_named_before_the_first_request(
    run_facekit, tmp_path, monkeypatch, caplog
):
    landmarker = "given:nowhere.npy?coordinates=pixels"
    for part in facekit.create(encoder="tiny", connector="mlp", backbone="tiny", landmarker=landmarker):
        part.save_pretrained(tmp_path / "model")
    monkeypatch.setattr("facekit.serving.run.serve", lambda *arguments, **options: None)
    command = ("serve", tmp_path / "model", "--port", 0)
    assert run_facekit(*command)[0] == 0
    assert "'model' finds no faces in pictures: there is no landmarks file 'nowhere.npy'" in caplog.text
    caplog.clear()
    assert run_facekit(*command, "--landmarker", "none")[0] == 0
    assert not caplog.records


def test_a_port_that_was_tried_is_free_again():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    check_address(ServerSettings("model", "127.0.0.1", port))
    check_address(ServerSettings("model", "127.0.0.1", port))
