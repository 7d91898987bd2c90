"""Compatibility with versions of other libraries, one file per library.

Only here are foreign private names read, private methods of foreign classes overridden, and two versions of a library
bridged. Every entry is one function, class or constant, and its docstring ends in three lines:

* ``Seen``: the versions that it was tested with;
* ``Why``: what a public interface does not offer;
* ``Until``: what would let the entry go.

The files know their library and nothing of facekit but its errors. ``versions`` has no entries: it warns of a version
outside the tested range.
"""
