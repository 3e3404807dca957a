"""Seconds of a round against numbers written out by hand."""

import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.network import (
    Conditions,
    Links,
    Network,
    arrives,
    check_links,
    conditions,
    deliverable,
    received,
    timing,
)

KB = 8_000  # bits


def three(**changes):
    """Three clients: 0.1 s of latency each way they send, rates in powers of ten."""
    met = {
        "uplink": [1e6, 1e6, 1e5],
        "downlink": [1e7, 1e6, 1e6],
        "round_trip": [0.1, 0.1, 0.1],
        "speed": [100.0, 100.0, 50.0],
        "fit_seconds": [0.5, 0.5, 2.0],
        "away": [False] * 3,
        "lost": [False] * 3,
    } | changes
    met = {name: np.asarray(values) for name, values in met.items()}
    rates = {f"usual_{name}": met[name] for name in ("uplink", "downlink")}
    floats = {n: jnp.float32(v) if v.dtype == float else v for n, v in (met | rates).items()}
    return Conditions(**floats)


DOWN = jnp.array([1000 * KB, 100 * KB, 100 * KB])  # 0.8 s, 0.8 s and 0.8 s, and 0.1 s of latency
UP = jnp.array([100 * KB, 100 * KB, 10 * KB])  # likewise
SAMPLES = jnp.array([200, 100, 100])  # 2 s, 1 s and 2 s
# With fits: 0.9 + 2.5 + 0.9, 0.9 + 1.5 + 0.9 and 0.9 + 4 + 0.9 seconds.


def run(met, deadline=math.inf, down=DOWN, up=UP, samples=SAMPLES, fits=True):
    done = timing(met, jnp.float32(deadline), down, up, samples, fits)
    arrived = arrives(met, jnp.float32(deadline), down, up, samples, fits)
    # What arrived was received, and both were sent whole.
    assert bool((done.received_share[received(met, jnp.float32(deadline), down)] == 1).all())
    assert bool((done.sent_share[arrived] == 1).all())
    total = float(done.computing + done.sending + done.waiting)
    assert total == pytest.approx(float(done.seconds), rel=1e-5, abs=1e-6)
    return types.SimpleNamespace(**done._asdict(), arrived=arrived)


def test_the_slowest_client_ends_the_round():
    done = run(three())
    assert float(done.seconds) == pytest.approx(5.8)
    assert float(done.computing) == pytest.approx((2.5 + 1.5 + 4) / 3)
    assert float(done.sending) == pytest.approx(1.8)
    assert float(done.waiting) == pytest.approx((1.5 + 2.5) / 3)
    assert done.arrived.tolist() == [True] * 3
    assert done.sent_share.tolist() == [1.0] * 3


def test_codebooks_take_time_only_where_they_are_fitted():
    assert float(run(three(), fits=False).seconds) == pytest.approx(0.9 + 2 + 0.9)


def test_a_direction_in_which_nothing_is_sent_takes_no_latency():
    silent = jnp.zeros(3, int)
    assert float(run(three(), down=silent).seconds) == pytest.approx(4.9)
    assert float(run(three(), up=silent).seconds) == pytest.approx(4.9)
    done = run(three(), down=silent, up=silent, samples=silent, fits=False)
    assert float(done.seconds) == 0
    assert done.arrived.tolist() == [True] * 3
    assert float(run(three(), up=jnp.array([1, 0, 0]), down=silent, samples=silent).seconds) == 2


def test_training_of_infinite_speed_takes_no_time():
    assert float(run(three(speed=[math.inf] * 3), fits=False).seconds) == pytest.approx(1.8)


@pytest.mark.parametrize(
    ("deadline", "computing", "sending", "shares", "arrived"),
    [
        # In the download: 0.5 s of 0.9 are over for each.
        (0.5, 0, 0.5, [0, 0, 0], []),
        # In the training of all: 1.2 s of 2.5, 1.5 and 4.
        (2.1, 1.2, 0.9, [0, 0, 0], []),
        # The second uploads: 0.4 s of it, a quarter of a second of latency aside.
        (2.8, (1.9 + 1.5 + 1.9) / 3, 0.9 + 0.4 / 3, [0, 0.3 / 0.8, 0], []),
        # Its latency alone is over: not a byte has been sent.
        (2.45, (1.55 + 1.5 + 1.55) / 3, 0.9 + 0.05 / 3, [0, 0, 0], []),
        # The second is done, the first has sent half, the third is still busy.
        (3.9, (2.5 + 1.5 + 3) / 3, 0.9 + (0.5 + 0.9) / 3, [0.5, 1, 0], [1]),
        (5.7, 8 / 3, 0.9 + (0.9 + 0.9 + 0.8) / 3, [1, 1, 0.7 / 0.8], [0, 1]),
        (5.9, 8 / 3, 1.8, [1, 1, 1], [0, 1, 2]),
    ],
)
def test_the_deadline_cuts_whatever_is_under_way(deadline, computing, sending, shares, arrived):
    done = run(three(), deadline)
    assert float(done.seconds) == pytest.approx(min(deadline, 5.8))
    assert float(done.computing) == pytest.approx(computing)
    assert float(done.sending) == pytest.approx(sending)
    np.testing.assert_allclose(done.sent_share, shares, atol=1e-5)
    assert np.flatnonzero(done.arrived).tolist() == arrived


