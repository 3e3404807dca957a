"""Every notebook runs from top to bottom, and is committed without outputs."""

import pathlib
import re
import subprocess
import sys
import types

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
SMALL = {"ROUNDS": 4, "SEEDS": 3}
"""What the notebooks' own numbers are here: as few as all that they show needs."""


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@each_notebook
def test_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Gives a notebook after a run with small settings, in a kernel of its own; once each."""
    done = {}

    def execute(path):
        if path not in done:
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                for name, number in SMALL.items():
                    cell.source = re.sub(
                        rf"^{name} = \d+", f"{name} = {number}", cell.source, flags=re.M
                    )
            folder = tmp_path_factory.mktemp(path.stem)
            NotebookClient(
                notebook, timeout=600, resources={"metadata": {"path": str(folder)}}
            ).execute()
            done[path] = notebook
        return done[path]

    return execute


def printed(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def pictures(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.filterwarnings("default")  # those of the kernel's own process and its sockets
@each_notebook
def test_runs_and_shows_pictures(path, executed):
    notebook = executed(path)
    sources = "\n".join(cell.source for cell in code(notebook))
    assert re.search(r"^ROUNDS = 4\b", sources, flags=re.M)
    assert len(pictures(notebook)) >= 1


def by_name(stem):
    (path,) = (path for path in NOTEBOOKS if path.stem == stem)
    return path


@pytest.mark.filterwarnings("default")
def test_quickstart_compares_three(executed):
    said = printed(executed(by_name("quickstart")))
    accuracies = re.findall(r"^(\w+) +accuracy (0\.\d+)", said, re.MULTILINE)
    assert [name for name, _ in accuracies] == ["fedavg", "fedcode", "skip"]
    assert all(float(accuracy) > 0.5 for _, accuracy in accuracies)
    notebook = executed(by_name("quickstart"))
    outputs = [output.get("data", {}) for cell in code(notebook) for output in cell.outputs]
    shown = [data["text/html"] for data in outputs if "text/html" in data]
    bars = [html for html in shown if "<progress" in html]
    assert len(bars) == 3
    assert all('value="4" max="4"' in html for html in bars)
    assert sum("data:image/png" in html for html in shown) == 3


@pytest.mark.filterwarnings("default")
def test_what_codebooks_carry_is_as_the_notebook_says(executed):
    said = printed(executed(by_name("how_codebooks_work")))
    rows = re.findall(r"^(\S.*?) +gain +(.*)$", said, re.MULTILINE)
    gains = {name: [float(value) for value in values.split()] for name, values in rows}
    assert gains["nothing is sent"] == [0, 0, 0]
    assert all(gain < 0.1 for gain in gains["codebook alone, K = 64"])
    assert all(gain > 0.8 for gain in gains["codebook and codes, K = 256"])
    assert all(0.5 < gain < 1 for gain in gains["change of three centers"])
    own, given = map(float, re.findall(r"bits a code.* (\d\.\d+)$", said, re.MULTILINE))
    assert given < own < 6


@pytest.mark.filterwarnings("default")
def test_a_method_of_ones_own_sends_a_bit_a_value(executed):
    said = printed(executed(by_name("your_own_algorithm")))
    rows = re.findall(r"^(\w[^±\n]*?) +\d+\.\d .*? (\d+\.\d+) +(\d+\.\d+)$", said, re.MULTILINE)
    up = {name: float(sent) for name, sent, _ in rows}
    assert set(up) == {"fedavg", "signsgd", "3 centers both ways", "skip", "mine"}
    assert up["mine"] < up["fedavg"] / 15


@pytest.mark.filterwarnings("default")
def test_a_schedule_is_chosen_for_both_questions(executed):
    said = printed(executed(by_name("choose_a_schedule")))
    assert re.search(r"^least time: .*\((kept|likely|impossible)\)$", said, re.MULTILINE)
    assert re.search(r"^fewest bytes: .*\((kept|likely|impossible)\)$", said, re.MULTILINE)


@pytest.mark.filterwarnings("default")
def test_a_sweep_is_reported_over_its_seeds(executed):
    notebook = executed(by_name("sweep_on_gpu_or_tpu"))
    assert "21 experiments" in printed(notebook)
    (table,) = (
        output["data"]["text/markdown"]
        for cell in code(notebook)
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    )
    assert table.count("±") >= 7


@each_notebook
def test_the_set_up_cell_is_the_same_and_does_nothing_here(path, tmp_path, monkeypatch):
    first, *_ = code(nbformat.read(path, as_version=4))
    (quickstart,) = (each for each in NOTEBOOKS if each.stem == "quickstart")
    assert first.source == code(nbformat.read(quickstart, as_version=4))[0].source
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", None)
    exec(first.source, {})
    assert list(tmp_path.iterdir()) == []


def test_on_colab_the_set_up_cell_keeps_the_runtimes_jax(tmp_path, monkeypatch):
    import importlib.metadata

    import jax

    commands = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    first, *_ = code(nbformat.read(NOTEBOOKS[0], as_version=4))
    exec(first.source, {})
    ((*_, option, file, source),) = commands
    assert (option, file, source) == ("-c", "pins.txt", "fedcode_jax")
    pins = (tmp_path / "pins.txt").read_text().splitlines()
    assert f"jax=={jax.__version__}" in pins
    assert f"jaxlib=={importlib.metadata.version('jaxlib')}" in pins


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
