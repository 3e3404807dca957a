"""Runs that are killed without warning at any moment, and go on: to the same bits."""

import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fedcode_jax import results
from fedcode_jax.cli import main
from fedcode_jax.experiment.trained import trained

FEDCODE = [sys.executable, "-c", "import sys; from fedcode_jax.cli import main; sys.exit(main())"]
METHODS = {
    "fedavg": [],
    "fedcode": ["--algorithm.num-clusters", "4"],
    "topk": ["--algorithm.up.fraction", "0.1"],  # with error feedback
    "scaffold": ["--local.optimizer", "sgd"],  # with control variates
}


def arguments(method, out, rounds):
    return [
        "run", "--rounds", str(rounds), "--data.name", "synthetic", "--data.shape", "6",
        "--data.num-classes", "3", "--data.train-size", "60", "--data.test-size", "30",
        "--model.name", "mlp", "--partition.num-clients", "3", "--eval-every", "7",
        "--checkpoint-every", "3", "--algorithm.name", method, *METHODS[method],
        "--out", str(out), "--quiet",
    ]  # fmt: skip


def begun_or_gone_on(method, out, rounds):
    """Goes on if there is a checkpoint; what was killed before is begun again."""
    if any(out.glob("checkpoints/round_*")):
        return ["run", "--resume", str(out), "--quiet"]
    return [*arguments(method, out, rounds), "--overwrite"]


def rounds_in(folder):
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def started(words, log):
    with log.open("a") as file:
        return subprocess.Popen([*FEDCODE, *words], stdout=file, stderr=subprocess.STDOUT)


def finished(words, log):
    assert started(words, log).wait(300) == 0, log.read_text()


def killed(words, out, rounds, seconds, log):
    """Whether the command was killed: some seconds after it had done so many more rounds."""
    running, goal = started(words, log), rounds_in(out) + rounds
    while rounds_in(out) < goal and running.poll() is None:
        time.sleep(0.005)
    try:
        code = running.wait(seconds)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL)
        running.wait(60)
        return True
    assert code == 0, log.read_text()
    return False


def weights(folder):
    return trained(folder).server["params"]["head"]["kernel"]


def without_time(folder):
    return re.sub(r'"wall_seconds": [^,]+', "", (folder / "metrics.jsonl").read_text())


def check_kills(tmp_path, method, kills, rounds):
    """Kills a run at random moments, also while it starts; how many came before its end."""
    whole, part, log = tmp_path / "whole", tmp_path / "part", tmp_path / "log"
    finished(arguments(method, whole, rounds), log)
    rng, done = random.Random(method), 0
    for number in range(kills):
        further = 0 if number % 5 == 4 else rng.randint(1, rounds // kills)
        seconds = rng.uniform(0, 5 if further == 0 else 0.1)
        done += killed(begun_or_gone_on(method, part, rounds), part, further, seconds, log)
    finished(begun_or_gone_on(method, part, rounds), log)
    assert without_time(part) == without_time(whole)
    assert results.read(part).summary["status"] == "completed"
    np.testing.assert_array_equal(weights(part), weights(whole))
    return done


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_twenty_kills_change_nothing(tmp_path, method):
    assert check_kills(tmp_path, method, 20, rounds=2000) >= 19


def test_a_kill_between_any_two_files_of_a_checkpoint_changes_nothing(tmp_path, monkeypatch):
    """Each write of the run ends it once, in turn, as a kill there would."""
    from fedcode_jax.simulation.checkpoint import folder

    class KilledError(BaseException):
        pass

    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(arguments("fedcode", whole, 8)) == 0
    write, take_place, left = folder._write, folder._take_place, [0]

    def ending(step):
        def maybe(*inputs):
            left[0] -= 1
            if left[0] == 0:
                raise KilledError
            step(*inputs)

        return maybe

    monkeypatch.setattr(folder, "_write", ending(write))
    monkeypatch.setattr(folder, "_take_place", ending(take_place))
    for calls in (5, 2, 3, 1):
        left[0] = calls
        again = part.exists() and any((part / "checkpoints").glob("round_*"))
        words = (
            ["run", "--resume", str(part), "--quiet"] if again else arguments("fedcode", part, 8)
        )
        with pytest.raises(KilledError):
            main([*words] if again else [*words, "--overwrite"])
    left[0] = 0
    assert main(["run", "--resume", str(part), "--quiet"]) == 0
    assert without_time(part) == without_time(whole)
    np.testing.assert_array_equal(weights(part), weights(whole))
