"""Servers for the tests beside it."""

from endpoint_fixtures import no_keys, serve  # noqa: F401 - fixtures
