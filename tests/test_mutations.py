"""Damaged files of every kind that is read are refused, or read right."""

import json
import random
from pathlib import Path

import pytest
from kinds import KINDS
from mutator import mutate
from trying import Subject, attempt

COUNT = 100
RECORDED = Path(__file__).parents[1] / "benchmarks" / "results" / "mutations.json"


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_refused_or_right(name, tmp_path):
    outcome = attempt(name, KINDS[name](tmp_path), range(COUNT))
    assert not outcome.violations
    assert outcome.counts.total() == COUNT
    assert outcome.counts["refused"] > 10


def test_a_reader_that_breaks_the_law_is_found(tmp_path):
    """One that lets errors through, gives wrong answers, hangs, and takes all memory."""
    path = tmp_path / "number"

    def read():
        value = int(path.read_text())  # UnicodeDecodeError and ValueError
        if value % 2:
            return bytearray(2**40)
        return value

    subject = Subject(path, [b"123456", b"654322"], read, lambda found: found in (123456, 654322))
    violations = attempt("number", subject, range(300)).violations
    assert any(each.startswith("ValueError in ") for each in violations)
    assert any(each.startswith("MemoryError in ") for each in violations)
    assert "a wrong answer" in violations


def test_a_reader_that_hangs_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("trying.SECONDS", 0.05)
    path = tmp_path / "x"

    def read():
        whole = path.read_bytes() == b"whole"
        while not whole:
            pass

    (found,) = attempt("x", Subject(path, [b"whole"], read), range(5)).violations
    assert found == "more than 0.05 s"


def test_the_same_seed_gives_the_same_file():
    data, other = b"seed: 1\nrounds: 2\n", b"{}"
    one, two = ([mutate(random.Random(seed), data, other) for seed in range(200)] for _ in range(2))
    assert one == two
    assert len({what for what, _ in one}) == 14
    assert sum(found == data for _, found in one) < 20


def test_the_recorded_counts_are_of_all_kinds_and_without_a_violation():
    for record in json.loads(RECORDED.read_text()).values():
        assert record["kinds"].keys() == KINDS.keys()
        for counts in record["kinds"].values():
            assert "violated" not in counts
            assert counts["refused"] + counts.get("read", 0) >= 1000
