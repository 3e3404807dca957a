"""What is called without a run gives the same bits under settings of JAX that a user may have."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import algorithms, codebook, compress, data, network, randomness, schedules, wire

_SPEC = importlib.util.spec_from_file_location(
    "under_settings", pathlib.Path(__file__).with_name("under_settings.py")
)
under_settings = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(under_settings)
digest = under_settings.digest

VALUES = np.random.default_rng(0).normal(size=120).astype(np.float32)
WEIGHTS = {"params": {"dense": {"kernel": VALUES[:108].reshape(12, 9), "bias": VALUES[:9]}}}
KINDS = {
    **algorithms.registry,
    "updates": algorithms.updates,
    "at a price": lambda: algorithms.fedcode(coding="adaptive", rate_weight=1e-2),
    "blocks": lambda: algorithms.fedcode(block=2),
    "conditional": lambda: algorithms.fedcode(coding="conditional"),
    "top k": lambda: algorithms.fedavg(up=compress.error_feedback(compress.topk(fraction=0.1))),
}


def centers():
    return codebook.fit(VALUES, 8)


def message():
    algorithm = algorithms.fedcode(coding="entropy")
    server, _ = algorithm.init(WEIGHTS, 1)
    return algorithm.broadcast(server, schedules.always()(1), randomness.key(0))[0]


def exchanged(make):
    """Every function of an algorithm, once."""
    algorithm, sends, key = make(), schedules.always()(1), randomness.key(3)
    server, store = algorithm.init(WEIGHTS, 2)
    sent, server = algorithm.broadcast(server, sends, key)
    one = jax.tree.map(lambda leaf: leaf[0], store)
    start = algorithm.receive(one, sent, algorithm.common and algorithm.common(server))
    nothing = jnp.float32(0)
    work = algorithms.Work(start, start.weights, jnp.int32(1), jnp.float32(0.1), nothing)
    upload, after = algorithm.upload(one, work, sends, key)
    uploads = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * 2), upload)
    if algorithm.heard is not None:
        uploads, after = jax.vmap(algorithm.heard, (None, 0))(after, uploads)
    merged = algorithm.aggregate(server, uploads, jnp.ones(2, jnp.float32), sends)
    sizes = wire.size_bits(sent), wire.size_bits(upload)
    return sent, server, start, upload, after, merged, algorithm.report(merged, store), sizes


def compressed(compressor):
    """A kernel's change, compressed twice and read."""
    one = compressor if compressor.for_shape is None else compressor.for_shape((12, 10))
    memory = one.init(VALUES.size)
    for seed in range(2):
        section, memory = one.compress(memory, jnp.asarray(VALUES), randomness.key(seed))
    return section, memory, one.decompress(section, VALUES.size)


MADE = {**compress.registry, "feedback": lambda: compress.error_feedback(compress.sign())}


def decided(schedule):
    moment = schedules.Moment(np.int32(60), np.float32(1e-3), np.int32(2), np.int32(5))
    return schedule(3), schedule.decide(schedules.forgotten(), moment)


def dealt(name):
    return data.partition.make(name, data.load("digits"), seed=2**32 - 1).clients


def sketched():
    sketches = jnp.stack([schedules.sketch(VALUES), schedules.sketch(-VALUES)])
    return sketches, schedules.model_variance(sketches, jnp.ones(2, bool))


ALONE = {
    "codebook.fit": centers,
    "codebook.fit of blocks": lambda: codebook.fit(VALUES, 8, block=2),
    "codebook.fit under jit": lambda: jax.jit(lambda v: codebook.fit(v, 8))(VALUES),
    "codebook.fit under vmap": lambda: jax.vmap(lambda v: codebook.fit(v, 4))(
        VALUES.reshape(3, 40)
    ),
    "codebook.fit_in_use": lambda: codebook.fit_in_use(VALUES, 8, 3),
    "codebook.fit_rate": lambda: codebook.fit_rate(VALUES, 8, 0.01),
    "codebook.encode": lambda: codebook.encode(centers(), VALUES),
    "codebook.decode": lambda: codebook.decode(centers(), np.arange(8, dtype=np.uint8)),
    "codebook.snap": lambda: codebook.snap(centers(), VALUES),
    "codebook.union": lambda: codebook.union(jnp.stack([centers()] * 3)),
    "wire.encode": lambda: np.frombuffer(wire.encode(message()), np.uint8),
    "wire.decode": lambda: wire.decode(wire.encode(message())),
    "wire.size_bits": lambda: wire.size_bits(message()),
    "wire.size_bits under jit": lambda: jax.jit(wire.size_bits)(message()),
    "schedules.sketch": sketched,
    "network.conditions": lambda: network.conditions(
        network.Network().links(4), np.arange(4, dtype=np.int32), randomness.key(0)
    ),
    "data.log_mel": lambda: data.log_mel(np.resize(VALUES, (1, 16000))),
    "data.crop_and_flip": lambda: data.crop_and_flip(
        randomness.key(0), np.resize(VALUES, (2, 8, 8, 3))
    ),
    "data.time_shift": lambda: data.time_shift(
        randomness.key(0), np.resize(VALUES, (2, 98, 64, 1))
    ),
    "data.spec_augment": lambda: data.spec_augment(
        randomness.key(0), np.resize(VALUES, (2, 98, 64, 1))
    ),
    **{f"compress: {name}": lambda make=make: compressed(make()) for name, make in MADE.items()},
    **{f"algorithms: {name}": lambda make=make: exchanged(make) for name, make in KINDS.items()},
    **{
        f"schedules: {name}": lambda make=make: decided(make())
        for name, make in schedules.registry.items()
    },
    **{
        f"partition: {name}": lambda name=name: dealt(name)
        for name in data.partition.registry
        if name != "by_user"  # digits have none
    },
}


def test_every_function_of_codebooks_is_here():
    functions = {name for name in codebook.__all__ if name[0].islower()}
    assert {f"codebook.{name}" for name in functions} <= set(ALONE)


@pytest.mark.parametrize("name", list(ALONE))
def test_a_function_alone_gives_the_same_bits(name):
    expected = digest(ALONE[name]())
    with (
        randomness.enable_x64(True),
        jax.default_prng_impl("rbg"),
        jax.threefry_partitionable(False),
    ):
        assert digest(ALONE[name]()) == expected
