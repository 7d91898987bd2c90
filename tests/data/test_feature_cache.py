"""Tokens on disk: found again by the same encoder only, bounded, and whole whatever happens to who writes them."""

from __future__ import annotations

import json
import multiprocessing
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.data import feature_cache
from facekit.data.feature_cache import FeatureCache, FeatureStorage
from facekit.encoders.fingerprint import fingerprint_encoder, hash_tensors
from facekit.encoders.tiny import TinyEncoder
from facekit.errors import ConfigurationError

PLENTY = 1 << 30


def encoder(seed=0, **sizes):
    torch.manual_seed(seed)
    return TinyEncoder(**{"image_size": 32, "width": 32, "depth": 1, **sizes})


def tokens(number, frames=1, dtype=torch.float32):
    return torch.randn(frames, 5, 32, generator=torch.Generator().manual_seed(number)).to(dtype)


def fill(storage, which, numbers, **options):
    cache = FeatureCache(storage, which, **options)
    cache.add({f"{number:032x}": tokens(number) for number in numbers})
    cache.flush()
    return cache


def bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_was_kept_is_read_by_the_next_process_bit_for_bit(tmp_path, dtype):
    storage = FeatureStorage(tmp_path, PLENTY, dtype)
    first = FeatureCache(storage, encoder())
    kept = {"a": tokens(1, 1, dtype), "b": tokens(2, 3, dtype), "c": tokens(3, 8, dtype)}
    first.add(kept)
    assert all(torch.equal(first.read(key), value) for key, value in kept.items())
    assert not list(tmp_path.rglob("*.safetensors"))
    first.flush()
    again = FeatureCache(storage, encoder())
    assert len(again) == 3
    assert "b" in again
    for key, value in kept.items():
        assert again.read(key).dtype == dtype
        assert torch.equal(again.read(key), value)
    assert again.read("d") is None
    assert json.loads((again.folder / "encoder.json").read_text())["class"] == "TinyEncoder"


def test_another_encoder_finds_nothing(tmp_path):
    storage = FeatureStorage(tmp_path, PLENTY)
    fill(storage, encoder(), range(3))
    other = encoder()
    with torch.no_grad():
        other.class_token[0, 0, 0] += 1e-3
    assert len(FeatureCache(storage, other)) == 0
    assert len(FeatureCache(storage, encoder().bfloat16())) == 0
    assert len(FeatureCache(FeatureStorage(tmp_path, PLENTY, torch.float16), encoder())) == 0
    without_class = encoder()
    without_class.leave_out_prefix_tokens()
    assert len(FeatureCache(storage, without_class)) == 0
    assert len(FeatureCache(storage, encoder())) == 3


def test_a_fingerprint_depends_on_bits_and_names_not_on_order():
    assert fingerprint_encoder(encoder()) == fingerprint_encoder(encoder())
    assert fingerprint_encoder(encoder()) != fingerprint_encoder(encoder(seed=1))
    assert fingerprint_encoder(encoder()) != fingerprint_encoder(encoder(image_size=48))
    one, two = torch.arange(6.0), torch.tensor(2, dtype=torch.int64)
    assert hash_tensors([("a", one), ("b", two)]) == hash_tensors([("b", two), ("a", one)])
    assert hash_tensors([("a", one), ("b", two)]) != hash_tensors([("b", one), ("a", two)])
    assert hash_tensors([("a", one)]) != hash_tensors([("a", one.reshape(2, 3))])
    assert hash_tensors([("a", one.reshape(2, 3).T)]) == hash_tensors([("a", one.reshape(2, 3).T.contiguous())])


def test_beyond_the_limit_no_more_is_kept_and_the_log_says_so(tmp_path, caplog):
    storage = FeatureStorage(tmp_path, 3000)
    cache = fill(storage, encoder(), range(3))
    assert cache.stopped is None
    cache.add({"x": tokens(9), "y": tokens(10)})
    cache.flush()
    assert "may hold 3,000; raise the limit" in cache.stopped
    assert "no more of an encoder's tokens are kept" in caplog.text
    assert cache.read("x") is None
    assert torch.equal(cache.read(f"{2:032x}"), tokens(2))
    assert 0 < bytes_in(tmp_path) <= 3000


