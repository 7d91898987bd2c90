"""Cores that this process may use."""

from __future__ import annotations

import os

from facekit.cores import count_usable_cores


def test_cores_are_those_of_this_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert count_usable_cores() == 3


def test_where_the_system_does_not_say_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert count_usable_cores() == 16
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_usable_cores() == 1
