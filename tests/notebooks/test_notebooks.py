"""Every notebook runs from top to bottom, and is committed without outputs."""

import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.filterwarnings("default")  # those of the kernel's own process and its sockets
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    long = [cell for cell in notebook.cells if "ROUNDS = 60" in cell.source]
    assert len(long) == 1
    long[0].source = long[0].source.replace("ROUNDS = 60", "ROUNDS = 3")
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    accuracies = re.findall(r"^(\w+) +accuracy (0\.\d+)", printed, re.MULTILINE)
    assert [name for name, _ in accuracies] == ["fedavg", "fedcode", "skip"]
    assert all(float(accuracy) > 0.5 for _, accuracy in accuracies)
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
