"""``fedcode report`` as a command."""

import subprocess
import sys

import pytest
from matplotlib.image import imread

from fedcode_jax.cli import main
from fedcode_jax.config import ExperimentConfig, replace, to_yaml
from fedcode_jax.results import RunFolder, summarise


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two seeds of one experiment, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        config = replace(ExperimentConfig(), {"seed": seed, "rounds": 1})
        folder = RunFolder.create(f"runs/{seed}", to_yaml(config), {})
        record = {
            "round": 1,
            "test_accuracy": 0.5 + seed / 4,
            "uplink_bytes": 10,
            "downlink_bytes": 30,
            "cumulative_bytes": 40,
            "simulated_seconds": 1.0,
        }
        folder.append([record])
        costs = {"period": 1, "fedavg_bytes": 400, "fedavg_formula_bits": 0}
        folder.finish(summarise([record], status="completed", **costs))
    return tmp_path / "runs"


def test_a_report_is_written_and_its_table_shown(runs, capsys):
    assert main(["report", "runs", "--target", "0.6"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for word in ("fedcode", "62.5 ± 17.7", "10.0x", "1 (1 of 2)", "report/report.md"):
        assert word in out
    assert (runs.parent / "report" / "curves.png").exists()


def test_options(runs, capsys):
    words = ["report", "runs/0", "runs/1", "--out", "a/b", "--by", "seed", "algorithm.name"]
    assert main([*words, "--against", "seed=0", "--width", "column"]) == 0
    out = capsys.readouterr().out
    assert "fedcode seed=1" in out
    assert "less fedcode seed=0, seed by seed" in out
    width = imread(runs.parent / "a" / "b" / "curves.png").shape[1]
    assert width == round(3.4 * 200)
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "folders: none was given"),
        ("nowhere", "folders: 'nowhere' does not exist"),
        ("runs --target 95", "target: 95.0 cannot be used"),
        ("runs --by nam", "by: there is no setting 'nam'"),
        ("runs --out runs/0", "out: 'runs/0' holds a run"),
        ("runs --against fedavgs", "against: 'fedavgs' fits no row"),
        ("runs --against nothing=1", "against: there is no setting 'nothing'"),
        ("runs --width wide", "width: unknown name 'wide'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(runs, capsys, words, message):
    assert main(["report", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"fedcode: error: {message}")
    assert err.count("\n") == 1


def test_neither_help_nor_a_report_waits_for_jax(runs):
    code = (
        "import sys; from fedcode_jax.cli import main\n"
        "assert main(['report', '--help']) == 0\n"
        "assert not {'jax', 'matplotlib'} & sys.modules.keys()\n"
        "assert main(['report', 'runs']) == 0\n"
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
