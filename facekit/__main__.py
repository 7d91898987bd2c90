"""``python -m facekit``: the command line, where the installed script is not on the path."""

from facekit.cli.main import main

main()
