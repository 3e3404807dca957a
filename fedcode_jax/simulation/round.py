"""One round as a pure function of the state; it reads top to bottom as the round goes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import ClientData, LocalTraining, Plan
from fedcode_jax.simulation import delivery
from fedcode_jax.simulation.bookkeeping import close
from fedcode_jax.simulation.local_work import LocalWork, Member
from fedcode_jax.simulation.opening import opened
from fedcode_jax.simulation.state import RoundMetrics, Settings, State, Traffic
from fedcode_jax.wire import Kind

Round = Callable[[State, ClientData, Settings], tuple[State, RoundMetrics, Traffic]]


def make_round(
    algorithm: Algorithm,
    training: LocalTraining,
    plan: Plan,
    *,
    cohort: int,
    max_size: int,
    sketched: bool = False,
    traffic: bool = True,
    works: bool = False,
) -> Round:
    """The function that runs one round.

    Args:
      algorithm: what is sent and how it is merged; its own schedule, if it brings one,
        comes before that of the settings.
      training: what a client does.
      plan: how the clients run.
      cohort: M, clients in a round.
      max_size: the largest number of samples of any client.
      sketched: whether uploads carry a sketch of the weights, for schedules that ask for it.
      traffic: whether uploads are kept as they were sent, also those that did not arrive.
      works: whether the messages are with what each client started from, and trained.

    Returns:
      (state, data, settings) -> (state, metrics, traffic): pure, to be jitted, scanned and
      vmapped. Without ``traffic`` its last part holds no messages worth looking at.
    """
    work = LocalWork(algorithm, training, plan, max_size, sketched, traffic, works)

    def run_round(
        state: State, data: ClientData, settings: Settings
    ) -> tuple[State, RoundMetrics, Traffic]:
        now = opened(algorithm, training, plan, cohort, state, data, settings)
        message, server = algorithm.broadcast(state.server, now.exchange, now.server_key)

        rows = (state.store, state.known, state.missed)
        stored, known, missed = jax.tree.map(lambda leaf: leaf[now.clients], rows)
        post = delivery.posted(algorithm, state.server, server, message, missed, ~now.met.away)
        asked = delivery.asked_for_weights(
            *(algorithm, post, now.exchange, settings, state.memory.costs, now.met, now.samples)
        )

        members = Member(
            *(stored, known, asked, now.met, now.samples, post.first, post.bits, now.struck)
        )
        done = work.run(now, settings.links.deadline, post, members, data)

        arrived = done.outputs.message
        heard = jnp.where(arrived.kind == Kind.NOTHING, 0, now.num_samples).astype(jnp.float32)
        server = algorithm.aggregate(server, arrived, heard, now.exchange)

        return close(algorithm, state, settings, now, post, members, done, server)

    return run_round
