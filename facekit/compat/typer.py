"""typer: the exception of a command line that it cannot read."""

from __future__ import annotations

import typer

USAGE_ERROR: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""What a missing argument, an unknown option or a value of the wrong type raises; ``format_message`` has the words.

Seen: typer 0.20 (with click 8.5) to 0.29 (with its own copy of click)
Why: typer exports its subclass ``BadParameter`` only, and click is no dependency of newer versions
Until: typer exports the base class
"""
