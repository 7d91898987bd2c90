"""Fixtures of tests that talk to a model elsewhere; a conftest imports those that its tests use."""

import chat_server
import pytest

FAULT_NAMES = tuple(chat_server.Faults.__dataclass_fields__)


@pytest.fixture
def serve():
    """Starts servers; stops them at the end."""
    running = []

    def start(**options):
        faults = chat_server.Faults(**{name: options.pop(name) for name in list(options) if name in FAULT_NAMES})
        server = chat_server.ChatServer(faults, **options)
        running.append(server)
        return server.__enter__()

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    """No key and no address of the machine's reaches a test."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