def test_shards_of_encoders_that_are_not_in_use_go_first_those_unread_for_longest_before(tmp_path):
    storage = FeatureStorage(tmp_path, 5200)
    old, older, mine = encoder(1), encoder(2), encoder(3)
    names = {which: storage.name_for(which) for which in (old, older)}
    for age, which in ((100, old), (200, older)):
        fill(storage, which, range(3))
        for path in (tmp_path / names[which]).glob("*.safetensors"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    cache = fill(storage, mine, range(2))
    assert cache.stopped is None
    assert not list((tmp_path / names[older]).glob("*.safetensors"))
    assert len(list((tmp_path / names[old]).glob("*.safetensors"))) == 1
    both = FeatureCache(storage, mine, in_use={names[old], cache.name})
    both.add({f"{number}": tokens(number) for number in range(3)})
    both.flush()
    assert both.stopped is not None
    assert len(list((tmp_path / names[old]).glob("*.safetensors"))) == 1
    assert bytes_in(tmp_path) <= 5200


def test_a_damaged_shard_is_passed_over_and_one_that_vanished_is_computed_again(tmp_path, caplog):
    storage = FeatureStorage(tmp_path, PLENTY)
    fill(storage, encoder(), range(3))
    fill(storage, encoder(), range(3, 6))
    first, second = sorted(tmp_path.rglob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-200])
    cache = FeatureCache(storage, encoder())
    assert f"{first} is damaged" in caplog.text
    assert cache.read(f"{0:032x}") is None
    assert torch.equal(cache.read(f"{4:032x}"), tokens(4))
    fresh = FeatureCache(storage, encoder())
    second.unlink()
    fresh._open.clear()
    assert fresh.read(f"{4:032x}") is None
    assert f"kept tokens in {second} cannot be read and are computed again" in caplog.text
    assert f"{4:032x}" not in fresh


def test_what_a_killed_process_left_in_part_counts_for_nothing_and_is_removed(tmp_path):
    storage = FeatureStorage(tmp_path, PLENTY)
    cache = fill(storage, encoder(), range(1))
    remains = cache.folder / ".00000000000000000001-abc.safetensors.part"
    remains.write_bytes(b"half a shard")
    assert len(FeatureCache(storage, encoder())) == 1
    fill(storage, encoder(), range(1, 2))
    assert not remains.exists()


def test_a_full_disk_ends_the_keeping_not_the_run(tmp_path, monkeypatch, caplog):
    def fail(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    cache = FeatureCache(FeatureStorage(tmp_path, PLENTY), encoder())
    monkeypatch.setattr(feature_cache, "save_file", fail)
    cache.add({"a": tokens(1)})
    cache.flush()
    assert "No space left on device" in cache.stopped
    assert "no more of an encoder's tokens are kept" in caplog.text
    assert not list(tmp_path.rglob("*.part"))
    cache.add({"b": tokens(2)})
    assert cache.read("b") is None


def test_a_shard_is_written_as_soon_as_enough_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 2 * tokens(0).nbytes)
    cache = FeatureCache(FeatureStorage(tmp_path, PLENTY), encoder())
    cache.add({"a": tokens(1)})
    cache.add({"a": tokens(1)})
    assert not list(tmp_path.rglob("*.safetensors"))
    cache.add({"b": tokens(2)})
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    assert torch.equal(cache.read("a"), tokens(1))


def _write_some(folder, limit, start):
    torch.set_num_threads(1)
    for number in range(start, start + 12, 2):
        fill(FeatureStorage(folder, limit), encoder(), (number, number + 1))


@pytest.mark.parametrize("limit", [PLENTY, 8000])
def test_processes_share_a_folder(tmp_path, limit):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_some, args=(tmp_path, limit, start)) for start in (0, 6, 12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    cache = FeatureCache(FeatureStorage(tmp_path, limit), encoder())
    kept = [number for number in range(24) if f"{number:032x}" in cache]
    assert all(torch.equal(cache.read(f"{number:032x}"), tokens(number)) for number in kept)
    if limit == PLENTY:
        assert kept == list(range(24))
        assert sum(len(keys_in(path)) for path in cache.folder.glob("*.safetensors")) == 24
    else:
        assert 0 < len(kept) < 24
        assert bytes_in(tmp_path) <= limit


def keys_in(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12), limit=st.integers(1, 20_000))
def test_the_limit_holds_whatever_comes(tmp_path_factory, sizes, limit):
    folder = tmp_path_factory.mktemp("bounded")
    cache = FeatureCache(FeatureStorage(folder, limit), encoder(), name="some")
    for number, frames in enumerate(sizes):
        cache.add({str(number): tokens(number, frames)})
        cache.flush()
        assert bytes_in(folder) <= limit
    for number, frames in enumerate(sizes):
        found = cache.read(str(number))
        assert found is None or torch.equal(found, tokens(number, frames))
    assert cache.stopped is not None or len(cache) == len(sizes)


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="a feature cache of 0 bytes"):
        FeatureStorage(tmp_path, 0)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is a file; name a folder for the feature cache"):
        FeatureStorage(tmp_path / "file", 1)
