"""Tables and plots that compare runs, from their folders."""

from fedcode_jax.results.report.groups import Group, group
from fedcode_jax.results.report.rendering import for_terminal
from fedcode_jax.results.report.runs import Run, find, read_run
from fedcode_jax.results.report.table import Table, table_of
from fedcode_jax.results.report.writing import FILES, PAGE, judged, write_report

__all__ = [
    "FILES",
    "PAGE",
    "Group",
    "Run",
    "Table",
    "find",
    "for_terminal",
    "group",
    "judged",
    "read_run",
    "table_of",
    "write_report",
]
