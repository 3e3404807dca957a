"""The axes of a sweep: settings and their values, as a grid or drawn at random."""

import dataclasses
import itertools
import math
import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

from fedcode_jax.config import checks
from fedcode_jax.config.changes import replace
from fedcode_jax.config.files import flattened, load_beside, plain
from fedcode_jax.config.schema import ExperimentConfig
from fedcode_jax.config.section import Section
from fedcode_jax.errors import ConfigError

_MOST_POINTS = 100_000
Point = dict[str, Any]
"""Value by setting, of one experiment of a sweep."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included, of which a random search draws.

    Whole if both ends are. Else uniform in their logarithm, if low is above 0.
    """

    low: float
    high: float

    def draw(self, rng: random.Random) -> float:
        """A number."""
        low, high = self.low, self.high
        if isinstance(low, int) and isinstance(high, int):
            return rng.randint(low, high)
        if low > 0:
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        return rng.uniform(low, high)


Axes = Mapping[str | tuple[str, ...], Sequence[Any] | Range]
"""Values by setting; or rows of values by several settings, which change together.

A setting may be a section (``algorithm``), and its values mappings or sections of the config.
"""


def parse_axis(text: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]] | Range]:
    """Reads an axis as it is written on the command line.

    Args:
      text: ``setting=value,value,...``, ``setting=low..high`` (random search), or
        ``setting,setting=value:value,value:value,...`` for settings that change together.

    Returns:
      The settings, and a row of values for each step, or a range.

    Raises:
      ConfigError: it cannot be read.

    Example:
      >>> parse_axis("schedule.server_period,schedule.client_period=5:2,10:5")
      (('schedule.server_period', 'schedule.client_period'), [(5, 2), (10, 5)])
      >>> parse_axis("local.learning_rate=1e-4..1e-2")[1]
      Range(low=0.0001, high=0.01)
    """
    names, equals, values = text.partition("=")
    settings = tuple(name.strip().replace("-", "_") for name in names.split(","))
    if not equals or not values.strip() or not all(settings):
        raise ConfigError(
            f"axis: {text!r} cannot be read; write setting=value,value such as seed=0,1,2"
        )
    low, dots, high = values.partition("..")
    if dots:
        ends = (_value(low), _value(high))
        if len(settings) > 1 or not all(_is_number(end) for end in ends) or ends[0] > ends[1]:
            raise ConfigError(f"axis: {text!r}: a range is setting=low..high, of one setting")
        return settings, Range(*ends)
    rows = [tuple(_value(value) for value in row.split(":")) for row in values.split(",")]
    if len(settings) == 1:
        rows = [(_value(row),) for row in values.split(",")]
    for row in rows:
        if len(row) != len(settings):
            raise ConfigError(
                f"axis: {text!r}: {len(settings)} settings need as many values in each step, "
                f"joined by ':'; {len(row)} are given"
            )
    return settings, rows


def points(
    base: ExperimentConfig,
    axes: Axes | Sequence[Mapping[str, Any]],
    *,
    samples: int | None = None,
    seed: int = 0,
) -> list[tuple[Point, ExperimentConfig]]:
    """The experiments of a sweep, in the order of the grid, of the draws, or as they are listed.

    Args:
      base: what is not on an axis.
      axes: values by setting in dotted form, or rows by a tuple of settings; or the experiments
        themselves, each a mapping of settings to values.
      samples: experiments to draw at random; None for the whole grid.
      seed: of the draws.

    Returns:
      Each experiment's point and checked config.

    Raises:
      ConfigError: no axis, an unknown setting or one on two axes, a value that cannot be used, a
        range in a grid, or more than 100,000 experiments.

    Example:
      >>> axes = {"seed": [0, 1], "schedule.client_period": [2, 5]}
      >>> [tuple(point.values()) for point, _ in points(ExperimentConfig(), axes)]
      [(0, 2), (0, 5), (1, 2), (1, 5)]
    """
    if not isinstance(axes, Mapping):
        return [_point(base, one) for one in _listed(axes, samples)]
    steps = [_steps(names, values) for names, values in axes.items()]
    known: set[str] = set()
    for names, _ in steps:
        for name in names:
            if name in known or name == "out":
                what = "is on two axes" if name in known else "is set by the sweep; use --out"
                raise ConfigError(f"axis: {name} {what}")
            known.add(name)
    if not steps:
        raise ConfigError("axis: there is none; give at least one, such as seed=0,1,2")
    rows: list[Any]
    if samples is None:
        for names, values in steps:
            if isinstance(values, Range):
                raise ConfigError(
                    f"axis: {names[0]}: {values.low}..{values.high} is a range; list values for a "
                    "grid, or set samples to draw at random"
                )
        counts: list[int] = [len(values) for _, values in steps]  # type: ignore[arg-type]
        _check_count("axes", math.prod(counts))
        rows = list(itertools.product(*(values for _, values in steps)))  # type: ignore[arg-type]
    else:
        if samples < 1:
            raise ConfigError(f"samples: {samples} cannot be used; give a whole number above 0")
        _check_count("samples", samples)
        rng = random.Random(seed)
        rows = [tuple(_drawn(values, rng) for _, values in steps) for _ in range(samples)]
    found = []
    for row in rows:
        point: Point = {}
        for (names, _), chosen in zip(steps, row, strict=True):
            point |= dict(zip(names, chosen, strict=True))
        found.append(_point(base, point))
    return found


