"""Schedules driven through a run in a plain loop, with messages of made-up sizes."""

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.schedules import Costs, Moment, Seen, forgotten

CENTERS = np.float32([-1.0, 0.0, 1.0])


def seen(present, arrived=None, *, weights=(False, False), bits=(0.0, 0.0), **others):
    """What a round of M clients tells a schedule; ``weights`` and ``bits`` are (down, up)."""
    present = jnp.asarray(present)
    arrived = present if arrived is None else jnp.asarray(arrived)
    down, up = (jnp.asarray(flag) & present for flag in weights)
    server_bits, client_bits = (jnp.where(present, b, 0).astype(jnp.float32) for b in bits)
    fields = {
        "server_centers": jnp.asarray(CENTERS),
        "client_centers": jnp.tile(CENTERS, (len(present), 1)),
        "sketches": None,
    }
    return Seen(present, arrived, down, up, server_bits, client_bits, **(fields | others))


@jax.jit
def decide(schedule, memory, moment):
    return schedule.decide(memory, moment)


@jax.jit
def remember(schedule, memory, moment, exchange, seen):
    return schedule.remember(memory, moment, exchange, seen)


def drive(schedule, rounds, *, cohort=2, everybody=1, rate=lambda t: 1.0, tell=None, costs=None):
    """Runs a schedule; the rounds in which the server and the clients send weights.

    ``tell`` is (round, down, up) -> Seen, what comes of the exchange that was decided.
    """
    memory = forgotten(len(CENTERS), costs or Costs())
    server, clients = [], []
    for t in range(1, rounds + 1):
        moment = Moment(np.int32(t), np.float32(rate(t)), np.int32(cohort), np.int32(everybody))
        exchange = decide(schedule, memory, moment)
        down, up = (bool(flag) for flag in exchange)
        server += [t] * down
        clients += [t] * up
        what = tell(t, down, up) if tell else seen(np.ones(cohort, bool), weights=(down, up))
        memory = remember(schedule, memory, moment, exchange, what)
    return server, clients
