"""Curves, the closing table and the progress, as a reader sees them."""

import io
import re

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from rich.console import Console

from fedcode_jax.results import ProgressObserver, closing_table, plot_curves, summarise


def record(number, accuracy=0.5, deployed=0.4, size=1000):
    return {
        "round": number,
        "test_accuracy": accuracy,
        "deployed_accuracy": deployed,
        "uplink_bytes": size,
        "downlink_bytes": size,
        "cumulative_bytes": 2 * size * number,
        "simulated_seconds": 1.0,
        "wall_seconds": 2.0,
    }


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws curves; gives the two panels and the pixels."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )

    def draw(records_by_label):
        path = tmp_path / "curves.png"
        plot_curves(records_by_label, path)
        return figures[-1].axes, imread(path)

    return draw


def legend_of(axes):
    (legend,) = axes.figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_curves_show_the_records(drawn):
    run = [record(i, i / 10, i / 20 if i % 2 else None) for i in range(1, 6)]
    (by_round, by_bytes), image = drawn({"fedcode": run})
    solid, dashed = by_round.get_lines()
    assert solid.get_xydata().tolist() == [[i, 10 * i] for i in range(1, 6)]
    assert dashed.get_xydata().tolist() == [[i, 5 * i] for i in (1, 3, 5)]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert by_bytes.get_lines()[0].get_xdata().tolist() == [0.002 * i for i in range(1, 6)]
    assert by_bytes.get_xscale() == "linear"
    assert legend_of(by_round) == ["fedcode", "as deployed"]
    assert image.shape[1] > 1000


def test_clients_own_models_are_dotted_and_told_of_as_a_run_goes(drawn):
    run = [{**record(i), "personal_accuracy": i / 5} for i in range(1, 4)]
    (by_round, _), _ = drawn({"fedper": run})
    *_, dotted = by_round.get_lines()
    assert dotted.get_xydata().tolist() == [[i, pytest.approx(20 * i)] for i in range(1, 4)]
    assert len({(line.get_color(), line.get_marker()) for line in by_round.get_lines()}) == 3
    assert legend_of(by_round) == ["fedper", "as deployed", "own models"]
    out = io.StringIO()
    observer = ProgressObserver(Console(file=out, force_terminal=False, width=200))
    observer.started({}, rounds=3)
    observer.advanced(run)
    assert "accuracy 50.00 %  clients' own models 60.00 %" in out.getvalue()


def test_curves_take_any_label_and_any_number_of_runs(drawn):
    labels = [f"$K_{{{i}" for i in range(9)] + ["_hidden", "as deployed", "$$", "猫", "狗"]
    (by_round, by_bytes), _ = drawn(
        {label: [record(1, size=10**i)] for i, label in enumerate(labels)}
    )
    assert legend_of(by_round) == [*labels[:-2], "? (1)", "? (2)", "as deployed"]
    assert by_bytes.get_xscale() == "log"


def test_an_image_is_replaced_whole_and_its_ending_gives_the_format(tmp_path):
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        plot_curves({"a": [record(1)]}, tmp_path / f"curves.{kind}")
        assert (tmp_path / f"curves.{kind}").read_bytes().startswith(start)
    assert {file.name for file in tmp_path.iterdir()} == {"curves.png", "curves.pdf"}


@pytest.mark.parametrize(
    "runs",
    [
        {},
        {"a": []},
        {"a": [record(1)]},
        {"a": [record(1, None, None)]},
        {"a": [record(1, float("nan"), None)], "b": [record(1, 0.5, None, size=0)]},
    ],
)
def test_curves_of_next_to_nothing(drawn, runs):
    _, image = drawn(runs)
    assert image.size


def shown(summary, **options):
    console = Console(file=io.StringIO(), width=120)
    console.print(closing_table(summary, **options))
    return console.file.getvalue()


def summary_of(records, **options):
    costs = {"period": 3, "status": "completed", "fedavg_bytes": 10**6, "fedavg_formula_bits": 0}
    return summarise(records, **{**costs, **options})


