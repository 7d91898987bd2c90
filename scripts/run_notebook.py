"""Run a notebook and keep its outputs in it: ``python -m scripts.run_notebook examples/picture_to_heat_map.ipynb``.

The outputs are what GitHub shows. The notebook notes a digest of the code that made them, so that a test can say when
the code has changed since.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

TIMEOUT = 600
DIGEST = "outputs_of_code"


def code_digest(notebook: dict[str, Any]) -> str:
    """A digest of a notebook's code cells."""
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def run_notebook(path: Path, folder: Path) -> dict[str, Any]:
    """Execute a notebook from its first cell to its last.

    Args:
        path: The notebook; it is not changed.
        folder: Where it runs.

    Returns:
        The notebook with outputs: text, and pictures as JPEG files where they come as such, too; without what a cell
        said to standard error.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
            for each in cell.outputs:
                if "image/jpeg" in each.get("data", {}):
                    each["data"].pop("image/png", None)
    notebook.metadata.language_info = {"name": "python"}
    notebook.metadata[DIGEST] = code_digest(notebook)
    executed: dict[str, Any] = json.loads(nbformat.writes(notebook))
    return executed


def main() -> None:
    """Run it and write it back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    path = parser.parse_args().notebook
    executed = run_notebook(path, path.parent)
    path.write_text(json.dumps(executed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