def test_a_lost_upload_was_sent_and_is_waited_for_until_the_deadline():
    met = three(lost=[False, True, False])
    done = run(met)  # no deadline: as if it had come
    assert float(done.seconds) == pytest.approx(5.8)
    assert done.arrived.tolist() == [True, False, True]
    assert done.sent_share.tolist() == [1.0] * 3
    done = run(met, deadline=10)
    assert float(done.seconds) == 10
    assert float(done.waiting) == pytest.approx(10 - 8 / 3 - 1.8)
    assert done.arrived.tolist() == [True, False, True]
    assert done.sent_share.tolist() == [1.0] * 3


@pytest.mark.parametrize(("deadline", "seconds"), [(math.inf, 5.8), (20.0, 20.0)])
def test_who_vanishes_sends_nothing_and_is_waited_for_until_the_deadline(deadline, seconds):
    done = run(three(vanished=[False, True, False]), deadline)
    assert float(done.seconds) == pytest.approx(seconds)
    assert done.sent_share.tolist() == [1.0, 0.0, 1.0]
    assert done.arrived.tolist() == [True, False, True]
    # Of the one that vanished the download and the work took time.
    assert float(done.sending) == pytest.approx((1.8 + 0.9 + 1.8) / 3)
    silent = run(three(vanished=[True] * 3), deadline, up=jnp.zeros(3, int))
    assert float(silent.seconds) == pytest.approx(4.9)  # nobody had anything to send


def test_a_late_upload_is_waited_for_or_cut_off_where_it_is():
    late = three(delay=[0.0, 8.0, 0.0])
    done = run(late)
    assert float(done.seconds) == pytest.approx(0.9 + 1.5 + 0.9 + 8)
    assert done.arrived.tolist() == [True] * 3
    cut = run(late, 7.2)
    assert cut.arrived.tolist() == [True, False, True]
    # It began after 2.4 s, and a round trip of 0.1 s, and would have taken 8.8 s.
    assert float(cut.sent_share[1]) == pytest.approx((7.2 - 2.5) / 8.8)
    silent = run(late, up=jnp.zeros(3, int))
    assert float(silent.seconds) == pytest.approx(4.9)


def test_nobody_foresees_a_fault():
    for fault in ({"vanished": [True] * 3}, {"delay": [1e3] * 3}):
        found = deliverable(three(**fault), jnp.float32(7.2), DOWN, UP, SAMPLES, True)
        assert found.tolist() == [True] * 3


def test_who_is_away_takes_no_part():
    done = run(three(away=[False, False, True], lost=[False, False, True]), deadline=20)
    assert float(done.seconds) == pytest.approx(4.3)  # and nobody waits for what is not sent
    assert float(done.computing) == pytest.approx(2)
    assert done.arrived.tolist() == [True, True, False]
    assert done.sent_share.tolist() == [1, 1, 0]


@pytest.mark.parametrize(("deadline", "seconds"), [(math.inf, 0), (7.0, 7)])
def test_a_round_of_nobody_lasts_until_the_deadline_or_no_time(deadline, seconds):
    done = run(three(away=[True] * 3), deadline)
    parts = done.seconds, done.computing, done.sending, done.waiting
    assert [float(x) for x in parts] == [seconds, 0, 0, seconds]
    assert not done.arrived.any()
    assert not done.sent_share.any()


def test_who_can_expect_to_deliver_goes_by_the_usual_rates():
    met = three()._replace(uplink=jnp.full(3, 1e9), downlink=jnp.full(3, 1e9))
    for deadline, expected in [(3.2, []), (3.4, [1]), (4.4, [0, 1]), (5.9, [0, 1, 2])]:
        found = deliverable(met, jnp.float32(deadline), DOWN, UP, SAMPLES, True)
        assert np.flatnonzero(found).tolist() == expected
    assert deliverable(met, jnp.inf, DOWN, UP, SAMPLES, True).all()


def test_resnet20_on_the_stated_scenario():
    """8.6 Mbit each way: 8.6 s up at 1 Mbit/s and 0.86 s down at 10, and two round trips."""
    links = Network().links(4)
    met = conditions(links, jnp.arange(4), jax.random.key(0))
    bits = jnp.full(4, 269_722 * 32, jnp.uint32)
    done = timing(met, links.deadline, bits, bits, jnp.full(4, 10**6))
    assert float(done.seconds) == pytest.approx(0.1 + 8.631104 + 0.8631104, rel=1e-6)


def test_who_is_alone_never_waits_not_even_by_rounding():
    rng = np.random.default_rng(0)
    for _ in range(50):
        names = ("uplink", "downlink", "speed")
        met = three(
            **{name: rng.uniform(1e5, 1e6, 1) for name in names},
            **{name: rng.uniform(0, 1, 1) for name in ("round_trip", "fit_seconds")},
            **{name: np.zeros(1, bool) for name in ("away", "lost")},
        )
        counts = rng.integers(1, 10**6, (3, 1))
        assert 0 <= float(timing(met, jnp.float32(math.inf), *counts, True).waiting) < 1e-5


