"""Compressors against plain NumPy, and through the bytes of a message."""

import jax
import jax.numpy as jnp
import kmeans1d
import numpy as np
import pytest

from fedcode_jax import compress, wire
from fedcode_jax.algorithms import updates
from fedcode_jax.compress import (
    codebook,
    dgc,
    drive,
    eden,
    error_feedback,
    fedzip,
    kept,
    mucsc,
    none,
    powersgd,
    qsgd,
    sign,
    stc,
    topk,
)
from fedcode_jax.config import ExperimentConfig, from_yaml, replace, to_yaml
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message

COMPRESSORS = {
    "none": none(),
    "codebook": codebook(),
    "codebook, fixed": codebook(5, "fixed"),
    "codebook, blocks": codebook(4, "entropy", block=3),
    "codebook at a price": codebook(8, rate_weight=0.1),
    "dgc": dgc(0.1),
    "qsgd": qsgd(),
    "qsgd, entropy": qsgd(8, 1000, "entropy"),
    "qsgd, adaptive": qsgd(2, 4, "adaptive"),
    "sign": sign(),
    "sign with feedback": error_feedback(sign()),
    "stc": stc(0.1),
    "drive": drive(),
    "drive, biased, with feedback": error_feedback(drive(unbiased=False)),
    "eden": eden(3),
    "eden, half a bit": eden(0.5, unbiased=False),
    "fedzip": fedzip(),
    "powersgd": powersgd(),
    "mucsc": mucsc(8),
    "mucsc, adaptive": mucsc(16, "adaptive"),
    "mucsc, biased": mucsc(8, "entropy", insignificant=0.5),
    "topk": topk(0.1),
    "topk, one": topk(1e-6),
    "topk, all": topk(1.0),
    "topk with feedback": error_feedback(topk(0.1)),
    "codebook with feedback": error_feedback(codebook(2), "coded"),
}
KEY = jax.random.key(0)


def vector(seed=0, n=503):
    return jnp.float32(np.random.default_rng(seed).standard_t(4, n))


def test_every_compressor_of_the_registry_is_tried():
    assert set(compress.registry) == {name.split(",")[0].split()[0] for name in COMPRESSORS}


@pytest.mark.parametrize("n", [1, 2, 503])
@pytest.mark.parametrize("name", COMPRESSORS)
def test_the_receiver_reads_from_the_bytes_what_the_sender_counts_on(name, n):
    compressor = COMPRESSORS[name]
    values = vector(n=n)
    run = jax.jit(lambda memory, v: compressor.compress(memory, v, KEY))
    section, _ = run(compressor.init(n), values)
    message = Message(np.int32(Kind.UPDATE), (section,))
    data = wire.encode(message)
    (received,) = wire.decode(data).sections
    meant = jax.jit(lambda s: compressor.decompress(s, n))(section)
    np.testing.assert_array_equal(compressor.decompress(received, n), meant)
    allowed = 8 if wire.is_entropy_coded(message) else 0
    assert abs(int(jax.jit(wire.size_bits)(message)) // 8 - len(data)) <= allowed


@pytest.mark.parametrize("name", COMPRESSORS)
def test_what_is_sent_explains_some_of_the_vector(name):
    compressor, values = COMPRESSORS[name], vector()
    section, _ = compressor.compress(compressor.init(values.size), values, KEY)
    left = values - compressor.decompress(section, values.size)
    assert float(jnp.sum(left**2)) < 0.98 * float(jnp.sum(values**2))


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 1.0])
def test_topk_keeps_the_largest(fraction):
    values = np.asarray(vector(1))
    section, _ = topk(fraction).compress(None, jnp.asarray(values), KEY)
    k = int(np.ceil(fraction * values.size - 1e-6))
    largest = np.sort(np.argsort(-np.abs(values))[:k])
    np.testing.assert_array_equal(section.positions, largest)
    np.testing.assert_array_equal(section.values.values, values[largest])


def test_a_share_of_a_whole_number_is_not_rounded_up():
    section, _ = topk(0.1).compress(None, vector(n=30), KEY)  # 0.1 * 30 is above 3 in floats
    assert section.positions.size == 3


@pytest.mark.parametrize("K", [2, 3, 16])
def test_a_codebook_is_near_the_best(K):
    values = np.asarray(vector(2), np.float64)
    section, _ = codebook(K).compress(None, jnp.float32(values), KEY)
    found = np.asarray(codebook(K).decompress(section, values.size), np.float64)
    exact = kmeans1d.cluster(values, K)
    best = np.sum((values - np.array(exact.centroids)[exact.clusters]) ** 2)
    assert np.sum((values - found) ** 2) <= 1.005 * best


