"""``fedcode export`` as a command."""

import subprocess
import sys

import pytest
from begun import begun

from fedcode_jax.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    begun(folder / "run")
    begun(folder / "kept", {"algorithm.groups": "*/head/*=local,kernels"})
    return folder


@pytest.fixture(autouse=True)
def _there(runs, monkeypatch):
    monkeypatch.chdir(runs)


def test_it_tells_what_it_wrote(runs, capsys):
    assert main(["export", "run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, second = out.splitlines()
    about = "deployed weights of round 0, accuracy 12.50 %"
    assert first.startswith("run/model.safetensors: ")
    assert second.startswith("run/model.fedcode: ")
    assert first.endswith(about)
    assert second.endswith(about)
    assert main(["export", "run"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", "run", "--overwrite", "--form", "compressed"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_options(runs, capsys):
    words = ["--form", "safetensors", "--weights", "server", "--round", "0", "--out", "a/b"]
    assert main(["export", "run", *words]) == 0
    shown = capsys.readouterr().out
    assert "a/b/model.safetensors: " in shown
    assert "server weights of round 0, accuracy 25.00 %" in shown
    assert main(["export", "kept", "--out", "kept-out"]) == 0
    assert "note: clients keep some of the variables" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere", "is 'nowhere' the folder of a run"),
        ("run --form compressed --weights server", "weights: 'server' has no use"),
        ("run --round 3 --out c", "round: 3 has no checkpoint in run; there are 0"),
        ("run --from server", "option: unknown name 'from'. Did you mean 'form'"),
        ("run --out run/config.yaml", "out: 'run/config.yaml' is not a folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(words, message, capsys):
    assert main(["export", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_help_does_not_wait_for_jax():
    code = (
        "import sys\n"
        "from fedcode_jax.cli import main\n"
        "assert main(['export', '--help']) == 0\n"
        "assert 'jax' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--overwrite" in done.stdout
