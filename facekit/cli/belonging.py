"""Options that mean nothing without another one, refused where that is left out."""

from __future__ import annotations

import typer


def refuse_alone(context: typer.Context, needed: str, *names: str) -> None:
    """Refuse options on the command line that go with another one.

    Args:
        context: Of the verb.
        needed: What they go with and is not there, such as ``--batch``.
        *names: Their parameters.

    Raises:
        ConfigurationError: One of them is given.
    """
    from facekit.errors import ConfigurationError

    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigurationError(f"--{name.replace('_', '-')} goes with {needed}; give that too, or leave it out")
