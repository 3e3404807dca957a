"""Shares of a sweep: who runs what, and what comes of it together."""

import pytest
from tiny_sweep import BASE, figures

import fedcode_jax
from fedcode_jax.config.axes import points
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.grouping import Planned
from fedcode_jax.experiment.shares import divided, likeness, pieces, read_share


def planned(sizes):
    """Experiments of as many kinds, in turn as far as there are any."""
    rows = [(kind + 2, seed) for kind, size in enumerate(sizes) for seed in range(size)]
    rows.sort(key=lambda row: row[1])
    axes = {("local.batch_size", "seed"): rows}
    return [Planned(n, point, one) for n, (point, one) in enumerate(points(BASE, axes))]


@pytest.mark.parametrize("bad", ["0/3", "4/3", "x", "1", "1/0", "-1/3", "1/3/5", (0, 2), (3,), ""])
def test_what_is_no_share_is_told(bad):
    with pytest.raises(ConfigError, match=r"share: .* cannot be used; give K/N"):
        read_share(bad)


def test_a_share_is_read():
    assert read_share("3/3") == read_share((3, 3)) == (3, 3)
    assert read_share(None) is read_share("1/1") is read_share((1, 1)) is None


@pytest.mark.parametrize("sizes", [[1], [7], [3, 5, 4], [1, 1, 1, 9], [2] * 6, [20, 1]])
@pytest.mark.parametrize("of", [1, 2, 3, 4, 7, 30])
def test_shares_are_all_of_it_once_and_of_like_size(sizes, of):
    plan = planned(sizes)
    shares = [divided(plan, (number, of)) for number in range(1, of + 1)]
    numbers = [one.number for share in shares for one in share]
    assert sorted(numbers) == list(range(len(plan)))
    for share in shares:
        assert [one.number for one in share] == sorted(one.number for one in share)
    size = len(plan) / of
    if size >= 1:
        assert min(map(len, shares)) >= max(1, size / 2 - 1)
        assert max(map(len, shares)) <= 1.5 * size + 1
    else:
        assert max(map(len, shares)) == 1
    compiled = sum(len({likeness(one.config) for one in share}) for share in shares)
    assert compiled <= len(sizes) + of - 1


def test_kinds_stay_together_where_shares_are_still_of_like_size():
    plan = planned([3, 5, 4])
    shares = [divided(plan, (number, 3)) for number in (1, 2, 3)]
    assert [{one.config.local.batch_size for one in share} for share in shares] == [{2}, {3}, {4}]


def test_pieces_are_of_one_kind_and_every_worker_has_several():
    plan = planned([13, 2, 1])
    found = pieces(plan, 2)
    assert sorted(one.number for piece in found for one in piece) == list(range(16))
    assert all(len({likeness(one.config) for one in piece}) == 1 for piece in found)
    assert max(map(len, found)) == 2
    assert pieces([], 2) == []


def test_shares_one_after_another_are_the_whole_sweep(tmp_path):
    axes = {"seed": [0, 1, 2]}
    whole, apart = tmp_path / "whole", tmp_path / "apart"
    expected = fedcode_jax.sweep(BASE, axes, out=str(whole), share="1/1")
    second = fedcode_jax.sweep(BASE, axes, out=str(apart), share=(2, 2))
    lines = (apart / "results.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["run", "1", "2"]
    assert [row["run"] for row in second.table] == [1, 2]
    first = fedcode_jax.sweep(BASE, axes, out=str(apart), share="1/2")
    for name in ("results.csv", "results.parquet", "sweep.json"):
        assert (apart / name).read_bytes() == (whole / name).read_bytes()
    runs = [*first.runs, *second.runs]
    assert [figures(run.records) for run in runs] == [figures(r.records) for r in expected.runs]
    again = fedcode_jax.sweep(BASE, axes, out=str(apart))  # all of it is finished
    assert [run.records for run in again.runs] == [run.records for run in runs]


def test_a_share_needs_a_folder_and_one_without_work_is_no_error(tmp_path):
    with pytest.raises(ConfigError, match="share: needs the folder"):
        fedcode_jax.sweep(BASE, {"seed": [0]}, share="1/2")
    idle = fedcode_jax.sweep(BASE, {"seed": [0]}, out=str(tmp_path / "out"), share="1/2")
    assert (idle.runs, idle.table) == ([], [])
    assert "run" not in (tmp_path / "out" / "results.csv").read_text()


def test_shares_of_another_sweep_are_refused(tmp_path):
    out = str(tmp_path / "out")
    fedcode_jax.sweep(BASE, {"seed": [0]}, out=out, share="1/2")
    with pytest.raises(ConfigError, match="holds another sweep"):
        fedcode_jax.sweep(BASE, {"seed": [1]}, out=out, share="1/2")
