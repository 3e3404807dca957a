"""What a run shows in a notebook, with a shell that stands in for that of a kernel."""

import base64
import io
import sys
import types

import pytest
from matplotlib.image import imread
from rich.table import Table

from fedcode_jax.results import notebook, notebook_observer, notebook_sweep, shown

pytest.importorskip("IPython")


def records(*numbers):
    return [
        {
            "round": number,
            "test_accuracy": number / 10,
            "cumulative_bytes": 1000 * number,
            "wall_seconds": 1.0,
        }
        for number in numbers
    ]


@pytest.fixture
def outputs(monkeypatch):
    """A notebook; gives its outputs by their places, each a list of its states."""
    import IPython
    import IPython.display

    found: dict[str, list] = {}
    shell = types.SimpleNamespace(kernel=object(), execution_count=7)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)

    def display(data, *, raw, display_id, update):
        assert raw
        assert update == (display_id in found)
        found.setdefault(display_id, []).append(data)

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(notebook, "_PAUSE", 0)
    monkeypatch.setattr(notebook, "_curves_in_cell", [])
    found["shell"] = shell
    return found


def states(outputs):
    return [each for name, each in outputs.items() if name != "shell"]


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace(execution_count=1)])
def test_outside_of_notebooks_nothing_is_shown(monkeypatch, shell):
    """Where IPython is not imported, where nothing runs in it, and in its terminal."""
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    assert notebook_observer("fedcode") is None
    assert notebook_sweep() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook_observer("fedcode") is None


def test_a_run_is_a_bar_that_rewrites_itself_and_curves_at_its_end(outputs):
    observer = notebook_observer("fedcode <b>")
    observer.started({"data": "digits"}, 4)
    for chunk in (records(1, 2), [], records(3, 4)):
        observer.advanced(chunk)
    observer.finished({"status": "completed"})
    bar, curves = states(outputs)
    assert [state["text/plain"] for state in bar] == [
        "fedcode <b>: compiling",
        "fedcode <b>: round 2/4  accuracy 20.00 %  sent 2.00 kB  2.00 s left",
        "fedcode <b>: round 4/4  accuracy 40.00 %  sent 4.00 kB",
        "fedcode <b>: round 4/4  accuracy 40.00 %  sent 4.00 kB",
    ]
    assert 'value="2" max="4"' in bar[1]["text/html"]
    assert "fedcode &lt;b&gt;" in bar[1]["text/html"]
    (state,) = curves
    data = state["text/html"].partition("base64,")[2].partition('"')[0]
    assert imread(io.BytesIO(base64.b64decode(data))).shape[1] > 1000


def test_a_run_that_takes_long_shows_its_curves_as_it_goes(outputs, monkeypatch):
    monkeypatch.setattr(notebook, "_SHARE", 1e9)
    observer = notebook_observer("fedcode")
    observer.started({}, 2)
    observer.advanced(records(1))
    observer.advanced(records(2))
    observer.finished({"status": "interrupted"})
    bar, curves = states(outputs)
    assert "fedcode: interrupted, round 2/2" in bar[-1]["text/plain"]
    assert len(curves) == 3
    assert len(set(map(str, curves[:2]))) == 2


def test_bars_are_not_rewritten_all_the_time(outputs, monkeypatch):
    monkeypatch.setattr(notebook, "_PAUSE", 1e9)
    observer = notebook_observer("fedcode")
    observer.started({}, 3)
    for number in (1, 2, 3):
        observer.advanced(records(number))
    observer.finished({"status": "completed"})
    assert len(states(outputs)[0]) == 2  # the first and the last


def test_a_run_of_no_round_has_no_curves(outputs):
    observer = notebook_observer("fedcode")
    observer.started({}, 3)
    observer.finished({"status": "interrupted"})
    (bar,) = states(outputs)
    assert "interrupted, round 0/3  accuracy -" in bar[-1]["text/plain"]


def test_a_sweep_is_a_bar(outputs):
    observer = notebook_sweep()
    observer.started(total=3, finished=1, groups=1)
    observer.advanced(0.5)
    observer.advanced(1.5)
    observer.finished()
    (bar,) = states(outputs)
    assert [state["text/plain"] for state in bar] == [
        f"experiment {number}/3" for number in (1, 1, 3, 3)
    ]


def test_an_object_shows_its_table_and_its_curves_unless_they_stand_above(outputs, monkeypatch):
    table = Table("name")
    table.add_row("<accuracy>")
    found = shown(table, {"fedcode": records(1)})
    assert "&lt;accuracy&gt;" in found["text/html"]
    assert "data:image/png" in found["text/html"]
    assert "data:image/png" not in shown(table, {})["text/html"]
    observer = notebook_observer("fedcode")
    observer.started({}, 1)
    observer.advanced(records(1))
    observer.finished({"status": "completed"})
    assert "data:image/png" not in shown(table, {"fedcode": records(1)})["text/html"]
    outputs["shell"].execution_count = 8  # the next cell
    assert "data:image/png" in shown(table, {"fedcode": records(1)})["text/html"]
    del outputs["shell"].kernel  # a terminal
    assert list(shown(table, {"fedcode": records(1)})) == ["text/plain"]
