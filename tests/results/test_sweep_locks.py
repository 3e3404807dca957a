"""A sweep's folder is written by one process, or by several a share each."""

import os

import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.results import SweepFolder, sweep_locks
from fedcode_jax.results.sweep_locks import hold, is_lock, short


def test_shares_of_one_division_go_together(tmp_path):
    held = [hold(tmp_path, (number, 3)) for number in (1, 2, 3)]
    with pytest.raises(ConfigError, match=rf"share 2/3, is being written by process {os.getpid()}"):
        hold(tmp_path, (2, 3))
    with pytest.raises(ConfigError, match=r"share 1/3, .*\(share 1/2 is of another division\)"):
        hold(tmp_path, (1, 2))
    with pytest.raises(ConfigError, match=r"share 1/3, is .*\(it is being run in shares\)"):
        hold(tmp_path, None)
    for each in held:
        each.release()
    hold(tmp_path, None).release()
    assert all(map(is_lock, tmp_path.iterdir()))


def test_the_whole_excludes_shares_and_the_whole(tmp_path):
    held = hold(tmp_path, None)
    with pytest.raises(ConfigError, match=rf"process {os.getpid()} on .*share 1/2 cannot run"):
        hold(tmp_path, (1, 2))
    with pytest.raises(ConfigError, match="is being written"):
        hold(tmp_path, None)
    held.release()
    share = hold(tmp_path, (1, 2))
    share.release()


def test_what_is_refused_holds_nothing(tmp_path):
    share = hold(tmp_path, (1, 2))
    for refused in (None, (1, 3)):
        with pytest.raises(ConfigError):
            hold(tmp_path, refused)
    share.release()
    hold(tmp_path, (1, 3)).release()


def test_who_waits_in_vain_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_locks, "_PATIENCE", 0.1)
    with short(tmp_path), pytest.raises(ConfigError, match="has been held"), short(tmp_path):
        pass


def test_the_description_is_written_by_the_first_and_compared_by_others(tmp_path):
    one, other = {"settings": {"rounds": 1}}, {"settings": {"rounds": 2}}
    first = SweepFolder.open(tmp_path / "out", one, {}, (1, 2))
    second = SweepFolder.open(tmp_path / "out", one, {}, (2, 2))
    with pytest.raises(ConfigError, match=r"holds another sweep \(rounds is 1 there"):
        SweepFolder.open(tmp_path / "out", other, {}, (2, 2))
    second.close()
    first.close()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    """Whatever the user may do: the file system is read-only."""
    import errno

    def refuse(self, *args, **more):
        raise OSError(errno.EROFS, "Read-only file system")

    SweepFolder.open(tmp_path / "out", {"settings": {}}, {}).close()
    monkeypatch.setattr(os, "open", refuse)  # as the lock's file is opened
    with pytest.raises(ConfigError) as told:
        SweepFolder.open(tmp_path / "out", {"settings": {}}, {})
    assert "cannot be written (Read-only file system); choose another --out" in str(told.value)
    assert "\n" not in str(told.value)


def ended(folder, number, status, **more):
    summary = {"status": status, "final_accuracy": 0.5, "wall_seconds": 1.0}
    return folder.write(number, "seed: 0\n", [{"round": 1}], summary, None, **more)


def test_what_failed_is_not_finished_and_gives_way(tmp_path):
    folder = SweepFolder.open(tmp_path / "out", {"settings": {}}, {})
    ended(folder, 0, "failed")
    assert folder.read(0) is None
    (folder.of(0) / "stale").touch()
    ended(folder, 0, "diverged", versions={"device": "there"})
    assert folder.read(0)[1]["status"] == "diverged"
    assert "there" in (folder.of(0) / "config.yaml").read_text()
    assert not (folder.of(0) / "stale").exists()
    assert [path.name for path in (folder.path / "runs").iterdir()] == ["0000"]
    folder.close()


def test_checkpoints_survive_a_failure_and_go_with_the_run(tmp_path):
    folder = SweepFolder.open(tmp_path / "out", {"settings": {}}, {})
    kept = folder.begun(0) / "checkpoints" / "round_000001"
    kept.mkdir(parents=True)
    ended(folder, 0, "failed")
    for stale in (".0000.old", ".0000.failed", ".0001", ".0002"):
        (folder.path / "runs" / stale).mkdir()
    folder.tidy([0, 1])
    names = sorted(path.name for path in (folder.path / "runs").iterdir())
    assert names == [".0000", ".0002", "0000"]  # another share's is not touched
    ended(folder, 0, "completed")
    assert (folder.of(0) / "checkpoints" / "round_000001").is_dir()
    assert not folder.begun(0).exists()
    folder.close()


def test_the_table_has_what_others_ran_and_no_figure_of_the_machine(tmp_path):
    first = SweepFolder.open(tmp_path / "out", {"settings": {}}, {}, (1, 2))
    second = SweepFolder.open(tmp_path / "out", {"settings": {}}, {}, (2, 2))
    ended(second, 2, "completed")
    ended(first, 0, "failed")
    first.write_table([{"seed": seed} for seed in (7, 8, 9)])
    assert (tmp_path / "out" / "results.csv").read_text() == (
        "run,seed,status,final_accuracy\n0,7,failed,0.5\n2,9,completed,0.5\n"
    )
    first.close()
    second.close()
