"""What every registered model keeps to, and what each of them is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import models
from fedcode_jax.errors import ConfigError, DataError

NORMS = {
    "cnn": ("none", "batch", "group"),
    "cnn_fedavg": ("none",),
    "cnn_pfl": ("none",),
    "lenet5": ("none",),
    "mlp": ("none",),
    "mobilenet_v2": ("batch", "group"),
    "resnet8": ("batch", "group"),
    "resnet14": ("batch", "group"),
    "resnet20": ("batch", "group"),
    "resnet32": ("batch", "group"),
    "resnet56": ("batch", "group"),
    "wrn_16_4": ("batch", "group"),
    "yamnet": ("batch", "group"),
}
WIDTHS = {"mobilenet_v2", "yamnet"}
SMALLEST = {"cnn_pfl": 6, "mobilenet_v2": 8, "yamnet": 16, "lenet5": 1, "mlp": 1}  # of others 4
DEEP = {"resnet14", "resnet32", "resnet56"}  # the code of resnet8 and resnet20
SLOW = {"mobilenet_v2", "resnet20", "wrn_16_4", "yamnet"}  # to compile
QUICK = {"xla_backend_optimization_level": 0}  # these tests spend their time compiling
CASES = [(name, norm) for name, norms in NORMS.items() for norm in norms]
COMPILED = [
    pytest.param(name, norm, marks=[pytest.mark.slow] if name in SLOW else [])
    for name, norm in CASES
    if name not in DEEP
]
CLASSES = 5


def build(name, norm, lowering="native"):
    width = 0.25 if name in WIDTHS else None
    return models.make(name, CLASSES, norm=norm, width=width, lowering=lowering)


def batch(name, size=8):
    rng = np.random.default_rng(0)
    # large enough that batch norm has several pixels of each sample in the last layer
    side = {"mobilenet_v2": 16, "yamnet": 48}.get(name, 8)
    images = rng.normal(size=(size, side, side, 3)).astype(np.float32)
    return images, rng.integers(0, CLASSES, size)


def draw(model, shape, clients=()):
    """Variables of the model's own shapes from NumPy: compiling ``init`` takes seconds."""
    shapes = jax.eval_shape(lambda key: models.init(model, key, shape), jax.random.key(0))
    rng = np.random.default_rng(1)

    def one(path, leaf):
        value = rng.normal(size=(*clients, *leaf.shape)).astype(np.float32)
        if path[-1].key == "kernel":
            return value * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        if path[-1].key in ("scale", "var"):
            return 1 + np.abs(value) / 4
        return value / 4

    return jax.tree_util.tree_map_with_path(one, shapes)


def step(model, variables, images, labels, mask=None):
    """Logits, updated statistics and gradients of the mean loss over the samples that count."""

    def loss(params):
        logits, updated = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mask=mask,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(2)},
        )
        each = -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]
        return each.mean(where=mask), (logits, updated)

    (_, aux), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return *aux, gradients


def assert_close(ours, theirs, tolerance=2e-4):
    def one(a, b):
        scale = max(float(np.abs(b).max()), 1e-3)
        np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=tolerance)

    jax.tree.map(one, ours, theirs)


def assert_alike(ours, theirs):
    """As wholes, within two hundredths of their norms."""
    largest = max(np.linalg.norm(leaf) for leaf in jax.tree.leaves(theirs))

    def one(a, b):
        assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(b) + 1e-5 * largest

    jax.tree.map(one, ours, theirs)


def test_every_registered_model_is_tested():
    assert set(NORMS) == set(models.registry)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_variables_are_float32_and_found_by_their_names(name, norm):
    variables = jax.eval_shape(
        lambda key: models.init(build(name, norm), key, (16, 16, 3)), jax.random.key(0)
    )
    assert set(variables) == ({"params", "batch_stats"} if norm == "batch" else {"params"})
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    assert sum(leaf.size for _, leaf in leaves) == models.count_parameters(variables)
    for path, leaf in leaves:
        assert leaf.dtype == jnp.float32
        keys = [entry.key for entry in path]
        assert keys[-1] in ("kernel", "bias", "scale")
        in_norm = any("norm" in key for key in keys)
        assert in_norm or keys[-1] != "scale"
        assert leaf.ndim in ((1,) if in_norm or keys[-1] == "bias" else (2, 4))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (98, 64, 1)], ids=str)
