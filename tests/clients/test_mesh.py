"""Clients dealt to devices: balanced, complete, and in the order in which they came."""

import json
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.clients import Plan, dealt
from fedcode_jax.clients.places import deal, places
from fedcode_jax.devices import device_count
from fedcode_jax.errors import ConfigError

COUNTS = [(1, 1), (5, 1), (5, 2), (8, 4), (9, 4), (3, 8), (50, 7)]


@pytest.mark.parametrize(("chunks", "devices"), COUNTS)
def test_every_chunk_is_dealt_once_and_devices_have_as_many_places(chunks, devices):
    dealt_out = deal(chunks, devices)
    assert dealt_out.shape == (devices, -(-chunks // devices))
    assert sorted(dealt_out.ravel().tolist()) == list(range(dealt_out.size))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("chunks", "devices"), COUNTS)
def test_loads_differ_by_at_most_the_largest_item(chunks, devices, seed):
    work = np.sort(np.random.default_rng(seed).pareto(1.0, chunks))[::-1]
    padded = np.append(work, np.zeros(chunks * devices))
    loads = padded[deal(chunks, devices)].sum(axis=1)
    assert loads.sum() == pytest.approx(work.sum())
    assert loads.max() - loads.min() <= work[0] + 1e-9


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_loads_that_fall_evenly_are_dealt_in_equal_parts(devices):
    """In turns without a way back, the first device would always have the most."""
    work = np.arange(4 * devices)[::-1]
    assert np.ptp(work[deal(len(work), devices)].sum(axis=1)) == 0


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
@pytest.mark.parametrize(("clients", "devices"), COUNTS)
def test_every_client_has_one_place(clients, devices, chunk):
    layout = places(clients, chunk, devices)
    assert layout.shape[0] == devices
    assert layout.shape[2] == min(chunk, clients)
    assert sorted(layout[layout >= 0].tolist()) == list(range(clients))
    # a chunk holds neighbours in the order of work, its idle places at its end
    for one in layout.reshape(-1, layout.shape[2]):
        own = one[one >= 0]
        assert (one[: len(own)] == own).all()
        assert (np.diff(own) == 1).all()


@pytest.mark.parametrize(("clients", "devices"), COUNTS)
def test_dealt_is_the_layout_by_falling_work(clients, devices):
    steps = np.random.default_rng(clients).integers(0, 20, clients)
    order = np.asarray(dealt(Plan("vmap", 2, "native", devices=devices), jnp.asarray(steps)))
    assert sorted(order.tolist()) == list(range(clients))
    layout = places(clients, 2, devices)
    falling = np.sort(steps)[::-1]
    np.testing.assert_array_equal(steps[order], falling[layout[layout >= 0]])


def test_device_count(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert device_count(None, 100) == 4
    assert device_count(2, 100) == 2
    assert device_count(None, 3) == device_count(4, 3) == 3
    with pytest.raises(ConfigError, match=r"execution\.devices: 5 .* JAX has 4 cpu device"):
        device_count(5, 100)


def test_several_processes_use_every_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert device_count(None, 3) == device_count(4, 100) == 4
    with pytest.raises(ConfigError, match=r"execution\.devices: 2; 2 processes"):
        device_count(2, 100)


SCRIPT = Path(__file__).with_name("on_cohorts.py")


def test_cohorts_with_idle_places_come_back_in_order_from_several_devices():
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for found in json.loads(done.stdout):
        assert found["outputs"] == [10 * client for client in found["clients"]], found
        assert found["trained"] == [size > 0 for size in found["sizes"]], found
        assert found["needed"] == sum(math.ceil(size / 2) for size in found["sizes"])
        assert found["executed"] == executed_by_hand(**found), found


def executed_in_slots(sizes, chunk, devices):
    """Clients come device by device, as many to each; whichever slot is free takes the longest."""
    own = math.ceil(len(sizes) / devices)
    slots, remaining, ends = min(chunk, own), list(sizes), [0]
    for device in range(devices):
        turns = range(own)
        numbers = [t * devices + (devices - 1 - device if t % 2 else device) for t in turns]
        count = sum(number < len(sizes) for number in numbers)
        share, remaining = remaining[:count], remaining[count:]
        busy = [0] * slots
        for size in sorted(share, reverse=True):
            busy[busy.index(min(busy))] += math.ceil(size / 2)
        ends.append(max(busy))
    assert not remaining
    return max(ends) * devices * slots


def executed_by_hand(sizes, chunk, devices, layout, **_):
    """Clients come device by device, each with its chunks in turn, in batches of 2.

    Devices are dealt the chunks there and back again; only the last chunk is short.
    """
    if layout == "packed":
        return executed_in_slots(sizes, chunk, devices)
    chunk = min(chunk, len(sizes))
    chunks = math.ceil(len(sizes) / chunk)
    remaining = list(sizes)
    loads = []
    for device in range(devices):
        load = 0
        for turn in range(math.ceil(chunks / devices)):
            number = turn * devices + (devices - 1 - device if turn % 2 else device)
            if number >= chunks:
                continue
            length = chunk if number < chunks - 1 else len(sizes) - chunk * (chunks - 1)
            own, remaining = remaining[:length], remaining[length:]
            load += max(math.ceil(size / 2) for size in own)
        loads.append(load)
    assert not remaining
    return max(loads) * devices * chunk