def test_table_tells_the_figures():
    records = [record(i, i / 10) for i in range(1, 5)]
    for each in records:
        each["uplink_formula_bits"] = 1000
    summary = summary_of(records, fedavg_formula_bits=50_000, compile_seconds=3.0)
    text = shown(summary, network="1 Mbit/s up", folder="runs/[red]a")
    assert "completed after 4 rounds" in text
    assert "40.00 % (as deployed 40.00 %)" in text
    assert re.search(r"mean of last 3 rounds\s+30\.00 %", text)
    assert "8.00 kB (up 4.00 kB, down 4.00 kB)" in text
    assert "125.00x measured, 12.50x by formula" in text
    assert "4.00 s on 1 Mbit/s up" in text
    assert "8.00 s, compiling 3.00 s" in text
    assert "runs/[red]a" in text


def test_table_tells_faults_and_what_was_refused():
    faults = {"vanished": 2, "late": 0, "rejected_corrupt": 1, "restarted": 1}
    check = {"messages": 7, "encoded_bytes": 70, "largest_difference": 0}
    summary = summary_of([record(1, 0.5)]) | {"wire_check": check}
    plain = shown(summary, network="a link")
    assert "faults" not in plain
    assert "counted exactly\n" in re.sub(" +\n", "\n", plain)
    found = {"faults": faults, "wire_check": check | {"damaged": 1, "refused": 3}}
    text = " ".join(shown(summary | found, network="a link").split())
    assert "faults 2 vanished, 1 rejected corrupt, 1 restarted" in text
    assert "counted exactly; 1 refused when damaged; 3 refused as not finite" in text
    none = shown(summary | {"faults": dict.fromkeys(faults, 0)}, network="a link")
    assert re.search(r"faults +none befell it", none)


def test_table_of_a_run_whose_schedule_has_no_period():
    records = [record(i, i / 10) for i in range(1, 5)]
    text = shown(summary_of(records, period=None), network="a link")
    assert re.search(r"mean of last period\s+- \(the run has no whole period", text)
    assert "40.00 %" in text


def test_table_of_a_run_without_a_round():
    text = shown(summary_of([], status="interrupted"), network="-")
    assert "interrupted after 0 rounds" in text
    assert "nothing was sent" in text
    assert "folder" not in text


def watched(rounds, chunks, *, terminal=False):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system=None)
    with ProgressObserver(console) as observer:
        observer.started({"data": "digits [x]", "partition": "iid"}, rounds)
        for chunk in chunks:
            observer.advanced(chunk)
        observer.finished({})
    return file.getvalue()


def test_plain_progress_is_a_line_every_tenth():
    text = watched(60, [[record(i)] for i in range(1, 61)])
    lines = text.splitlines()
    assert lines[:2] == ["data       digits [x]", "partition  iid"]
    assert len(lines) == 2 + 10
    assert lines[2] == "round 6/60  accuracy 50.00 %  sent 12.0 kB  1 min 48 s left"
    assert lines[-1] == "round 60/60  accuracy 50.00 %  sent 120 kB"


def test_plain_progress_keeps_the_last_accuracy():
    text = watched(2, [[record(1, 0.25)], [], [record(2, None)]])
    assert "round 1/2  accuracy 25.00 %" in text
    assert "round 2/2  accuracy 25.00 %" in text


@pytest.mark.parametrize("rounds", [1, 3, 7, 95])
def test_plain_progress_ends_with_the_last_round_once(rounds):
    chunks = [
        [record(i) for i in range(s, min(s + 2, rounds + 1))] for s in range(1, rounds + 1, 2)
    ]
    text = watched(rounds, chunks)
    assert text.count(f"round {rounds}/{rounds} ") == 1
    assert len(text.splitlines()) <= 2 + 11


def test_a_terminal_sees_a_bar_that_goes_away():
    text = watched(3, [[record(1), record(2)]], terminal=True)
    assert "2/3" in text
    assert "accuracy 50.00 %" in text
    assert "2.00 s left" in text
    assert text.rstrip("\n").endswith("\x1b[?25h")  # the cursor is visible again


def test_the_bar_goes_away_after_an_error():
    file = io.StringIO()

    def fail() -> None:
        with ProgressObserver(Console(file=file, force_terminal=True)) as observer:
            observer.started({}, 3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert file.getvalue().rstrip("\n").endswith("\x1b[?25h")
