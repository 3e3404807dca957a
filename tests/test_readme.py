"""What README says that can be run, and the tables that are made from the settings."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedcode_jax
from fedcode_jax.config import reference

README = Path(__file__).parents[1] / "README.md"
PAGE = Path(fedcode_jax.__file__).parent / "config" / "SETTINGS.md"


def blocks(heading, language):
    """The code blocks of a section."""
    text = README.read_text(encoding="utf-8")
    section = re.split(r"^## ", text, flags=re.M)
    (found,) = (each for each in section if each.startswith(heading))
    return re.findall(rf"^```{language}\n(.*?)^```", found, flags=re.M | re.S)


def in_folder(folder, *arguments):
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fedcode(folder, words):
    code = "import sys; from fedcode_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    return in_folder(folder, "-c", code, *words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the files that README has a reader write."""
    folder = tmp_path_factory.mktemp("readme")
    model, algorithm, data = blocks("Parts of your own", "python")
    (folder / "my_models.py").write_text(model)
    (folder / "my_algorithms.py").write_text(algorithm)
    (folder / "my_data.py").write_text(data)
    return folder


def test_the_examples_have_as_many_lines_as_is_said(folder):
    lines = {file.stem: len(file.read_text().splitlines()) for file in folder.glob("my_*.py")}
    assert lines == {"my_models": 10, "my_algorithms": 20, "my_data": 5}


def test_the_commands_on_parts_of_ones_own(folder):
    """As they stand, but for one round."""
    (text,) = blocks("Parts of your own", "bash")
    commands = text.replace("\\\n", " ").splitlines()
    run, sweep, helped = (command.partition("#")[0].split()[1:] for command in commands)
    fedcode(folder, [*run, "--rounds", "1"])
    summary = json.loads((folder / "runs" / "mine" / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["algorithm"] == "my_algorithms:fedprox"
    fedcode(folder, [*sweep, "--rounds", "1"])
    table = (folder / "sweeps" / "mu" / "results.csv").read_text().splitlines()
    assert [row.split(",")[2] for row in table[1:]] == ["completed"] * 3
    shown = fedcode(folder, helped)
    assert "--algorithm.mu" in shown
    assert "Strength of the pull" in shown


def test_the_example_on_data_of_ones_own(folder):
    with (folder / "my_data.py").open("a") as file:
        file.write("print(result.summary['final_accuracy'])\n")
    accuracy = float(in_folder(folder, "my_data.py").splitlines()[-1])
    assert accuracy > 0.5


def test_the_table_of_choices_is_made_from_the_settings():
    assert reference.choices() in README.read_text(encoding="utf-8")


def test_the_page_of_settings_is_made_from_them():
    assert PAGE.read_text(encoding="utf-8") == reference.page()


def test_every_setting_has_a_text_in_the_page():
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| `(.*?)` \| (.*) \|$", page, flags=re.M)
    assert len(rows) > 90
    assert all(text for _, _, text in rows)


@pytest.mark.slow
def test_the_first_python_example(folder):
    (code, *_) = blocks("Using it", "python")
    code = code.replace('"rounds": 20', '"rounds": 1')
    (folder / "using.py").write_text(code)
    in_folder(folder, "using.py")
