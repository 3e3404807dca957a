"""Minimal random coding: that what is sent is nearly a sample of what was meant."""

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.compress.random_coding import candidate, chosen, from_bits, in_bits

shared = jax.random.key(5)


def logit(p):
    return np.log(p / (1 - p)).astype(np.float32)


def sent(prior, posterior, *, block, bits, trials):
    """Masks [trials, n] as they are received, each from a seed of its own."""

    def one(trial):
        key = jax.random.fold_in(shared, trial)
        own = jax.random.fold_in(jax.random.key(8), trial)
        numbers = chosen(key, prior, logit(posterior) - logit(prior), block, bits, own)
        return candidate(key, prior, numbers, block)

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
    numbers = np.asarray(chosen(shared, prior, ahead, block, bits, key))
    every = np.stack(
        [candidate(shared, prior, jnp.full(n // block, j), block) for j in range(2**bits)]
    )
    noise = np.stack(
        [jax.random.gumbel(jax.random.fold_in(key, j), (n // block,)) for j in range(2**bits)]
    )
    weight = (every * ahead).reshape(2**bits, n // block, block).sum(axis=2)
    np.testing.assert_array_equal(numbers, np.argmax(weight + noise, axis=0))
    got = np.asarray(candidate(shared, prior, numbers, block)).reshape(n // block, block)
    expected = every.reshape(2**bits, n // block, block)[numbers, np.arange(n // block)]
    np.testing.assert_array_equal(got, expected)


def test_what_is_no_number_still_gives_a_candidate():
    numbers = chosen(shared, jnp.full(4, 0.5), jnp.full(4, jnp.nan), 2, 4, jax.random.key(0))
    assert numbers.shape == (2,)
    assert int(numbers.max()) < 2**4


def test_numbers_come_back_from_their_bits():
    numbers = np.random.default_rng(2).integers(0, 2**32, 20, dtype=np.uint32)
    for width in (1, 5, 16, 32):
        cut = numbers >> (32 - width) if width < 32 else numbers
        section = in_bits(jnp.asarray(cut), width)
        assert section.bits.shape == (20 * width,)
        np.testing.assert_array_equal(from_bits(section, width), cut)
