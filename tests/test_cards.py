"""What the cards of compressors and methods say, held to what these do."""

import dataclasses
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rounds as by_hand

from fedcode_jax import algorithms, wire
from fedcode_jax.algorithms import Layout, parse
from fedcode_jax.config import AlgorithmConfig, UpConfig
from fedcode_jax.config.cards import CARDS, of_codes
from fedcode_jax.config.methods import METHODS, method_of, row
from fedcode_jax.wire import Kind, Message

UP = {name: kind() for name, kind in UpConfig.members.items() if name != "none"}
SHAPE = (40, 30)
N = math.prod(SHAPE)
MOST_HEADER = 48  # bytes, of a message and a section
KEY = jax.random.key(3)


def vector(seed=0):
    """A change: heavy tails, and of low rank for the most part."""
    rng = np.random.default_rng(seed)
    low = np.outer(rng.standard_normal(SHAPE[0]), rng.standard_normal(SHAPE[1]))
    return jnp.asarray((low + 0.3 * rng.standard_t(5, SHAPE)).ravel(), jnp.float32)


def made(settings):
    """The compressor of a kernel, with what it is published with."""
    compressor = settings.build()
    return compressor if compressor.for_shape is None else compressor.for_shape(SHAPE)


def bits_of(section):
    return 8 * len(wire.encode(Message(np.int32(Kind.UPDATE), (section,))))


def test_every_compressor_and_every_method_has_a_card():
    assert set(CARDS) == set(UpConfig.members)
    assert all(row(name)["up"] for name in AlgorithmConfig.members)
    assert set(METHODS) <= set(AlgorithmConfig.members)


def test_the_page_shows_the_cards():
    text = (pathlib.Path(algorithms.__file__).parent / "METHODS.md").read_text(encoding="utf-8")
    head = next(line for line in text.splitlines() if line.startswith("| method"))
    columns = [name.strip() for name in head[1:-1].split("|")]
    shown = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line[1:-1].split("|")]
            found = dict(zip(columns, cells, strict=True))
            assert float(found.pop("measured up")) >= 0
            assert float(found.pop("measured down")) >= 0
            shown[found["method"].strip("`")] = found
    assert shown == {name: row(name) for name in AlgorithmConfig.members}


@pytest.mark.parametrize("name", UP)
def test_a_vector_takes_the_bits_of_its_papers_formula(name):
    settings, card = UP[name], CARDS[name]
    compressor = made(settings)
    section, _ = compressor.compress(compressor.init(N), vector(), KEY)
    taken, formula = bits_of(section), N * card.bits(settings, SHAPE)
    assert taken <= 1.02 * formula + 8 * MOST_HEADER
    assert taken >= (0.4 if card.at_most(settings) else 1) * formula


@pytest.mark.parametrize("name", [name for name in UP if CARDS[name].unbiased(UP[name])])
def test_the_mean_over_draws_is_the_vector_where_that_is_said(name):
    compressor, draws, v = made(UP[name]), 1000, vector()
    read = jax.jit(
        jax.vmap(lambda key: compressor.decompress(compressor.compress(None, v, key)[0], N))
    )(jax.random.split(KEY, draws))
    mean, deviation = np.mean(read, axis=0), np.std(read, axis=0)
    # A value next to a level may not have left it in any of the draws.
    deviation = np.maximum(deviation, 0.1 * math.sqrt(np.mean(deviation**2)))
    apart = (mean - v) / deviation * math.sqrt(draws)
    assert np.abs(apart).max() < 5.5  # of 1,200 values of a normal distribution: 1 in 20,000
    assert 0.8 < math.sqrt(np.mean(apart**2)) < 1.2


@pytest.mark.parametrize("name", [name for name in UP if not CARDS[name].unbiased(UP[name])])
def test_what_is_biased_brings_a_vector_nearer(name):
    """A contraction: what error feedback needs, and most of them have by default."""
    compressor, v = made(UP[name]), vector()
    section, _ = compressor.compress(compressor.init(N), v, KEY)
    left = v - compressor.decompress(section, N)
    assert float(jnp.sum(left**2)) < float(jnp.sum(v**2))


@pytest.mark.parametrize("name", UP)
def test_clients_side_by_side_and_one_by_one_send_the_same(name):
    compressor = made(UP[name])
    vectors, keys = jnp.stack([vector(i) for i in range(3)]), jax.random.split(KEY, 3)

    def twice(v, key):
        _, memory = compressor.compress(compressor.init(N), v, key)
        section, _ = compressor.compress(memory, v, key)
        return compressor.decompress(section, N)

    together = jax.jit(jax.vmap(twice))(vectors, keys)
    one_by_one = jnp.stack([twice(v, key) for v, key in zip(vectors, keys, strict=True)])
    # Rounding may take a value to another center or over the edge of the largest.
    differ = np.abs(together - one_by_one) > 1e-4 * np.abs(vectors).max()
    assert differ.mean() < 0.01


@pytest.mark.parametrize("name", AlgorithmConfig.members)
def test_messages_of_a_method_take_the_bits_of_its_card(name):
    settings = AlgorithmConfig.members[name]()
    card, algorithm, weights = method_of(settings), settings.build(), large_weights()
    layout = Layout.of(weights, parse(card.groups))
    server, store = algorithm.init(weights, by_hand.CLIENTS)
    sends = by_hand.exchange(name != "local_only", name != "local_only")
    # What is sent first may be all zero.
    *_, server, store = by_hand.one_round(algorithm, server, store, sends, False)
    message, uploads, *_ = by_hand.one_round(algorithm, server, store, sends, False)
    if algorithm.common is None:
        message = wire.addressed(message, False)
    sections = len(message.sections)
    upload = jax.tree.map(lambda leaf: leaf[0], uploads)
    for sent, bits in ((message, card.bits_down), (upload, card.bits_up)):
        if int(sent.kind) == Kind.NOTHING:
            continue
        formula, taken = bits(settings, layout), 8 * len(wire.encode(sent))
        assert taken <= 1.02 * formula + 8 * MOST_HEADER * sections
        if name != "lbgm":  # whose second change points where the first one did
            assert taken >= (0.3 if card.at_most else 0.98) * formula


def large_weights():
    rng = np.random.default_rng(0)
    kernels = {n: {"kernel": jnp.float32(rng.normal(size=SHAPE))} for n in ("dense", "head")}
    return {"params": {**kernels, "norm": {"scale": jnp.ones(5), "bias": jnp.zeros(5)}}}


def test_a_card_covers_a_model_with_a_single_number():
    params = {"t": jnp.float32(2.0), "head": {"kernel": jnp.ones((6, 4)), "bias": jnp.zeros(4)}}
    layout = Layout.of({"params": params}, parse("layers"))
    for name in AlgorithmConfig.members:
        settings = AlgorithmConfig.members[name]()
        card = method_of(settings)
        assert card.bits_up(settings, layout) >= 0
        assert card.bits_down(settings, layout) >= 0
    for name, compressor in UP.items():
        assert CARDS[name].bits(compressor, ()) > 0


def test_a_card_tells_local_groups_however_they_are_written():
    settings = AlgorithmConfig.members["fedavg"](groups="*/norm/* = local , params")
    assert method_of(settings).keeps == "its own */norm/*"


def test_a_bound_holds_when_all_centers_are_in_use():
    settings = AlgorithmConfig.members["fedcompress"]()
    most = of_codes(dataclasses.replace(settings, num_clusters=settings.max_clusters), (2000,))
    layout = Layout.of({"params": {"kernel": jnp.ones((40, 50))}}, parse("layers"))
    assert method_of(settings).bits_up(settings, layout) == 2000 * most
