"""How the groups of a model go up and down as changes."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import wire
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms.base import mean_of_clients
from fedcode_jax.algorithms.combining import combined_moves
from fedcode_jax.algorithms.groups import FLOATS, SETTING, Group, keeps_any, kinds_of, parse
from fedcode_jax.algorithms.layout import Layout, Weights
from fedcode_jax.compress import Compressor
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Dense, Kind, Message, Section


class Ways(NamedTuple):
    """How the groups of a model go up and down, but for those that clients keep."""

    groups: tuple[Group, ...]
    up: Compressor
    down: Compressor | None

    def layout(self, weights: Weights) -> Layout:
        """How the groups make up these weights; whether they can be sent so is checked."""
        layout = Layout.of(weights, self.groups)
        _check(layout, weights, self.groups)
        return layout

    def sent_in(self, layout: Layout) -> tuple[int, ...]:
        """The places of the groups that travel: a message has a section for each."""
        return tuple(g for g, policy in enumerate(layout.policies) if policy != "local")

    def kept_of(self, layout: Layout, weights: Weights) -> tuple[jax.Array, ...]:
        """The vectors of the groups that clients keep."""
        vectors, sent = layout.split(weights), self.sent_in(layout)
        return tuple(vector for g, vector in enumerate(vectors) if g not in sent)

    def with_kept(self, layout: Layout, weights: Weights, kept: Sequence[jax.Array]) -> Weights:
        """Weights with other vectors in the groups that clients keep."""
        if not kept:
            return weights
        own, vectors, sent = iter(kept), layout.split(weights), self.sent_in(layout)
        return layout.join([v if g in sent else next(own) for g, v in enumerate(vectors)])

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
        """All groups that travel, as floats."""
        return tuple(
            Dense.rounded(vectors[g], FLOATS.get(layout.policies[g], "float32"))
            for g in self.sent_in(layout)
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
        sections = dict(zip(self.sent_in(layout), self.floats(layout, own), strict=True))
        after = []
        for g, memory in zip(self.compressed_in(layout), memories, strict=True):
            compress = self.fitted(compressor, layout, g).compress
            sections[g], memory = compress(memory, change[g], jax.random.fold_in(key, g))
            after.append(memory)
        return tuple(sections.values()), tuple(after)

    def section_of(self, layout: Layout, message: Message, g: int) -> Section:
        """The section of a group that travels."""
        return message.sections[self.sent_in(layout).index(g)]

    def received(
        self,
        layout: Layout,
        message: Message,
        common: Weights | None,
        kept: Sequence[jax.Array] = (),
    ) -> Weights:
        """What a client holds after a broadcast, or after the whole, beside what it keeps."""
        held = [None] * len(layout.members) if common is None else layout.split(common)
        compressed, sent = self.compressed_in(layout), self.sent_in(layout)
        vectors, own = [], iter(kept)
        for g, before in enumerate(held):
            if g not in sent:
                vectors.append(next(own))
                continue
            section = self.section_of(layout, message, g)
            if before is None or self.down is None or g not in compressed:
                vectors.append(wire.values(section))
                continue
            down = self.fitted(self.down, layout, g)
            after = before + down.decompress(section, before.size)
            if isinstance(section, Dense) and section.values.shape == before.shape:
                after = jnp.where(message.kind == Kind.WEIGHTS, section.values, after)
            vectors.append(after)
        return layout.join(vectors)

    def combined(
        self,
        layout: Layout,
        messages: Message,
        weights: Weights,
        counted: jax.Array,
        aggregation: Aggregation | None = None,
        key: jax.Array | None = None,
    ) -> Weights:
        """The weights that the clients' changes come to by a rule, or by their mean."""
        if aggregation is None:
            return self.mean(layout, messages, weights, counted)
        held, sent = layout.split(weights), self.sent_in(layout)
        moves = tuple(self.moves(layout, messages, g, held[g]) for g in sent)
        found = iter(combined_moves(aggregation, moves, counted, key))
        return layout.join([v + next(found) if g in sent else v for g, v in enumerate(held)])

    def moves(self, layout: Layout, messages: Message, g: int, own: jax.Array) -> jax.Array:
        """What each client makes a group's values more than the server's, f32[M, n]."""
        section = self.section_of(layout, messages, g)
        if g in self.compressed_in(layout):
            up = self.fitted(self.up, layout, g)
            return jax.vmap(functools.partial(_decoded, up, own.size))(section)
        return jax.vmap(wire.values)(section) - own

    def mean(
        self, layout: Layout, messages: Message, weights: Weights, counted: jax.Array
    ) -> Weights:
        """The weights that the clients' mean change, and mean floats, come to."""
        compressed, sent, vectors = self.compressed_in(layout), self.sent_in(layout), []
        for g, own in enumerate(layout.split(weights)):
            if g not in sent:
                vectors.append(own)
                continue
            section = self.section_of(layout, messages, g)
            if g in compressed:
                decoded = functools.partial(_decoded, self.fitted(self.up, layout, g), own.size)
                vectors.append(own + mean_of_clients(decoded, section, counted))
            else:
                vectors.append(mean_of_clients(wire.values, section, counted))
        return layout.join(vectors)


def _decoded(compressor: Compressor, size: int, section: Section) -> jax.Array:
    return compressor.decompress(section, size)


def compressible(groups: str, *compressors: Compressor | None) -> tuple[Group, ...]:
    """The groups, of which only params are compressed, and as the compressors can take them.

    Args:
      groups: as of ``parse``.
      *compressors: of either direction, None where there is none.

    Returns:
      The groups.

    Raises:
      ConfigError: nothing, or running statistics, would be compressed; or several variables as one
        vector by a compressor that needs their shapes.
    """
    parsed = parse(groups)
    plain = all(group.policy in (*FLOATS, "local") for group in parsed)
    compressing = any(each is not None for each in compressors)
    if plain and (compressing or not keeps_any(parsed)):
        raise ConfigError(
            f"{SETTING}: {groups!r}: nothing would be compressed; give a group the policy "
            "coded or layered"
        )
    shaped = any(each is not None and each.for_shape is not None for each in compressors)
    for group in parsed:
        if shaped and group.policy == "coded":
            raise ConfigError(
                f"{SETTING}: {groups!r}: policy coded makes several variables one vector, and a "
                "compressor such as powersgd needs the shape of each; use layers, or the policy "
                "layered in place of coded"
            )
        if group.policy not in (*FLOATS, "local") and "stats" in group.kinds:
            raise ConfigError(f"{SETTING}: {groups!r}: {_STATS}; write stats=dense")
    return parsed


_STATS = "stats cannot be compressed as changes, which can make a variance negative"


def _check(layout: Layout, weights: Weights, groups: Sequence[Group]) -> None:
    """Checks what can only be known with the variables of the model."""
    kept = layout.policies.count("local")
    if keeps_any(groups) and not kept:
        kinds = "+".join(k for group in groups if group.policy == "local" for k in group.kinds)
        raise ConfigError(
            f"{SETTING}: {kinds}=local keeps nothing, as the model has no such variables; name "
            "some that it has, or send all"
        )
    if kept == len(layout.policies):
        raise ConfigError(
            f"{SETTING}: the clients would keep everything, and send nothing; use local_only"
        )
    kinds_found = kinds_of([path for path, _ in jax.tree_util.tree_flatten_with_path(weights)[0]])
    for member, policy in zip(layout.members, layout.policies, strict=True):
        if policy == "coded" and any(kinds_found[i] == "stats" for i in member):
            raise ConfigError(f"{SETTING}: {_STATS}; give them another policy by their names")