def distinct(
    found: Sequence[tuple[Point, ExperimentConfig]],
) -> list[tuple[Point, ExperimentConfig]]:
    """Of experiments that come to the same, the first.

    They do where values are there twice, where random draws meet, and where they differ in the
    schedule alone of an algorithm that brings one of its own.

    Args:
      found: as of ``points``.

    Returns:
      Those that are left, in their order.

    Example:
      >>> axes = {"algorithm.name": ["fedcode", "fedavg"], "schedule.client_period": [2, 5]}
      >>> [tuple(point.values()) for point, _ in distinct(points(ExperimentConfig(), axes))]
      [('fedcode', 2), ('fedcode', 5), ('fedavg', 2)]
    """
    first: dict[str, tuple[Point, ExperimentConfig]] = {}
    for point, config in found:
        if config.algorithm.own_schedule:
            alike = dataclasses.replace(config, schedule=ExperimentConfig().schedule)
        else:
            alike = config
        first.setdefault(repr(alike), (point, config))
    return list(first.values())


def _check_count(setting: str, count: int) -> None:
    if count > _MOST_POINTS:
        raise ConfigError(
            f"{setting}: more than {_MOST_POINTS:,} experiments in one sweep; take fewer"
        )


def _point(base: ExperimentConfig, changes: Mapping[str, Any]) -> tuple[Point, ExperimentConfig]:
    """A point in dotted form, a section by its settings, and the config."""
    changes = {name: plain(value) for name, value in changes.items()}
    try:
        config = replace(base, changes)
    except ConfigError as error:
        raise ConfigError(f"axis: {error}") from error
    sections = {name for name in changes if isinstance(getattr(base, name, None), Section)}
    point = {name: value for name, value in changes.items() if name not in sections}
    for name in sections:
        written = {"name": getattr(config, name).name, **changes[name]}
        point |= flattened({name: written})
    return point, config


def _listed(
    experiments: Sequence[Mapping[str, Any]], samples: int | None
) -> Sequence[Mapping[str, Any]]:
    if samples is not None:
        raise ConfigError("samples: draws from axes; the experiments of this sweep are listed")
    if isinstance(experiments, str) or not isinstance(experiments, Sequence) or not experiments:
        raise ConfigError(
            "axes: give values by setting, or a list of experiments, each a mapping of settings"
        )
    for one in experiments:
        if not isinstance(one, Mapping):
            raise ConfigError(
                f"axes: {one!r} is no experiment; give a mapping of settings to values"
            )
        if "out" in one:
            raise ConfigError("axes: out is set by the sweep; give its folder as out")
    return experiments


def _steps(
    names: str | tuple[str, ...], values: Sequence[Any] | Range
) -> tuple[tuple[str, ...], list[tuple[Any, ...]] | Range]:
    settings = (names,) if isinstance(names, str) else tuple(names)
    if isinstance(values, Range):
        return settings, values
    values = checks.native(values)
    if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
        raise ConfigError(f"axis: {', '.join(settings)}: {values!r} is not a list of values")
    if isinstance(names, str):
        return settings, [(value,) for value in values]
    listed = [checks.native(row) for row in values]
    for row in listed:
        if isinstance(row, str) or not isinstance(row, Sequence):
            raise ConfigError(
                f"axis: {', '.join(settings)}: {row!r} is not a list of values, one a setting"
            )
    rows = [tuple(row) for row in listed]
    for row in rows:
        if len(row) != len(settings):
            raise ConfigError(f"axis: {', '.join(settings)}: {row} has another number of values")
    return settings, rows


def _drawn(values: Any, rng: random.Random) -> tuple[Any, ...]:
    return (values.draw(rng),) if isinstance(values, Range) else rng.choice(values)


def _value(text: str) -> Any:
    """A value as YAML reads it, so that the command line and files agree."""
    import yaml

    from fedcode_jax.config.yaml_loader import Loader

    try:
        return yaml.load(text.strip(), Loader=Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"axis: {text!r} cannot be read as a value") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def load_sweep(path: str | os.PathLike[str]) -> tuple[ExperimentConfig, dict[str, Any]]:
    """A sweep in a YAML file: settings, and beside them ``axes`` and if wanted ``samples``.

    Args:
      path: the file; ``axes`` maps settings to lists of values, to ``low..high``, or, for settings
        joined by commas, to lists of rows.

    Returns:
      The config of what is on no axis, and the ``axes`` and ``samples`` that are there.

    Raises:
      ConfigError: the file or one of its axes cannot be read.
    """
    config, others = load_beside(path, ("axes", "samples"))
    axes = others.get("axes", {})
    if not isinstance(axes, Mapping):
        raise ConfigError(f"{path}: axes: {axes!r}; write a mapping of settings to values")
    read: dict[Any, Any] = {}
    for names, values in axes.items():
        if isinstance(values, str):
            settings, values = parse_axis(f"{names}={values}")
        else:
            settings = tuple(name.strip() for name in str(names).split(","))
        read[settings if len(settings) > 1 else settings[0]] = values
    samples = others.get("samples")
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int)):
        raise ConfigError(f"{path}: samples: {samples!r}; give a whole number above 0")
    return config, {**others, "axes": read}
