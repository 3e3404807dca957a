"""The two lowerings against NumPy, against JAX's own convolution, and under vmap and map."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fedcode_jax.errors import ConfigError
from fedcode_jax.models import conv
from fedcode_jax.targets import TARGETS

# height, width, kernel height, kernel width, stride, padding
CASES = [
    (8, 8, 3, 3, 1, "SAME"),
    (8, 7, 3, 3, 2, "SAME"),
    (7, 8, 5, 5, 2, "SAME"),
    (8, 7, 3, 3, 2, "SAME_LOWER"),
    (6, 6, 2, 3, 1, "SAME_LOWER"),
    (5, 6, 1, 1, 2, "SAME"),
    (6, 5, 2, 3, 1, "SAME"),
    (9, 8, 3, 3, 2, "VALID"),
    (9, 9, 2, 2, 3, "VALID"),
    (5, 5, 5, 5, 1, "VALID"),
    (1, 2, 3, 3, 2, "SAME"),
]


def numpy_conv(x, kernel, stride, padding):
    """The definition, term by term: the output and a function from its gradient to both inputs'."""
    sizes, windows = x.shape[1:3], kernel.shape[:2]
    if padding != "VALID":
        out = [-(-n // stride) for n in sizes]
    else:
        out = [(n - k) // stride + 1 for n, k in zip(sizes, windows, strict=True)]
    pads = [
        max((o - 1) * stride + k - n, 0) if padding != "VALID" else 0
        for n, k, o in zip(sizes, windows, out, strict=True)
    ]
    pads = [(p // 2, p - p // 2)[:: -1 if padding == "SAME_LOWER" else 1] for p in pads]
    wide = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    y = np.zeros((x.shape[0], *out, kernel.shape[3]))

    def spots():
        for i in range(out[0]):
            for j in range(out[1]):
                rows = slice(i * stride, i * stride + windows[0])
                yield i, j, rows, slice(j * stride, j * stride + windows[1])

    for i, j, rows, cols in spots():
        y[:, i, j] = np.einsum("buvc,uvco->bo", wide[:, rows, cols], kernel)

    def gradients(g):
        dx, dk = np.zeros_like(wide), np.zeros(kernel.shape)
        for i, j, rows, cols in spots():
            dx[:, rows, cols] += np.einsum("bo,uvco->buvc", g[:, i, j], kernel)
            dk += np.einsum("bo,buvc->uvco", g[:, i, j], wide[:, rows, cols])
        inside = [slice(p[0], p[0] + n) for p, n in zip(pads, sizes, strict=True)]
        return dx[:, inside[0], inside[1]], dk

    return y, gradients


def lax_conv(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def draw(case, clients=()):
    height, width, kh, kw, _, _ = case
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*clients, 3, height, width, 2)).astype(np.float32)
    return x, rng.normal(size=(*clients, kh, kw, 2, 4)).astype(np.float32)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_equal_the_definition_and_autodiff(case):
    stride, padding = case[4:]
    x, kernel = draw(case)
    expected, gradients = numpy_conv(x, kernel, stride, padding)
    g = np.random.default_rng(1).normal(size=expected.shape).astype(np.float32)

    @jax.jit
    def everything(x, kernel, g):
        functions = [
            lambda x, k: lax_conv(x, k, stride, padding),
            lambda x, k: conv(x, k, stride=stride, padding=padding),
            lambda x, k: conv(x, k, stride=stride, padding=padding, lowering="patches"),
        ]
        results = []
        for f in functions:
            y, pull = jax.vjp(f, x, kernel)
            results.append((y, *pull(g)))
        return results

    for result in everything(x, kernel, g):
        for ours, theirs in zip(result, (expected, *gradients(g)), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[5]], ids=str)
@pytest.mark.parametrize("lowering", ["native", "patches"])
def test_a_kernel_per_client_under_vmap_and_map_equals_one_client_at_a_time(case, lowering):
    stride, padding = case[4:]
    x, kernel = draw(case, (3,))

    def client(x, kernel):
        def loss(x, k):
            return jnp.sum(jnp.sin(conv(x, k, stride=stride, padding=padding, lowering=lowering)))

        return jax.value_and_grad(loss, (0, 1))(x, kernel)

    @jax.jit
    def everything(x, kernel):
        def summed(x, k):
            losses = jax.vmap(lambda x, k: client(x, k)[0])(x, k)
            return losses.sum(), losses

        (_, losses), outside = jax.value_and_grad(summed, (0, 1), has_aux=True)(x, kernel)
        return [
            jax.vmap(client)(x, kernel),
            lax.map(lambda xk: client(*xk), (x, kernel)),
            (losses, outside),
        ]

    for loss, (dx, dk) in everything(x, kernel):
        for c in range(3):
            y, gradients = numpy_conv(x[c], kernel[c], stride, padding)
            want_dx, want_dk = gradients(np.cos(y))
            np.testing.assert_allclose(loss[c], np.sin(y).sum(), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(dx[c], want_dx, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(dk[c], want_dk, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lowering", ["native", "patches"])
def test_one_batch_of_images_shared_by_all_clients(lowering):
    x, kernel = draw(CASES[0], (3,))

    def gradient(x, k):
        return jax.grad(lambda k: jnp.sum(jnp.sin(conv(x, k, lowering=lowering))))(k)

    shared = jax.jit(jax.vmap(gradient, (None, 0)))(x[0], kernel)
    for c in range(3):
        y, gradients = numpy_conv(x[0], kernel[c], 1, "SAME")
        np.testing.assert_allclose(shared[c], gradients(np.cos(y))[1], rtol=1e-4, atol=1e-4)


def convolutions(f, *args):
    return re.findall(r"stablehlo.convolution.*", jax.jit(f).lower(*args).as_text())


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[5]], ids=str)
def test_in_a_loop_every_convolution_has_the_layout_that_is_fast_on_cpu(case):
    stride, padding = case[4:]

    def gradients(f):
        return lambda xk: jax.grad(lambda x, k: jnp.sum(f(x, k) ** 2), (0, 1))(*xk)

    ours = gradients(lambda x, k: conv(x, k, stride=stride, padding=padding))
    found = convolutions(lambda *xk: lax.map(ours, xk), *draw(case, (3,)))
    assert len(found) == 3
    fast = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
    assert all(fast in line for line in found)
    assert not any("= [[-" in line or ", -" in line for line in found)  # no negative padding
    # the trap itself, so that this test is known to see it
    theirs = gradients(lambda x, k: lax_conv(x, k, stride, padding))
    assert not all(fast in c for c in convolutions(theirs, draw(case)))


# batch groups and feature groups of the output and of the two gradients; on a GPU the kernel's
# must be the transpose of a grouped convolution, on CPU that form is the slow one
@pytest.mark.parametrize(
    ("platform", "expected"),
    [("cpu", [(1, 3), (1, 3), (1, 3)]), ("cuda", [(1, 3), (1, 3), (3, 1)])],
)
def test_under_vmap_the_kernel_gradient_has_the_form_of_the_platform(platform, expected):
    @jax.jit
    @jax.vmap
    def gradients(x, k):
        return jax.grad(lambda x, k: jnp.sum(conv(x, k) ** 2), (0, 1))(x, k)

    lowered = gradients.trace(*draw(CASES[0], (3,))).lower(lowering_platforms=(platform,))
    found = re.findall(
        r"stablehlo.convolution.*batch_group_count = (\d+).*feature_group_count = (\d+)",
        lowered.as_text(),
    )
    assert sorted((int(batch), int(feature)) for batch, feature in found) == expected


# Where a CPU's form is one of its own: batch, height, width, channels, features; window, stride
FORMS = {
    "few channels, computed in columns": ((7, 6, 8, 3, 16), (3, 3), 1),
    "stride 2, odd sizes": ((5, 9, 7, 4, 6), (3, 3), 2),
    "stride 3, a window that is not square": ((2, 8, 10, 3, 5), (5, 3), 3),
    "one pixel": ((5, 5, 3, 24, 40), (1, 1), 1),
    "one pixel, stride 2": ((3, 7, 4, 6, 10), (1, 1), 2),
    "Winograd": ((3, 4, 8, 32, 32), (3, 3), 1),
    "a batch in blocks": ((24, 4, 6, 5, 8), (3, 3), 1),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_definitions_values_alone_and_side_by_side(target, form):
    (*shape, features), window, stride = FORMS[form]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    kernel = rng.normal(size=(2, *window, shape[-1], features)).astype(np.float32)
    expected = [numpy_conv(x[c], kernel[c], stride, "SAME") for c in range(2)]
    g = rng.normal(size=(2, *expected[0][0].shape)).astype(np.float32)

    def client(x, kernel, g):
        y, pull = jax.vjp(lambda x, k: conv(x, k, stride=stride, target=target), x, kernel)
        return y, *pull(g)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def everything(x, kernel, g):
        return client(x[0], kernel[0], g[0]), jax.vmap(client)(x, kernel, g)

    alone, together = everything(x, kernel, g)
    for c, (y, gradients) in enumerate(expected):
        wanted = y, *gradients(g[c])
        for found in [alone] * (c == 0) + [[leaf[c] for leaf in together]]:
            for ours, theirs in zip(found, wanted, strict=True):
                assert ours.shape == theirs.shape
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("form", FORMS)
def test_a_target_is_the_form_that_the_platform_takes_by_itself(form):
    (*shape, features), window, stride = FORMS[form]
    x, kernel = jnp.ones(shape), jnp.ones((*window, shape[-1], features))

    def text(target, platform):
        def gradients(x, k):
            return jax.grad(lambda x, k: conv(x, k, stride=stride, target=target).sum(), (0, 1))(
                x, k
            )

        lowered = jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=(platform,))
        operations = r"stablehlo\.(?:convolution|dot_general|while|pad|slice).*"
        return sorted(
            re.sub(r"%[\w#]+", "", line) for line in re.findall(operations, lowered.as_text())
        )

    for target, platform in (("cpu", "cpu"), ("gpu", "cuda"), ("tpu", "tpu")):
        assert text(target, platform) == text(None, platform)
    assert text("cpu", "cpu") != text("gpu", "cpu")


def test_the_callers_matmul_precision_applies_to_both_lowerings():
    x, kernel = draw(CASES[0])
    for lowering in ("native", "patches"):
        with jax.default_matmul_precision("highest"):
            f = jax.grad(lambda k, way=lowering: conv(x, k, lowering=way).sum())
            text = jax.jit(f).lower(kernel).as_text()
        lines = re.findall(r".*stablehlo.(?:convolution|dot_general).*", text)
        assert lines
        assert all("HIGHEST" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowering": "patch"}, "Did you mean 'patches'"),
        ({"padding": "FULL"}, "Known: SAME, SAME_LOWER, VALID"),
        ({"stride": 0}, "stride: must be at least 1"),
        ({"target": "cuda"}, "target"),
    ],
)
def test_unusable_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), **options)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"\(1, 4, 4, 2\) and \(3, 3, 1, 1\)"):
        conv(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 1)))
    with pytest.raises(ConfigError, match="larger than"):
        conv(jnp.ones((1, 2, 4, 1)), jnp.ones((3, 3, 1, 1)), padding="VALID")
