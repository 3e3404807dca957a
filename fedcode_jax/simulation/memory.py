"""Whether an experiment has room on its devices, asked before and after compiling it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax

from fedcode_jax.clients.memory import client_bytes, free_bytes, sample_bytes, tree_bytes
from fedcode_jax.clients.training import Weights
from fedcode_jax.errors import ConfigError
from fedcode_jax.simulation.state import initial_state

if TYPE_CHECKING:
    from fedcode_jax.simulation.segment import Program

_ROOM = 0.8
"""Share of a device's free memory that a plan may fill by the estimate."""
_EVALUATION = 0.2
"""Share of it that a batch of test samples may fill."""
_TEST_BATCH = 500
"""Test samples in a batch, if they fit: more gain nothing."""


def resident_bytes(program: "Program", weights: Weights) -> int:
    """An estimate of what lies on a device all the time, apart from clients in training.

    The data, the server's state, a device's share of the test set, of what clients keep, and
    of the round's uploads, each as large as the weights.

    Args:
      program: the experiment.
      weights: the variables of the model, or their shapes.

    Returns:
      Bytes.
    """
    devices, clients = program.plan.devices, program.data.sizes.shape[0]
    state = jax.eval_shape(lambda w: initial_state(program.algorithm, w, clients), weights)
    kept = tree_bytes((state.store, state.known))
    if clients % devices == 0:
        kept //= devices
    uploads = -(-program.cohort // devices) * tree_bytes(weights)
    test = tree_bytes(program.test) // devices
    return tree_bytes((program.data, state.server)) + kept + test + uploads


def clients_that_fit(program: "Program", weights: Weights) -> int:
    """How many clients one device can train side by side, by the estimates; at least 1."""
    free = free_bytes()
    if free is None:
        return program.cohort
    room = _ROOM * free - resident_bytes(program, weights)
    one = client_bytes(program.training, weights, program.data.x.shape[1:])
    return max(1, int(room // one))


def evaluation_batch(model: Any, weights: Weights, sample_shape: Sequence[int]) -> int:
    """How many test samples one device evaluates at once; at least 1."""
    free = free_bytes()
    if free is None:
        return _TEST_BATCH
    fits = int(_EVALUATION * free) // sample_bytes(model, weights, sample_shape)
    return min(max(fits, 1), _TEST_BATCH)


def compiled_memory(program: Any) -> dict[str, int] | None:
    """What a compiled program asks of one device.

    Args:
      program: a compiled function.

    Returns:
      Bytes of arguments, of results, of both where they share a buffer, and of what it holds
      meanwhile; ``total`` counts shared buffers once. None where the backend does not tell.

    Example:
      >>> numbers = jax.numpy.zeros(100)
      >>> program = jax.jit(lambda x: x + 1).lower(numbers).compile()
      >>> compiled_memory(program)["total"] >= 800
      True
    """
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    sizes = {
        "arguments": analysis.argument_size_in_bytes,
        "results": analysis.output_size_in_bytes,
        "shared": analysis.alias_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
    }
    total = sizes["arguments"] + sizes["results"] - sizes["shared"] + sizes["temporary"]
    return {**sizes, "total": total}


def check_room(compiled: Any, chunk: int) -> None:
    """Refuses a compiled program that its devices have no room for, before it runs.

    Args:
      compiled: the program; its arguments lie on the devices already.
      chunk: clients side by side in it.

    Raises:
      ConfigError: says what it needs, what there is, and which chunk has room.
    """
    free, found = free_bytes(), compiled_memory(compiled)
    if free is None or found is None:
        return
    results = found["results"] - found["shared"]
    needed = found["temporary"] + results
    if needed <= free:
        return
    fits = int(chunk * max(free - results, 0) / max(found["temporary"], 1))
    advice = (
        f"set execution.chunk to {fits}"
        if fits >= 1 and chunk > 1
        else "set a smaller local.batch_size, fewer clients_per_round or a smaller model"
    )
    raise ConfigError(
        f"execution.chunk: {chunk} client(s) side by side need {needed / 1e9:.2f} GB on a device "
        f"that has {free / 1e9:.2f} GB free; {advice}"
    )
