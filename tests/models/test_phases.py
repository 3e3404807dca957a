"""Which pixels a strided gradient's phases take, against a list of all pairs."""

import pytest

from fedcode_jax.models.phases import phases


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("window", [1, 2, 3, 5])
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("size", [7, 8])
def test_every_pair_of_pixels_is_taken_once_through_its_row(size, before, window, stride):
    steps = (size + before + 1 - window) // stride + 1
    pairs = {
        (i * stride + u - before, i, u)
        for i in range(steps)
        for u in range(window)
        if 0 <= i * stride + u - before < size
    }
    axis, _ = phases((size, 1), (steps, 1), (window, 1), stride, ((before, 1), (0, 0)))
    found = [
        (stride * i + a, i + d - axis.around[0], int(u))
        for d, of in enumerate(axis.row)
        for a, u in enumerate(of)
        for i in range(axis.size)
        if u >= 0
    ]
    inside = [(p, i, u) for p, i, u in found if p < size and 0 <= i < steps]
    assert len(set(inside)) == len(inside)
    assert set(inside) == pairs
    assert steps + sum(axis.around) == axis.size + len(axis.row) - 1
