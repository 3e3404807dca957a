"""Mean curves, the frontier, and what the plots draw."""

import itertools

import numpy as np
import pytest

from fedcode_jax import drawing
from fedcode_jax.results.report import bars, group, read_run, table_of
from fedcode_jax.results.report.curves import mean_curve, plot_costs, plot_rounds
from fedcode_jax.results.report.frontier import best_first, plot_frontier


def groups_of(paths, by=()):
    return group([read_run(path) for path in paths], by)


def styled(groups):
    return [(each, drawing.style(number)) for number, each in enumerate(groups)]


def test_the_mean_curve_is_numpys(make_run):
    paths = [
        make_run("a", [0.1, None, 0.4, 0.5], seed=0, size=1000, seconds=1.0),
        make_run("b", [0.3, 0.9, None, 0.9], seed=1, size=3000, seconds=2.0),
    ]
    curve = mean_curve([read_run(path) for path in paths])
    values = np.array([[0.1, 0.5], [0.3, 0.9]])
    assert curve.rounds.tolist() == [1, 4]  # evaluated in both
    np.testing.assert_allclose(curve.mean, values.mean(0))
    np.testing.assert_allclose(curve.sd, values.std(0, ddof=1))
    np.testing.assert_allclose(curve.bytes, [6000, 24000])
    np.testing.assert_allclose(curve.seconds, [1.5, 6.0])


def test_one_run_has_no_deviation_and_no_run_no_curve(make_run):
    run = read_run(make_run("a", [0.1, 0.2]))
    assert mean_curve([run]).sd is None
    assert mean_curve([]) is None
    assert mean_curve([read_run(make_run("b", [None, None], settings={"rounds": 2}))]) is None


def test_bands_only_with_several_seeds_and_legends_say_how_many_runs(make_run):
    paths = [make_run(f"a{seed}", [0.1, 0.2 + seed / 10], seed=seed) for seed in range(2)]
    paths += [make_run("a2", [0.9, 0.9], seed=2, status="diverged")]
    paths += [make_run("b", [0.5, 0.5], settings={"algorithm.name": "$skip_{"})]
    paths += [make_run("c", [0.5, 0.5], status="diverged", settings={"algorithm.name": "x"})]
    figure = plot_rounds(styled(groups_of(paths)))
    (axes,) = figure.axes
    assert len(axes.collections) == 1
    low = axes.collections[0].get_paths()[0].vertices[:, 1].min()
    assert low == pytest.approx(10)
    assert [line.get_ydata().tolist() for line in axes.get_lines()] == [
        pytest.approx([10, 25]),
        [50, 50],
    ]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["fedcode (2 of 3 runs)", "$skip_{"]
    assert drawing.png(figure).startswith(b"\x89PNG")


def test_costs_beside_each_other(make_run):
    figure = plot_costs(styled(groups_of([make_run("a", [0.5, 0.75], seconds=300.0)])))
    by_bytes, by_time = figure.axes
    np.testing.assert_allclose(
        by_bytes.get_lines()[0].get_xydata(), [[0.003, 50], [0.006, 75]], rtol=1e-12
    )
    assert by_time.get_lines()[0].get_xdata().tolist() == [5, 10]
    assert by_time.get_xlabel() == "simulated time (min)"


def test_runs_without_simulated_seconds(make_run):
    run = read_run(make_run("a", [0.5, 0.75], seconds=None))
    assert np.isnan(mean_curve([run]).seconds).all()
    assert plot_costs(styled(group([run]))).axes[1].get_lines()[:] == []
    assert bars.seconds_by_part(run) == {}
    assert drawing.png(bars.plot_time(group([run])))


