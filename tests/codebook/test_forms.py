"""The forms of `fit` for each kind of machine, on the values that break things, held together."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import optimum, sse

from fedcode_jax import codebook
from fedcode_jax.errors import ConfigError

N = 20_000  # as many of each, so that a compilation serves them all
FORMS = ("cpu", "gpu")
TINY = np.finfo(np.float32).tiny
FEW = 1.0005


def normal(n=N, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def cases():
    rng = np.random.default_rng(1)
    return {
        "normal": normal(),
        "ties": np.round(20 * normal()),
        "constant": np.full(N, 0.1),
        "zeros of both signs, the others above": np.concatenate(
            [-np.zeros(100), np.abs(normal(N - 200)), np.zeros(100)]
        ),
        "zeros of both signs, the others below": np.concatenate(
            [np.zeros(100), -np.abs(normal(N - 200)), -np.zeros(100)]
        ),
        "1e-30": 1e-30 * normal(),
        "1e-36": 1e-36 * normal(),
        "1e-40": 1e-40 * normal(),
        "1e30": 1e30 * normal(),
        "to the end of float32": (1e38 * normal()).clip(-3.4e38, 3.4e38),
        "a narrow mode at zero": np.append(
            0.05 * normal(N - 4_000), rng.uniform(1e-38, 3e-38, 4_000)
        ),
        "narrow, far from zero": 1 + 1e-5 * normal(),
        "outliers": np.append(normal(N - 3), [1e6, -1e5, 3e5]),
        "an outlier that is all": np.append(normal(N - 1), 1e30),
        "decades": np.sign(normal()) * 10 ** rng.uniform(-9, 0, N),
        "mostly zero": np.where(rng.random(N) < 0.9, 0, normal()),
        "narrow modes": rng.choice([-1, 1, 1.01], N) + 1e-4 * normal(),
        "cauchy": rng.standard_cauchy(N),
        "lognormal": rng.lognormal(0, 3, N),
        "bfloat16": np.asarray(jnp.asarray(normal(), jnp.bfloat16), np.float64),
    }


CASES = {name: values.astype(np.float32) for name, values in cases().items()}
# In these a float32 does not tell the members of a cell from its center, or squares of the error
# vanish beside those of one value.
UNRESOLVED = {"1e-36", "narrow, far from zero", "an outlier that is all"}


def seen(values):
    """The values as they count: below the least normal float32 they are zero."""
    return np.where(np.abs(values) < TINY, 0, values)


def check(values, found, K, name):
    best = optimum(seen(values), K)
    errors = {}
    for form, centers in found.items():
        assert np.all(np.isfinite(centers)), form
        assert np.all(np.diff(centers) >= 0), form
        errors[form] = sse(seen(values), centers)
        if name not in UNRESOLVED:
            assert errors[form] <= FEW * best, (form, errors[form] / best)
    assert max(errors.values()) <= FEW * min(errors.values()), errors


OTHER_K = [pytest.param(K, marks=pytest.mark.slow) for K in (2, 16, 256)]


@pytest.mark.parametrize("K", [64, *OTHER_K])
@pytest.mark.parametrize("name", CASES)
def test_both_forms_are_near_the_optimum(name, K):
    values = CASES[name]
    check(values, {f: np.asarray(codebook.fit(values, K, target=f)) for f in FORMS}, K, name)


@pytest.mark.parametrize("K", [pytest.param(16, marks=pytest.mark.slow)])
def test_both_forms_side_by_side(K):
    clients = np.stack(list(CASES.values()))
    for form in FORMS:
        fitted = jax.vmap(lambda v, form=form: codebook.fit(v, K, target=form))(clients)
        for (name, values), centers in zip(CASES.items(), np.asarray(fitted), strict=True):
            alone = np.asarray(codebook.fit(values, K, target=form))
            errors = [sse(seen(values), c) for c in (centers, alone)]
            assert max(errors) <= FEW * min(errors), (form, name)


def test_a_few_clients_side_by_side():
    clients = np.stack([CASES["normal"][:3_000], CASES["ties"][:3_000], np.zeros(3_000)])
    clients = clients.astype(np.float32)
    for form in FORMS:
        fitted = jax.jit(jax.vmap(lambda v, form=form: codebook.fit(v, 16, target=form)))(clients)
        for values, centers in zip(clients, np.asarray(fitted), strict=True):
            assert sse(values, centers) <= FEW * optimum(values, 16)


@pytest.mark.parametrize("n", [2**20 + 1, pytest.param(5_000_000, marks=pytest.mark.slow)])
def test_more_values_than_a_row(n):
    values = normal(n).astype(np.float32)
    found = {form: np.asarray(codebook.fit(values, 64, target=form)) for form in FORMS}
    errors = [sse(values, centers) for centers in found.values()]
    assert max(errors) <= FEW * min(errors)
    # The optimum of a normal density at K = 64 (Panter and Dite: pi sqrt(3) / 2 / K^2 of it).
    assert max(errors) / n <= np.pi * np.sqrt(3) / 2 / 64**2


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 16_384, 16_385])
def test_sizes_around_a_row_of_an_accelerator(n):
    values = normal(n, seed=n).astype(np.float32)
    for K in [1, 7]:
        centers = np.asarray(codebook.fit(values, K, target="gpu"))
        assert sse(values, centers) <= FEW * optimum(values, min(K, n)) + 1e-12


WEIGHTS = {
    "ordinary": lambda rng: rng.random(N),
    "huge": lambda rng: 3e38 * rng.random(N),
    "tiny": lambda rng: 1e-30 * rng.random(N),
    "one far heavier": lambda rng: np.append(rng.random(N - 1), 1e6),
    "many of none": lambda rng: rng.random(N) * (rng.random(N) < 0.3),
    "none at all": lambda rng: np.zeros(N),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_both_forms_with_weights(name):
    rng = np.random.default_rng(2)
    values, weights = normal().astype(np.float32), WEIGHTS[name](rng).astype(np.float32)
    found = [np.asarray(codebook.fit(values, 16, weights=weights, target=f)) for f in FORMS]
    counted = weights.astype(np.float64) if weights.any() else np.ones(N)
    errors = [sse(values, centers, counted) for centers in found]
    assert max(errors) <= (1.001 if name == "many of none" else FEW) * min(errors)
    # Far below what as many centers do without looking at the weights.
    plain = sse(values, np.asarray(codebook.fit(values, 16)), counted)
    assert max(errors) <= FEW * plain


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(bad):
    values = CASES["normal"].copy()
    values[77] = bad
    for form in FORMS:
        assert np.all(np.isnan(codebook.fit(values, 16, target=form)))
        weights = np.ones(N, np.float32)
        weights[77] = 0  # a value of no weight is not looked at
        assert np.all(np.isfinite(codebook.fit(values, 16, weights=weights, target=form)))


def test_blocks_in_both_forms():
    values = CASES["normal"][:4_000]
    weights = np.random.default_rng(0).uniform(1e38, 3e38, 4_000).astype(np.float32)
    for given in (None, weights):
        found = [
            np.asarray(codebook.fit(values, 16, block=2, weights=given, target=form))
            for form in FORMS
        ]
        assert np.all(np.isfinite(found))
        assert len(np.unique(found[0], axis=0)) == 16
        np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rate_weight", [1e-30, 1e-3])
def test_priced_codebooks_in_both_forms(rate_weight):
    values = CASES["normal"]
    price = rate_weight * values.astype(np.float64).var()
    costs = []
    for form in FORMS:
        centers, limits = codebook.fit_rate(values, 64, rate_weight, target=form)
        codes = np.asarray(codebook.encode(centers, values, limits=limits))
        share = np.bincount(codes, minlength=64) / N
        bits = -np.sum(share[share > 0] * np.log2(share[share > 0]))
        error = np.mean((values - np.asarray(centers, np.float64)[codes]) ** 2)
        costs.append(error + price * bits)
    assert max(costs) <= 1.002 * min(costs)
    if rate_weight == 1e-30:  # nothing but the error counts
        assert max(costs) <= 1.01 * optimum(values, 64) / N


def test_a_program_for_either_machine_holds_both_forms():
    """What is compiled depends on where it is compiled for, not on where it was traced."""
    traced = jax.jit(lambda v: codebook.fit(v, 16)).trace(jax.ShapeDtypeStruct((N,), jnp.float32))
    for_cpu, for_gpu = (
        traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda")
    )
    # The passes, and nothing that waits for one center or value after another.
    assert for_gpu.count("stablehlo.while") == 1
    assert for_cpu.count("stablehlo.while") > 4
    # Sums that several threads add to would not be the same each time.
    shared = [line for line in for_gpu.splitlines() if '"stablehlo.scatter"' in line]
    assert all("unique_indices = true" in line for line in shared)
    assert 'stablehlo.scatter"' in for_cpu
    assert "unique_indices = false" in for_cpu


def test_an_unknown_target_is_refused():
    for call in (codebook.fit, lambda *a, **k: codebook.fit_rate(*a, 1e-3, **k)):
        with pytest.raises(ConfigError, match=r"target: unknown name 'gpus'.*cpu, gpu, tpu"):
            call(jnp.ones(3), 2, target="gpus")


@pytest.mark.parametrize("target", ["gpu", "tpu"])
def test_no_slice_leaves_out_thousands_between_two(target):
    """For a TPU such a one does not compile: it is given room for all that it passes over."""
    values = jax.ShapeDtypeStruct((2, 2_300_000), jnp.float32)
    fit = jax.vmap(lambda x: codebook.fit(x, 64, target=target))
    text = jax.jit(fit).lower(values).as_text()
    strides = [int(found) for found in re.findall(r"\d+:\d+:(\d+)", text)]
    assert max(strides, default=1) <= 128