@pytest.mark.parametrize("name", list(NORMS))
def test_every_model_takes_digits_colour_images_and_spectrograms(name, shape):
    model = models.make(name, CLASSES)

    def evaluate(key):
        variables = models.init(model, key, shape)
        return model.apply(variables, jnp.zeros((2, *shape)), train=False)

    assert jax.eval_shape(evaluate, jax.random.key(0)).shape == (2, CLASSES)


@pytest.mark.parametrize(("name", "norm"), COMPILED)
def test_evaluation_gives_a_row_of_finite_logits_per_sample(name, norm):
    model, (images, _) = build(name, norm), batch(name)
    variables = draw(model, images.shape[1:])
    logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    assert logits.shape == (8, CLASSES)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    assert np.unique(np.round(logits, 6), axis=0).shape == (8, CLASSES)  # no two rows alike


@pytest.mark.parametrize(("name", "norm"), COMPILED)
def test_a_training_step(name, norm):
    """Both lowerings agree, and a padded, masked batch is the smaller batch."""
    native, (images, labels) = build(name, norm), batch(name)
    variables = draw(native, images.shape[1:])
    mask = np.arange(8) < 5
    images[~mask] = 7.0

    @functools.partial(jax.jit, compiler_options=QUICK)
    def masked(variables, images, labels, mask):
        return step(native, variables, images, labels, mask)

    logits, statistics, gradients = masked(variables, images, labels, mask)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    assert set(statistics) == ({"batch_stats"} if norm == "batch" else set())

    patches = build(name, norm, "patches")
    exact = jax.jit(lambda v, x, y: step(patches, v, x, y), compiler_options=QUICK)
    smaller = exact(variables, images[:5], labels[:5])
    found = logits[:5], statistics, gradients
    if name == "mobilenet_v2":  # rounding, grown through 57 norms, decides a relu here and there
        assert_alike(found, smaller)
    else:
        assert_close(found, smaller)


@pytest.mark.parametrize(("name", "norm"), [("mlp", "none"), ("cnn", "batch")])
def test_clients_under_vmap_equal_clients_one_by_one(name, norm):
    model, (images, labels) = build(name, norm), batch(name)
    variables = draw(model, images.shape[1:], clients=(3,))
    one = jax.jit(lambda v: step(model, v, images, labels), compiler_options=QUICK)
    together = jax.jit(jax.vmap(lambda v: step(model, v, images, labels)), compiler_options=QUICK)(
        variables
    )
    for c in range(3):
        client = jax.tree.map(lambda leaf, c=c: leaf[c], (variables, together))
        assert_close(client[1], one(client[0]))


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("mlp", "none"),
        pytest.param("cnn", "batch", marks=pytest.mark.slow),
        pytest.param("resnet20", "batch", marks=pytest.mark.slow),
    ],
)
def test_the_first_variables(name, norm):
    """He's normal draws where a relu follows, another for each key, the same under vmap."""
    model, shape = build(name, norm), (8, 8, 3)
    keys = jax.random.split(jax.random.key(0), 2)
    together = jax.vmap(lambda key: models.init(model, key, shape))(keys)
    first = models.init(model, keys[0], shape)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-6), together, first)
    for path, leaf in jax.tree_util.tree_leaves_with_path(together):
        name = path[-1].key
        if name != "kernel":
            np.testing.assert_array_equal(leaf, 1.0 if name in ("scale", "var") else 0.0)
            continue
        assert not np.allclose(leaf[0], leaf[1])
        gain = 1 if "head" in str(path) else 2
        spread = np.sqrt(gain / np.prod(leaf.shape[1:-1]))
        assert abs(leaf.std() / spread - 1) < 6 / np.sqrt(2 * leaf.size)
        assert abs(leaf.mean()) < 5 * spread / np.sqrt(leaf.size)


