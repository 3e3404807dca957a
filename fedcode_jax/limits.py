"""What a number may be: one check for all rooms, of what the compiled program can hold.

Settings become float32 and int32 there, where 1e39 is infinite, 1e-60 is zero and 2**31 does not
exist; each is refused by name before anything runs.
"""

import math
import numbers
import struct
from typing import Any, NoReturn

from fedcode_jax.errors import ConfigError

LARGEST_INT = 2**31 - 1
"""The largest int32."""

SMALLEST, LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""The sizes between which float32 has its full precision: 1.18e-38 and 3.40e38."""


def refuse(setting: str, value: object, allowed: str) -> NoReturn:
    """Raises the error for a value that a setting cannot have.

    Args:
      setting: dotted name, e.g. ``local.epochs``.
      value: what was given.
      allowed: what it must be, as the end of "it must be ...".

    Raises:
      ConfigError: always.
    """
    raise ConfigError(f"{setting}: {_shown(value)} cannot be used; it must be {allowed}")


def check_whole(setting: str, value: Any, low: int, high: int = LARGEST_INT) -> int:
    """Checks a whole number in ``low .. high``; True and 2.0 are not whole numbers here.

    Args:
      setting: dotted name.
      value: what was given; NumPy integers too.
      low: smallest allowed value.
      high: largest allowed value.

    Returns:
      The number as an int.

    Raises:
      ConfigError: it is not such a number.

    Example:
      >>> check_whole("schedule.server_period", 2**31, 1)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: schedule.server_period: 2147483648 cannot be used;
      it must be a whole number from 1 to 2147483647
    """
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if is_whole and low <= int(value) <= high:
        return int(value)
    allowed = f"a whole number from {low} to {high}"
    if high == LARGEST_INT and not (is_whole and int(value) > high):
        allowed = f"a whole number of at least {low}"  # int32 is spoken of where it is the matter
    refuse(setting, value, allowed)


def check_real(
    setting: str, value: Any, low: float, high: float = LARGEST, *, above: bool = False
) -> float:
    """Checks a finite number in ``low .. high`` that float32 can hold.

    Args:
      setting: dotted name.
      value: what was given; NumPy numbers too.
      low: smallest allowed value.
      high: largest allowed value.
      above: ``low`` itself is not allowed.

    Returns:
      The number as a float; 0, or of a size between ``SMALLEST`` and ``LARGEST``.

    Raises:
      ConfigError: it is not such a number.

    Example:
      >>> check_real("schedule.threshold", 1e-60, 0, above=True)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: schedule.threshold: 1e-60 cannot be used;
      it must be a number that float32 can hold, of a size from 1.18e-38 to 3.4e+38
    """
    limit = f" {'above' if above else 'of at least'} {low:g}" if math.isfinite(low) else ""
    allowed = f"a finite number{limit}"
    if high < LARGEST:
        allowed += f" and at most {high:g}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        refuse(setting, value, allowed)
    number = _float(value)
    if math.isnan(number) or number < low or (above and number == low):
        refuse(setting, value, allowed)
    if math.isinf(number) or (high < LARGEST and number > high):
        refuse(setting, value, allowed)
    if number and not SMALLEST <= abs(number) <= LARGEST:
        refuse(setting, value, _HELD)
    return number


def check_probability(setting: str, value: Any) -> float:
    """Checks a probability from 0 to below 1, as float32 has it.

    Args:
      setting: dotted name.
      value: what was given.

    Returns:
      The number as a float.

    Raises:
      ConfigError: it is not such a number, or float32 rounds it to 1.

    Example:
      >>> check_probability("network.dropout", 0.25)
      0.25
    """
    allowed = "a probability, from 0 to below 1"
    number = check_real(setting, value, 0)
    if number >= 1:
        refuse(setting, value, allowed)
    (rounded,) = struct.unpack("f", struct.pack("f", number))
    if rounded >= 1:
        refuse(setting, value, f"{allowed}, and float32 takes it for 1")
    return number


_HELD = f"a number that float32 can hold, of a size from {SMALLEST:.3g} to {LARGEST:.3g}"


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf if value > 0 else -math.inf


def _shown(value: object) -> str:
    """The value in an error, which is one line and not a screen of digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "a whole number of over 40 digits"
    return repr(value)
