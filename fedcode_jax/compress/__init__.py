"""Compressors: vectors to sections of a message and back, for either direction."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fedcode_jax.compress.base import Compressor, error_feedback, stateless
from fedcode_jax.compress.codebook import codebook
from fedcode_jax.compress.coder import Coder
from fedcode_jax.compress.kept import FORMS, Kept, kept
from fedcode_jax.compress.none import none
from fedcode_jax.compress.topk import topk
from fedcode_jax.errors import ConfigError

registry: dict[str, Callable[..., Compressor]] = {
    "codebook": codebook,
    "none": none,
    "topk": topk,
}
"""The compressors that ``algorithm.up.name`` and ``algorithm.down.name`` can choose."""


def make(setting: str, settings: Mapping[str, Any]) -> Compressor | None:
    """The compressor that settings name.

    Args:
      setting: what comes before their names in errors, ``algorithm.up.`` say.
      settings: ``name`` and what the compressor takes; ``error_feedback``, which has no effect on
        ``none``, and with it ``keep``.

    Returns:
      The compressor, or None for ``none``.

    Raises:
      ConfigError: a setting that the compressor does not take, or a value that it cannot have.

    Example:
      >>> make("algorithm.up.", {"name": "topk", "error_feedback": True}).has_memory
      True
    """
    others = dict(settings)
    name = others.pop("name")
    feedback = others.pop("error_feedback", False)
    keep = {"keep": others.pop("keep")} if feedback and name != "none" and "keep" in others else {}
    factory = registry[name]
    taken = inspect.signature(factory).parameters
    for each, value in others.items():
        if each not in taken:
            raise ConfigError(
                f"{setting}{each}: {value!r} has no use with {setting}name {name}, which takes "
                f"{', '.join(taken) or 'no settings'}"
            )
    try:
        made = factory(**others)
    except ConfigError as error:
        problem = str(error).removeprefix("compressor.")
        raise ConfigError(f"{setting}{problem}") from error
    if name == "none":
        return None
    return error_feedback(made, **keep) if feedback else made


__all__ = [
    "FORMS",
    "Coder",
    "Compressor",
    "Kept",
    "codebook",
    "error_feedback",
    "kept",
    "make",
    "none",
    "registry",
    "stateless",
    "topk",
]
