"""The rules of the schedules: what each decides before a round."""

import jax
import jax.numpy as jnp

from fedcode_jax.schedules.base import Exchange, Moment, Settings
from fedcode_jax.schedules.history import Memory, Number

_CLOSE = 1e-3  # calibrations that rounding may take away


def begun(s: Settings, at: Moment, server: jax.Array, clients: jax.Array) -> Exchange:
    """Weights in the first rounds, and then as told."""
    return Exchange((at.number <= s.start) | server, (at.number < s.start) | clients)


def periodic(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """Every f1 and f2 rounds."""
    t = at.number
    return begun(s, at, t % s.server_period == 0, t % s.client_period == 0)


def paired(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """Every f1 and f2 rounds, the server one round later, when it has averaged."""
    t = at.number
    return begun(s, at, (t - 1) % s.server_period == 0, t % s.client_period == 0)


def warmup(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """Often at first, then after 2, 4, 8, ... rounds, up to f1 and f2."""
    since = at.number - s.start
    return Exchange(_doubling(since, s.server_period), _doubling(since + 1, s.client_period))


def late(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """Every f1 and f2 rounds at first, then after ..., 8, 4, 2 rounds, and at last in each."""
    left = s.rounds - at.number + 1 - s.start
    # Mirrored in time, and yet the server sends a round after the clients.
    return Exchange(_doubling(left + 1, s.server_period), _doubling(left, s.client_period))


def _doubling(since: jax.Array, longest: jax.Array) -> jax.Array:
    """Whether weights are due ``since`` rounds after the last round of the start.

    All rounds of the start count; then the gaps are 2, 4, 8, ... and at last ``longest``.
    """
    power = jnp.int32(1) << (31 - jax.lax.clz(longest.astype(jnp.int32)))
    doubled_until = 2 * power - 2  # the sum of the gaps 2, 4, ..., power
    doubled = ((since + 2) & (since + 1)) == 0
    regular = (since - doubled_until) % longest == 0
    return (since <= 0) | jnp.where(since <= doubled_until, doubled, regular)


def step_size(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """The longer apart, the smaller the learning rate."""
    t = at.number
    return begun(s, at, t >= memory.server_paused, t >= memory.clients_paused)


def drift(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """When models have moved, or drifted apart, by more than a threshold."""
    return begun(s, at, memory.averaged, memory.signal > s.threshold)


def budget(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """As many calibrations as can be paid, equally far apart, the last in the last round."""
    t, costs = at.number, memory.costs
    clients = jnp.maximum(at.clients, at.cohort)
    each = costs.server_weights - costs.server_quiet
    down = at.cohort * each
    up = at.cohort * (costs.clients_weights - costs.clients_quiet)
    quiet = at.cohort * (costs.server_quiet + costs.clients_quiet)
    # Everybody's first message carries weights, and the server answers a calibration with some,
    # which newcomers do not cost again: the more of them there are, the less it takes.
    met = jnp.maximum(contacted(t - 1 + memory.averaged, at.cohort, clients), at.cohort)
    coming = each * (contacted(s.rounds, at.cohort, clients) - met)
    saved = coming / (s.rounds - t + 1)
    came = down + each * memory.newcomers
    begun = jnp.where(t > 1, came, 0)
    spent = memory.spent_bits - (t - 1) * quiet - begun + jnp.where(memory.averaged, down, 0)
    done = jnp.maximum(spent, 0) / (up + down)
    left = s.budget_bits - s.rounds * quiet - came - coming - done * saved
    affordable = jnp.floor(left / (up + down - saved) + _CLOSE)
    return Exchange(memory.averaged | (t == 1), done + 1 <= affordable * t / s.rounds + _CLOSE)


def contacted(rounds: Number, cohort: Number, clients: Number) -> Number:
    """Expected number of different clients in so many cohorts, each drawn without replacement.

    C (1 - (1 - M / C)^rounds)
    """
    return clients * (1 - (1 - cohort / clients) ** rounds)


def always(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """In each round."""
    return Exchange(at.number > 0, at.number > 0)


def never(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """In no round."""
    return Exchange(at.number < 0, at.number < 0)


def every(s: Settings, memory: Memory, at: Moment) -> Exchange:
    """From the clients every f2 rounds, and from the server in the round after each."""
    t, f = at.number, s.client_period
    return Exchange((t - 1) % f == 0, t % f == 0)


RULES = (periodic, paired, warmup, late, step_size, drift, budget, always, never, every)

ADAPTIVE = (step_size, drift, budget)
"""The rules that go by what was seen, and so repeat after no period."""
