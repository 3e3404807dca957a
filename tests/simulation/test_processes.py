"""Two real processes over loopback, each with one CPU device, against one process."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import cli, results
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.simulation import joining, processes

TIMEOUT = 300
FEDCODE = [
    sys.executable, "-W", "error",
    "-c", "import sys; from fedcode_jax.cli import main; sys.exit(main())",
]  # fmt: skip
TINY = {
    "model.name": "mlp",
    "local.epochs": 1,
    "local.optimizer": "sgd",
    "local.learning_rate": 0.1,
    "algorithm.num_clusters": 8,
    "partition.num_clients": 8,  # so that both devices share what they keep
}
FLOATS = {n: v for n, v in TINY.items() if n != "algorithm.num_clusters"} | {
    "algorithm.name": "fedavg"
}


def words(changes):
    return [
        word
        for name, value in changes.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def explicit(port, number):
    address = f"127.0.0.1:{port}"
    return ["--coordinator", address, "--num-processes", "2", "--process-id", str(number)]


def as_slurm_task(port, number):
    """What SLURM tells the tasks of ``srun -n 2``, and where JAX finds it."""
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(number),
        "SLURM_LOCALID": str(number),
        "JAX_COORDINATOR_PORT": str(port),
    }


@contextlib.contextmanager
def started(arguments, *, slurm=False, own=((), ()), folders=(None, None), program=FEDCODE):
    """Two processes of ``fedcode run``, killed if they are still there in the end."""
    port, running = free_port(), []
    try:
        for number in range(2):
            how = ["--distributed"] if slurm else explicit(port, number)
            # XLA's own warnings are not the command's.
            environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
            environment.pop("XLA_FLAGS", None)
            if slurm:
                environment |= as_slurm_task(port, number)
            running.append(
                subprocess.Popen(
                    [*program, "run", *how, *arguments, *own[number]],
                    env=environment,
                    cwd=folders[number],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def ended(running):
    """Their exit codes, and what they printed."""
    shown = [process.communicate(timeout=TIMEOUT) for process in running]
    noise = ("[Gloo]", "WARNING:absl")  # the latter from Orbax, as of the oldest JAX
    own = lambda text: [x for x in text.splitlines() if x and not x.startswith(noise)]  # noqa: E731
    return [process.returncode for process in running], [(own(a), own(b)) for a, b in shown]


def figures(records):
    """What is to be equal, and what to rounding."""
    names = ("round", "uplink_bytes", "downlink_bytes", "cumulative_bytes", "exchange")
    exact = [{name: record[name] for name in names} for record in records]
    close = [[record["train_loss"], record["test_loss"]] for record in records]
    return exact, np.array(close)


def test_two_processes_give_what_one_gives(tmp_path):
    changes = {**FLOATS, "rounds": 2}
    one = fedcode_jax.run(replace(ExperimentConfig(), changes))
    pytest.importorskip("tensorboardX")
    own = {"out": tmp_path / "2", "log": "tensorboard"}
    with started([*words({**changes, **own}), "--quiet"]) as running:
        codes, shown = ended(running)
    assert codes == [0, 0], shown
    assert len(list((tmp_path / "2" / "tensorboard").iterdir())) == 1  # the first process logs
    exact, close = figures(results.read(tmp_path / "2").records)
    expected, near = figures(one.records)
    assert exact == expected
    np.testing.assert_allclose(close, near, rtol=1e-5)


@pytest.mark.slow
def test_two_processes_write_the_folder_of_one_and_it_is_resumed_by_any_number(tmp_path):
    """Rounds 1 and 2 with two processes, the second resumed; round 3 with one."""
    one = fedcode_jax.run(replace(ExperimentConfig(), {**TINY, "rounds": 3, "out": tmp_path / "1"}))
    out = tmp_path / "2"
    for rounds in (1, 2):
        new = words({**TINY, "rounds": rounds, "out": out})
        again = ["--resume", str(out), "--rounds", str(rounds)]
        with started(again if rounds == 2 else new, slurm=rounds == 2) as running:
            codes, (first, second) = ended(running)
        assert codes == [0, 0], (first, second)
        assert second == ([], [])
        assert first[1] == []
        assert "2 devices" in "".join(first[0])
        assert f"round {rounds}/{rounds}" in "".join(first[0])
    assert {path.name for path in out.iterdir()} == {p.name for p in (tmp_path / "1").iterdir()}
    written = results.read(out)
    assert written.summary["status"] == "completed"
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == [
        "round_000001",
        "round_000002",
    ]

    resumed = fedcode_jax.run(
        replace(ExperimentConfig(), {**TINY, "rounds": 3, "out": out}), resume=True
    )
    exact, close = figures(resumed.records)
    expected, near = figures(one.records)
    assert exact == expected
    np.testing.assert_allclose(close, near, rtol=1e-3)
    assert written.records == resumed.records[:2]
    flat = lambda run: np.concatenate([x.ravel() for x in run.weights["params"]["head"].values()])  # noqa: E731
    # A weight half-way between two centers may be coded by either.
    assert np.quantile(np.abs(flat(one) - flat(resumed)), 0.99) < 1e-5


@pytest.mark.slow
def test_one_interrupt_in_any_process_ends_the_run_in_all(tmp_path):
    changes = {**FLOATS, "rounds": 100_000, "out": tmp_path / "run"}
    with started([*words(changes), "--quiet"]) as running:
        metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + TIMEOUT
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.1)
        running[1].send_signal(signal.SIGINT)
        codes, (first, second) = ended(running)
    assert codes == [130, 130]
    assert "interrupted" in first[1][0]
    assert second == ([], [])
    assert results.read(tmp_path / "run").summary["status"] == "interrupted"


def test_a_folder_that_is_taken_stops_all_processes(tmp_path):
    (tmp_path / "config.yaml").touch()
    with started(["--out", str(tmp_path)]) as running:
        codes, (first, second) = ended(running)
    assert codes == [2, 2]
    assert len(first[1]) == 1
    assert "already holds a run" in first[1][0]
    (line,) = second[1]
    assert "error: process 0" in line


def test_data_that_one_process_lacks_stop_all_processes(tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    x, y = np.zeros((20, 4), np.float32), np.arange(20) % 2
    np.savez(here / "own.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    changes = {"data.name": "npz", "data.path": "own.npz", "model.name": "mlp"}
    with started(words(changes), folders=(here, elsewhere)) as running:
        codes, (first, second) = ended(running)
    assert codes == [2, 2]
    assert "process 1: " in first[1][0]
    assert "own.npz" in first[1][0]
    assert "own.npz" in second[1][0]
    assert (len(first[1]), len(second[1])) == (1, 1)


def test_processes_with_unlike_options_stop_all_processes(tmp_path):
    arguments = words({"model.name": "mlp", "out": tmp_path / "run"})
    with started(arguments, own=((), ("--seed", "1"))) as running:
        codes, (first, second) = ended(running)
    assert codes == [2, 2]
    assert "seed: process 1 has 1, but process 0 0" in first[1][0]
    (line,) = second[1]
    assert "seed: process 1 has 1" in line
    assert not (tmp_path / "run").exists()


def test_options_that_one_process_cannot_use_end_all():
    with started(words(TINY), own=((), ("--rounds", "foo"))) as running:
        codes, (first, second) = ended(running)
    assert codes == [2, 2]
    assert second[1] == [
        "fedcode: error: rounds: 'foo' cannot be used; it must be a whole number of at least 1"
    ]
    (line,) = first[1]
    assert line.startswith("fedcode: error: process 1 failed: ConfigError: rounds: 'foo'")


def begun(folder):
    """Waits until a run that goes on and on has written its first round."""
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + TIMEOUT
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_is_killed_ends_the_other_within_seconds(tmp_path, number):
    changes = {**FLOATS, "rounds": 1_000_000, "out": tmp_path / "run"}
    with started([*words(changes), "--quiet"]) as running:
        begun(tmp_path / "run")
        running[number].kill()
        killed = time.monotonic()
        codes, shown = ended(running)
    assert time.monotonic() - killed < 15
    if number == 1:  # of the first one JAX's own notice, an abort, may be a moment earlier
        assert codes == [2, -signal.SIGKILL]
        assert shown[0][1] == [
            "fedcode: error: process 1 ended without a word: it was killed, or its machine is gone"
        ]


FAILING = """
import sys
from fedcode_jax.simulation import run
def records_of(*given, first_round, **more):
    if first_round > 2 and sys.argv[sys.argv.index("--process-id") + 1] == "{number}":
        raise ValueError("the disk is full")
    return made(*given, first_round=first_round, **more)
