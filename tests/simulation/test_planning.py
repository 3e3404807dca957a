"""The plan that an experiment gets from its settings, its model and the machine's memory."""

import jax
import pytest

from fedcode_jax import experiment
from fedcode_jax.clients import Plan
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.simulation import device_memory, planning

BASE = {"partition.name": "iid", "algorithm.name": "fedavg", "local.epochs": 1}


def plan(model="cnn", **changes):
    changes = {k.replace("__", "."): v for k, v in changes.items()}
    return experiment.build(
        replace(ExperimentConfig(), {**BASE, "model.name": model, **changes})
    ).program.plan


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_on_cpu_clients_run_one_after_another(model):
    found = plan(model)
    assert (found.client_axis, found.chunk, found.conv) == ("map", 1, "native")
    assert found.reason == "rule for cpu"


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_elsewhere_they_run_side_by_side(model, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = plan(model)
    assert (found.client_axis, found.chunk, found.conv) == ("vmap", 10, "native")


def test_the_chunk_shrinks_with_the_memory(monkeypatch):
    one = experiment.build(replace(ExperimentConfig(), BASE))
    resident = device_memory.resident_bytes(one.program, one.weights)
    client = device_memory.client_bytes(one.program.training, one.weights, one.dataset.input_shape)
    chunks = []
    for clients in (20, 5, 2, 0.5):
        free = int((resident + clients * client) / 0.8)
        monkeypatch.setattr(device_memory, "free_bytes", lambda machine=None, free=free: free)
        chunks.append(plan(execution__client_axis="vmap", execution__conv="native").chunk)
    assert chunks == [10, 5, 2, 1]


def test_patches_need_more_memory_and_get_a_smaller_chunk(monkeypatch):
    one = experiment.build(replace(ExperimentConfig(), BASE))
    resident = device_memory.resident_bytes(one.program, one.weights)
    client = device_memory.client_bytes(one.program.training, one.weights, one.dataset.input_shape)
    free = int((resident + 5.5 * client) / 0.8)
    monkeypatch.setattr(device_memory, "free_bytes", lambda machine=None: free)
    by_conv = {
        conv: plan(execution__client_axis="vmap", execution__conv=conv).chunk
        for conv in ("native", "patches")
    }
    assert by_conv["native"] == 5
    assert by_conv["patches"] < 5


def test_slots_are_for_clients_that_wait_and_take_memory_for_them(monkeypatch):
    ragged = {"partition__name": "dirichlet", "partition__alpha": 0.1, "local__epochs": 8}
    ragged["execution__chunk"] = 3
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert plan("cnn", **ragged).layout == "packed"
    assert plan("cnn", **ragged, execution__layout="sorted").layout == "sorted"
    assert plan("cnn").layout == "sorted"  # as many samples each
    monkeypatch.undo()

    def fitting(layout, free):
        monkeypatch.setattr(device_memory, "free_bytes", lambda machine=None: int(free))
        changes = {"execution.client_axis": "vmap", "execution.layout": layout}
        one = experiment.build(replace(ExperimentConfig(), BASE | changes))
        return device_memory.clients_that_fit(one.program, one.weights)

    assert fitting("packed", 1e9) < fitting("sorted", 1e9)
    assert fitting("packed", 1) == 1


def test_settings_come_before_the_rules():
    found = plan(execution__chunk=3, execution__conv="patches", execution__precision="bfloat16")
    assert (found.client_axis, found.chunk, found.conv) == ("vmap", 3, "patches")
    assert (found.precision, found.reason) == ("bfloat16", "as set")


class Pretended:
    """Stands in for a program whose rounds take some seconds of a made-up clock."""

    def __init__(self, plan, clock, seconds):
        self.plan, self.clock, self.seconds = plan, clock, seconds

    def start(self, weights):
        return weights

    def advance(self, state, rounds):
        if self.seconds is None:
            raise ConfigError("execution.chunk: no room")
        self.clock[0] += self.seconds
        return state, 0

    def with_inputs(self, plan):
        return Pretended(plan, self.clock, self.seconds)


def probed(seconds, monkeypatch):
    """The plan that the probe takes of some with these seconds; None for one without room."""
    clock = [0.0]
    monkeypatch.setattr(planning.time, "perf_counter", lambda: clock[0])
    plans = [Plan("vmap", number + 1, "native") for number in range(len(seconds))]
    found = planning.fastest_program(
        plans, lambda plan: Pretended(plan, clock, seconds[plan.chunk - 1]), 0
    )
    return found.plan


def test_the_probe_takes_the_fastest_and_passes_over_what_has_no_room(monkeypatch):
    found = probed([0.5, None, 0.25, 1.0], monkeypatch)
    assert found.chunk == 3
    assert found.reason == (
        "probed: 0.25 s a round; vmap 1 native 0.5 s, vmap 2 native no room, vmap 4 native 1 s"
    )
    assert probed([None, 2.0], monkeypatch).chunk == 2
    with pytest.raises(ConfigError, match=r"execution.plan: 'probe' found no plan with room"):
        probed([None, None], monkeypatch)
