"""Tells the loggers of a run, none of which can end it once it has begun."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedcode_jax.errors import ConfigError
from fedcode_jax.loggers.contract import Beginning, Logger
from fedcode_jax.loggers.registry import Maker
from fedcode_jax.names import one_line

Record = Mapping[str, Any]


@dataclasses.dataclass
class _Listener:
    """A logger, and how far it was told.

    Attributes:
      name: of it.
      logger: that is told.
      held: the last round that its log holds.
      missed: records that it was not told, since it failed; None while it works.
    """

    name: str
    logger: Logger
    held: int = 0
    missed: list[Record] | None = None


class Loggers:
    """All loggers of a run, or of one run after another.

    Args:
      makers: names, and what makes the loggers; as of ``registry.makers``.
      strict: whether a logger that cannot begin ends the run, which then has not begun; else it is
        left out.
    """

    def __init__(self, makers: Sequence[tuple[str, Maker]], *, strict: bool = True) -> None:
        self._makers, self._strict = list(makers), strict
        self._listeners: list[_Listener] = []
        self._warned: set[str] = set()

    def begin(self, run: Beginning, records: Sequence[Record], kept: dict[str, dict]) -> None:
        """Begins the log of a run, and tells of the rounds that it lacks.

        Args:
          run: what begins.
          records: of the rounds that an earlier start has done.
          kept: by name, what each logger keeps in the run's folder; it is changed.

        Raises:
          ConfigError: a logger cannot begin.
        """
        self._listeners = []
        for name, make in list(self._makers):
            own = kept.setdefault(name, {})
            try:
                logger = make()
                held = logger.begin(dataclasses.replace(run, kept=own))
            except Exception as error:
                known = isinstance(error, ConfigError)
                text = f"log: {name!r} could not begin: {one_line(error)}"
                text = str(error) if known else text
                if self._strict:
                    self.end({"status": "failed", "error": text, "rounds": 0})
                    raise (error if known else ConfigError(text)) from error
                self._warn(name, f"{text}; what follows is not logged there")
                self._makers.remove((name, make))
                continue
            self._listeners.append(_Listener(name, logger, run.done if held is None else held))
        self.rounds(records)

    def rounds(self, records: Sequence[Record]) -> None:
        """Tells of rounds, in order; of none twice."""
        for each in self._listeners:
            new = [record for record in records if record["round"] > each.held]
            if each.missed is None:
                each.missed = self._told(each, new)
            else:
                each.missed += new

    def end(self, summary: Mapping[str, Any]) -> None:
        """Tells how the run ended, after what a logger has missed; not one that still fails."""
        for each in self._listeners:
            if each.missed:
                each.missed = self._told(each, each.missed)
            if each.missed is None:
                self._guarded(each.name, functools.partial(each.logger.end, summary))
        self._listeners = []

    def _told(self, each: _Listener, records: Sequence[Record]) -> list[Record] | None:
        """Tells of rounds; gives those from the one that the logger failed at, or None."""
        for number, record in enumerate(records):
            if not self._guarded(each.name, functools.partial(each.logger.round, record)):
                return list(records[number:])
            each.held = record["round"]
        return None

    def _guarded(self, name: str, tell: Callable[[], None]) -> bool:
        """Whether a logger could be told; that it failed is said once."""
        try:
            tell()
        except Exception as error:
            self._warn(name, f"log: {name!r} failed: {one_line(error)}; the run goes on")
            return False
        return True

    def _warn(self, name: str, text: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            logging.getLogger("fedcode_jax").warning("fedcode: %s", text)