def test_the_frontier_is_drawn_as_a_step(make_run):
    sizes_and_accuracies = [(1000, 0.5), (2000, 0.4), (3000, 0.9)]
    paths = [
        make_run(f"{n}", [accuracy] * 2, size=size, settings={"algorithm.num_clusters": 2 + n})
        for n, (size, accuracy) in enumerate(sizes_and_accuracies)
    ]
    paths += [make_run("d", [0.7, 0.7], seed=5, settings={"algorithm.num_clusters": 4})]
    table = table_of(groups_of(paths))
    styles = {each.label: style for each, style in styled(table.groups[:2])}
    figure = plot_frontier(table, styles)
    by_bytes, by_time = figure.axes
    step = by_bytes.get_lines()[0]
    assert step.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(step.get_xydata(), [[0.006, 50], [0.012, 80]])
    np.testing.assert_allclose(by_time.get_lines()[0].get_xydata(), [[4, 80]])
    fills = [container[0].get_fillstyle() for container in by_bytes.containers]
    assert fills == ["full", "bottom", "full"]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        "num_clusters=2",
        "num_clusters=3",
        "filled: Pareto-best",
        "half: not told apart from it",
        "frontier",
    ]
    ordered = [each.label for each in best_first(table)]
    assert ordered == ["num_clusters=4", "num_clusters=2", "num_clusters=3"]


def test_without_simulated_seconds_the_frontier_has_one_panel(make_run):
    table = table_of(groups_of([make_run("a", [0.5], seconds=None)]))
    assert len(plot_frontier(table, {}).axes) == 1


def test_fairness_takes_the_clients_of_all_seeds(make_run):
    paths = [
        make_run("a", [0.5], seed=0, clients=[0.1, None, 0.3]),
        make_run("b", [0.5], seed=1, clients=[0.5]),
        make_run("c", [0.5], seed=2, clients=[0.9], status="diverged"),
        make_run("d", [0.5], settings={"algorithm.name": "skip"}),
    ]
    groups = groups_of(paths)
    assert bars.client_accuracies(groups[0]) == [0.1, 0.3, 0.5]
    assert bars.client_accuracies(groups[1]) == []
    figure = bars.plot_fairness(groups)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "fedcode (2 of 3 runs)"
    ]
    assert drawing.png(figure)


def test_time_is_stacked_as_far_as_it_was_recorded(make_run):
    paths = [
        make_run("a", [0.5, 0.5], seed=0, parts=(1.0, 2.0, 3.0)),
        make_run("b", [0.5, 0.5], seed=1, parts=(3.0, 2.0, 1.0)),
        make_run("c", [0.5, 0.5], seconds=7.0, settings={"algorithm.name": "skip"}),
    ]
    axes = bars.plot_time(groups_of(paths)).axes[0]
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == [4.0, 4.0, 4.0, 14.0]
    assert [patch.get_x() for patch in axes.patches] == [0.0, 4.0, 8.0, 0.0]


def test_many_groups_with_long_labels_are_drawn_without_a_warning(make_run):
    kinds = itertools.product((4, 8, 16, 32, 64), ("kernels", "kernel=coded," + "bias=dense," * 9))
    paths = [
        make_run(
            f"{k}-{len(groups)}",
            [0.1, k / 100],
            clients=[0.5, 0.6],
            settings={"algorithm.num_clusters": k, "algorithm.groups": groups},
        )
        for k, groups in kinds
    ]
    found = groups_of(paths)
    for figure in (
        plot_rounds(styled(found)),
        plot_costs(styled(found)),
        bars.plot_fairness(found),
        bars.plot_time(found),
        plot_frontier(table_of(found), {}),
    ):
        assert drawing.png(figure)


@pytest.mark.parametrize("width", ["column", "page"])
def test_every_plot_is_as_wide_as_it_is_to_be_and_nothing_leaves_it(make_run, width):
    names = ("a", "b")
    paths = [make_run(n, [0.1, 0.9], clients=[0.5], settings={"local.loss": n}) for n in names]
    groups = groups_of(paths)
    table = table_of(groups)
    for figure in (
        plot_rounds(styled(groups), width),
        plot_costs(styled(groups), width),
        plot_frontier(table, {each.label: style for each, style in styled(groups)}, width),
        bars.plot_fairness(groups, width),
        bars.plot_time(groups, width),
    ):
        assert figure.get_figwidth() == drawing.WIDTHS[width]
        drawing.png(figure)
        page = figure.bbox
        (legend,) = figure.legends
        below = legend.get_window_extent()
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert page.x0 <= box.x0 < box.x1 <= page.x1 + 1
            assert below.y1 <= box.y0 + 1 < box.y1 <= page.y1 + 1
            sizes = {text.get_size() for text in (axes.xaxis.label, *axes.get_xticklabels())}
            assert sizes == {8}
        assert page.x0 <= below.x0 < below.x1 <= page.x1 + 1
