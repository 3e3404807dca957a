"""Programs that have no room are refused before they run, with a setting that has room."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import devices, experiment
from fedcode_jax.algorithms import fedcode
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.devices import check_room, compiled_memory
from fedcode_jax.errors import ConfigError
from fedcode_jax.simulation import device_memory
from fedcode_jax.simulation.device_memory import clients_that_fit


def side_by_side(clients):
    """A program whose working space is a matrix a client."""

    def one(x):
        return jnp.sum(jnp.sort(jnp.sin(x[:, None] * x), axis=0)[3])

    shape = jax.ShapeDtypeStruct((clients, 128), jnp.float32)
    return jax.jit(jax.vmap(one)).lower(shape).compile()


def needed(compiled):
    found = compiled.memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes


def test_what_fits_is_let_through(monkeypatch):
    compiled = side_by_side(8)
    assert needed(compiled) >= 8 * 4 * 128**2  # or this tests nothing
    for free in (needed(compiled), None):
        monkeypatch.setattr(devices, "free_bytes", lambda machine=None, free=free: free)
        check_room(compiled, 8)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_the_chunk_that_the_message_names_has_room(share, monkeypatch):
    compiled = side_by_side(8)
    free = int(share * needed(compiled))
    monkeypatch.setattr(devices, "free_bytes", lambda machine=None: free)
    with pytest.raises(
        ConfigError, match=r"execution\.chunk: 8 client.* set execution\.chunk to"
    ) as e:
        check_room(compiled, 8)
    chunk = int(re.search(r"set execution.chunk to (\d+)", str(e.value))[1])
    assert 1 <= chunk < 8
    check_room(side_by_side(chunk), chunk)
    assert needed(side_by_side(chunk + 1)) > 0.95 * free  # and hardly a larger one


@pytest.mark.parametrize("chunk", [1, 8])
def test_where_no_chunk_helps_other_settings_are_named(chunk, monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda machine=None: 1000)
    with pytest.raises(ConfigError, match=r"smaller local\.batch_size, fewer clients_per_round"):
        check_room(side_by_side(chunk), chunk)


def test_the_chunk_that_is_named_was_compiled_and_has_room(monkeypatch):
    """By proportion it would be 6, but memory goes up in steps here."""

    def stepwise(chunk):
        return side_by_side(8 if chunk > 4 else chunk)

    free = int(0.8 * needed(stepwise(8)))
    monkeypatch.setattr(devices, "free_bytes", lambda machine=None: free)
    with pytest.raises(ConfigError, match=r"set execution\.chunk to 4"):
        check_room(stepwise(8), 8, stepwise)
    monkeypatch.setattr(devices, "free_bytes", lambda machine=None: 1000)
    with pytest.raises(ConfigError, match="no chunk has room"):
        check_room(stepwise(8), 8, stepwise)


@pytest.mark.parametrize(("chunk", "advice"), [(8, "set execution.chunk to 4"), (1, "no chunk")])
def test_memory_that_runs_out_at_work_is_told_with_what_to_set(chunk, advice):
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    with (
        pytest.raises(ConfigError, match=f"execution.chunk: {chunk} client.*{advice}"),
        devices.told_if_exhausted(chunk),
    ):
        raise error
    other = jax.errors.JaxRuntimeError("INTERNAL: something else")
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"),
        devices.told_if_exhausted(chunk),
    ):
        raise other


def test_compiled_memory_counts_donated_arguments_once():
    shape = jax.ShapeDtypeStruct((1000,), jnp.float32)
    keep = jax.jit(lambda x: x + 1).lower(shape).compile()
    give = jax.jit(lambda x: x + 1, donate_argnums=0).lower(shape).compile()
    assert compiled_memory(keep)["total"] == pytest.approx(8000, abs=200)
    assert compiled_memory(give)["total"] == pytest.approx(4000, abs=200)


@pytest.fixture(scope="module")
def built():
    changes = {"model.name": "mlp", "local.epochs": 1, "algorithm.name": "fedavg"}
    return experiment.build(replace(ExperimentConfig(), changes))


def test_a_run_without_room_is_refused_before_its_first_round(built, monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda machine=None: 10_000)
    state = built.program.start(built.weights)
    with pytest.raises(ConfigError, match=r"on a device that has 0\.00 GB free"):
        built.program.advance(state, 1)
    assert not built.program.compiled.segments


def test_as_many_clients_fit_as_the_memory_has_room_for(built, monkeypatch):
    program, weights = built.program, built.weights
    resident = device_memory.resident_bytes(program, weights)
    one = device_memory.client_bytes(program.training, weights, program.data.x.shape[1:])
    for clients in (1, 3, 10):
        free = (resident + (clients + 0.5) * one) / 0.8
        monkeypatch.setattr(device_memory, "free_bytes", lambda machine=None, free=free: int(free))
        assert clients_that_fit(program, weights) == clients
    monkeypatch.setattr(device_memory, "free_bytes", lambda machine=None: 0)
    assert clients_that_fit(program, weights) == 1
    monkeypatch.setattr(device_memory, "free_bytes", lambda machine=None: None)
    assert clients_that_fit(program, weights) == program.cohort


def test_resident_bytes_count_the_data_the_weights_and_the_uploads(built):
    program = built.program
    data = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves((program.data, program.test)))
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(built.weights))
    found = device_memory.resident_bytes(program, built.weights)
    assert found >= data + (program.cohort + 1) * weights
    assert found <= 1.1 * (data + (2 * program.cohort + 3) * weights)


def test_counting_the_bits_of_conditional_codes_takes_room():
    """Of many centers more than a client's training: 39 MB of 270,000 codes at K = 1,024."""
    shapes = {"params": {"kernel": jax.ShapeDtypeStruct((2_700, 100), jnp.float32)}}
    taken = {
        (coding, K): device_memory.counting_bytes(fedcode(K, coding=coding), shapes)
        for coding, K in [("fixed", 1024), ("adaptive", 1024)]
        + [("conditional", K) for K in (256, 1024, 4096)]
    }
    assert taken["fixed", 1024] == taken["adaptive", 1024] == 0
    assert taken["conditional", 256] > 4e6
    assert taken["conditional", 1024] > 39e6
    assert taken["conditional", 4096] > 134e6
