"""``benchmarks/faults.py``: what it claims, of its record and of runs made here."""

import importlib
import json
from pathlib import Path

import pytest

import fedcode_jax
from fedcode_jax import ExperimentConfig
from fedcode_jax.config import replace

BENCHMARKS = Path(fedcode_jax.__file__).parents[1] / "benchmarks"


@pytest.fixture
def faults(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("faults")


def test_the_claims_hold_of_what_is_recorded(faults):
    recorded = json.loads((BENCHMARKS / "results" / "faults.json").read_text())
    assert faults.claims(recorded["rows"]) == recorded["claims"]
    assert all(recorded["claims"].values())


def test_a_claim_that_does_not_hold_is_told(faults):
    rows = json.loads((BENCHMARKS / "results" / "faults.json").read_text())["rows"]
    for row in rows:
        row["points_below_clean"] = 5.0
        row["runs"][0]["counted_as_drawn"] = False
    assert list(faults.claims(rows).values()) == [False, False, False, True]


@pytest.mark.slow
def test_the_claims_hold_of_runs_made_here(faults):
    base = replace(ExperimentConfig(), {"rounds": 20, "eval_every": 20, **faults.CLEAN})
    rows = []
    for name, (rule, worlds) in faults.KINDS.items():
        rows += faults.rows_of(name, replace(base, rule), worlds, seeds=1)
    assert all(faults.claims(rows).values())
    assert rows[0]["final_accuracy"] > 0.9
    (struck,) = rows[1]["runs"]
    assert struck["status"] == "completed"
    assert struck["faults"]["rejected_corrupt"] > 0
