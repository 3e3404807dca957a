"""Models against PyTorch ones of the usual public form, with the same weights copied over."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import models
from fedcode_jax.bench import work_of

torch = pytest.importorskip("torch")
QUICK = {"xla_backend_optimization_level": 0}  # these tests spend their time compiling
nn, functional = torch.nn, torch.nn.functional


def conv(inputs, outputs, window=3, stride=1, **options):
    padding = window // 2
    return nn.Conv2d(inputs, outputs, window, stride, padding, bias=False, **options)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x):
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        short = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return functional.relu(y + short)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = conv(3, 16), nn.BatchNorm2d(16)
        inputs, blocks = 16, []
        for stage, outputs in enumerate((16, 32, 64)):
            for i in range(3):
                blocks.append(BasicBlock(inputs, outputs, 2 if stage and not i else 1))
                inputs = outputs
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(functional.relu(self.norm(self.conv(x))))
        return self.head(x.mean((2, 3)))


class Inverted(nn.Module):
    def __init__(self, inputs, outputs, expansion, stride):
        super().__init__()
        wide = expansion * inputs
        self.expand, self.norm1 = conv(inputs, wide, 1), nn.BatchNorm2d(wide)
        self.depthwise = conv(wide, wide, 3, stride, groups=wide)
        self.norm2 = nn.BatchNorm2d(wide)
        self.project, self.norm3 = conv(wide, outputs, 1), nn.BatchNorm2d(outputs)
        self.stride, self.changes = stride, stride == 1 and inputs != outputs
        if self.changes:
            self.shortcut, self.shortcut_norm = conv(inputs, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = functional.relu(self.norm1(self.expand(x)))
        y = functional.relu(self.norm2(self.depthwise(y)))
        y = self.norm3(self.project(y))
        if self.stride > 1:
            return y
        return y + (self.shortcut_norm(self.shortcut(x)) if self.changes else x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        self.first_conv, self.first_norm = conv(3, 32), nn.BatchNorm2d(32)
        inputs, blocks = 32, []
        for expansion, outputs, count, stride in [
            (1, 16, 1, 1),
            (6, 24, 2, 1),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]:
            for i in range(count):
                blocks.append(Inverted(inputs, outputs, expansion, 1 if i else stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last_conv, self.last_norm = conv(320, 1280, 1), nn.BatchNorm2d(1280)
        self.head = nn.Linear(1280, 10)

    def forward(self, x):
        x = self.blocks(functional.relu(self.first_norm(self.first_conv(x))))
        x = functional.relu(self.last_norm(self.last_conv(x)))
        return self.head(functional.avg_pool2d(x, 4).flatten(1))


class YAMNet(nn.Module):
    """Its even patches put TensorFlow's padding of strided layers after the last row alone."""

    def __init__(self):
        super().__init__()
        strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
        widths = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
        self.layers = nn.ModuleList([nn.Conv2d(1, 32, 3, 2, bias=False), nn.BatchNorm2d(32)])
        for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False):
            self.layers.append(nn.Conv2d(inputs, inputs, 3, stride, groups=inputs, bias=False))
            self.layers.append(nn.BatchNorm2d(inputs))
            self.layers.append(nn.Conv2d(inputs, outputs, 1, bias=False))
            self.layers.append(nn.BatchNorm2d(outputs))
        self.head = nn.Linear(1024, 11)

    def forward(self, x):
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                x = functional.pad(x, (0, 1, 0, 1) if layer.stride == (2, 2) else (1, 1, 1, 1))
            x = layer(x)
            if isinstance(layer, nn.BatchNorm2d):
                x = functional.relu(x)
        return self.head(x.mean((2, 3)))


