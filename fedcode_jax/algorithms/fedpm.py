"""FedPM: clients train masks over random weights, and send one sample of them."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax import randomness, schedules, wire
from fedcode_jax.algorithms import masked
from fedcode_jax.algorithms.base import Algorithm, Start, Work, mean_of_clients, one
from fedcode_jax.algorithms.layout import Layout, Weights
from fedcode_jax.algorithms.portable import Portable, of_signs
from fedcode_jax.compress import random_coding
from fedcode_jax.errors import check_name
from fedcode_jax.limits import check_real, check_whole
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Coded, Dense, Kind, Message, Section

CODINGS = ("fixed", "entropy", "adaptive")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FedPMServer:
    """What the server keeps.

    Attributes:
      probabilities: f32[n], theta, of a one in the mask of each value.
      stats: running statistics, f32[n_s] in a tuple, of models that have any.
      ones: f32[n], alpha - 1: ones in the masks since the prior was last reset.
      masks: f32[], alpha + beta - 2: how many masks these were.
      age: i32[], rounds since then, below ``reset``.
      seed: u32[], of the frozen weights.
      sample: u32[], of the mask that is evaluated.
      layout: how masked values and the others make up the weights.
    """

    probabilities: jax.Array
    stats: tuple[jax.Array, ...]
    ones: jax.Array
    masks: jax.Array
    age: jax.Array
    seed: jax.Array
    sample: jax.Array
    layout: Layout = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FedPMClient:
    """A client keeps nothing between rounds but how its model is laid out."""

    layout: Layout = dataclasses.field(metadata={"static": True})


# Long: a closure for each verb, each of them short.
@randomness.standard_parts
def fedpm(
    levels: int = 0, coding: str = "entropy", reset: int = 1, scale: float = math.e
) -> Algorithm:
    """FedPM: weights stay as they were drawn, and what is learnt is which of them to keep.

    Kernels and biases w are random signs times c = scale / sqrt(fan-in). With theta_i the
    probability that w_i is kept, and EDGE = 0.01:

    1. Broadcast. The server sends theta, as float32 or rounded at random to ``levels`` + 1 values
       from EDGE to 1 - EDGE, which is unbiased; and the seed of w.
    2. Receive. A client starts from the scores s = logit(theta).
    3. Local training of s: in every step a mask m of Bernoulli(sigmoid(s)) is drawn and the model
       is that of w m; the gradient goes straight through the draw.
    4. Upload. One mask of Bernoulli(sigmoid(s)), in about H(p) <= 1 bits a value, p being its share
       of ones.
    5. Aggregate. alpha += sum of masks, beta += sum of 1 - masks, from a prior of Beta(1, 1) that
       is set anew every ``reset`` rounds; theta is EDGE + (1 - 2 EDGE) times the mode
       (alpha - 1) / (alpha + beta - 2), which is the share of ones.

    Evaluated is w under one mask of Bernoulli(theta), another one in each round. Masks count alike,
    whatever the sample counts. Scales and biases of norms stay 1 and 0, and running statistics are
    averaged as floats, of which the paper's models have none.

    Scores need large steps: ``local.optimizer adam`` at ``local.learning_rate`` 0.1 is that of the
    authors' program, in which it is fixed; at Adam's usual 1e-3 nothing is learnt. The model must
    be wide: a subnetwork is found only where there are many.

    Args:
      levels: to which theta is rounded on the way down, 1 .. 255; 0: not at all. With as many as
        there are clients in a round, and a ``reset`` of 1, nothing is lost.
      coding: how masks and levels are written: fixed (a bit, or ceil(log2(levels + 1))), entropy,
        or adaptive, which learns by layer.
      reset: rounds that share a prior; the paper's is about the number of clients over that of a
        round, the program's is 1.
      scale: e in the program.

    Returns:
      The algorithm; a client keeps nothing between rounds.

    Raises:
      ConfigError: a setting that is not allowed.

    Source: Isik et al., arXiv 2209.15328, algorithms 1 and 2, and the authors' program.

    Example:
      >>> server, _ = fedpm().init({"params": {"kernel": jnp.ones((4, 2))}}, 10)
      >>> server.probabilities.shape, int(server.seed)
      ((8,), 255)
    """
    check_whole("algorithm.levels", levels, 0, 255)
    check_name("algorithm.coding", coding, CODINGS)
    check_whole("algorithm.reset", reset, 1)
    check_real("algorithm.scale", scale, 0, above=True)
    as_sent = masked.grid(levels) if levels else None

    def init(weights: Weights, num_clients: int) -> tuple[FedPMServer, FedPMClient]:
        layout = masked.layout_of(weights)
        seed, theta = masked.initial(layout, weights)
        _, stats = masked.masked_and_stats(layout, weights)
        nothing, zero = jnp.zeros_like(theta), jnp.float32(0)
        sample = jnp.uint32(0)
        server = FedPMServer(theta, stats, nothing, zero, jnp.int32(0), seed, sample, layout)
        return server, FedPMClient(layout)

    def coded(layout: Layout, values: Any, codes: jax.Array) -> Coded:
        layers = layout.sizes[0] if coding == "adaptive" else ()
        return Coded(jnp.asarray(values, jnp.float32), codes.astype(jnp.uint8), coding, layers)

    def broadcast(
        server: FedPMServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, FedPMServer]:
        theta: Section = Dense(server.probabilities)
        if as_sent is not None:
            places = (server.probabilities - masked.EDGE) / (1 - 2 * masked.EDGE) * levels
            up = jax.random.uniform(key, places.shape)
            codes = jnp.clip(jnp.floor(places + up), 0, levels)
            theta = coded(server.layout, as_sent, codes)
        sections = (theta, *map(Dense, server.stats), masked.seeds(server.seed))
        sample = jax.random.bits(jax.random.fold_in(key, 1), dtype=jnp.uint32)
        after = dataclasses.replace(server, sample=sample)
        return Message(jnp.int32(Kind.WEIGHTS), sections), after

    def receive(stored: FedPMClient, message: Message, common: None) -> Start:
        theta, *stats, seed = message.sections
        weights = masked.frozen(stored.layout, random_coding.from_bits(seed, 32)[0], scale)
        scores = masked.logit(wire.values(theta))
        return masked.started(stored.layout, scores, tuple(map(wire.values, stats)), weights)

    def upload(
        stored: FedPMClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, FedPMClient]:
        scores, stats = masked.masked_and_stats(stored.layout, work.trained)
        mask = coded(stored.layout, [0, 1], masked.drawn(key, jax.nn.sigmoid(scores)))
        kind = jnp.where(exchange.clients_send_weights, jnp.int32(Kind.WEIGHTS), Kind.NOTHING)
        return Message(kind, (mask, *map(Dense, stats))), stored

    def aggregate(
        server: FedPMServer, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> FedPMServer:
        heard = wire.carries_values(messages.kind) & (num_samples > 0)
        mask, *stats = messages.sections
        count = jnp.sum(heard.astype(jnp.float32))
        share = mean_of_clients(wire.values, mask, heard.astype(jnp.float32))
        anew = server.age == 0
        ones = jnp.where(anew, 0, server.ones) + count * share
        masks = jnp.where(anew, 0, server.masks) + count
        counted = jnp.where(heard, num_samples, 0.0)
        after = dataclasses.replace(
            server,
            probabilities=masked.clear_of_edges(jnp.clip(ones / jnp.maximum(masks, 1), 0, 1)),
            stats=tuple(mean_of_clients(wire.values, each, counted) for each in stats),
            ones=ones,
            masks=masks,
            age=(server.age + 1) % reset,
        )
        return jax.tree.map(lambda old, new: jnp.where(count > 0, new, old), server, after)

    def report(server: FedPMServer, store: FedPMClient) -> tuple[Weights, None]:
        return one(sampled(server)), None

    def sampled(server: FedPMServer) -> Weights:
        layout, weights = server.layout, masked.frozen(server.layout, server.seed, scale)
        theta, stats = server.probabilities, server.stats
        return masked.sampled_model(layout, theta, stats, weights, server.sample)

    def portable(server: FedPMServer) -> Portable:
        return of_signs(sampled(server))

    return Algorithm(
        *(init, broadcast, receive, upload, aggregate, report),
        schedule=schedules.always(),
        objective=masked.objective(),
        fits_codebooks=False,  # a mask's two centers are 0 and 1
        portable=portable,
    )
