"""Codebooks of one-dimensional k-means: K numbers that stand for n values.

`fit` finds the centers, `encode` and `decode` go from values to codes and back, `snap` does both,
and `union` puts the codebooks of several clients together. All are pure functions for one client,
made to run under jit, vmap and `jax.lax.map` over many. Centers f32[K, B] are codewords of B
consecutive values, under the same five verbs. `fit_rate` weighs squared error against code
length, and `fit_in_use` fits as many centers as a program that runs asks for.

Example:
  >>> import jax.numpy as jnp
  >>> import numpy as np
  >>> from fedcode_jax import codebook
  >>> values = jnp.array([0.0, 0.2, 1.0, 1.2])
  >>> centers = codebook.fit(values, 2)
  >>> np.asarray(codebook.encode(centers, values)).tolist()
  [0, 0, 1, 1]
"""

from fedcode_jax.codebook.codes import decode, encode, snap, union
from fedcode_jax.codebook.fitting import fit
from fedcode_jax.codebook.in_use import fit_in_use
from fedcode_jax.codebook.rate import RateCodebook, fit_rate

__all__ = ["RateCodebook", "decode", "encode", "fit", "fit_in_use", "fit_rate", "snap", "union"]
