"""FedPM with both ways coded by shared candidates: minimal random coding of masks."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from fedcode_jax import randomness, schedules, wire
from fedcode_jax.algorithms import masked
from fedcode_jax.algorithms.base import Algorithm, Start, Work, mean_of_clients, one
from fedcode_jax.algorithms.fedpm import FedPMClient
from fedcode_jax.algorithms.layout import Layout, Weights
from fedcode_jax.algorithms.portable import Portable, of_signs
from fedcode_jax.compress import random_coding
from fedcode_jax.compress.random_coding import from_bits
from fedcode_jax.limits import check_real, check_whole
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Bits, Coded, Dense, Kind, Message


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MrcServer:
    """What the server keeps.

    Attributes:
      probabilities: f32[n], theta, of a one in the mask of each value.
      stats: running statistics, f32[n_s] in a tuple, of models that have any.
      codes: u8[n], how many of S masks have a one: what all clients hold in place of theta.
      common_stats: the running statistics that they hold.
      seed: u32[], of the frozen weights.
      sample: u32[], of the mask that is evaluated.
      layout: how masked values and the others make up the weights.
    """

    probabilities: jax.Array
    stats: tuple[jax.Array, ...]
    codes: jax.Array
    common_stats: tuple[jax.Array, ...]
    seed: jax.Array
    sample: jax.Array
    layout: Layout = dataclasses.field(metadata={"static": True})


# Long: a closure for each verb, each of them short.
@randomness.standard_parts
def fedpm_mrc(
    block: int = 64, bits: int = 8, samples: int = 10, scale: float = math.e
) -> Algorithm:
    """FedPM whose masks are sent, up and down, as numbers of candidates that both ends can draw.

    All clients hold theta_c, the share of ones in S masks; it is the prior of both ways. With B
    values in a block and N = 2^bits candidates of it, from a seed that goes with the message:

    1. Broadcast. Of the server's theta, S masks are drawn by ``random_coding.chosen``; their
       numbers are sent, and theta_c <- EDGE + (1 - 2 EDGE) times their share of ones.
    2. Receive. A client draws the same candidates, and starts from the scores logit(theta_c).
    3. Local training, as of ``fedpm``.
    4. Upload. One mask of its sigmoid(s), coded likewise.
    5. Aggregate. The server draws the candidates that were meant; theta is of their share of ones.

    A value takes bits / B bits up and S bits / B down. A mask is nearly a sample of what it should
    be where log N exceeds the block's divergence from theta_c, and else lags towards theta_c: the
    faster clients learn, the smaller the blocks must be.

    The server's model is under a mask of theta, that of clients (``deployed``) under one of the
    theta_c that would come of the next broadcast, both by the same draw.

    Both ways by minimal random coding, with what was sent before as the prior, is the idea of
    BiCompFL. Here the server draws anew of the mean, one message for all; blocks are of one size;
    and local training has no term that holds clients near the prior.

    Args:
      block: B, values of a block.
      bits: log2 of the number of candidates N, 1 .. 16; the work of drawing them is N n for a mask.
      samples: S, masks that go down, 1 .. 255.
      scale: of the magnitudes of weights, as of ``fedpm``.

    Returns:
      The algorithm; a client keeps theta_c, which is the same for all.

    Raises:
      ConfigError: a setting that is not allowed.

    Source: masks: Isik et al., arXiv 2209.15328; their coding up: Isik et al., arXiv 2306.12625;
    the idea of both ways: Egger et al., arXiv 2502.00206.

    Example:
      >>> algorithm = fedpm_mrc(block=4, bits=3, samples=5)
      >>> server, _ = algorithm.init({"params": {"kernel": jnp.ones((4, 2))}}, 10)
      >>> message, server = algorithm.broadcast(server, schedules.always()(1), jax.random.key(0))
      >>> message.sections[0].bits.size == 5 * 3 * 8 // 4
      True
    """
    check_whole("algorithm.block", block, 1)
    check_whole("algorithm.bits", bits, 1, 16)
    check_whole("algorithm.samples", samples, 1, 255)
    check_real("algorithm.scale", scale, 0, above=True)
    grid = masked.grid(samples)
    scores_of = masked.logit_table(grid)

    def init(weights: Weights, num_clients: int) -> tuple[MrcServer, FedPMClient]:
        layout = masked.layout_of(weights)
        seed, theta = masked.initial(layout, weights)
        _, stats = masked.masked_and_stats(layout, weights)
        codes = jnp.round(theta * samples).astype(jnp.uint8)
        sample = jnp.uint32(0)
        return MrcServer(theta, stats, codes, stats, seed, sample, layout), FedPMClient(layout)

    def masks_of(seed: jax.Array, codes: jax.Array, section: Bits, count: int) -> jax.Array:
        """How many of so many masks have a one, u8[n]."""
        numbers = from_bits(section, bits).reshape(count, -1)
        prior = jnp.asarray(grid)[codes]
        return random_coding.ones(randomness.key(seed), prior, numbers, block=block)

    def masks_for(
        codes: jax.Array, scores: jax.Array, count: int, key: jax.Array
    ) -> tuple[jax.Array, Bits]:
        """A seed, and the numbers of so many masks of the scores."""
        seed = jax.random.bits(jax.random.fold_in(key, 0), dtype=jnp.uint32)
        prior, ahead = jnp.asarray(grid)[codes], scores - jnp.asarray(scores_of)[codes]
        shared, own = randomness.key(seed), jax.random.fold_in(key, 1)
        sizes = {"block": block, "bits": bits, "count": count}
        numbers = random_coding.chosen(shared, prior, ahead, own, **sizes)
        return seed, random_coding.in_bits(numbers.reshape(-1), bits)

    def codes_of(layout: Layout, weights: Weights) -> jax.Array:
        scores, _ = masked.masked_and_stats(layout, weights)
        return jnp.searchsorted(jnp.asarray(scores_of), scores).astype(jnp.uint8)

    def broadcast(
        server: MrcServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, MrcServer]:
        scores = masked.logit(server.probabilities)
        seed, numbers = masks_for(server.codes, scores, samples, key)
        sections = (numbers, *map(Dense, server.stats), masked.seeds(server.seed, seed))
        after = dataclasses.replace(
            server,
            codes=masks_of(seed, server.codes, numbers, samples),
            common_stats=server.stats,
            sample=jax.random.bits(jax.random.fold_in(key, 2), dtype=jnp.uint32),
        )
        return Message(jnp.int32(Kind.UPDATE), sections), after

    def receive(stored: FedPMClient, message: Message, common: Weights) -> Start:
        section, *stats, said = message.sections
        seed = from_bits(said, 32)
        if isinstance(section, Coded):
            codes = jnp.asarray(section.codes)
        else:
            codes = masks_of(seed[1], codes_of(stored.layout, common), section, samples)
        weights = masked.frozen(stored.layout, seed[0], scale)
        scores = jnp.asarray(scores_of)[codes]
        return masked.started(stored.layout, scores, tuple(map(wire.values, stats)), weights)

    def upload(
        stored: FedPMClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, FedPMClient]:
        scores, stats = masked.masked_and_stats(stored.layout, work.trained)
        codes = codes_of(stored.layout, work.start.weights)
        seed, numbers = masks_for(codes, scores, 1, key)
        kind = jnp.where(exchange.clients_send_weights, jnp.int32(Kind.UPDATE), Kind.NOTHING)
        return Message(kind, (numbers, *map(Dense, stats), masked.seeds(seed))), stored

    def aggregate(
        server: MrcServer, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> MrcServer:
        heard = wire.carries_values(messages.kind) & (num_samples > 0)
        numbers, *stats, seeds = messages.sections

        def mask(sent: tuple[Bits, Bits]) -> jax.Array:
            seed = from_bits(sent[1], 32)[0]
            return masks_of(seed, server.codes, sent[0], 1).astype(jnp.float32)

        share = mean_of_clients(mask, (numbers, seeds), heard.astype(jnp.float32))
        counted = jnp.where(heard, num_samples, 0.0)
        after = dataclasses.replace(
            server,
            probabilities=masked.clear_of_edges(jnp.clip(share, 0, 1)),
            stats=tuple(mean_of_clients(wire.values, each, counted) for each in stats),
        )
        return jax.tree.map(lambda old, new: jnp.where(jnp.any(heard), new, old), server, after)

    def common(server: MrcServer) -> Weights:
        weights = masked.frozen(server.layout, server.seed, scale)
        scores = jnp.asarray(scores_of)[server.codes]
        return masked.with_masked(server.layout, scores, server.common_stats, weights)

    def whole(server: MrcServer) -> Message:
        theta = Coded(jnp.asarray(grid), server.codes)
        sections = (theta, *map(Dense, server.common_stats), masked.seeds(server.seed))
        return Message(jnp.int32(Kind.WEIGHTS), sections)

    def report(server: MrcServer, store: FedPMClient) -> tuple[Weights, Weights]:
        layout, weights = server.layout, masked.frozen(server.layout, server.seed, scale)
        _, sent = broadcast(server, schedules.always()(1), randomness.key(server.sample))
        models = [
            masked.sampled_model(layout, theta, server.stats, weights, server.sample)
            for theta in (server.probabilities, jnp.asarray(grid)[sent.codes])
        ]
        return one(models[0]), one(models[1])

    def portable(server: MrcServer) -> Portable:
        _, deployed = report(server, FedPMClient(server.layout))
        return of_signs(jax.tree.map(lambda leaf: leaf[0], deployed))

    return Algorithm(
        *(init, broadcast, receive, upload, aggregate, report),
        schedule=schedules.always(),
        objective=masked.objective(),
        common=common,
        whole=whole,
        fits_codebooks=False,  # a probability's steps are a grid
        portable=portable,
    )
