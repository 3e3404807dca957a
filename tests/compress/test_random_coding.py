"""Minimal random coding: that what is sent is nearly a sample of what was meant."""

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.compress.random_coding import chosen, from_bits, in_bits, ones

shared = jax.random.key(5)


def logit(p):
    return np.log(p / (1 - p)).astype(np.float32)


def sent(prior, posterior, *, block, bits, trials):
    """Masks [trials, n] as they are received, each from a seed of its own."""

    def one(trial):
        key = jax.random.fold_in(shared, trial)
        own = jax.random.fold_in(jax.random.key(8), trial)
        ahead = logit(posterior) - logit(prior)
        numbers = chosen(key, prior, ahead, own, block=block, bits=bits)
        return ones(key, prior, numbers, block=block)

    return np.asarray(jax.jit(jax.vmap(one))(jnp.arange(trials)))


def test_enough_candidates_give_the_mean_of_the_posterior_and_one_that_of_the_prior():
    rng = np.random.default_rng(0)
    prior = np.float32(rng.uniform(0.2, 0.8, 7))  # the last block is short
    posterior = np.float32(np.clip(prior + rng.uniform(-0.2, 0.2, 7), 0.05, 0.95))
    means = {
        bits: sent(prior, posterior, block=4, bits=bits, trials=2000).mean(axis=0)
        for bits in (0, 2, 7)
    }
    noise = 4 * np.sqrt(0.25 / 2000)
    assert np.abs(means[0] - prior).max() < noise
    assert np.abs(means[7] - posterior).max() < noise
    away = {bits: np.abs(mean - posterior).mean() for bits, mean in means.items()}
    assert away[7] < away[2] < away[0]


def test_values_of_a_block_are_drawn_together():
    """Of two candidates, importance decides by whole blocks: by hand, in NumPy."""
    n, block, bits = 12, 4, 3
    rng = np.random.default_rng(1)
    prior, ahead = np.float32(rng.uniform(0.3, 0.7, n)), np.float32(rng.normal(size=n))
    key = jax.random.key(3)
    sent = np.asarray(chosen(shared, prior, ahead, key, block=block, bits=bits, count=2))
    assert sent.shape == (2, n // block)
    total = 0
    for mask, numbers in enumerate(sent):
        drawn_by, noise_by = (jax.random.fold_in(k, mask) for k in (shared, key))
        every = candidates(drawn_by, prior, block, bits)
        each = jax.vmap(lambda j, by=noise_by: jax.random.fold_in(by, j))(jnp.arange(2**bits))
        noise = jax.vmap(lambda k: jax.random.gumbel(k, (n // block,)))(each)
        weight = (every * ahead.reshape(-1, block)).sum(axis=2)
        np.testing.assert_array_equal(numbers, np.argmax(weight + noise, axis=0))
        total = total + every[numbers, np.arange(n // block)].reshape(-1)
    np.testing.assert_array_equal(ones(shared, prior, sent, block=block), total)


def candidates(key, prior, block, bits):
    """All of them, [N, blocks, B]."""

    def draw(number, place):
        own = jax.random.fold_in(jax.random.fold_in(key, place), number)
        return jax.random.uniform(own, (block,))

    draws = jax.vmap(jax.vmap(draw, (None, 0)), (0, None))
    places = jnp.arange(len(prior) // block)
    return np.asarray(draws(jnp.arange(2**bits), places)) < prior.reshape(-1, block)


def test_what_is_no_number_still_gives_a_candidate():
    prior, odds = jnp.full(4, 0.5), jnp.full(4, jnp.nan)
    numbers = chosen(shared, prior, odds, jax.random.key(0), block=2, bits=4)
    assert numbers.shape == (1, 2)
    assert int(numbers.max()) < 2**4


def test_a_block_of_more_values_than_there_are_is_one_of_all():
    prior, odds = jnp.full(6, 0.5), jnp.array([9.0, -9, 9, -9, 9, -9])
    key, most = jax.random.key(0), 2**31 - 1
    numbers = [chosen(shared, prior, odds, key, block=B, bits=8) for B in (6, most)]
    np.testing.assert_array_equal(*numbers)
    read = ones(shared, prior, numbers[0], block=most)
    np.testing.assert_array_equal(read, [1, 0, 1, 0, 1, 0])


def test_numbers_come_back_from_their_bits():
    numbers = np.random.default_rng(2).integers(0, 2**32, 20, dtype=np.uint32)
    for width in (1, 5, 16, 32):
        cut = numbers >> (32 - width) if width < 32 else numbers
        section = in_bits(jnp.asarray(cut), width)
        assert section.bits.shape == (20 * width,)
        np.testing.assert_array_equal(from_bits(section, width), cut)