def test_parameter_counts():
    def count(model, shape):
        return models.count_parameters(
            jax.eval_shape(lambda key: models.init(model, key, shape), jax.random.key(0))
        )

    assert count(models.cnn(10), (8, 8, 1)) == 6_090
    assert count(models.cnn(10, norm="batch"), (8, 8, 1)) == 6_090 + 16 + 32
    assert count(models.mlp(10), (64,)) == 64 * 64 + 64 + 64 * 10 + 10
    assert count(models.mlp(10, hidden=()), (8, 8, 1)) == 650
    assert count(models.make("resnet20", 10), (32, 32, 3)) == 269_722
    # by the table of layers in each paper, or the publications of their authors
    assert count(models.cnn_fedavg(10), (28, 28, 1)) == 1_663_370
    assert count(models.lenet5(10), (28, 28, 1)) == 61_706
    assert count(models.lenet5(10), (32, 32, 3)) == 62_006
    assert count(models.wrn_16_4(10), (32, 32, 3)) == 2_748_890
    # of FedCode's program
    assert count(models.mobilenet_v2(10), (32, 32, 3)) == 2_296_922
    assert count(models.mobilenet_v2(100), (32, 32, 3)) == 2_412_212
    assert count(models.yamnet(11), (96, 64, 1)) == 3_217_675


def test_the_running_statistics_of_mobilenet_v2():
    shapes = jax.eval_shape(
        lambda key: models.init(models.mobilenet_v2(10), key, (32, 32, 3)), jax.random.key(0)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["batch_stats"])) == 35_088


@pytest.mark.parametrize("name", sorted(set(NORMS) - {"mlp"}))
def test_image_models_refuse_flat_features_small_images_and_raw_bytes(name):
    with pytest.raises(DataError, match=rf"{name}: needs images .* \(1, 64\)"):
        models.init(build(name, None), jax.random.key(0), (64,))
    model, side = build(name, None), SMALLEST.get(name, 4)
    variables = jax.eval_shape(
        lambda key: models.init(model, key, (side, side + 1, 3)), jax.random.key(0)
    )
    with pytest.raises(DataError, match="got uint8"):
        model.apply(variables, np.zeros((2, side, side + 1, 3), np.uint8), train=False)
    if side > 1:
        message = rf"{name}: .* at least {side} x {side} pixels, .* \(1, {side - 1}, 40, 1\)"
        with pytest.raises(DataError, match=message):
            models.init(model, jax.random.key(0), (side - 1, 40, 1))


def test_a_width_scales_the_channels():
    def channels(name, layer, width):
        model = models.make(name, CLASSES, width=width)
        first = jax.eval_shape(lambda k: models.init(model, k, (16, 16, 3)), jax.random.key(0))
        return first["params"][layer]["kernel"].shape[-1]

    def at_half(name, *layers):
        return [channels(name, layer, 0.5) for layer in layers]

    assert at_half("yamnet", "conv", "layer2_pointwise", "layer14_pointwise") == [16, 32, 512]
    assert at_half("mobilenet_v2", "first_conv", "last_conv") == [16, 1280]
    assert channels("mobilenet_v2", "last_conv", 1.5) == 1920
    assert channels("yamnet", "layer5_pointwise", 0.75) == 192
    assert channels("yamnet", "conv", 0.1) == 8
    assert channels("yamnet", "conv", None) == channels("yamnet", "conv", 1.0) == 32


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("resnet", 10), {}, "model.name: unknown name 'resnet'. Did you mean 'resnet"),
        (("cnn", 10), {"width": 0.5}, "model.width: cnn has none. .* mobilenet_v2, yamnet"),
        (("yamnet", 10), {"width": 0.0}, "model.width: must be a number above 0, got 0.0"),
        (("cnn", 10), {"norm": "layer"}, "model.norm: cnn .* Allowed: batch, group, none"),
        (("mlp", 10), {"norm": "batch"}, "model.norm: mlp .* Allowed: none"),
        (("resnet20", 10), {"norm": "none"}, "model.norm: resnet20 .* Allowed: batch, group"),
        (("cnn", 10), {"lowering": "im2col"}, "execution.conv: unknown name 'im2col'"),
        (("mlp", 10), {"lowering": "im2col"}, "execution.conv: unknown name 'im2col'"),
        (("cnn", 0), {}, "num_classes: must be at least 1, got 0"),
    ],
)
def test_settings_that_no_model_has_are_refused(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        models.make(*arguments, **options)


def test_hidden_widths_are_checked():
    with pytest.raises(ConfigError, match=r"\(8, 0\)"):
        models.mlp(10, hidden=(8, 0))
