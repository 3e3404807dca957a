"""Simulated seconds, budgets, drifts and the wire check over whole runs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from deliveries import CLIENTS, SMALL, build, by_round

import fedcode_jax
from fedcode_jax import algorithms, compress, schedules, wire
from fedcode_jax.compress import error_feedback
from fedcode_jax.config import replace
from fedcode_jax.simulation import WireCheck, simulate
from fedcode_jax.simulation.delivery import fits_codebooks
from fedcode_jax.wire import Message


def test_seconds_of_a_run_are_those_of_its_bytes():
    """Network mobile, latency included, with devices that take their time."""
    device = {"network.samples_per_second": 500.0, "network.fit_seconds": 0.25}
    for changes in ({}, device):
        built = build(changes)
        for *_, metrics, _, _ in by_round(built, 6):
            down, up = np.float64(metrics.downlink_bits), np.float64(metrics.uplink_bits)
            computing = metrics.num_samples / 500 + 0.25 if changes else 0.0
            seconds = 0.05 + down / 10e6 + computing + 0.05 + up / 1e6
            assert float(metrics.timing.seconds) == pytest.approx(seconds.max(), rel=1e-6)
            assert float(metrics.timing.sending) == pytest.approx(
                (0.1 + down / 10e6 + up / 1e6).mean(), rel=1e-6
            )


def test_clients_that_skip_a_round_take_no_time_in_it():
    built = build({"schedule.start": 0}, algorithm="skip")
    for before, _, metrics, _, _ in by_round(built, 4):
        t = int(before.round) + 1
        assert (float(metrics.timing.seconds) == 0) == (t == 3)  # f1 = 5, f2 = 2, first contact


@pytest.mark.parametrize(
    ("budget_mb", "coding"),
    [(0.04, "fixed"), (0.06, "fixed"), (0.12, "fixed"), (0.06, "conditional")],
)
def test_a_budget_is_kept_and_used(budget_mb, coding):
    rounds = 12
    changes = {"rounds": rounds, "schedule.name": "budget", "schedule.budget_mb": budget_mb}
    built = build(changes, coding=coding)
    state = built.program.start(built.weights)
    records = simulate(built.program, state, rounds=rounds, eval_every=1).records
    spent = records[-1]["cumulative_bytes"] / 1e6
    calibrations = [r["round"] for r in records if r["exchange"]["clients_send_weights"]]
    assert spent <= budget_mb
    assert calibrations[-1] == rounds
    if coding == "conditional":
        # The first one, in the middle, shows that codes are so cheap that all others can be paid.
        assert calibrations == list(range(6, rounds + 1))
        return
    assert len(set(np.diff(calibrations))) <= 1
    up, down = records[-1]["uplink_bytes"] / 1e6, records[0]["downlink_bytes"] / 1e6
    # What is left would not pay for another one; the last one's answer was never sent.
    assert budget_mb - spent < up + 2 * down


@pytest.mark.parametrize("sketched", [False, True])
def test_drift_calibrates_always_or_never_as_its_threshold_says(sketched):
    # In a calibration nothing is measured, as nobody holds an average to move away from: the
    # least that can lie between two of them is a round.
    for threshold, expected in [(1e-6, [1, 3, 5]), (1e6, [1])]:
        changes = {"schedule.name": "drift", "schedule.threshold": threshold}
        built = build(changes, sketched=sketched)
        calibrations, signals = [], []
        for before, after, metrics, *_ in by_round(built, 5):
            t = int(before.round) + 1
            calibrations += [t] * bool(metrics.exchange.clients_send_weights)
            signals.append(float(after.memory.signal))
        assert calibrations == expected
        assert [signal == 0 for signal in signals] == [t in expected for t in range(1, 6)]


def test_a_sketch_is_counted_and_tells_the_variance_of_the_models():
    built = build({"schedule.name": "drift", "schedule.threshold": 1e6}, sketched=True)
    check = WireCheck()
    for t, (_, after, metrics, traffic, _) in enumerate(by_round(built, 4), start=1):
        lead = lambda tree: jax.tree.map(lambda x: x[None], tree)  # noqa: E731
        check.take(lead(traffic), lead(metrics), first_round=t)
        note = traffic.uploads.sections[-1]
        assert note.always
        if t > 1:  # codebooks and the sketch: two headers more than their floats
            assert (metrics.uplink_bits == 8 * (9 + 3 + 4 * 8 + 5 + 4 * 32)).all()
            expected = schedules.model_variance(note.values, metrics.arrived)
            assert float(after.memory.signal) == pytest.approx(float(expected), rel=1e-5)
    assert check.messages == 4 * CLIENTS * 2
    assert check.encoded_bytes == check.counted_bytes


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm.coding": "conditional", "network.loss": 0.4, "network.dropout": 0.3},
        {"schedule.name": "drift", "schedule.measure": "sketch", "schedule.threshold": 1e-6},
    ],
)
def test_runs_over_bad_links_and_with_sketches_pass_the_wire_check(changes):
    config = replace(SMALL, changes | {"rounds": 5, "eval_every": 5})
    result = fedcode_jax.run(config, wire_check=True)
    check = result.summary["wire_check"]
    assert check["messages"] == 5 * CLIENTS * 2
    assert check["largest_difference"] <= 0.01
    if "network.loss" in changes:
        arrived = [record["arrived"] for record in result.records]
        assert min(arrived) < max(arrived)
        assert sum(record["clients"] for record in result.records) < 5 * CLIENTS
    assert all(math.isfinite(record["simulated_seconds"]) for record in result.records)


# Those whose sections hold centers; the others have none to fit.
FITTED_HERE = {"codebook": True, "mucsc": True, "fedzip": True, "eden": False}


@pytest.mark.parametrize("name", sorted(compress.registry))
def test_only_compressors_that_fit_codebooks_take_the_time_for_it(name):
    up = compress.registry[name](*([2] if name == "eden" else []))

    def uploads(vector):
        of_shape = up if up.for_shape is None else up.for_shape((6, 5))
        section, _ = of_shape.compress(of_shape.init(30), vector, jax.random.key(0))
        return Message(jnp.int32(wire.Kind.UPDATE), (section,))

    algorithm = algorithms.updates(error_feedback(up) if up.undo is None else up, groups="layers")
    message = jax.eval_shape(uploads, jnp.arange(30.0))
    assert fits_codebooks(algorithm, message) == FITTED_HERE.get(name, False)


@pytest.mark.parametrize(
    ("algorithm", "fits"),
    [("fedcode", True), ("fedcompress", True), ("fedpm", False), ("fedpm_mrc", False)],
)
def test_only_methods_that_fit_codebooks_take_the_time_for_it(algorithm, fits):
    coded = Message(jnp.int32(0), (wire.Coded(jnp.arange(2.0), jnp.zeros(9, jnp.uint8)),))
    assert fits_codebooks(algorithms.registry[algorithm](), coded) == fits
