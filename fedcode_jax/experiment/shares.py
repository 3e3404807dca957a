"""Which part of a sweep one process of several runs, told by the configs alone."""

import itertools
import json
import re
from collections.abc import Sequence

from fedcode_jax import config as configs
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.grouping import Planned, without_traced

Share = tuple[int, int]
"""The number of a part, from 1, and of how many."""


def read_share(share: str | Sequence[int] | None) -> Share | None:
    """A share as it was given.

    Args:
      share: ``K/N``, or the two numbers.

    Returns:
      They; None for all, which ``1/1`` is too.

    Raises:
      ConfigError: it is no such thing, or there is no K-th of N.

    Example:
      >>> read_share("2/3"), read_share((1, 1))
      ((2, 3), None)
    """
    if share is None:
        return None
    text = share if isinstance(share, str) else "/".join(map(str, share))
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise ConfigError(
            f"share: {text!r} cannot be used; give K/N, the K-th of N shares with K from 1 to N, "
            "such as 1/4"
        )
    return None if of == 1 else (number, of)


def likeness(config: ExperimentConfig) -> str:
    """What experiments have in common that are most likely one program.

    Nothing is loaded for it, so that it is the same wherever it is asked, whatever files are there.
    """
    clients = getattr(config.partition, "num_clients", None)
    alike = [without_traced(configs.to_dict(config)), clients, config.schedule.name]
    return json.dumps(alike, sort_keys=True)


def alike(experiments: Sequence[Planned]) -> list[list[Planned]]:
    """Experiments by their likeness, in the order in which each kind first occurs."""
    kinds: dict[str, list[Planned]] = {}
    for one in experiments:
        kinds.setdefault(likeness(one.config), []).append(one)
    return list(kinds.values())


def divided(experiments: Sequence[Planned], share: Share | None) -> list[Planned]:
    """The experiments of a share.

    All of them, put in a row by kind, are cut into parts of equal size. A cut that would fall near
    the border of two kinds, within a quarter of a part, is made there: then fewer are compiled
    twice.

    Args:
      experiments: of the whole sweep.
      share: which part; None for all.

    Returns:
      Its experiments in the order of the sweep; none if there are more shares than experiments.
    """
    if share is None:
        return list(experiments)
    kinds = alike(experiments)
    row = [one for kind in kinds for one in kind]
    borders = [sum(map(len, kinds[:end])) for end in range(1, len(kinds))]
    number, of = share
    first, last = (_cut(k, of, len(row), borders) for k in (number - 1, number))
    return sorted(row[first:last], key=lambda one: one.number)


def _cut(number: int, of: int, total: int, borders: Sequence[int]) -> int:
    """Where a part ends: after so many of the row."""
    exact = number * total / of
    near = min(borders, key=lambda border: abs(border - exact), default=None)
    if (
        0 < number < of
        and near is not None
        and total >= 2 * of
        and abs(near - exact) <= total / of / 4
    ):
        return near
    return number * total // of


def pieces(experiments: Sequence[Planned], workers: int) -> list[list[Planned]]:
    """Experiments in pieces of one kind, so small that every worker has several.

    What a worker held when it was lost is all of a piece, and a piece is told of when it is done.

    Args:
      experiments: what is left of a sweep.
      workers: how many there are.
    """
    size = max(1, -(-len(experiments) // (_PIECES * workers)))
    found = []
    for kind in alike(experiments):
        parts = -(-len(kind) // size)
        cuts = [len(kind) * part // parts for part in range(parts + 1)]
        found += [kind[first:last] for first, last in itertools.pairwise(cuts)]
    return found


_PIECES = 4
"""For each worker, if there are so many experiments."""
