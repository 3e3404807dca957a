"""The ``fedcode`` command."""

from fedcode_jax.cli.entry import main

__all__ = ["main"]
