"""How the groups of a model go up and down as changes."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import wire
from fedcode_jax.algorithms.base import mean_of_clients
from fedcode_jax.algorithms.layout import FLOATS, Group, Layout, Weights, parse
from fedcode_jax.compress import Compressor
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Dense, Kind, Message, Section


class Ways(NamedTuple):
    """How the groups of a model go up and down."""

    groups: tuple[Group, ...]
    up: Compressor
    down: Compressor | None

    def layout(self, weights: Weights) -> Layout:
        """How the groups make up these weights."""
        return Layout.of(weights, self.groups)

    def compressed_in(self, layout: Layout) -> tuple[int, ...]:
        """The places of the groups that are compressed."""
        return tuple(g for g, policy in enumerate(layout.policies) if policy == "coded")

    def fitted(self, compressor: Compressor, layout: Layout, g: int) -> Compressor:
        """The compressor for the shape of a group, which is one variable if shapes matter."""
        if compressor.for_shape is None:
            return compressor
        (variable,) = layout.members[g]
        return compressor.for_shape(layout.shapes[variable])

    def memories(self, compressor: Compressor, layout: Layout) -> tuple:
        """What a sender remembers of each compressed group before its first message."""
        return tuple(
            self.fitted(compressor, layout, g).init(sum(layout.sizes[g]))
            for g in self.compressed_in(layout)
        )

    def floats(self, layout: Layout, vectors: Sequence[jax.Array]) -> tuple[Section, ...]:
        """All groups as floats."""
        return tuple(
            Dense.rounded(vector, FLOATS.get(policy, "float32"))
            for policy, vector in zip(layout.policies, vectors, strict=True)
        )

    def compressed(
        self,
        compressor: Compressor,
        layout: Layout,
        own: Sequence[jax.Array],
        change: Sequence[jax.Array],
        memories: tuple,
        key: jax.Array,
    ) -> tuple[tuple[Section, ...], tuple]:
        """Groups as they are sent: changes compressed, the others as floats; and the memories."""
        sections, after = list(self.floats(layout, own)), []
        for g, memory in zip(self.compressed_in(layout), memories, strict=True):
            compress = self.fitted(compressor, layout, g).compress
            sections[g], memory = compress(memory, change[g], jax.random.fold_in(key, g))
            after.append(memory)
        return tuple(sections), tuple(after)

    def received(self, layout: Layout, message: Message, common: Weights | None) -> Weights:
        """What a client holds after a broadcast, or after the whole."""
        if common is None or self.down is None:
            return layout.join([wire.values(section) for section in message.sections])
        compressed, vectors = self.compressed_in(layout), []
        for g, held in enumerate(layout.split(common)):
            section = message.sections[g]
            if g not in compressed:
                vectors.append(wire.values(section))
                continue
            down = self.fitted(self.down, layout, g)
            after = held + down.decompress(section, held.size)
            if isinstance(section, Dense) and section.values.shape == held.shape:
                after = jnp.where(message.kind == Kind.WEIGHTS, section.values, after)
            vectors.append(after)
        return layout.join(vectors)

    def mean(
        self, layout: Layout, messages: Message, weights: Weights, counted: jax.Array
    ) -> Weights:
        """The weights that the clients' mean change, and mean floats, come to."""
        compressed, vectors = self.compressed_in(layout), []
        for g, own in enumerate(layout.split(weights)):
            section = messages.sections[g]
            if g in compressed:
                decoded = functools.partial(_decoded, self.fitted(self.up, layout, g), own.size)
                vectors.append(own + mean_of_clients(decoded, section, counted))
            else:
                vectors.append(mean_of_clients(wire.values, section, counted))
        return layout.join(vectors)


def _decoded(compressor: Compressor, size: int, section: Section) -> jax.Array:
    return compressor.decompress(section, size)


def compressible(groups: str, *compressors: Compressor | None) -> tuple[Group, ...]:
    """The groups, of which only params are compressed, and as the compressors can take them."""
    parsed = parse(groups)
    if all(group.policy in FLOATS for group in parsed):
        raise ConfigError(
            f"algorithm.groups: {groups!r}: nothing would be compressed; give a group the policy "
            "coded or layered"
        )
    shaped = any(each is not None and each.for_shape is not None for each in compressors)
    for group in parsed:
        if shaped and group.policy == "coded":
            raise ConfigError(
                f"algorithm.groups: {groups!r}: policy coded makes several variables one vector, "
                "and this compressor, such as powersgd, needs the shape of each; use layers, or "
                "the policy layered in place of coded"
            )
        if group.policy == "local":
            raise ConfigError(
                f"algorithm.groups: {groups!r}: policy local cannot be used with compressed "
                "updates, whose clients all hold the same; use dense"
            )
        if group.policy not in FLOATS and "stats" in group.kinds:
            raise ConfigError(
                f"algorithm.groups: {groups!r}: stats cannot be compressed as changes, which can "
                "make a variance negative; write stats=dense"
            )
    return parsed
