"""What each fault does to a round, and what runs without faults know of it: nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty import CLIENTS, SMALL, all_finite, assert_same, build, by_round, compiled

import fedcode_jax
from fedcode_jax import experiment, wire
from fedcode_jax.config import replace
from fedcode_jax.errors import ConfigError, WireCheckError
from fedcode_jax.experiment.grouping import Planned, Shelf, grouped
from fedcode_jax.experiment.parts import Parts
from fedcode_jax.simulation import WireCheck, hostile_clients, simulate
from fedcode_jax.simulation.records import FAULTS
from fedcode_jax.wire import Kind

NAME = "lbgm"  # of those that keep something the one that compiles soonest


def ended(built, rounds=4):
    return simulate(built.program, built.program.start(built.weights), rounds=rounds)


def test_without_faults_nothing_is_traced_or_told():
    built = experiment.build(replace(SMALL, {"faults.screen": False}))
    assert built.program.settings.faults is None
    state = jax.eval_shape(built.program.first_state, built.weights)
    output = jax.eval_shape(
        built.program.segment(1, traffic=True),
        *(state, built.program.data, built.program.test, built.program.settings),
    )[1]
    assert output.metrics.faults is None


def test_faults_without_chances_change_no_figure():
    screened = ended(compiled(NAME))
    plain = ended(
        experiment.build(replace(SMALL, {"algorithm.name": NAME, "faults.screen": False}))
    )
    assert len(screened.records) == 4
    for found, other in zip(screened.records, plain.records, strict=True):
        assert [found.pop(name) for name in FAULTS] == [0] * 5
        assert not set(FAULTS) & set(other)
        for key, value in other.items():
            if key != "wall_seconds":
                assert found[key] == pytest.approx(value, rel=1e-4), key


def test_experiments_that_differ_in_chances_share_a_program():
    def groups(*faults):
        configs = [replace(SMALL, {f"faults.{k}": v for k, v in each.items()}) for each in faults]
        planned = [Planned(i, {}, config) for i, config in enumerate(configs)]
        found, failed = grouped(planned, Shelf(Parts()))
        assert not failed
        return [len(group.experiments) for group in found]

    assert groups({"vanish": 0.1}, {"corrupt": 0.5, "hostile": 0.5}, {}) == [3]
    assert groups({"vanish": 0.1, "screen": False}, {"screen": False}) == [1, 1]


def test_the_hostile_are_as_many_as_asked_and_others_with_another_seed():
    chosen = [hostile_clients(20, 0.2, seed) for seed in range(5)]
    assert [each.sum() for each in chosen] == [4] * 5
    assert len({each.tobytes() for each in chosen}) > 1
    assert_same(hostile_clients(20, 0.4, 3) & chosen[3], chosen[3])


def test_a_share_that_is_no_client_is_refused():
    with pytest.raises(ConfigError, match=r"faults\.hostile: 0\.1 of 4 clients are none"):
        experiment.build(replace(SMALL, {"faults.hostile": 0.1, "partition.num_clients": 4}))


def test_hostile_clients_send_what_they_trained_scaled():
    hostile = np.array([False, True, False, False])
    plain, scaled = (
        next(by_round(build("fedavg", {"hostile": hostile, "scale": scale}), 1))
        for scale in (1.0, 100.0)
    )
    (ours,), (theirs,) = (each[3].uploads.sections for each in (plain, scaled))
    factors = np.where(hostile, np.float32(100), np.float32(1))[plain[2].clients]
    np.testing.assert_allclose(theirs.values, ours.values * factors[:, None], rtol=1e-6)
    assert scaled[2].arrived.all()


def test_a_late_upload_misses_the_deadline_and_is_taken_back():
    built = build(NAME, {"late": 1.0, "late_seconds": 50.0}, {"deadline": 20.0})
    for before, after, metrics, traffic in by_round(built, 2):
        assert metrics.faults.late.all()
        assert not metrics.arrived.any()
        assert float(metrics.timing.seconds) == 20.0
        assert ((metrics.uplink_bits > 0) & (metrics.uplink_bits < traffic.upload_bits)).all()
        assert_same(before.store, after.store)
    for *_, metrics, _ in by_round(build(NAME, {"late": 1.0, "late_seconds": 50.0}), 2):
        assert metrics.arrived.all()
        assert 50 < float(metrics.timing.seconds) < 51


@pytest.mark.parametrize("name", [NAME, pytest.param("fedcode", marks=pytest.mark.slow)])
def test_who_is_refused_before_it_has_anything_is_sent_weights_again(name):
    built, refused = build(name, {"not_finite": 0.6}), set()
    for before, after, metrics, traffic in by_round(built, 5):
        new = metrics.clients[~before.contacted[metrics.clients]]
        kinds = dict(zip(metrics.clients.tolist(), traffic.broadcast.kind.tolist(), strict=True))
        assert all(kinds[client] == Kind.WEIGHTS for client in new)
        still = metrics.clients[~metrics.faults.kept]
        assert (after.missed[still] == before.missed[still]).all()
        refused |= set(still.tolist())
    assert refused


def test_a_round_of_which_all_uploads_are_rejected_as_not_finite_ends_the_run():
    outcome = ended(build(NAME, {"not_finite": 1.0}))
    assert outcome.status == "diverged"
    assert len(outcome.records) == 1
    assert outcome.records[0]["rejected_not_finite"] == CLIENTS
    assert ended(build(NAME, {"not_finite": 1.0, "vanish": 1.0})).status == "completed"


def test_a_client_that_diverges_by_itself_is_rejected_and_all_of_them_end_the_run():
    built = compiled("fedavg", ("local.optimizer", "sgd"))
    for rate, status in ((0.05, "completed"), (1e30, "diverged")):
        settings = built.program.settings._replace(learning_rate=np.float32(rate))
        one = dataclasses.replace(built, program=built.program.with_inputs(settings=settings))
        assert ended(one, 2).status == status


def test_one_diverged_client_among_others_does_not_reach_the_server():
    built = compiled("fedavg")
    x = np.array(built.program.data.x, np.float32)
    order, offsets = np.array(built.program.data.order), np.array(built.program.data.offsets)
    own = order[offsets[2] : offsets[2] + int(built.program.data.sizes[2])]
    x[own] = np.nan
    data = built.program.data._replace(x=jnp.asarray(x))
    program = dataclasses.replace(built.program, data=data)
    outcome = ended(dataclasses.replace(built, program=program), 3)
    assert outcome.status == "completed"
    assert [record["rejected_not_finite"] for record in outcome.records] == [1] * 3
    assert [record["arrived"] for record in outcome.records] == [CLIENTS - 1] * 3
    assert all_finite(jax.tree.map(np.array, (outcome.state.server, outcome.state.store)))


@pytest.mark.parametrize("name", [NAME, pytest.param("stc", marks=pytest.mark.slow)])
def test_after_a_restart_everybody_is_sent_all_and_both_sides_agree(name):
    built, seen = build(name, {"restart": 0.5}), 0
    algorithm = built.program.algorithm
    restarted = False
    for before, after, metrics, traffic in by_round(built, 6):
        if restarted:
            assert not before.contacted.any()
            whole = traffic.broadcast if traffic.whole is None else traffic.whole
            assert (np.asarray(whole.kind) == Kind.WEIGHTS).all()
        restarted = bool(metrics.faults.restarted)
        if restarted and algorithm.restarted is not None:
            assert not np.any(after.store.vector)
        seen += restarted
        assert int(after.round) == int(before.round) + 1
    assert 0 < seen < 6


def test_an_algorithm_that_cannot_take_back_what_both_hold_cannot_restart():
    own = experiment.build(replace(SMALL, {"algorithm.name": NAME})).program.algorithm
    config = replace(SMALL, {"faults.restart": 0.1})
    with pytest.raises(ConfigError, match=r"faults\.restart: 0\.1 cannot be used with algorithm"):
        experiment.build(config, algorithm=own._replace(restarted=None))
    assert experiment.build(config, algorithm=own).program.settings.faults is not None


@pytest.fixture(scope="module")
def segment():
    built = build(NAME, {"corrupt": 0.5, "not_finite": 0.5})
    for *_, metrics, traffic in by_round(built):
        if metrics.faults.corrupt.any() and metrics.faults.not_finite.any():
            return jax.tree.map(lambda x: x[None], (traffic, metrics))
    raise AssertionError("no round in which both strike")


def test_the_wire_check_damages_and_refuses(segment):
    traffic, metrics = segment
    check = WireCheck()
    check.take(traffic, metrics, first_round=1)
    assert check.damaged == metrics.faults.corrupt.sum()
    assert check.refused == metrics.faults.not_finite.sum()
    assert check.messages == 2 * CLIENTS - check.refused
    assert {"damaged", "refused"} <= set(check.figures)
    assert not {"damaged", "refused"} & set(WireCheck().figures)


def test_damage_that_is_decoded_is_found(segment, monkeypatch):
    decode = wire.decode

    def careless(data, *, given=None):
        try:
            return decode(data, given=given)
        except wire.DecodeError:
            return None

    monkeypatch.setattr(wire, "decode", careless)
    with pytest.raises(WireCheckError, match="decoded although"):
        WireCheck().take(*segment, first_round=1)


@pytest.mark.slow
def test_a_run_tells_its_faults_resumes_bitwise_and_passes_the_wire_check(tmp_path):
    faults = {"vanish": 0.2, "late": 0.2, "corrupt": 0.2, "not_finite": 0.2, "restart": 0.2}
    changes = {f"faults.{name}": value for name, value in faults.items()}
    config = replace(SMALL, {**changes, "algorithm.name": NAME, "checkpoint_every": 3, "rounds": 6})
    whole = fedcode_jax.run(replace(config, {"out": str(tmp_path / "whole")}), wire_check=True)
    part = replace(config, {"out": str(tmp_path / "part")})
    fedcode_jax.run(replace(part, {"rounds": 3}))
    resumed = fedcode_jax.run(part, resume=True)
    for result in (whole, resumed):
        for record in result.records:
            record.pop("wall_seconds")
    assert resumed.records == whole.records
    assert_same(resumed.weights, whole.weights)
    found = whole.summary["faults"]
    assert found == {
        **{name: sum(record[name] for record in whole.records) for name in FAULTS},
        "hostile_clients": 0,
    }
    assert whole.summary["wire_check"]["damaged"] == found["rejected_corrupt"] > 0
    assert whole.summary["wire_check"]["refused"] == found["rejected_not_finite"] > 0
