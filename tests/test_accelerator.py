"""``benchmarks/accelerator.py``: parts that hang, fail or lack a package, and the table."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fedcode_jax

BENCHMARKS = Path(fedcode_jax.__file__).parents[1] / "benchmarks"
SCRIPT = BENCHMARKS / "accelerator.py"
FACTS = {"card": "Card A", "date": "2026-01-02", "smoke": True}
FINDS = """
import json, sys
file = sys.argv[sys.argv.index("--record") + 1]
open(file, "w").write(json.dumps({"found": [{"what": "speed", "figure": "7 | 8", "data": {}}]}))
"""
HANGS = FINDS + "import time; print('it waits', flush=True); time.sleep(600)"
FAILS = "raise ValueError('no such luck')"
LACKS = "print('torch is not installed here'); raise SystemExit(3)"


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("accelerator")


def statuses(records):
    return {record["part"]: record["status"] for record in records}


def went(accelerator, folder, programs, *, seconds=60.0, shares=None, again=()):
    """One call, with programs in place of the parts."""
    shares = shares or dict.fromkeys(programs, 1)
    return accelerator.go(
        shares, lambda name: [sys.executable, "-c", programs[name]], folder, seconds, FACTS, again
    )


def test_a_part_that_hangs_is_ended_and_what_it_found_is_kept(accelerator, tmp_path):
    began = time.monotonic()
    hung, done = went(
        accelerator,
        tmp_path,
        {"pfl": HANGS, "sweep": FINDS},
        seconds=30,
        shares={"pfl": 1, "sweep": 9},
    )
    assert time.monotonic() - began < 25
    assert (hung["status"], done["status"]) == ("failed", "done")
    assert hung["reason"] == "not done in 3 s"
    assert "it waits" in hung["tail"]
    assert hung["found"][0]["figure"] == "7 | 8"
    assert json.loads((tmp_path / "pfl.json").read_text()) == hung


def test_what_a_part_started_ends_with_it(accelerator, tmp_path):
    file = tmp_path / "number"
    child = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    (record,) = went(accelerator, tmp_path, {"pfl": starts}, seconds=8)
    assert record["status"] == "failed"
    number = int(file.read_text())
    stat = Path(f"/proc/{number}/stat")
    for _ in range(50):  # whoever adopts it may take a moment to take note of its end
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail(f"process {number} is still there")


def test_one_that_fails_or_lacks_a_package_does_not_stop_the_others(accelerator, tmp_path):
    programs = {"suite": FAILS, "digits": LACKS, "plans": FINDS}
    failed, skipped, done = went(accelerator, tmp_path, programs)
    assert (failed["status"], skipped["status"], done["status"]) == ("failed", "skipped", "done")
    assert failed["reason"] == "exit status 1: ValueError: no such luck"
    assert "Traceback" in failed["tail"]
    assert skipped["reason"] == "torch is not installed here"
    assert done["card"] == "Card A"


def test_a_second_call_runs_what_is_missing_failed_or_asked_for(accelerator, tmp_path):
    first = {"suite": FINDS, "digits": FAILS, "plans": LACKS, "pfl": FINDS}
    went(accelerator, tmp_path, first)
    all_well = dict.fromkeys([*first, "memory"], FINDS)
    again = went(accelerator, tmp_path, all_well, again=["pfl"])
    assert statuses(again) == dict.fromkeys(["digits", "plans", "pfl", "memory"], "done")
    assert went(accelerator, tmp_path, all_well) == []


def test_without_time_nothing_is_begun(accelerator, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(accelerator, "LEAST_SECONDS", 60)
    records = went(
        accelerator,
        tmp_path,
        {"suite": HANGS, "digits": FINDS},
        seconds=61,
        shares={"suite": 1, "digits": 29},
    )
    assert statuses(records) == {"suite": "failed"}
    assert "no time left for digits: call again" in capsys.readouterr().out
    assert not (tmp_path / "digits.json").exists()


def test_the_table_has_every_card_and_what_did_not_work(accelerator, tmp_path):
    order = list(accelerator.SHARES)
    assert "--minutes 9" in accelerator.table(tmp_path, order)
    assert "\n" not in accelerator.table(tmp_path, order)
    went(accelerator, tmp_path / "card-a", {"suite": FINDS, "memory": FAILS})
    (tmp_path / "card-a" / "other.json").write_text("{")
    assert accelerator.table(tmp_path, order).splitlines() == [
        "| what | figure | card | date |",
        "| --- | --- | --- | --- |",
        "| speed | 7 \\| 8 | Card A | 2026-01-02 |",
        "| memory | failed: exit status 1: ValueError: no such luck | Card A | 2026-01-02 |",
    ]


def command(*words, **environment):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_a_cpu_is_not_a_card_and_a_report_says_what_is_missing(tmp_path):
    done = command("--minutes", "1", "--out", str(tmp_path), JAX_PLATFORMS="cpu")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("--smoke runs all of it small")
    assert not list(tmp_path.iterdir())
    done = command("--report", "--out", str(tmp_path))
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert "no results" in done.stdout


@pytest.mark.slow
def test_all_parts_run_small_on_a_cpu(accelerator, tmp_path):
    done = command("--smoke", "--out", str(tmp_path), JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(file.read_text()) for file in tmp_path.glob("cpu/*.json")]
    assert statuses(records) == dict.fromkeys(accelerator.SHARES, "done")
    for record in records:
        assert {"versions", "commit", "date", "command", "seconds"} <= set(record)
        assert record["found"]
    assert "NOT" not in done.stdout
    rows = accelerator.table(tmp_path, list(accelerator.SHARES)).splitlines()
    assert len(rows) > 2 + len(records)
    assert all(row.count(" | ") == 3 for row in rows[2:])
