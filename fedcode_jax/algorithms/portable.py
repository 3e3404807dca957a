"""Models as sections that say all by themselves, with the variables that lie in them."""

import dataclasses

import jax
import jax.numpy as jnp

from fedcode_jax import wire
from fedcode_jax.algorithms.groups import KINDS, Group, parse
from fedcode_jax.algorithms.layout import Layout, Weights
from fedcode_jax.wire import Coded, Dense, Kind, Message, Section


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Portable:
    """A model as sections that need nothing sent before them, nor the algorithm, to be read.

    Attributes:
      sections: one for each group of the layout, those that clients keep as floats.
      layout: which variables lie in which section.
    """

    sections: tuple[Section, ...]
    layout: Layout = dataclasses.field(metadata={"static": True})

    @property
    def message(self) -> Message:
        """The sections as a weights message."""
        return Message(jnp.int32(Kind.WEIGHTS), self.sections)

    @property
    def weights(self) -> Weights:
        """The model that they stand for."""
        sizes = map(sum, self.layout.sizes)
        return self.layout.join(list(map(wire.values, self.sections, sizes)))


def floats(weights: Weights) -> Portable:
    """All variables as float32 in one section, as FedAvg sends them.

    Example:
      >>> floats({"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}).sections[0].values.tolist()
      [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    """
    layout = Layout.of(weights, [Group(KINDS, "dense")])
    return Portable(tuple(map(Dense, layout.split(weights))), layout)


def of_signs(weights: Weights) -> Portable:
    """A model whose kernels have but one magnitude each: as codes of -c, 0 and c; else floats.

    Example:
      >>> found = of_signs({"kernel": jnp.array([0.0, -0.5, 0.5])}).sections[0]
      >>> found.centers.tolist(), found.codes.tolist()
      ([-0.5, 0.0, 0.5], [1, 0, 2])
    """
    layout = Layout.of(weights, parse("layers"))
    sections: list[Section] = []
    for policy, vector in zip(layout.policies, layout.split(weights), strict=True):
        if policy != "coded":
            sections.append(Dense(vector))
            continue
        codes = (jnp.sign(vector) + 1).astype(jnp.uint8)
        centers = jnp.max(jnp.abs(vector)) * jnp.array([-1.0, 0.0, 1.0])
        sections.append(Coded(centers, codes, "entropy"))
    return Portable(tuple(sections), layout)
