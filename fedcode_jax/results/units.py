"""Figures as people read them."""


def format_bytes(count: float) -> str:
    """Bytes with a decimal unit: 1 kB is 1000 bytes.

    Args:
      count: bytes, >= 0.

    Returns:
      Three significant digits and the unit.

    Example:
      >>> [format_bytes(count) for count in (0, 999, 1000, 2_345_678, 999_999)]
      ['0 B', '999 B', '1.00 kB', '2.35 MB', '1.00 MB']
    """
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5:
            return f"{_three_digits(count)} {unit}"
    return f"{_three_digits(count / 1000)} TB"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def format_seconds(seconds: float) -> str:
    """A duration in at most two units.

    Args:
      seconds: the duration, >= 0.

    Returns:
      Such as ``0.25 s``, ``48 s``, ``3 min 20 s`` or ``2 h 5 min``.

    Example:
      >>> [format_seconds(seconds) for seconds in (0.25, 9.99, 48.2, 200, 59.7, 7500)]
      ['0.25 s', '10.0 s', '48.2 s', '3 min 20 s', '59.7 s', '2 h 5 min']
    """
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def format_accuracy(accuracy: float | None) -> str:
    """An accuracy in per cent; a dash if there is none.

    Args:
      accuracy: fraction in 0 .. 1, or None.

    Returns:
      Per cent with two decimals.

    Example:
      >>> format_accuracy(0.9182), format_accuracy(None)
      ('91.82 %', '-')
    """
    return "-" if accuracy is None else f"{100 * accuracy:.2f} %"
