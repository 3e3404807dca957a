"""The contract of a logger, over all of the registry; what is written is read back."""

import itertools
import math
import subprocess
import sys
import time

import logged
import pytest

from fedcode_jax import loggers
from fedcode_jax.errors import ConfigError
from fedcode_jax.loggers import Beginning, Loggers, makers

SETTINGS = {
    "seed": 3,
    "algorithm.name": "fedcode",
    "local.learning_rate": 1e-3,
    "metrics": ["top5"],
}
LIBRARIES = {"tensorboard": ("tensorboardX",), "wandb": ("wandb",), "mlflow": ("mlflow", "alembic")}
STATUSES = {
    "tensorboard": {"completed": 1, "diverged": 2, "interrupted": None, "failed": None},
    "wandb": {"completed": 0, "diverged": 1, "interrupted": 130, "failed": 1},
    "mlflow": {
        "completed": "FINISHED", "diverged": "FAILED", "interrupted": "KILLED", "failed": "FAILED",
    },
}  # fmt: skip
# Of the libraries, at import and in their own threads and sockets.
pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The folder of a sweep: MLflow takes long to make its store."""
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(params=sorted(loggers.registry))
def name(request, monkeypatch, tmp_path):
    """A logger whose library is here; nothing goes anywhere but into the run's folder."""
    for module in LIBRARIES[request.param]:
        pytest.importorskip(module)
    for variable in ("WANDB_DIR", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield request.param
    assert not list((tmp_path / "elsewhere").iterdir())


def record(number):
    return {
        "round": number,
        "test_accuracy": number / 8 if number % 2 else None,
        "train_loss": math.inf if number == 2 else 2.0 / number,
        "uplink_bytes": 1000 * number,
        "exchange": {"server_sends_weights": number == 1},
    }


def summary(status, rounds):
    return {
        "status": status,
        "rounds": rounds,
        "final_accuracy": 0.5,
        "client_accuracy": {"mean": 0.25},
        "best_accuracy": None,
        "to_accuracy": [{"accuracy": 0.5}],
    }


class Log:
    """A run of a sweep as one logger has it."""

    def __init__(self, name, folder, shared):
        self.name, self.folder, self.shared, self.kept = name, folder, shared, {}

    def tell(self, numbers, status="completed", **beginning):
        """Tells of rounds, as a run does."""
        if self.name == "wandb" and self.kept:
            time.sleep(1.1)  # its folders are named by the second
        found = Loggers(makers([self.name], folder=str(self.folder)))
        whose = {"group": "grid", "folder": self.folder, "shared": self.shared}
        run = Beginning(SETTINGS, f"grid/{self.folder.name}", **whose, **beginning)
        before = [record(number) for number in range(1, run.done + 1)]
        found.begin(run, before, self.kept)
        found.rounds([record(number) for number in numbers])
        found.end(summary(status, numbers[-1]))

    def read(self):
        return logged.READERS[self.name](self.folder, self.shared)

    @property
    def rounds(self):
        return [number for number, _ in self.read().rounds]


_numbers = itertools.count()


@pytest.fixture
def log(name, shared, tmp_path):
    return Log(name, tmp_path / f"{next(_numbers):04d}", shared)


def test_a_run_is_there_with_its_settings_every_figure_and_how_it_ended(log):
    log.tell(range(1, 4))
    found = log.read()
    assert [number for number, _ in found.rounds] == [1, 2, 3]
    for number, values in found.rounds:
        expected = loggers.numbers(record(number))
        own = {name: value for name, value in values.items() if not name.startswith("_")}
        assert own == pytest.approx(expected)
    assert found.rounds[0][1]["exchange.server_sends_weights"] == 1
    assert "train_loss" not in found.rounds[1][1]
    assert found.settings["algorithm.name"] == "fedcode"
    assert float(found.settings["seed"]) == 3
    assert float(found.settings["local.learning_rate"]) == pytest.approx(1e-3)
    assert "top5" in str(found.settings["metrics"])
    assert found.closing == {
        "status": "completed", "rounds": 3, "final_accuracy": 0.5, "client_accuracy.mean": 0.25,
    }  # fmt: skip
    assert found.status == STATUSES[log.name]["completed"]
    assert found.group == (None if log.name == "tensorboard" else "grid")


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_how_a_run_ended_is_there(log, status):
    log.tell([1], status)
    assert log.read().status == STATUSES[log.name][status]
    assert log.read().closing["status"] == status


def test_a_resumed_run_goes_on_in_the_same_log_and_no_round_is_there_twice(log):
    log.tell(range(1, 5), "interrupted")
    assert log.read().status == STATUSES[log.name]["interrupted"]
    log.tell(range(3, 7), done=2, told=4)  # its last checkpoint was of round 2
    found = log.read()
    assert log.rounds == [1, 2, 3, 4, 5, 6]
    assert (found.closing["status"], found.closing["rounds"]) == ("completed", 6)
    assert found.status == STATUSES[log.name]["completed"]


def test_a_logger_that_comes_later_is_told_of_all_rounds(log):
    log.tell([3], done=2, told=4)
    assert log.rounds == [1, 2, 3]


def test_a_missing_library_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARIES[name][0], None)
    with pytest.raises(ConfigError, match=r"^log: .* pip install 'fedcode_jax\[(.*)\]'") as caught:
        makers([name], folder="run")
    assert f"[{name}]" in str(caught.value)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_library_is_imported_when_its_logger_is_asked_for(name):
    code = (
        "import sys, fedcode_jax; fedcode_jax.ExperimentConfig(log=[])\n"
        "from fedcode_jax.loggers import makers; makers([], folder=None)\n"
        f"sys.exit({LIBRARIES[name][0]!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_event_files_that_were_cut_off_count_as_far_as_they_go(tmp_path):
    pytest.importorskip("tensorboardX")
    log = Log("tensorboard", tmp_path, tmp_path)
    log.tell(range(1, 4))
    (path,) = (tmp_path / "tensorboard").iterdir()
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"uplink_bytes") + 3])  # in the middle of round 3
    log.tell([4], done=3, told=3)
    assert log.rounds == [1, 2, 3, 4]
    assert all("uplink_bytes" in values for _, values in log.read().rounds)
