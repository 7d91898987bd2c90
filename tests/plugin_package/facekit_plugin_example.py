"""A third-party package as small as one can be: it adds a connector through the entry-point group."""

from facekit.registry import Registry


def register(registry: Registry) -> None:
    registry.register(
        "connector",
        "first-patches",
        "facekit_plugin_example:FirstPatches",
        summary="keeps the first patches",
        licence="MIT",
        source="an example",
    )


class FirstPatches:
    width = 7
