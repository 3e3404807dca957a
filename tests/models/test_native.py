"""The written-out gradients and widened forms against autodiff of JAX's own convolution."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fedcode_jax.models import native as module
from fedcode_jax.models.native import native

NHWC = ("NHWC", "HWIO", "NHWC")
QUICK = {"xla_backend_optimization_level": 0}  # these tests spend their time compiling
quick = functools.partial(jax.jit, compiler_options=QUICK)


def pads_of(x, kernel, stride, padding):
    sizes, windows = x.shape[-3:-1], kernel.shape[-4:-2]
    return tuple(map(tuple, lax.padtype_to_pads(sizes, windows, (stride, stride), padding)))


def lax_conv(x, kernel, stride, padding):
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=NHWC)


def drawn(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def draw(batch, height, width, kh, kw, channels, features, clients=(), dtype=np.float32):
    x = drawn(*clients, batch, height, width, channels, dtype=dtype)
    return x, drawn(*clients, kh, kw, channels, features, dtype=dtype)


def everything(conv, x, kernel):
    """Output, input gradient and kernel gradient for an arbitrary output gradient."""
    y, pull = jax.vjp(conv, x, kernel)
    g = drawn(*y.shape)  # of NumPy: random bits would take longer to compile than the rest
    return y, *pull(jnp.asarray(g, y.dtype))


def assert_close(ours, theirs, tolerance=2e-5):
    """Errors as a share of the largest value: sums of many terms have no smaller unit."""
    for a, b, name in zip(ours, theirs, ("y", "dx", "dk"), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        worst = np.abs(a - b).max() / np.abs(b).max()
        assert worst < tolerance, f"{name} is off by {worst:.2g}"


def check(*cases):
    """Each case is images, a kernel, a stride and a padding; all are one program to compile."""

    def both(arrays):
        found = []
        for (x, kernel), (*_, stride, padding) in zip(arrays, cases, strict=True):
            pads = pads_of(x, kernel, stride, padding)
            ours = everything(lambda x, k, s=stride, p=pads: native(x, k, s, p), x, kernel)
            theirs = everything(lambda x, k, s=stride, p=padding: lax_conv(x, k, s, p), x, kernel)
            found.append((ours, theirs))
        return found

    for ours, theirs in quick(both)([case[:2] for case in cases]):
        assert_close(ours, theirs)


PADDINGS = ("SAME", "VALID")


@pytest.mark.parametrize("window", [(1, 1), (3, 3), (5, 3)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_strides_windows_and_pads_on_odd_sizes(stride, window):
    check(*((*draw(2, 9, 7, *window, 3, 5), stride, padding) for padding in PADDINGS))


# channels, features, width, stride: in how many columns the forward pass goes
WIDENED = [
    (1, 16, 8, 1, 4),
    (2, 32, 6, 1, 2),
    (4, 16, 4, 1, 4),
    (4, 16, 6, 1, 1),  # half of 64 channels is not enough to go in two columns
    (8, 16, 6, 1, 2),
    (8, 16, 7, 1, 1),  # an odd width
    (1, 16, 16, 2, 4),
    (3, 32, 7, 2, 2),
]


@pytest.mark.parametrize("case", WIDENED, ids=str)
def test_layers_that_are_widened(case):
    channels, features, width, stride, _ = case
    same = draw(2, 5, width, 3, 3, channels, features)
    valid = draw(2, 5, width * stride + 3 - stride, 3, 3, channels, features)
    check((*same, stride, "SAME"), (*valid, stride, "VALID"))


def test_layers_whose_gradients_are_widened():
    # the input gradient has 16 features, and then 8
    check(
        (*draw(2, 6, 8, 3, 3, 16, 24), 1, "SAME"),
        (*draw(2, 6, 8, 3, 3, 8, 24), 1, "VALID"),
    )


@pytest.mark.parametrize("batch", [7, 8, 16, 24, 37])
def test_batches_with_and_without_blocks(batch):
    cases = ((3, 1), (3, 2), (6, 1))
    check(*((*draw(batch, 5, 8, 3, 3, channels, 16), s, "SAME") for channels, s in cases))


@pytest.mark.parametrize(("batch", "blocks"), [(7, 0), (8, 2), (16, 2), (24, 3), (37, 0)])
def test_blocks_cover_the_batch_in_the_fewest_suitable_steps(batch, blocks):
    seen = []

    def gradient(x, g):
        seen.append(len(x))
        return jnp.einsum("bhwi,bhwo->io", x, g)

    x, g = drawn(batch, 2, 3, 4), drawn(batch, 2, 3, 5)
    np.testing.assert_allclose(
        module._in_blocks(gradient, x, g), np.einsum("bhwi,bhwo->io", x, g), rtol=1e-4, atol=1e-4
    )
    assert set(seen) == {batch // blocks if blocks else batch}


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("window", [(1, 1), (2, 3), (5, 3)], ids=str)
def test_the_phases_of_a_strided_input_gradient(window, stride):
    ways = [(image, padding) for image in ((8, 9), (7, 11)) for padding in ("SAME", "VALID")]
    images = [drawn(2, *image, 3) for image, _ in ways]
    kernel = drawn(*window, 3, 4)

    @quick
    def both(images, kernel):
        turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        found = []
        for x, (_, padding) in zip(images, ways, strict=True):
            y, pull = jax.vjp(lambda x, p=padding: lax_conv(x, kernel, stride, p), x)
            g = drawn(*y.shape)
            pads = pads_of(x, kernel, stride, padding)
            found.append(
                (module._phases(jnp.asarray(g), turned, x.shape[1:3], stride, pads), *pull(g))
            )
        return found

    for (ours, theirs), (image, _) in zip(both(images, kernel), ways, strict=True):
        assert ours.shape == (2, *image, 3)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_every_phase_is_one_undilated_convolution(stride):
    x, kernel = draw(2, 8, 8, 3, 3, 4, 8)
    pads = pads_of(x, kernel, stride, "SAME")

    def gradient(x, k):
        return jax.grad(lambda x: native(x, k, stride, pads).sum())(x)

    text = jax.jit(gradient).lower(x, kernel).as_text()
    assert text.count("stablehlo.convolution") == 1
    assert not re.search(r"lhs_dilate = \[(?!1, 1\])", text)
    theirs = jax.jit(jax.grad(lambda x: lax_conv(x, kernel, 2, "SAME").sum())).lower(x).as_text()
    assert "lhs_dilate = [2, 2]" in theirs  # so this test is known to see it


@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_stays_bfloat16_and_is_as_exact_as_it_can_be(stride):
    x, kernel = draw(8, 6, 8, 3, 3, 2, 32, dtype=jnp.bfloat16)
    pads = pads_of(x, kernel, stride, "SAME")

    @quick
    def both(x, kernel):
        ours = everything(lambda x, k: native(x, k, stride, pads), x, kernel)
        exact = everything(
            lambda x, k: lax_conv(x, k, stride, "SAME"), *map(jnp.float32, (x, kernel))
        )
        return ours, exact

    ours, exact = both(x, kernel)
    assert [leaf.dtype for leaf in ours] == [jnp.bfloat16] * 3
    assert_close(ours, exact, tolerance=2**-6)


CLIENTS = [
    # batch, height, width, kh, kw, channels, features; stride, padding
    ((8, 5, 8, 3, 3, 1, 16), 1, "SAME"),  # widened
    ((5, 7, 9, 3, 3, 3, 4), 2, "SAME"),  # phases
    ((16, 5, 6, 5, 3, 2, 4), 3, "VALID"),  # blocks
    ((2, 4, 6, 3, 3, 32, 32), 1, "VALID"),  # Winograd
]


@pytest.mark.parametrize(("shape", "stride", "padding"), CLIENTS, ids=str)
def test_clients_with_their_own_kernels_under_vmap_and_in_loops(shape, stride, padding):
    x, kernel = draw(*shape, clients=(2,))
    pads = pads_of(x, kernel, stride, padding)

    def client(x, k):
        return everything(lambda x, k: native(x, k, stride, pads), x, k)

    def in_fori_loop(x, k):
        first = jax.eval_shape(client, x[0], k[0])
        zeros = jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape)), first)

        def one(c, done):
            return jax.tree.map(lambda all_, new: all_.at[c].set(new), done, client(x[c], k[c]))

        return lax.fori_loop(0, 2, one, zeros)

    ways = [
        jax.vmap(client),
        lambda x, k: lax.map(lambda xk: client(*xk), (x, k)),
        in_fori_loop,
    ]
    autodiff = quick(lambda x, k: everything(lambda x, k: lax_conv(x, k, stride, padding), x, k))
    expected = [autodiff(x[c], kernel[c]) for c in range(2)]
    for way in ways:
        found = quick(way)(x, kernel)
        for c in range(2):
            assert_close([leaf[c] for leaf in found], expected[c])


def test_clients_may_share_the_kernel_or_the_images():
    x, kernel = draw(4, 5, 8, 3, 3, 2, 16, clients=(2,))
    pads = pads_of(x, kernel, 1, "SAME")
    autodiff = quick(lambda x, k: everything(lambda x, k: lax_conv(x, k, 1, "SAME"), x, k))

    def client(x, k):
        return everything(lambda x, k: native(x, k, 1, pads), x, k)

    of_images = quick(jax.vmap(client, (0, None)))(x, kernel[0])
    of_kernels = quick(jax.vmap(client, (None, 0)))(x[0], kernel)
    for c in range(2):
        assert_close([leaf[c] for leaf in of_images], autodiff(x[c], kernel[0]))
        assert_close([leaf[c] for leaf in of_kernels], autodiff(x[0], kernel[c]))


def features_of_convolutions(platform, x, kernel, stride, padding):
    """Output features of every convolution in the forward pass as it is lowered."""
    pads = pads_of(x, kernel, stride, padding)
    traced = jax.jit(lambda x, k: native(x, k, stride, pads)).trace(x, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    return [int(n) for n in re.findall(r"stablehlo.convolution.*-> tensor<.*x(\d+)xf32>", text)]


@pytest.mark.parametrize("case", WIDENED, ids=str)
def test_narrow_layers_are_widened_on_cpu_and_on_nothing_else(case):
    channels, features, width, stride, columns = case
    images = draw(2, 5, width, 3, 3, channels, features)
    assert features_of_convolutions("cpu", *images, stride, "SAME") == [columns * features]
    if columns > 1:
        assert columns * features >= 32
    assert features_of_convolutions("cuda", *images, stride, "SAME") == [features]


def test_on_a_gpu_neither_gradient_is_reshaped():
    x, kernel = draw(16, 6, 8, 3, 3, 1, 16)
    pads = pads_of(x, kernel, 2, "SAME")

    def gradients(x, k):
        return jax.grad(lambda x, k: native(x, k, 2, pads).sum(), (0, 1))(x, k)

    traced = jax.jit(gradients).trace(x, kernel)
    gpu = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in gpu
    assert "lhs_dilate = [2, 2]" in gpu
    cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.while" in cpu  # blocks of images
    assert "lhs_dilate = [2, 2]" not in cpu
