"""Max-pooling against the definition: values, and gradients where windows hold ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.models import global_avg_pool, max_pool


def numpy_pool(x, g_of, window, stride):
    """Values, and the gradient sent to the first maximum of each window."""
    height = (x.shape[1] - window) // stride + 1
    width = (x.shape[2] - window) // stride + 1
    y = np.zeros((x.shape[0], height, width, x.shape[3]), np.float32)
    g, dx = g_of(y.shape), np.zeros_like(x)
    for b, i, j, c in np.ndindex(*y.shape):
        rows, cols = i * stride, j * stride
        seen = x[b, rows : rows + window, cols : cols + window, c]
        u, v = np.unravel_index(np.argmax(seen), seen.shape)  # argmax takes the first
        y[b, i, j, c] = seen[u, v]
        dx[b, rows + u, cols + v, c] += g[b, i, j, c]
    return y, g, dx


@pytest.mark.parametrize(
    ("height", "width", "window", "stride"),
    [
        (8, 8, 2, 2),
        (7, 5, 2, 2),
        (7, 8, 3, 3),
        (7, 6, 3, 2),
        (5, 5, 2, 1),
        (6, 7, 2, 3),
        (4, 4, 4, 4),
    ],
)
def test_both_lowerings_equal_the_definition_with_ties(height, width, window, stride):
    rng = np.random.default_rng(0)
    # few distinct values, most of them zero, as after a relu
    x = np.maximum(rng.integers(-3, 3, (2, height, width, 3)), 0).astype(np.float32)
    y, g, dx = numpy_pool(
        x, lambda shape: rng.normal(size=shape).astype(np.float32), window, stride
    )

    @jax.jit
    def everything(x, g):
        results = []
        for lowering in ("native", "patches"):
            value, pull = jax.vjp(lambda x, w=lowering: max_pool(x, window, stride, lowering=w), x)
            results.append((value, *pull(g)))
        return results

    for value, gradient in everything(x, g):
        np.testing.assert_array_equal(value, y)
        np.testing.assert_allclose(gradient, dx, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lowering", ["native", "patches"])
def test_a_nan_is_passed_on_so_that_divergence_is_seen(lowering):
    for spot in np.ndindex(2, 2):
        x = np.ones((1, 2, 2, 1), np.float32)
        x[0, spot[0], spot[1], 0] = np.nan
        assert jnp.isnan(max_pool(x, 2, lowering=lowering)).all()


def test_the_stride_is_the_window_unless_given():
    x = jnp.arange(49.0).reshape(1, 7, 7, 1)
    np.testing.assert_array_equal(max_pool(x, 3), max_pool(x, 3, 3))
    assert max_pool(x, 3).shape == (1, 2, 2, 1)


def test_global_avg_pool_averages_each_channel():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        global_avg_pool(x), x.reshape(2, 15, 4).mean(1), rtol=1e-5, atol=1e-6
    )


def test_unusable_settings_are_refused():
    x = jnp.ones((1, 4, 4, 1))
    with pytest.raises(ConfigError, match="lowering"):
        max_pool(x, 2, lowering="fast")
    with pytest.raises(ConfigError, match="window 0"):
        max_pool(x, 0)
    with pytest.raises(ConfigError, match=r"at least 5 x 5, got \(1, 4, 4, 1\)"):
        max_pool(x, 5)
