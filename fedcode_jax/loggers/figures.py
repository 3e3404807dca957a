"""Records and summaries as figures by name; what is nested is joined by a dot."""

import math
from collections.abc import Mapping
from typing import Any

SUMMARY = "summary/"
"""What the names of closing figures begin with in a log; some are those of figures of a round."""


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, nested ones by dotted name; lists stay as they are.

    Example:
      >>> flat({"round": 1, "exchange": {"server_sends_weights": True}})
      {'round': 1, 'exchange.server_sends_weights': True}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": each for inner, each in flat(value).items()}
        else:
            found[name] = value
    return found


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of ``flat`` that are finite numbers; true is 1 and false 0.

    Example:
      >>> numbers({"round": 1, "test_loss": float("nan"), "status": "completed", "sent": True})
      {'round': 1, 'sent': 1}
    """
    found: dict[str, float] = {}
    for name, value in flat(values).items():
        if hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, int | float) and math.isfinite(value):
            found[name] = int(value) if isinstance(value, bool) else value
    return found


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Those of ``flat`` that are strings.

    Example:
      >>> texts({"rounds": 1, "status": "completed"})
      {'status': 'completed'}
    """
    return {name: value for name, value in flat(values).items() if isinstance(value, str)}
