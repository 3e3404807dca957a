"""Sweeps on a Dask cluster: what is refused, what is sent, what comes back."""

import sys
import threading

import pytest
from tiny_sweep import BASE, Counting, figures

import fedcode_jax
from fedcode_jax.config import replace, to_yaml
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment import cluster

distributed = pytest.importorskip("distributed")


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"cluster: needs Dask's distributed .*pip install"):
        fedcode_jax.sweep(BASE, {"seed": [0]}, cluster="tcp://127.0.0.1:1")


def test_what_cannot_go_together_is_refused(tmp_path):
    out = str(tmp_path / "out")
    with pytest.raises(ConfigError, match="share: the workers of a cluster divide"):
        fedcode_jax.sweep(BASE, {"seed": [0]}, out=out, share="1/2", cluster="tcp://x:1")
    saved = replace(BASE, {"checkpoint_every": 2})
    with pytest.raises(ConfigError, match="have no use with a cluster"):
        fedcode_jax.sweep(saved, {"seed": [0]}, out=out, cluster="tcp://x:1")
    with pytest.raises(ConfigError, match="cluster: int is no cluster"):
        fedcode_jax.sweep(BASE, {"seed": [0]}, out=out, cluster=3)
    assert not (tmp_path / "out").exists()


def test_nobody_at_the_address_is_one_line():
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(ConfigError, match=r"cluster: 'tcp://127.0.0.1:1' cannot be reached"),
    ):
        fedcode_jax.sweep(BASE, {"seed": [0]}, cluster="tcp://127.0.0.1:1")


def test_a_part_that_cannot_be_pickled_is_named():
    lock = threading.Lock()

    def loss(logits, labels):
        assert lock
        return fedcode_jax.clients.losses.cross_entropy(logits, labels)

    with pytest.raises(ConfigError, match=r"loss: cannot be sent to the workers .TypeError"):
        fedcode_jax.sweep(BASE, {"seed": [0]}, cluster="tcp://127.0.0.1:1", loss=loss)


def test_a_worker_of_another_version_runs_nothing():
    there = cluster._versions() | {"fedcode_jax": "0.0.1", "jax": "0.1"}
    found, versions = cluster.run_piece([(3, to_yaml(BASE)), (5, to_yaml(BASE))], {}, there)
    assert list(found) == [3, 5]
    for each in found.values():
        assert each["summary"]["status"] == "failed"
        assert "this worker has fedcode_jax 0.1.0 and not 0.0.1, jax" in each["summary"]["error"]
    assert versions["fedcode_jax"] == fedcode_jax.__version__
    with pytest.raises(ConfigError, match=r"worker tcp://w has fedcode_jax 2 and not 0.1.0;"):
        cluster._check_versions("worker tcp://w", {"fedcode_jax": "2"}, {"fedcode_jax": "0.1.0"})


@pytest.fixture(scope="module")
def client():
    """A scheduler and a worker in this process."""
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 1}
    with (
        distributed.LocalCluster(**options, dashboard_address=None) as here,
        distributed.Client(here, set_as_default=False) as client,
    ):
        yield client


def test_a_sweep_on_a_cluster_is_the_sweep_here(tmp_path, client):
    axes = {
        ("seed", "partition.min_size", "partition.name"): [
            (0, 1, "dirichlet"),
            (1, 60, "dirichlet"),
        ]
    }
    here, there, observer = tmp_path / "here", tmp_path / "there", Counting()
    expected = fedcode_jax.sweep(BASE, axes, out=str(here))
    found = fedcode_jax.sweep(BASE, axes, out=str(there), cluster=client, observer=observer)
    assert [run.summary["status"] for run in found.runs] == ["completed", "failed"]
    assert observer.done == observer.total == 2
    for name in ("results.csv", "results.parquet", "sweep.json"):
        assert (here / name).read_bytes() == (there / name).read_bytes()
    assert figures(found.runs[0].records) == figures(expected.runs[0].records)
    assert client.status == "running"  # it is the user's own


def quick(piece, given, versions):
    """In place of the work: what the first experiment comes to, and an error of the others."""
    (number, _), *_ = piece
    if number > 0:
        raise RuntimeError("the worker is out of order")
    return {0: {"records": [], "summary": {"status": "completed", "rounds": 0}}}, versions


def test_a_piece_that_is_lost_for_good_has_failed(client, monkeypatch):
    monkeypatch.setattr(cluster, "run_piece", quick)
    good, lost = fedcode_jax.sweep(BASE, {"seed": [0, 1]}, cluster=client).runs
    assert good.summary["status"] == "completed"
    assert lost.summary["status"] == "failed"
    assert lost.summary["error"] == "RuntimeError: the worker is out of order"


def test_ctrl_c_takes_back_what_is_left_and_the_table_is_of_what_is_done(
    tmp_path, client, monkeypatch
):
    out, axes = tmp_path / "out", {"seed": [0, 1, 2]}

    def slow(piece, given, versions):
        import time

        (number, _), *_ = piece
        time.sleep(0.5 if number else 0)
        return {number: {"records": [], "summary": {"status": "completed"}}}, versions

    monkeypatch.setattr(cluster, "run_piece", slow)
    with pytest.raises(KeyboardInterrupt):
        fedcode_jax.sweep(BASE, axes, out=str(out), cluster=client, observer=Counting(0.5))
    assert (out / "results.csv").read_text() == "run,seed,status\n0,0,completed\n"
    observer = Counting()
    fedcode_jax.sweep(BASE, axes, out=str(out), cluster=client, observer=observer)
    assert (observer.before, observer.done) == (1, 2)


def test_workers_of_another_version_are_refused(tmp_path, client, monkeypatch):
    there = cluster._versions() | {"jax": "0.0.1"}
    monkeypatch.setattr(client, "run", lambda *_, **more: {"tcp://w": there})
    with pytest.raises(ConfigError, match=r"worker tcp://w has jax 0.0.1 and not"):
        fedcode_jax.sweep(BASE, {"seed": [0]}, out=str(tmp_path / "out"), cluster=client)
    error = ModuleNotFoundError("No module named 'fedcode_jax'")
    monkeypatch.setattr(client, "run", lambda *_, **more: {"tcp://w": error})
    with pytest.raises(ConfigError, match=r"worker tcp://w cannot run fedcode_jax .ModuleNot"):
        fedcode_jax.sweep(BASE, {"seed": [0]}, out=str(tmp_path / "out"), cluster=client)
    assert not (tmp_path / "out").exists()
