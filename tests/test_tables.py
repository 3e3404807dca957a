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


# What is said in numbers and is no figure of a raw file: tolerances of tests, sizes of what is run.
PLAIN = (
    r"within\s+0\.05 % of each other",  # tests of both forms of the fit
    r"with 95 % intervals",
    r"41 minutes on two cores",  # of one command, in its page
    r"0\.24 MB in every row",  # the first broadcast: 6,090 floats to ten clients
    r"under five minutes on two cores",
    r"took 5 s or 2 GiB",  # limits
    r"three times its width, 2\.4 million weights",
    r"0\.9 points in a seed and 0\.3 in a mean; FedAvg by less than 0\.1",
)


def loose(text):
    """Figures outside of blocks, code and links."""
    for what in (r"<!-- figures .*?<!-- end -->", r"```.*?```", r"`[^`]*`", r"\]\([^)]*\)"):
        text = re.sub(what, " ", text, flags=re.S)
    text = re.sub(r"\s+", " ", text)
    for said in PLAIN:
        text = re.sub(said, " ", text)
    unit = r"(?:times|points|GB|GiB|MB|kB|ms|s|min|minutes|hours)\b"
    return re.findall(rf".{{0,40}}\b\d[\d,.]*(?:x\b| ?%| ?{unit}).{{0,20}}", text)


def test_figures_stand_in_blocks(tables):
    for page in tables.PAGES:
        assert loose((tables.HOME / page).read_text()) == [], page