made, run.records_of = run.records_of, records_of
from fedcode_jax.cli import main
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_an_error_between_two_rounds_of_one_process_ends_both(tmp_path, number):
    changes = {**FLOATS, "rounds": 1_000_000, "out": tmp_path / "run"}
    program = [sys.executable, "-c", FAILING.format(number=number)]
    with started([*words(changes), "--quiet"], program=program) as running:
        begun(tmp_path / "run")
        began = time.monotonic()
        codes, shown = ended(running)
    assert time.monotonic() - began < 30
    assert codes[number] == 1
    assert shown[number][1][-1] == "ValueError: the disk is full"
    assert codes[1 - number] == 2
    line = f"fedcode: error: process {number} failed: ValueError: the disk is full"
    assert shown[1 - number][1] == [line]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--coordinator a:1", "num_processes: None cannot be used beside the others"),
        ("--distributed --process-id 0", "coordinator: None cannot be used"),
        ("--coordinator a:1 --num-processes 2", "process_id: None cannot be used"),
        ("--coordinator a --num-processes 2 --process-id 0", "coordinator: 'a' cannot be used"),
        ("--coordinator a:1 --num-processes 0 --process-id 0", "num_processes: 0 cannot"),
        ("--coordinator a:1 --num-processes 2 --process-id 2", "process_id: 2 cannot be used"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(options, message, capsys):
    assert cli.main(["run", *options.split()]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_without_a_cluster_the_command_says_what_to_give(tmp_path):
    done = subprocess.run(
        [*FEDCODE, "run", "--distributed"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("fedcode: error: distributed: no cluster was found")
    assert done.stderr.count("\n") == 1


def test_a_coordinator_that_does_not_answer_is_given_up():
    code = (
        "from fedcode_jax.simulation.joining import join\n"
        "from fedcode_jax.errors import ConfigError\n"
        f"try: join('127.0.0.1:{free_port()}', 2, 1, timeout=2)\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    assert "did not find each other in 2 s" in done.stdout


def test_a_process_that_has_used_jax_cannot_join():
    jax.devices()
    with pytest.raises(ConfigError, match=r"coordinator: '127.0.0.1:1': .* cannot be joined"):
        joining.join("127.0.0.1:1", 1, 0)


def test_one_process_talks_to_itself():
    with processes.together():
        pass
    with pytest.raises(ConfigError, match="seed"), processes.together():
        raise ConfigError("seed")
    assert processes.text_from_first("a\n") == "a\n"
    assert processes.gather("") == [""]
