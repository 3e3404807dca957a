"""The convolutions of the models, in a loop as in training: their forms against each other.

    python benchmarks/convolutions.py [--quick] [--model NAME] [--repeats 5] [--limit 0.5]
        [--note ...]

One table, and raw samples in benchmarks/results/. Each row is a layer and one of its three
operations: forward, the gradient of its input, and that of its kernel. ``autodiff`` is JAX's own
convolution and its derivative, ``native`` the one of this package, ``patches`` a matrix product;
the last column says what ``native`` makes of the layer. On one core, as a client has one on a CPU.
GFLOP/s count the products of the definition, whatever a form multiplies; the time is with one pass
over what goes in, which all forms have alike.
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import recording
from jax import lax

from fedcode_jax.bench.timing import Timed, interleaved
from fedcode_jax.models import conv, depthwise, native, pointwise
from fedcode_jax.models.winograd import suits


class Layer(NamedTuple):
    """A convolution as a model has it."""

    model: str
    batch: int
    size: int
    window: int
    channels: int
    features: int
    stride: int = 1
    padding: str = "SAME"
    depthwise: bool = False

    @property
    def name(self) -> str:
        """As the table says it."""
        return (
            f"{self.model}, batch {self.batch}: {self.size}x{self.size}x{self.channels} to "
            f"{'itself' if self.depthwise else self.features}"
            + (f", stride {self.stride}" if self.stride > 1 else "")
        )


LAYERS = [
    Layer("cnn", 10, 32, 3, 3, 16),
    Layer("cnn", 10, 16, 3, 16, 32),
    Layer("cnn_pfl", 10, 32, 3, 3, 32, padding="VALID"),
    Layer("cnn_pfl", 10, 30, 3, 32, 64, padding="VALID"),
] + [
    Layer("resnet20", batch, *shape)
    for batch in (32, 128)
    for shape in [
        (32, 3, 3, 16),
        (32, 3, 16, 16),
        (32, 3, 16, 32, 2),
        (16, 3, 32, 32),
        (16, 3, 32, 64, 2),
        (8, 3, 64, 64),
    ]
]
LAYERS += [
    Layer("mobilenet_v2", 32, size, 3, channels, channels, stride, "SAME_LOWER", depthwise=True)
    for size, channels, stride in [
        (32, 32, 1),
        (16, 192, 1),
        (16, 192, 2),
        (8, 384, 1),
        (4, 960, 1),
    ]
]
LAYERS += [
    Layer("mobilenet_v2", 32, size, 1, channels, features)
    for size, channels, features in [
        (32, 24, 144),
        (32, 144, 24),
        (16, 32, 192),
        (8, 96, 576),
        (4, 320, 1280),
    ]
]
PASSES = ("forward", "input gradient", "kernel gradient")
Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def forms(layer: Layer) -> dict[str, Convolution]:
    """The same convolution, each time in another form."""

    def autodiff(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            (layer.stride, layer.stride),
            layer.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=layer.channels if layer.depthwise else 1,
        )

    if layer.depthwise:
        ours = functools.partial(depthwise, stride=layer.stride, padding=layer.padding)
        return {"autodiff": autodiff, "native": ours}
    ours = functools.partial(conv, stride=layer.stride, padding=layer.padding)
    return {
        "autodiff": autodiff,
        "native": functools.partial(ours, lowering="native"),
        "patches": functools.partial(ours, lowering="patches"),
    }


def looped(f: Convolution, which: str) -> Callable[..., jax.Array]:
    """Runs one operation of a convolution as often as told, in the body of a loop."""

    def operation(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
        if which == "forward":
            return f(x, kernel)
        if which == "input gradient":
            return jax.vjp(lambda x: f(x, kernel), x)[1](g)[0]
        return jax.vjp(lambda kernel: f(x, kernel), kernel)[1](g)[0]

    def run(steps: int, x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
        like = jax.eval_shape(operation, x, kernel, g)

        def step(_: int, before: jax.Array) -> jax.Array:
            # Arrays that depend on the step before: else XLA would do the work once, before all.
            one = 1 + 1e-30 * before.ravel()[0]
            return operation(x * one, kernel * one, g * one)

        return lax.fori_loop(0, steps, step, jnp.zeros(like.shape, like.dtype))

    return jax.jit(run)  # the number of steps is traced: a loop of one or two stays a loop


def arrays(layer: Layer) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Images, a kernel, and a gradient of the output."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    x = draw(layer.batch, layer.size, layer.size, layer.channels)
    channels = 1 if layer.depthwise else layer.channels
    kernel = draw(layer.window, layer.window, channels, layer.features)
    y = jax.eval_shape(forms(layer)["native"], x, kernel)
    return x, kernel, draw(*y.shape)


def choice(layer: Layer, which: str) -> str:
    """What ``native`` makes of an operation on a CPU."""
    if layer.depthwise:
        if which == "input gradient" and layer.stride > 1:
            return "by phase"
        return "a sum of whole images" if which == "kernel gradient" else "a sum of shifted images"
    x, kernel, g = map(np.asarray, arrays(layer))
    window, strides = kernel.shape[:2], (layer.stride,) * 2
    pads = tuple(map(tuple, lax.padtype_to_pads(x.shape[1:3], window, strides, layer.padding)))
    if pointwise.suits(kernel, layer.stride, pads):
        return "a matrix product"

    def columns(width: int, channels: int, features: int) -> str:
        number = native._columns(width, channels, features)
        return f"{number} columns" if number > 1 else "as it is"

    if which == "forward":
        if suits(x, kernel, layer.stride, pads):
            return "Winograd"
        return columns(g.shape[2], x.shape[3], g.shape[3])
    if which == "input gradient":
        if layer.stride > 1:
            return "by phase"
        around = tuple(
            (k - 1 - before, k - 1 - after) for k, (before, after) in zip(window, pads, strict=True)
        )
        if suits(g, kernel.swapaxes(2, 3), 1, around):
            return "Winograd"
        return columns(x.shape[2], g.shape[3], x.shape[3])
    blocks: list[int] = []

    def note(x: jax.Array, g: jax.Array) -> jax.Array:
        blocks.append(x.shape[0])
        return jnp.zeros(())

    jax.eval_shape(functools.partial(native._in_blocks, note), x, g)
    found = columns(g.shape[2], x.shape[3], g.shape[3])
    return found + (f", blocks of {blocks[0]}" if blocks[0] < layer.batch else "")


def measure(layer: Layer, which: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one step in every form."""
    x, kernel, g = arrays(layer)
    work = 2 * g.size * layer.window**2 * kernel.shape[2]
    runs = {name: looped(f, which) for name, f in forms(layer).items()}
    # Compiled by the first call; the results must agree, or the times mean nothing.
    results = {name: np.asarray(run(1, x, kernel, g)) for name, run in runs.items()}
    for result in results.values():
        scale = np.abs(results["autodiff"]).max()
        np.testing.assert_allclose(result, results["autodiff"], rtol=0, atol=1e-4 * scale)

    def once(name: str) -> float:
        began = time.perf_counter()
        jax.block_until_ready(runs[name](1, x, kernel, g))
        return time.perf_counter() - began

    single = {name: once(name) for name in runs}
    slow = {name: [seconds] for name, seconds in single.items() if seconds > options.limit}
    steps = {
        name: int(np.clip(0.05 / seconds, 1, 200))
        for name, seconds in single.items()
        if name not in slow
    }
    timed = interleaved(
        {name: Timed(functools.partial(runs[name], n, x, kernel, g)) for name, n in steps.items()},
        options.repeats,
    )
    seconds = slow | {name: [s / steps[name] for s in all_] for name, all_ in timed.items()}
    return {
        "layer": layer._asdict(),
        "operation": which,
        "flop": work,
        "native_is": choice(layer, which),
        "seconds": {name: seconds[name] for name in runs},
        "gflop_per_second": {name: work / statistics.median(seconds[name]) / 1e9 for name in runs},
    }


