"""A local hub for each test, a cache of its own, and no way out: a connection to anything but 127.0.0.1 fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign_checkpoints import save_internvl, save_llava
from huggingface_hub import constants
from language_families import FAMILIES
from local_hub import LocalHub, serve
from peft import LoraConfig, get_peft_model
from transformers import InternVLForConditionalGeneration

import facekit

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_is_closed = False


def _refuse_the_way_out(event: str, arguments: tuple[Any, ...]) -> None:
    if not _is_closed or event not in ("socket.connect", "socket.getaddrinfo"):
        return
    place = arguments[1] if event == "socket.connect" else arguments
    if isinstance(place, tuple) and place[0] not in _LOOPBACK:
        raise ConnectionRefusedError(f"a test wanted to reach {place[0]!r}")


sys.addaudithook(_refuse_the_way_out)  # sees every connection that Python code opens; it cannot be taken away again


@pytest.fixture(autouse=True)
def no_way_out() -> Iterator[None]:
    """Refuse connections that leave this machine."""
    global _is_closed
    _is_closed = True
    yield
    _is_closed = False


@pytest.fixture(autouse=True)
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of downloads, without a token, with the hub allowed."""
    home = tmp_path / "hf_home"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return home / "hub"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    """An empty hub, at the address that huggingface_hub was imported with."""
    with serve(os.environ["HF_ENDPOINT"]) as served:
        yield served


@pytest.fixture(scope="session")
def internvl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny InternVL."""
    folder = tmp_path_factory.mktemp("internvl")
    save_internvl(folder)
    return folder


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny LLaVA-1.5."""
    folder = tmp_path_factory.mktemp("llava")
    save_llava(folder)
    return folder


@pytest.fixture(scope="session")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny language model of Qwen's family."""
    folder = tmp_path_factory.mktemp("language")
    FAMILIES["qwen2"].save(folder)
    return folder


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of facekit's own."""
    folder = tmp_path_factory.mktemp("ours")
    parts = facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1", connector="mlp", backbone="tiny?width=48&depth=1&heads=4", seed=0
    )
    for part in parts:
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(internvl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a LoRA adapter on the tiny InternVL, which names no base model yet."""
    folder = tmp_path_factory.mktemp("adapter")
    model = InternVLForConditionalGeneration.from_pretrained(internvl)
    adapted = get_peft_model(
        model, LoraConfig(r=2, target_modules=r".*language_model.*\.q_proj", init_lora_weights=False)
    )
    adapted.save_pretrained(folder)
    return folder
