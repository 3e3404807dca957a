"""Networks by name: what is drawn of them, and what cannot be."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.network import Network, conditions, presets

MANY = 100_000


@pytest.mark.parametrize(
    ("name", "up", "down"),
    [("mobile", 1e6, 1e7), ("symmetric", 2e6, 2e6), ("field_guide", 2e6, 6e6)],
)
def test_scenarios_give_all_clients_one_link(name, up, down):
    links = Network(name).links(5, seed=3)
    assert links.uplink.tolist() == [up] * 5
    assert links.downlink.tolist() == [down] * 5
    np.testing.assert_allclose(links.round_trip, 0.05)
    assert np.isinf(links.speed).all()
    assert links.fit_seconds.tolist() == [0] * 5
    assert (links.uplink_jitter, links.dropout, links.loss) == (0, 0, 0)
    assert np.isinf(links.deadline)


def test_flash_is_the_fitted_law_of_both_rates():
    links = Network("flash").links(MANY)
    up, down = np.log(np.float64([links.uplink, links.downlink]) / 1e6)
    # Three standard errors of a median, a standard deviation and a correlation.
    assert np.median(up) == pytest.approx(3.21, abs=3 * 0.70 * 1.2533 / math.sqrt(MANY))
    assert np.median(down) == pytest.approx(3.72, abs=3 * 0.48 * 1.2533 / math.sqrt(MANY))
    assert up.std() == pytest.approx(0.70, abs=3 * 0.70 / math.sqrt(2 * MANY))
    assert down.std() == pytest.approx(0.48, abs=3 * 0.48 / math.sqrt(2 * MANY))
    assert np.corrcoef(up, down)[0, 1] == pytest.approx(0.45, abs=3 / math.sqrt(MANY))
    assert (links.uplink_jitter, links.downlink_jitter) == (np.float32(0.37), np.float32(0.40))


def test_what_is_set_takes_the_place_of_the_preset():
    links = Network("flash", uplink_mbit=5.0, link_spread=0.1, link_jitter=0.0).links(MANY)
    assert np.median(links.uplink) == pytest.approx(5e6, rel=0.01)
    assert np.median(links.downlink) == pytest.approx(1e6 * math.exp(3.72), rel=0.01)
    assert np.log(links.downlink).std() == pytest.approx(0.1, rel=0.02)
    assert (links.uplink_jitter, links.downlink_jitter) == (0, 0)


def test_devices_differ_in_speed_and_a_slow_one_is_slow_at_both():
    links = Network(samples_per_second=200.0, fit_seconds=3.0, speed_spread=0.5).links(MANY)
    assert np.median(links.speed) == pytest.approx(200, rel=0.01)
    assert np.log(links.speed).std() == pytest.approx(0.5, rel=0.02)
    np.testing.assert_allclose(links.speed * links.fit_seconds, 600, rtol=1e-4)
    assert len(np.unique(links.uplink)) == 1


def test_draws_repeat_by_seed():
    a, b, other = (Network("flash").links(9, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.uplink, b.uplink)
    assert not np.array_equal(a.uplink, other.uplink)
    assert {leaf.dtype for leaf in jax.tree.leaves(a)} == {np.dtype(np.float32)}


def test_jitter_has_mean_1_and_the_stated_variation():
    links = Network("flash").links(1)
    links = links._replace(uplink=np.full(MANY, 1e6), downlink=np.full(MANY, 1e7))
    links = links._replace(
        round_trip=np.zeros(MANY), speed=np.ones(MANY), fit_seconds=np.ones(MANY)
    )
    met = jax.jit(conditions)(links, jnp.arange(MANY), jax.random.key(0))
    for rates, median, variation in [(met.uplink, 1e6, 0.37), (met.downlink, 1e7, 0.40)]:
        relative = np.float64(rates) / median
        assert relative.mean() == pytest.approx(1, abs=4 * variation / math.sqrt(MANY))
        assert relative.std() == pytest.approx(variation, rel=0.03)
    np.testing.assert_array_equal(met.usual_uplink, np.float32(1e6))
    assert abs(np.corrcoef(met.uplink, met.downlink)[0, 1]) < 0.02


def test_luck_comes_as_often_as_stated_and_by_client():
    links = Network(dropout=0.3, loss=0.1).links(MANY)
    met = jax.jit(conditions)(links, jnp.arange(MANY), jax.random.key(1))
    assert float(met.away.mean()) == pytest.approx(0.3, abs=0.006)
    assert float(met.lost.mean()) == pytest.approx(0.1, abs=0.004)
    assert float((met.away & met.lost).mean()) == pytest.approx(0.03, abs=0.003)
    some = jnp.array([70, 7, 3000])
    alone = conditions(links, some, jax.random.key(1))
    assert alone.away.tolist() == met.away[some].tolist()
    assert alone.uplink.tolist() == met.uplink[some].tolist()
    never = conditions(Network().links(MANY), jnp.arange(MANY), jax.random.key(1))
    assert not never.away.any()
    assert not never.lost.any()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(
            (name, bad)
            for name in ("uplink_mbit", "downlink_mbit")
            for bad in (0.0, -1.0, math.nan)
        ),
        *((name, bad) for name in ("samples_per_second", "deadline") for bad in (0.0, math.nan)),
        *((name, bad) for name in ("round_trip", "fit_seconds") for bad in (-0.1, math.nan)),
        *(
            (name, bad)
            for name in ("link_spread", "link_jitter", "speed_spread")
            for bad in (-0.1, math.inf)
        ),
        *((name, bad) for name in ("dropout", "loss") for bad in (-0.1, 1.0, math.nan)),
        ("table", "clients.csv"),
    ],
)
def test_impossible_settings_are_named(setting, value):
    with pytest.raises(ConfigError, match=rf"^network\.{setting}"):
        Network(**{setting: value})


def test_unknown_networks_suggest_the_nearest_and_tables_need_a_file():
    with pytest.raises(ConfigError, match=r"^network\.name.*Did you mean 'flash'\?"):
        Network("flask")
    with pytest.raises(ConfigError, match=r"^network\.table: None"):
        Network("table")


def test_text_names_the_scenario():
    assert str(Network()) == "mobile: 1 Mbit/s up, 10 Mbit/s down, 50 ms"
    assert str(Network(samples_per_second=200)).endswith("50 ms, 200 samples/s")
    assert str(Network("flash", dropout=0.1, loss=0.05, deadline=30)) == (
        "flash: 24.8 Mbit/s up, 41.3 Mbit/s down, 50 ms, dropout 10 %, loss 5 %, deadline 30 s"
    )
    assert str(Network("table", table="a.csv")) == "table: clients of a.csv, 50 ms"
    assert all(preset.source for preset in presets.values())
