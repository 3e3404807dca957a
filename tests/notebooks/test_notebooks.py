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
    shown = [
        output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    bars = [html for html in shown if "<progress" in html]
    assert len(bars) == 3
    assert all('value="3" max="3"' in html for html in bars)
    assert sum("data:image/png" in html for html in shown) == 3


CELLS = (
    """from fedcode_jax import ExperimentConfig, run, sweep
config = ExperimentConfig(rounds=2, model={"name": "mlp"}, local={"epochs": 1})
result = run(config, quiet=True)""",
    "result",
    "run(config)",
    'sweep(config, {"seed": [0, 1]})',
)


@pytest.mark.filterwarnings("default")
def test_runs_and_results_show_themselves(tmp_path):
    """The displays of one place are one output of its cell, with its last state."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    quiet, looked, ran, swept = [
        [output.data for output in cell.outputs if output.output_type != "stream"]
        for cell in notebook.cells
    ]
    assert quiet == []
    (table,) = looked
    for kind in ("text/plain", "text/html"):
        assert "completed after 2 rounds" in table[kind]
    assert "data:image/png;base64," in table["text/html"]
    bar, curves, table = ran
    assert 'value="2" max="2"' in bar["text/html"]
    assert "fedcode on digits: round 2/2  accuracy" in bar["text/plain"]
    assert "data:image/png;base64," in curves["text/html"]
    assert "completed after 2 rounds" in table["text/html"]
    assert "data:image/png" not in table["text/html"]  # they stand above it
    bar, table = swept
    assert "experiment 2/2" in bar["text/plain"]
    assert table["text/plain"].count("completed") == 2
    assert list(tmp_path.iterdir()) == []
