import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.network import Network, round_seconds


def test_time_is_that_of_the_slowest_client():
    rng = np.random.default_rng(0)
    up, down = rng.integers(0, 3, (2, 50)) * rng.integers(1, 10**6, (2, 50))
    samples = rng.integers(0, 1000, 50)
    network = Network(2.0, 8.0, 0.1, 500.0)

    def alone(u: int, d: int, s: int) -> float:
        seconds = s / 500
        if u:
            seconds += 0.1 + u * 8 / 2e6
        if d:
            seconds += 0.1 + d * 8 / 8e6
        return seconds

    expected = max(alone(*client) for client in zip(up, down, samples, strict=True))
    assert round_seconds(network, up, down, samples) == pytest.approx(expected, rel=1e-12)


def test_resnet20_on_the_stated_scenario():
    """8.6 Mbit each way: 8.6 s up at 1 Mbit/s and 0.86 s down at 10, and two round trips."""
    size = 269_722 * 4
    seconds = round_seconds(Network(), size, size, samples=10**6)
    assert seconds == pytest.approx(0.1 + 8.631104 + 0.8631104)


def test_nothing_sent_costs_nothing():
    assert round_seconds(Network(), [0, 0], [0, 0], [100, 100]) == 0
    assert round_seconds(Network(samples_per_second=10), 0, 0, [100, 50]) == 10
    assert round_seconds(Network(), 0, 1, 0) == pytest.approx(0.05, abs=1e-5)


def test_a_round_without_clients_takes_no_time():
    assert round_seconds(Network(), [], [], []) == 0


def test_bytes_beyond_32_bits():
    up = np.array([2**31], np.uint32)
    assert round_seconds(Network(round_trip=0), up, 0, 0) == pytest.approx(2**31 * 8 / 1e6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"uplink_mbit": 0.0},
        {"downlink_mbit": -1.0},
        {"uplink_mbit": float("nan")},
        {"samples_per_second": 0.0},
        {"round_trip": -0.1},
        {"round_trip": float("nan")},
    ],
)
def test_impossible_links(wrong):
    with pytest.raises(ConfigError, match=rf"^network\.{next(iter(wrong))}"):
        Network(**wrong)


def test_text_names_the_scenario():
    assert str(Network()) == "1 Mbit/s up, 10 Mbit/s down, 50 ms"
    assert str(Network(samples_per_second=200)).endswith("50 ms, 200 samples/s")
