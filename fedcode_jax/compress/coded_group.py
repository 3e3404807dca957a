"""How a group of values becomes a codebook and codes, and back."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp

from fedcode_jax import codebook
from fedcode_jax.codebook.fitting import check_num_clusters
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.limits import check_real, check_whole
from fedcode_jax.wire import CODINGS, Coded


@dataclasses.dataclass(frozen=True)
class Coder:
    """The settings of a codebook and of its codes.

    Attributes:
      num_clusters: K, centers of a codebook; a group of fewer codes has only as many.
      coding: how codes are written, one of ``wire.CODINGS``.
      block: B, consecutive values that share a code; their codewords are vectors.
      rate_weight: price of a bit of code length, in squared error relative to the variance of
        the group, up to 10^6; 0 for plain k-means, in which codes cost nothing.
      setting: what these settings are called in errors, before the dot.

    Raises:
      ConfigError: a setting that is not allowed, or does not go with another.
    """

    num_clusters: int = 64
    coding: str = "fixed"
    block: int = 1
    rate_weight: float = 0.0
    setting: str = "algorithm"

    def __post_init__(self) -> None:
        check_num_clusters(self.num_clusters)
        check_name(f"{self.setting}.coding", self.coding, CODINGS)
        check_whole(f"{self.setting}.block", self.block, 1, 256)
        check_real(f"{self.setting}.rate_weight", self.rate_weight, 0, 1e6)
        if self.num_clusters * self.block > 2**18:
            raise ConfigError(
                f"{self.setting}.block: {self.num_clusters} centers of {self.block} values; "
                f"{self.setting}.num_clusters times {self.setting}.block must not exceed 262,144"
            )
        if self.rate_weight > 0 and self.coding == "fixed":
            raise ConfigError(
                f"{self.setting}.rate_weight: {self.rate_weight} has no use with "
                f"{self.setting}.coding fixed, where every code takes the same bits; set a coding "
                "such as adaptive"
            )
        if self.rate_weight > 0 and self.block > 1:
            raise ConfigError(
                f"{self.setting}.rate_weight: {self.rate_weight} cannot be used with "
                f"{self.setting}.block {self.block}; entropy-constrained codebooks are of single "
                "values"
            )

    def encode(self, vector: jax.Array, sizes: tuple[int, ...]) -> Coded:
        """Fits a codebook to a group and codes it.

        Args:
          vector: f32[n], the values of the group.
          sizes: how many of them each variable has, n together.

        Returns:
          A section of K centers (fewer if there are fewer codes) and ceil(n / B) codes.
        """
        K = self._clusters(vector.size)
        if self.rate_weight > 0:
            centers, limits = codebook.fit_rate(vector, K, self.rate_weight)
            codes = codebook.encode(centers, vector, limits=limits)
        else:
            centers = codebook.fit(vector, K, block=self.block)
            codes = codebook.encode(centers, vector)
        # A code belongs to the variable where its block begins.
        ends = [-(-end // self.block) for end in itertools.accumulate(sizes)]
        layers = tuple(b - a for a, b in zip([0, *ends], ends, strict=False))
        return Coded(centers, codes, self.coding, layers if len(layers) > 1 else ())

    def decode(self, section: Coded, size: int) -> jax.Array:
        """The values f32[size] that a section stands for."""
        return codebook.decode(jnp.asarray(section.centers), jnp.asarray(section.codes), size)

    def snap(self, section: Coded, own: Coded, size: int) -> jax.Array:
        """The values of ``own``, each moved to the nearest center of ``section``: f32[size].

        Snapping all values is the same as snapping the codewords that they take.
        """
        kept = jnp.asarray(own.centers)
        moved = codebook.snap(jnp.asarray(section.centers), kept.reshape(-1))
        return self.decode(Coded(moved.reshape(kept.shape), own.codes), size)

    def empty(self, size: int, num_clients: int) -> Coded:
        """What clients keep of a group of n values before they have any: all zero."""
        K = self._clusters(size)
        shape = (num_clients, K) if self.block == 1 else (num_clients, K, self.block)
        codes = (num_clients, -(-size // self.block))
        return Coded(jnp.zeros(shape), jnp.zeros(codes, jnp.uint8 if K <= 256 else jnp.uint16))

    def _clusters(self, size: int) -> int:
        return min(self.num_clusters, -(-size // self.block))
