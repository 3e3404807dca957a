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


def killed_after(words, seconds, log):
    """Whether the command was still there after some seconds, and so was killed."""
    with log.open("a") as file:
        running = subprocess.Popen([*FEDCODE, *words], stdout=file, stderr=subprocess.STDOUT)
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
    whole, part, log = tmp_path / "whole", tmp_path / "part", tmp_path / "log"
    began = time.monotonic()
    assert not killed_after(arguments(method, whole, rounds), 300, log)
    longest = time.monotonic() - began
    rng, done = random.Random(method), 0
    for _ in range(kills):
        again = (part / "checkpoints").is_dir() and any((part / "checkpoints").glob("round_*"))
        words = (
            ["run", "--resume", str(part), "--quiet"] if again else arguments(method, part, rounds)
        )
        if not again:
            words.append("--overwrite")
        done += killed_after(words, rng.uniform(0.5, 1.1) * longest, log)
    last = ["run", "--resume", str(part), "--quiet"]
    assert not killed_after(last, 300, log), log.read_text()
    assert without_time(part) == without_time(whole)
    assert results.read(part).summary["status"] == "completed"
    np.testing.assert_array_equal(weights(part), weights(whole))
    return done


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_twenty_kills_change_nothing(tmp_path, method):
    assert check_kills(tmp_path, method, 20, rounds=400) >= 5


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