class LeNet5(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.dense1, self.dense2 = nn.Linear(400, 120), nn.Linear(120, 84)
        self.head = nn.Linear(84, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)  # our order of pixels and channels
        return self.head(functional.relu(self.dense2(functional.relu(self.dense1(x)))))


def blocks(stages, first=1):
    return [
        f"stage{s}_block{i}" for s, count in enumerate(stages, start=first) for i in range(count)
    ]


def in_order(block_names):
    """Where a module of a torch model with ``blocks`` lies in ours."""

    def path(name):
        if not name.startswith("blocks."):
            return [name]
        _, index, layer = name.split(".")
        return [block_names[int(index)], layer]

    return path


def of_yamnet(name):
    if name == "head":
        return [name]
    layer, part = divmod(int(name.split(".")[1]) - 2, 4)
    if layer < 0:
        return [["conv", "norm"][part - 2]]
    names = ("depthwise", "depthwise_norm", "pointwise", "pointwise_norm")
    return [f"layer{layer + 2}_{names[part]}"]


TWINS = {
    "lenet5": (LeNet5, lambda name: [name], 10, (28, 28, 1)),
    "mobilenet_v2": (MobileNetV2, in_order(blocks((1, 2, 3, 4, 3, 3, 1))), 10, (32, 32, 3)),
    "resnet20": (ResNet20, in_order(blocks((3, 3, 3))), 10, (32, 32, 3)),
    "yamnet": (YAMNet, of_yamnet, 11, (96, 64, 1)),
}


def kernel_of(weight):
    """[O, I, kh, kw] to [kh, kw, I, O]; [O, I] to [I, O]."""
    weight = weight.detach().numpy()
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


def variables_of(model, path, gradients=False):
    """The variables of a torch model, or the gradients of its parameters, as ours are laid out."""
    ours = {"params": {}, "batch_stats": {}}

    def put(collection, name, values):
        level = ours[collection]
        for key in path(name):
            level = level.setdefault(key, {})
        level.update(values)

    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        own = {key: value.grad if gradients else value for key, value in own.items()}
        if isinstance(module, nn.BatchNorm2d):
            values = {"scale": own["weight"], "bias": own["bias"]}
            put("params", name, {key: value.detach().numpy() for key, value in values.items()})
            statistics = {"mean": module.running_mean, "var": module.running_var}
            put("batch_stats", name, {key: s.numpy().copy() for key, s in statistics.items()})
        elif own:
            values = {"kernel": kernel_of(own["weight"])}
            if "bias" in own:
                values["bias"] = own["bias"].detach().numpy()
            put("params", name, values)
    return {key: value for key, value in ours.items() if value}


def twin(name, batch=4):
    """Our model, the torch one with weights that leave no channel alike, our copy, and a batch."""
    module, path, classes, shape = TWINS[name]
    torch.manual_seed(0)
    theirs = module()
    for layer in theirs.modules():
        if isinstance(layer, nn.Conv2d):  # the usual draw would let the images die away
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
            for values in (layer.bias, layer.running_mean):
                nn.init.normal_(values, std=0.1)
    x = np.random.default_rng(0).normal(size=(batch, *shape)).astype(np.float32)
    ours = models.make(name, classes)
    return ours, theirs, variables_of(theirs, path), x, torch.tensor(x.transpose(0, 3, 1, 2))


def assert_close(found, expected, tolerance):
    """The norm of each difference against that of the values, or where they are 0 (the gradient
    of a bias that the next batch norm takes away) against the largest of all."""
    largest = max(np.linalg.norm(leaf) for leaf in jax.tree.leaves(expected))

    def one(path, a, b):
        allowed = tolerance * np.linalg.norm(b) + 1e-5 * largest
        assert np.linalg.norm(a - b) < allowed, jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(one, found, expected)


@pytest.mark.parametrize("name", list(TWINS))
def test_evaluation(name):
    """The copied weights also have the very structure and shapes of ours."""
    ours, theirs, variables, x, x_torch = twin(name)
    shapes = jax.eval_shape(lambda k: models.init(ours, k, x.shape[1:]), jax.random.key(0))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(jnp.shape, dict(shapes))
    evaluate = jax.jit(lambda v, x: ours.apply(v, x, train=False), compiler_options=QUICK)
    logits = evaluate(variables, x)
    with torch.no_grad():
        expected = theirs.eval()(x_torch).numpy()
    assert np.ptp(expected, axis=0).max() > 0.01  # the images tell
    assert_close(np.asarray(logits), expected, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet20", "yamnet"])
def test_training(name):
    """Logits, running averages and gradients of a step.

    PyTorch's are in float64: in float32 its own gradients are up to 5 % off, because roundings
    flip a relu here and there. So do ours, but less.
    """
    ours, theirs, variables, x, x_torch = twin(name)
    theirs, x_torch = theirs.double(), x_torch.double()
    labels = np.array([1, 3, 0, 3])

    @functools.partial(jax.jit, compiler_options=QUICK)
    def step(params, statistics, x):
        def loss(params):
            logits, updated = ours.apply(
                {"params": params, "batch_stats": statistics},
                x,
                train=True,
                mutable=["batch_stats"],
            )
            return -jax.nn.log_softmax(logits)[jnp.arange(4), labels].mean(), (logits, updated)

        gradients, aux = jax.grad(loss, has_aux=True)(params)
        return *aux, gradients

    logits, updated, gradients = step(variables["params"], variables["batch_stats"], x)

    counts = {}

    def count(layer, inputs, output):
        counts[layer] = inputs[0].numel() // inputs[0].shape[1]

    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(count)
            layer.before = layer.running_var.clone()
    expected = theirs.train()(x_torch)
    functional.cross_entropy(expected, torch.tensor(labels)).backward()
    for layer, n in counts.items():
        # torch averages the variance over n - 1 values
        fresh = (layer.running_var - 0.9 * layer.before) / 0.1
        layer.running_var.copy_(0.9 * layer.before + 0.1 * fresh * (n - 1) / n)
    path = TWINS[name][1]
    assert_close(np.asarray(logits), expected.detach().numpy(), 1e-4)
    after = variables_of(theirs, path, gradients=True)
    assert_close(updated["batch_stats"], after["batch_stats"], 1e-4)
    assert_close(gradients, after["params"], 1e-2)


@pytest.mark.parametrize("name", list(TWINS))
def test_multiply_adds(name):
    """Those of our counter, and those of the torch layers as they are called."""
    ours, theirs, variables, x, x_torch = twin(name, batch=1)
    total = 0

    def note(layer, inputs, output):
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    for layer in theirs.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    with torch.no_grad():
        theirs.eval()(x_torch)
    work = work_of(lambda v, x: ours.apply(v, x, train=False), variables, x)
    assert work.forward == total