def show(figures: dict[str, Any]) -> None:
    cells = [
        f"{1e3 * statistics.median(samples):9.3f} {figures['gflop_per_second'][name]:6.1f}"
        for name, samples in figures["seconds"].items()
    ]
    print(f"  {figures['operation']:16s}{' '.join(cells)}   {figures['native_is']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run, nothing kept")
    parser.add_argument("--model", help="only the layers of this model, in a file of their own")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls, in turns")
    parser.add_argument(
        "--limit", type=float, default=0.5, help="seconds of a step that is timed only once"
    )
    parser.add_argument("--note", default="", help="about the machine, to be kept with the figures")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    layers = [layer for layer in LAYERS if options.model in (None, layer.model)]
    if not layers:
        parser.error(f"--model: {options.model!r} has no layers here")
    if options.quick:
        layers = layers[:1]
    load = os.getloadavg()[0]
    print(f"ms and GFLOP/s, medians{'':21s}autodiff           native          patches")
    results = []
    for layer in layers:
        print(layer.name)
        for which in PASSES:
            figures = measure(layer, which, options)
            show(figures)
            results.append(figures)
    if options.quick:
        return
    result = {
        "what": "convolutions in a loop on one core; seconds of one step, calls interleaved",
        "note": options.note,
        "load_at_the_start": load,  # of other work on the machine
        "results": results,
    }
    which = f"-{options.model}" if options.model else ""
    print(f"written to {recording.write(f'convolutions{which}-{jax.default_backend()}', result)}")


if __name__ == "__main__":
    main()