def test_random_rounds_add_up_and_agree_with_a_loop():
    rng = np.random.default_rng(0)
    compiled = jax.jit(timing)
    for _ in range(50):
        u, d, s = rng.integers(0, 3, (3, 8)) * rng.integers(1, 10**6, (3, 8))
        met = three(
            uplink=rng.uniform(1e5, 1e6, 8),
            downlink=rng.uniform(1e5, 1e6, 8),
            round_trip=rng.uniform(0, 1, 8),
            speed=rng.uniform(1e5, 1e6, 8),
            fit_seconds=rng.uniform(0, 1, 8),
            away=rng.random(8) < 0.3,
            lost=rng.random(8) < 0.1,
        )
        deadline = rng.choice([math.inf, 3.0, 6.0])
        done = compiled(met, jnp.float32(deadline), d, u, s, True)
        ends = []
        for i in np.flatnonzero(~met.away):
            seconds = met.fit_seconds[i] + s[i] / met.speed[i]
            seconds += (met.round_trip[i] + u[i] / met.uplink[i]) if u[i] else 0
            ends.append(seconds + ((met.round_trip[i] + d[i] / met.downlink[i]) if d[i] else 0))
        waits = (met.lost & ~met.away & (np.asarray(u) > 0)).any() or max(ends) > deadline
        expected = deadline if math.isfinite(deadline) and waits else max(ends)
        assert float(done.seconds) == pytest.approx(float(expected), rel=1e-5)
        parts = done.computing + done.sending + done.waiting
        assert float(parts) == pytest.approx(float(done.seconds), rel=1e-4)
        assert float(done.waiting) >= 0
        arrived = arrives(met, jnp.float32(deadline), d, u, s, True)
        assert bool((arrived <= ~(met.away | met.lost)).all())
        assert bool((done.sent_share[arrived] == 1).all())


NONSENSE = {
    "uplink": (0.0, -1e6, math.nan, math.inf, 1e-4),
    "downlink": (0.0, -1e6, math.nan, math.inf, 1e-4),
    "round_trip": (-0.1, math.nan, math.inf),
    "speed": (0.0, -1.0, math.nan, 1e-60),
    "fit_seconds": (-0.1, math.nan, math.inf),
    "uplink_jitter": (-0.1, math.nan, 1e4),
    "downlink_jitter": (-0.1, math.nan, math.inf),
    "dropout": (-0.1, 1.1, math.nan),
    "loss": (-0.1, 1.1, math.nan),
    "deadline": (0.0, -1.0, math.nan, 1e-60),
}


def by_hand(**changes):
    links = Network().links(3)
    for name, value in changes.items():
        column = np.ndim(getattr(links, name)) == 1
        links = links._replace(**{name: [1e6, value, 1e6] if column else value})
    return links


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, bad in NONSENSE.items() for value in bad]
)
def test_links_made_by_hand_are_refused_by_field_and_client(field, value):
    with pytest.raises(ConfigError, match=rf"^links\.{field}: \S+ (of client 1 )?cannot") as caught:
        check_links(by_hand(**{field: value}))
    assert "\n" not in str(caught.value)


def test_shapes_of_links_are_checked():
    assert set(NONSENSE) == set(Links._fields)
    for name in Links._fields:
        with pytest.raises(ConfigError, match=r"^links\."):
            check_links(Network().links(3)._replace(**{name: np.ones((2, 2))}))


EDGES = {
    "uplink": (1e-3, 1e30), "downlink": (1e-3, 1e30), "round_trip": (0.0, 1e30),
    "speed": (1e-9, math.inf), "fit_seconds": (0.0, 1e30), "uplink_jitter": (0.0, 1e3),
    "downlink_jitter": (0.0, 1e3), "dropout": (0.0, 1.0), "loss": (0.0, 1.0),
    "deadline": (1e-37, 1.0, math.inf),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_with_links_that_are_let_through_no_figure_is_nan(seed):
    rng = np.random.default_rng(seed)
    picked = {name: edges[rng.integers(len(edges))] for name, edges in EDGES.items()}
    links = check_links(by_hand(**picked))
    assert {leaf.dtype for leaf in links} == {np.dtype(np.float32)}
    met = conditions(links, jnp.arange(3), jax.random.key(seed))
    bits = jnp.float32([0, 8e3, 8e9])
    done = timing(met, links.deadline, bits, bits[::-1], jnp.array([0, 5, 10**6]), True)
    for name, values in done._asdict().items():
        assert np.isfinite(values).all(), (name, picked)
    share = np.asarray(done.sent_share)
    assert ((share >= 0) & (share <= 1)).all()


def test_a_spread_that_draws_nonsense_is_named_before_anything_runs():
    for name in ("link_spread", "speed_spread"):
        with pytest.raises(ConfigError, match=r"^network\.link_spread: .* is too wide: links\."):
            Network(**{name: 900.0}, samples_per_second=1.0, fit_seconds=1.0).links(50)
