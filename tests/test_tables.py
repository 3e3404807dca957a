"""Pages say what raw files hold: their blocks are made of these, and a difference is told."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def tables():
    """The module of ``benchmarks/tables.py``."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import tables

        yield tables
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_pages_are_what_their_raw_files_hold(tables, capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


def test_every_block_is_in_one_page(tables):
    found = [
        name for page in tables.PAGES for name in tables.names_in((tables.HOME / page).read_text())
    ]
    assert sorted(found) == sorted(tables.BLOCKS)


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("controls", ("runs", 0, "period_deployed_accuracy")),
        ("updates-digits-cpu", ("rows", 1, "runs", 0, "last_ten_deployed_accuracy")),
    ],
)
def test_another_figure_is_another_text(tables, tmp_path, file, keys):
    skipped = shutil.ignore_patterns("*.png", "*.pdf")
    shutil.copytree(tables.Raw().folder, tmp_path, ignore=skipped, dirs_exist_ok=True)
    where = found = json.loads((tmp_path / f"{file}.json").read_text())
    for key in keys[:-1]:
        where = where[key]
    where[keys[-1]] -= 0.05
    (tmp_path / f"{file}.json").write_text(json.dumps(found))
    text = (tables.HOME / "benchmarks/RESULTS.md").read_text()
    assert tables.written(text, tables.Raw(tmp_path)) != text


def test_blocks_that_are_none(tables):
    with pytest.raises(ValueError, match="no block is called controls-tabel"):
        tables.written("<!-- figures controls-tabel -->\n<!-- end -->\n", tables.Raw())
    with pytest.raises(ValueError, match="1 blocks begin, and 0 are whole"):
        tables.written("<!-- figures controls-table -->\n", tables.Raw())


def test_numbers_are_rounded_once(tables):
    """A cell of the controls' table is the mean of the runs as they are."""
    runs = tables.Raw()("controls")["runs"]
    (row,) = re.findall(
        r"\| IID \| `skip` \| (\S+) ± .*", tables.BLOCKS["controls-table"](tables.Raw())
    )
    own = [run for run in runs if (run["partition"], run["algorithm"]) == ("IID", "skip")]
    mean = 100 * sum(run["final_accuracy"] for run in own) / len(own)
    assert row == f"{mean:.1f}"
    skip, fedcode = (
        [
            run["period_deployed_accuracy"]
            for run in runs
            if (run["partition"], run["algorithm"]) == ("Dirichlet 0.3", name)
        ]
        for name in ("skip", "fedcode")
    )
    ahead = sum(a > b for a, b in zip(skip, fedcode, strict=True))
    found = tables.BLOCKS["controls-found"](tables.Raw()).replace("\n", " ")
    assert f"ahead of FedCode ({ahead} of 5 seeds ahead) on Dirichlet data, with" in found
