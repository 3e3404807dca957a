"""What runs and sweeps show in a notebook: a bar that rewrites itself, curves, a table."""

import base64
import html
import math
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from fedcode_jax import drawing
from fedcode_jax.results.plots import curves
from fedcode_jax.results.progress import Standing

_PAUSE = 0.2
"""Seconds between two states of a bar."""
_SHARE = 0.05
"""Of the time, that drawing curves may take while a run goes."""
_curves_in_cell: list[int] = []
"""The last cell that a run has shown its curves in."""


def notebook_shell() -> Any | None:
    """The shell of the notebook that this is; None in a terminal and everywhere else.

    Example:
      >>> notebook_shell() is None
      True
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


class _Display:
    """A place below a cell whose content is replaced."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._shown = False

    def show(self, **content: str | bytes) -> None:
        """Shows content by the last part of its type, such as ``plain`` or ``html``."""
        from IPython.display import display

        kinds = {"plain": "text/plain", "html": "text/html"}
        data = {kinds[kind]: each for kind, each in content.items()}
        display(data, raw=True, display_id=self._id, update=self._shown)
        self._shown = True


class _Bar:
    """A bar with a line of text; shown at most some times a second, but for its last state."""

    def __init__(self, total: float) -> None:
        self._total, self._at = total, -math.inf
        self._display = _Display()

    def show(self, done: float, text: str, *, last: bool = False) -> None:
        if not last and time.monotonic() - self._at < _PAUSE:
            return
        self._at = time.monotonic()
        bar = f'<progress value="{done:g}" max="{self._total:g}"></progress>'
        self._display.show(plain=text, html=f"<div>{bar} {html.escape(text)}</div>")


class NotebookObserver:
    """Shows a run in a notebook: a bar, and its curves from time to time and at the end.

    Args:
      label: of the curves.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._records: list[Mapping[str, Any]] = []
        self._curves = _Display()

    def started(self, info: Mapping[str, str], rounds: int) -> None:
        """Shows an empty bar."""
        del info
        self._bar, self._standing = _Bar(rounds), Standing(rounds)
        self._bar.show(0, f"{self._label}: compiling")
        self._drawn, self._cost = time.monotonic(), 1.0

    def advanced(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Shows the rounds that were done, and curves if the last ones are old."""
        if not records:
            return
        self._records += records
        self._standing.take(records)
        self._show()
        if time.monotonic() - self._drawn > self._cost / _SHARE:
            self._draw()

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Shows the last state, and the curves of the rounds that were done."""
        self._show(last=True, status=summary.get("status", "completed"))
        self._draw()
        _curves_in_cell[:] = [getattr(notebook_shell(), "execution_count", 0)]

    def _show(self, *, last: bool = False, status: str = "completed") -> None:
        done, rounds = self._standing.done, self._standing.rounds
        ended = "" if status == "completed" else f"{status}, "
        text = f"{self._label}: {ended}round {done}/{rounds}  {self._standing.figures()}"
        self._bar.show(done, text, last=last)

    def _draw(self) -> None:
        began = time.monotonic()
        if self._records:
            self._curves.show(plain="curves", html=_image({self._label: self._records}))
        self._drawn = time.monotonic()
        self._cost = self._drawn - began


class NotebookSweep:
    """Shows how far a sweep is in a notebook."""

    def started(self, total: int, finished: int, groups: int) -> None:
        """Shows a bar."""
        del groups
        self._bar, self._total, self._done = _Bar(total), total, float(finished)
        self._show()

    def advanced(self, experiments: float) -> None:
        """Shows what was done since the last call."""
        self._done += experiments
        self._show()

    def finished(self) -> None:
        """Shows the last state."""
        self._show(last=True)

    def _show(self, *, last: bool = False) -> None:
        whole = int(self._done + 1e-6)
        self._bar.show(self._done, f"experiment {whole}/{self._total}", last=last)


def notebook_observer(label: str) -> NotebookObserver | None:
    """What shows a run where nothing else does: in a notebook its bar and curves, else None."""
    return None if notebook_shell() is None else NotebookObserver(label)


def notebook_sweep() -> NotebookSweep | None:
    """What shows a sweep where nothing else does: in a notebook a bar, else None."""
    return None if notebook_shell() is None else NotebookSweep()


def shown(
    table: Any, records_by_label: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, str]:
    """A table, and in a notebook curves below it, for the display of an object there.

    Args:
      table: that a rich console prints.
      records_by_label: as of ``plot_curves``; nothing for no curves. They are left out in a cell
        that a run has shown its curves in.

    Returns:
      Content by type: ``text/plain``, and in a notebook ``text/html``.
    """
    shell = notebook_shell()
    found = dict(table._repr_mimebundle_((), ()))
    if shell is None:
        return {"text/plain": found["text/plain"]}
    if records_by_label and shell.execution_count not in _curves_in_cell:
        found["text/html"] += _image(records_by_label)
    return found


def _image(records_by_label: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    data = base64.b64encode(drawing.png(curves(records_by_label))).decode()
    return (
        f'<img alt="curves" style="width:50em;max-width:100%" src="data:image/png;base64,{data}">'
    )
