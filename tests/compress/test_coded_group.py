"""Groups as codebooks and codes: per layer, in blocks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import algorithms, wire
from fedcode_jax.algorithms.groups import parse
from fedcode_jax.algorithms.layout import Layout
from fedcode_jax.compress.coded_group import Coder
from fedcode_jax.errors import ConfigError
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Coded

WEIGHTS = Exchange(jnp.array(True), jnp.array(True))
RNG = np.random.default_rng(0)
MODEL = {
    "a": {"kernel": jnp.float32(0.01 * RNG.normal(size=(30, 20)))},
    "b": {"kernel": jnp.float32(RNG.normal(size=(50, 7))), "bias": jnp.arange(7.0)},
    "c": {"kernel": jnp.float32([1.0, 2.0, 4.0])},
}


def broadcast(algorithm):
    server, _ = algorithm.init(MODEL, 2)
    return algorithm.broadcast(server, WEIGHTS, jax.random.key(0))[0]


def deployed(algorithm):
    server, store = algorithm.init(MODEL, 2)
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), algorithm.report(server, store)[1])


def test_layers_have_codebooks_of_their_own():
    message = broadcast(algorithms.fedcode(8, groups="layers"))
    coded = [s for s in message.sections if isinstance(s, Coded)]
    assert [s.codes.size for s in coded] == [600, 350, 3]
    assert [s.num_clusters for s in coded] == [8, 8, 3]  # no more centers than values
    found = deployed(algorithms.fedcode(8, groups="layers"))
    np.testing.assert_array_equal(found["c"]["kernel"], [1.0, 2.0, 4.0])
    # One codebook for all has no room for the narrow layer.
    narrow = np.asarray(MODEL["a"]["kernel"])
    shared = deployed(algorithms.fedcode(8))["a"]["kernel"]
    assert np.sum((found["a"]["kernel"] - narrow) ** 2) < 0.05 * np.sum((shared - narrow) ** 2)


def test_a_section_names_its_layers_in_codes():
    message = broadcast(algorithms.fedcode(8, coding="adaptive"))
    assert message.sections[0].layers == (600, 350, 3)
    blocks = Coder(8, "adaptive", block=4).encode(jnp.arange(953.0), (600, 350, 3))
    assert blocks.layers == (150, 88, 1)  # they begin at values 0, 600 and 952
    assert sum(blocks.layers) == blocks.codes.size == 239


@pytest.mark.parametrize("block", [2, 3])
def test_blocks_share_a_code_and_come_back_whole(block):
    algorithm = algorithms.fedcode(16, block=block)
    message = broadcast(algorithm)
    n = 600 + 350 + 3
    assert message.sections[0].centers.shape == (16, block)
    assert message.sections[0].codes.shape == (-(-n // block),)
    formula = -(-n // block) * 4 + 32 * 16 * block + 32 * 7
    assert int(wire.formula_bits(message)) == formula
    found = deployed(algorithm)
    error = sum(
        np.sum((found[k]["kernel"] - np.asarray(MODEL[k]["kernel"])) ** 2) for k in ("a", "b", "c")
    )
    total = sum(np.sum(np.asarray(MODEL[k]["kernel"]) ** 2) for k in ("a", "b", "c"))
    assert error < 0.5 * total


def test_snapping_codewords_is_snapping_all_values():
    from fedcode_jax import codebook

    for block in (1, 2):
        coder = Coder(8, block=block)
        rng = np.random.default_rng(1)
        own, new = (coder.encode(jnp.float32(rng.normal(size=101)), (101,)) for _ in range(2))
        expected = codebook.snap(new.centers, coder.decode(own, 101))
        if block == 2:  # the last block of 101 values is filled up, and its filling snaps too
            expected, found = expected[:100], coder.snap(new, own, 101)[:100]
        else:
            found = coder.snap(new, own, 101)
        np.testing.assert_array_equal(found, expected)


def test_a_price_on_bits_uses_fewer_centers_and_fewer_bytes():
    sizes = {}
    for weight in (0.0, 1e-3, 1e-1):
        algorithm = algorithms.fedcode(64, coding="adaptive", rate_weight=weight)
        sizes[weight] = len(wire.encode(broadcast(algorithm)))
    assert sizes[1e-1] < 0.6 * sizes[1e-3] < 0.9 * sizes[0.0]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"coding": "entropie"}, "algorithm.coding.*Did you mean 'entropy'"),
        ({"block": 0}, "algorithm.block: 0"),
        ({"block": 257}, "algorithm.block: 257"),
        ({"block": 64, "num_clusters": 65536}, "algorithm.block: 65536 centers"),
        ({"rate_weight": -1.0, "coding": "entropy"}, "algorithm.rate_weight: -1"),
        ({"rate_weight": 0.1}, "algorithm.rate_weight: 0.1 has no use"),
        ({"rate_weight": 0.1, "coding": "entropy", "block": 2}, "algorithm.rate_weight: 0.1"),
        ({"merge": "rank_mean", "block": 2}, "algorithm.merge"),
        ({"merge": "rank_mean", "coding": "entropy", "rate_weight": 0.1}, "algorithm.merge"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        algorithms.fedcode(**settings)


def test_every_policy_has_a_format():
    parts = "kernel=coded,bias=densebf16,norm=dense16,stats=local"
    message = broadcast(algorithms.fedcode(8, groups=parts))
    assert message.sections[1].dtype == "bfloat16"
    sizes = Layout.of(MODEL, parse("layers")).sizes
    assert sizes == ((600,), (350,), (3,), (7,))
