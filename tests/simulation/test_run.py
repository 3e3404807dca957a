"""Whole runs: repeatable, independent of the plan, and ended in good order."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import experiment
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.simulation import EvaluationData, WireCheck, checkpoint, evaluate, simulate
from fedcode_jax.simulation.opening import sample_cohort

SMALL = replace(
    ExperimentConfig(),
    {
        "rounds": 4,
        "eval_every": 2,
        "model.name": "mlp",
        "local.epochs": 1,
        # Quick to compile; FedCode where a test is about what it adds.
        "algorithm.name": "fedavg",
        "partition.name": "dirichlet",
    },
)


def built(**changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    if changes.get("algorithm.name", "fedavg") == "fedcode":
        changes = {"algorithm.num_clusters": 8, **changes}
    return experiment.build(replace(SMALL, changes))


def weights_after(one, rounds=4):
    state = one.program.start(one.weights)
    outcome = simulate(one.program, state, rounds=rounds, eval_every=rounds)
    return jax.tree.map(np.asarray, outcome.state.server.weights), outcome


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def first():
    return built()


def test_two_runs_of_one_config_are_bitwise_equal():
    a, outcome = weights_after(built(algorithm__name="fedcode"))
    b, again = weights_after(built(algorithm__name="fedcode"))
    assert_equal(a, b)
    drop = lambda records: [{**r, "wall_seconds": 0} for r in records]  # noqa: E731
    assert drop(outcome.records) == drop(again.records)


def test_segments_of_any_length_give_the_same_weights(first):
    whole, _ = weights_after(first)
    one = dataclasses.replace(first.program)
    outcome = simulate(one, one.start(first.weights), rounds=4, eval_every=3)
    assert [r["test_accuracy"] is None for r in outcome.records] == [True, True, False, False]
    assert_equal(whole, outcome.state.server.weights)


def test_another_seed_gives_another_run(first):
    a, _ = weights_after(first)
    b, _ = weights_after(built(seed=1))
    assert not np.allclose(a["params"]["head"]["kernel"], b["params"]["head"]["kernel"])


@pytest.mark.parametrize("algorithm", ["fedavg", "fedcode"])
def test_chunks_of_1_7_and_all_clients_agree_to_rounding(algorithm):
    found = []
    for layout, chunk in [("sorted", 1), ("sorted", 7), ("sorted", 10), ("packed", 4)]:
        plan = {
            "execution__client_axis": "vmap",
            "execution__chunk": chunk,
            "execution__layout": layout,
        }
        one = built(
            **plan, algorithm__name=algorithm, local__optimizer="sgd", local__learning_rate=0.1
        )
        weights, _ = weights_after(one, rounds=2)
        found.append(np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(weights)]))
    for other in found[1:]:
        difference = np.abs(other - found[0])
        # A weight half-way between two centers may be coded by either.
        assert np.quantile(difference, 0.99) < 1e-5
        assert difference.max() < (1e-5 if algorithm == "fedavg" else 0.05)


def test_many_ragged_clients_compile_once_and_waste_little():
    compiled = []
    listener = lambda name, seconds, **_: compiled.append(name)  # noqa: E731
    one = built(
        partition__num_clients=500,
        partition__alpha=0.1,
        clients_per_round=50,
        data__name="synthetic",
        data__train_size=20_000,
        data__shape=(4, 4, 1),
        data__num_classes=10,
        execution__client_axis="vmap",  # one after another nothing would be wasted
    )
    sizes = np.array(one.partition.sizes)
    assert sizes.min() == 1
    assert sizes.max() > 5 * np.median(sizes)
    state = one.program.start(one.weights)
    state, _ = one.program.advance(state, 2)
    # The oldest JAX has no way to stop listening.
    jax.monitoring.register_event_duration_secs_listener(listener)
    needed, executed = [], []
    for _ in range(10):
        state, output = one.program.advance(state, 2)
        needed.append(np.asarray(output.metrics.needed_steps))
        executed.append(np.asarray(output.metrics.executed_steps))
    assert len(one.program.compiled.segments) == 1
    assert not [name for name in compiled if "backend_compile" in name]
    assert one.program.plan.chunk > 1
    assert (np.array(executed) >= needed).all()
    assert np.mean(np.array(executed) / needed) - 1 < 0.10
    assert (output.metrics.uplink_bits.shape, output.score.accuracy.shape) == ((2, 50), ())


def test_newcomers_are_sent_weights_and_the_bytes_are_counted():
    one = built(
        clients_per_round=3, rounds=8, schedule__server_period=100, algorithm__name="fedcode"
    )
    _, outcome = weights_after(one, rounds=8)
    key = jax.random.fold_in(jax.random.key(0), 0)
    met: set[int] = set()
    n = sum(leaf.size for leaf in jax.tree.leaves(one.weights))
    kernels, rest = n - 74, 74
    weights = 9 + 7 + 4 * 8 + kernels * 3 // 8 + 5 + 4 * rest
    for record in outcome.records:
        cohort = sample_cohort(jax.random.fold_in(key, record["round"]), 10, 3).tolist()
        new = [c for c in cohort if c not in met or record["round"] <= 2]
        met |= set(cohort)
        assert record["downlink_bytes"] == len(new) * weights + (3 - len(new)) * (9 + 3 + 32)
    assert len(met) > 6


def test_cohorts_are_uniform_and_without_replacement():
    keys = jax.random.split(jax.random.key(0), 4000)
    cohorts = np.asarray(jax.vmap(lambda key: sample_cohort(key, 10, 3))(keys))
    assert (np.diff(cohorts) > 0).all()
    counts = np.bincount(cohorts.ravel(), minlength=10)
    assert abs(counts - 1200).max() < 5 * np.sqrt(1200)


def test_divergence_stops_the_run_and_keeps_its_results():
    one = built(
        local__optimizer="sgd", local__learning_rate=1e30, algorithm__name="fedavg", rounds=6
    )
    check = WireCheck()
    start = one.program.start(one.weights)
    outcome = simulate(one.program, start, rounds=6, eval_every=1, wire_check=check)
    assert outcome.status == "diverged"
    assert 1 <= len(outcome.records) < 6
    assert not np.isfinite(outcome.records[-1]["train_loss"])
    assert check.figures["left_out"] == 1  # and said: a check of nothing is none


def test_a_probe_takes_one_of_the_plans_and_says_what_it_measured():
    one = built(execution__plan="probe", algorithm__name="fedavg")
    assert one.program.plan.client_axis in ("map", "vmap")
    assert one.program.plan.reason.startswith("probed: ")


def test_divergence_of_fedcode_neither_hangs_nor_crashes():
    one = built(local__optimizer="sgd", local__learning_rate=1e30, algorithm__name="fedcode")
    outcome = simulate(one.program, one.program.start(one.weights), rounds=4, eval_every=4)
    assert outcome.status == "diverged"


def test_one_interrupt_ends_the_run_after_the_present_rounds(first):
    def interrupt(records, state, evaluation):
        os.kill(os.getpid(), signal.SIGINT)

    program = dataclasses.replace(first.program)
    before = signal.getsignal(signal.SIGINT)
    outcome = simulate(
        program, program.start(first.weights), rounds=100, eval_every=1, advanced=interrupt
    )
    assert outcome.status == "interrupted"
    assert len(outcome.records) == 1
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_run_in_good_order_and_handlers_are_as_before(first, name):
    number = getattr(signal, name)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def send(records, state, evaluation):
        signal.raise_signal(number)

    program = dataclasses.replace(first.program)
    found = simulate(program, program.start(first.weights), rounds=9, advanced=send)
    assert (found.status, found.signal, len(found.records)) == ("interrupted", name, 1)
    assert handlers == [
        signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ]


def test_pauses_change_nothing_but_when_the_state_is_shown(first):
    shown = []

    def note(records, state, evaluation):
        shown.append((int(state.round), evaluation is not None))

    def without_time(records):
        return [{k: v for k, v in record.items() if k != "wall_seconds"} for record in records]

    program = dataclasses.replace(first.program)
    whole = simulate(program, program.start(first.weights), rounds=5, eval_every=4)
    paused = simulate(
        *(program, program.start(first.weights)),
        rounds=5,
        eval_every=4,
        pause_every=[2, 3],
        advanced=note,
    )
    assert shown == [(2, False), (3, False), (4, True), (5, True)]
    assert without_time(paused.records) == without_time(whole.records)
    assert_equal(paused.state.server.weights, whole.state.server.weights)


def test_a_second_interrupt_stops_at_once(first):
    def interrupt_twice(records, state, evaluation):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    program = dataclasses.replace(first.program)
    with pytest.raises(KeyboardInterrupt):
        simulate(
            program, program.start(first.weights), rounds=9, eval_every=1, advanced=interrupt_twice
        )


def test_a_restored_run_goes_on_bitwise(first, tmp_path):
    whole, _ = weights_after(first)
    program = dataclasses.replace(first.program)
    half = simulate(program, program.start(first.weights), rounds=2, eval_every=2)
    checkpoint.save(tmp_path, half.state)
    latest, _ = checkpoint.latest(tmp_path)
    state = checkpoint.restore(latest, program.start(first.weights))
    rest = simulate(program, state, rounds=4, eval_every=2, records=half.records)
    assert_equal(whole, rest.state.server.weights)
    assert [record["round"] for record in rest.records] == [1, 2, 3, 4]


def test_evaluation_is_exact_over_padded_batches_and_averages_models(first):
    data, model = first.dataset, first.program.model
    test = EvaluationData.from_arrays(data.test_x, data.test_y, data.mean, data.std, batch_size=100)
    assert test.x.shape[:2] == (4, 90)
    other = jax.tree.map(lambda w: -w, first.weights)
    stacked = jax.tree.map(lambda a, b: jnp.stack([a, b]), first.weights, other)
    score = evaluate(model, stacked, test)
    x = (data.test_x - data.mean) / data.std
    accuracies, losses = [], []
    for weights in (first.weights, other):
        logits = np.asarray(model.apply(weights, x, train=False), np.float64)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        losses.append(-log_p[np.arange(len(x)), data.test_y].mean())
        accuracies.append((logits.argmax(axis=1) == data.test_y).mean())
    assert float(score.accuracy) == pytest.approx(np.mean(accuracies), abs=1e-6)
    assert float(score.loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_local_only_reports_the_mean_over_clients(first):
    one = built(algorithm__name="local_only", rounds=1)
    _, outcome = weights_after(one, rounds=1)
    stacked, deployed = one.program.algorithm.report(outcome.state.server, outcome.state.store)
    assert deployed is None
    assert jax.tree.leaves(stacked)[0].shape[0] == 10
    record = outcome.records[0]
    assert record["test_accuracy"] == pytest.approx(
        float(evaluate(one.program.model, stacked, one.program.test).accuracy)
    )
    assert record["uplink_bytes"] == 0
