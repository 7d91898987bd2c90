"""huggingface_hub: the exceptions of its HTTP client."""

from __future__ import annotations

from huggingface_hub.errors import HfHubHTTPError

TRANSPORT_ERROR: type[Exception] = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
"""What a connection that breaks, stalls or is refused raises, where huggingface_hub does not turn it into its own.

Seen: huggingface_hub 1.31 (httpx) to 2.4 (httpx2)
Why: a connection that breaks in the middle of a file is retried and then raised as the HTTP client has it, which is no
    ``OSError``; which client that is depends on the version, and it is no dependency of ours
Until: huggingface_hub raises errors of its own there
"""
