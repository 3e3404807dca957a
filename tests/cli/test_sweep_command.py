"""``fedcode sweep``: shares, a cluster, and what failed."""

import pytest
from tiny_sweep import words

from fedcode_jax.cli import main
from fedcode_jax.experiment import group_run


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--share", "0/3"], "share: '0/3' cannot be used; give K/N"),
        (["--share", "4/3"], "share: '4/3' cannot be used"),
        (["--share", "x"], "share: 'x' cannot be used"),
        (["--share", "1/2", "--cluster", "tcp://x:1"], "share: the workers of a cluster divide"),
        (["--cluster", "tcp://x:1", "--checkpoint-every", "2"], "have no use with a cluster"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, capsys, given, says):
    assert main(words("--axis", "seed=0,1", "--out", str(tmp_path / "out"), *given)) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_end_says_how_many_failed_and_what_to_do(tmp_path, capsys, monkeypatch):
    def crash(*_):
        raise RuntimeError("boom")

    out = str(tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(group_run, "run_crews", crash)
        assert main(words("--axis", "seed=0,1", "--out", out)) == 1
    told = capsys.readouterr()
    assert "2 of 2 experiments: 2 failed; the same command tries what failed again" in told.err
    assert main(words("--axis", "seed=0,1", "--out", out)) == 0
    told = capsys.readouterr()
    assert not told.err
    assert "finished before" not in told.out


def test_what_comes_to_the_same_is_counted(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(words("--axis", "seed=0,0,0", "--out", str(out))) == 0
    assert "2 more would have come to the same" in capsys.readouterr().out
    assert len((out / "results.csv").read_text().splitlines()) == 2


def test_a_share_without_work_says_so(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(words("--axis", "seed=0", "--out", out, "--share", "1/2")) == 0
    assert "0 experiments" in capsys.readouterr().out


def test_the_options_are_in_the_help(capsys):
    assert main(["sweep", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--share" in shown
    assert "--cluster" in shown