def test_error_feedback_is_the_recursion_of_the_paper():
    compressor, n = error_feedback(topk(0.05)), 400
    memory, residual, arrived, total = compressor.init(n), np.zeros(n), np.zeros(n), np.zeros(n)
    for step in range(6):
        values = vector(step, n)
        section, memory = compressor.compress(memory, values, KEY)
        sent = np.asarray(compressor.decompress(section, n), np.float64)
        whole = np.asarray(values, np.float64) + residual
        chosen = np.argsort(-np.abs(whole))[:20]
        expected = np.zeros(n)
        expected[chosen] = whole[chosen]
        np.testing.assert_allclose(sent, expected, atol=1e-5)
        if step == 3:  # lost on the way: all of it stays
            memory, sent = compressor.undo(memory, jnp.float32(sent)), 0 * sent
        residual = whole - sent
        arrived, total = arrived + sent, total + np.asarray(values, np.float64)
        np.testing.assert_allclose(memory[0], residual, atol=1e-5)
    # Nothing is lost but time.
    np.testing.assert_allclose(arrived + np.asarray(memory[0]), total, atol=1e-5)


def test_a_residual_that_is_not_finite_is_not_kept():
    compressor = error_feedback(topk(0.5))
    _, memory = compressor.compress(compressor.init(4), jnp.array([1, jnp.nan, jnp.inf, 3.0]), KEY)
    assert bool(jnp.isfinite(memory[0]).all())
    memory = compressor.undo(memory, jnp.array([jnp.nan, 0, 0, 0]))
    assert bool(jnp.isfinite(memory[0]).all())


@pytest.mark.parametrize(("form", "bytes_each", "error"), [
    ("float32", 4, 0.0), ("bfloat16", 2, 2.0**-8), ("coded", 1, 0.05),
])  # fmt: skip
def test_vectors_are_kept_in_as_many_bytes_as_is_said(form, bytes_each, error):
    n = 20_000
    values = jnp.float32(np.random.default_rng(3).normal(size=n))
    stored = jax.jit(kept(form).store)(values)
    loaded = kept(form).load(stored)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(stored))
    assert bytes_each * n <= size <= bytes_each * n + 1024
    assert float(jnp.abs(loaded - values).max()) <= error * max(1.0, float(jnp.abs(values).max()))
    again = kept(form).load(kept(form).store(loaded))
    np.testing.assert_allclose(again, loaded, atol=1e-6)  # nothing more is lost


REFUSED = {
    "algorithm.up.fraction: 0.1 has no use": {
        "algorithm.up.name": "codebook", "algorithm.up.fraction": 0.1,
    },
    "algorithm.up.num_clusters: 5 has no use": {"algorithm.up.num_clusters": 5},
    "algorithm.down.coding: unknown name 'conditional'": {
        "algorithm.down.name": "codebook", "algorithm.down.coding": "conditional",
    },
    "algorithm.up.rate_weight": {
        "algorithm.up.name": "codebook", "algorithm.up.rate_weight": 0.1,
        "algorithm.up.coding": "fixed",
    },
    "algorithm.up.fraction": {"algorithm.up.name": "topk", "algorithm.up.fraction": 1.5},
    "algorithm.up.name: .*Did you mean": {"algorithm.up.name": "topkk"},
    "algorithm.down.error_feedback: there is no such": {"algorithm.down.error_feedback": "none"},
}  # fmt: skip


@pytest.mark.parametrize("complaint", REFUSED)
def test_settings_that_cannot_be_used_are_refused_by_name(complaint):
    with pytest.raises(ConfigError, match=complaint):
        replace(ExperimentConfig(), {"algorithm.name": "fedavg", **REFUSED[complaint]})


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("name", ["fedcode", "skip", "local_only"])
def test_algorithms_that_do_not_send_changes_take_no_compressor(name, way):
    with pytest.raises(
        ConfigError, match=f"^algorithm.{way}: 'topk' has no use with algorithm.name {name}"
    ):
        replace(ExperimentConfig(), {"algorithm.name": name, f"algorithm.{way}.name": "topk"})


def test_a_residual_is_not_counted_twice():
    with pytest.raises(ConfigError, match=r"algorithm\.down: .* would count twice"):
        updates(down=error_feedback(topk()))
    with pytest.raises(ValueError, match="twice"):
        error_feedback(error_feedback(topk()))


@pytest.mark.parametrize("groups", ["everything", "kernel=dense,bias+norm=dense,stats=local"])
def test_groups_that_cannot_be_changes_are_refused(groups):
    with pytest.raises(ConfigError, match=r"algorithm\.groups"):
        updates(topk(), groups=groups)


def test_a_config_with_compressors_goes_through_yaml_and_makes_them():
    changes = {
        "algorithm.name": "fedavg",
        "algorithm.up.name": "topk",
        "algorithm.up.fraction": 0.2,
        "algorithm.up.error_feedback": "bfloat16",
        "algorithm.down.name": "codebook",
        "algorithm.down.num_clusters": 5,
    }
    config = replace(ExperimentConfig(), changes)
    assert from_yaml(to_yaml(config)) == config
    algorithm = config.algorithm.build()
    assert algorithm.common is not None
    _, store = algorithm.init({"params": {"kernel": jnp.zeros(100)}}, 2)
    (memory,) = store.up
    assert memory[0].dtype == jnp.bfloat16
    server, _ = algorithm.init({"params": {"kernel": jnp.arange(100.0)}}, 2)
    message, _ = algorithm.broadcast(server, None, KEY)
    assert message.sections[0].num_clusters == 5
    plain = replace(ExperimentConfig(), {"algorithm.name": "fedavg"}).algorithm.build()
    assert plain.common is None
    assert plain.lost is None
