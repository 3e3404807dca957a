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
      settings: ``name`` and what the compressor takes; ``error_feedback``, how residuals are kept,
        or ``none``.

    Returns:
      The compressor, or None for ``none``.

    Raises:
      ConfigError: a setting that the compressor does not take, or a value that it cannot have.

    Example:
      >>> make("algorithm.up.", {"name": "topk", "error_feedback": "coded"}).has_memory
      True
    """
    others = dict(settings)
    name = others.pop("name")
    keep = others.pop("error_feedback", "none")
    if name == "none" and keep not in ("none", "float32"):
        raise ConfigError(
            f"{setting}error_feedback: {keep!r} has no use with {setting}name none, which leaves "
            "nothing out"
        )
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
        problem = str(error).replace("compressor.", setting)
        problem = problem if problem.startswith(setting) else setting + problem
        raise ConfigError(problem) from error
    if name == "none":
        return None
    return made if keep == "none" else error_feedback(made, keep)


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
