import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.data import crop_and_flip, spec_augment, time_shift
from fedcode_jax.data.augment import augmentations, make, parse
from fedcode_jax.data.augment.images import _draw
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.building import build

# Run jitted, as in a round: eager operations are compiled one by one, which takes longer.
run = jax.jit(crop_and_flip, static_argnums=2)


def images(batch, height=8, width=6, channels=3, dtype=np.uint8):
    rng = np.random.default_rng(batch)
    return rng.integers(1, 256, (batch, height, width, channels)).astype(dtype)


def plain(x, dy, dx, flip, pad):
    """The textbook way, one image at a time: pad, crop, flip."""
    out = np.empty_like(x)
    for b in range(len(x)):
        padded = np.pad(x[b], ((pad, pad), (pad, pad), (0, 0)))
        top, left = pad + dy[b], pad + dx[b]
        crop = padded[top : top + x.shape[1], left : left + x.shape[2]]
        out[b] = crop[:, ::-1] if flip[b] else crop
    return out


@pytest.mark.parametrize(
    ("pad", "dtype"),
    [(4, np.uint8), (1, np.float32), (9, np.float16), (0, np.int32)],
)
def test_it_is_pad_crop_flip(pad, dtype):
    x, key = images(64, dtype=dtype), jax.random.key(pad)
    out = run(key, x, pad)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, plain(x, *map(np.asarray, _draw(key, 64, pad)), pad))


def test_the_output_shows_every_shift_and_half_are_flipped():
    # Each pixel has its own value, so what was drawn is read off the output, not off the draw.
    x = np.arange(1, 17 * 17 + 1, dtype=np.int32).reshape(1, 17, 17, 1)
    n = 4000
    out = np.asarray(run(jax.random.key(0), np.repeat(x, n, axis=0)))[..., 0]
    middle = out[:, 8, 8] - 1
    dy, dx = middle // 17 - 8, middle % 17 - 8
    flipped = out[:, 8, 9] < out[:, 8, 8]
    shifts, counts = np.unique(np.stack([dy, dx]), axis=1, return_counts=True)
    assert shifts.shape[1] == 81
    assert np.abs(shifts).max() == 4
    assert ((counts - n / 81) ** 2 / (n / 81)).sum() < 137  # chi-squared, 80 d.o.f., p = 1e-4
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / n**0.5
    assert abs(np.corrcoef(flipped, dx)[0, 1]) < 4 / n**0.5


def test_images_of_a_batch_and_keys_differ():
    x = np.repeat(images(1), 64, axis=0)
    out = np.asarray(run(jax.random.key(0), x, 4))
    assert len(np.unique(out.reshape(64, -1), axis=0)) > 40
    np.testing.assert_array_equal(out, run(jax.random.key(0), x, 4))
    assert not np.array_equal(out, run(jax.random.key(1), x, 4))


def test_vmap_over_clients_is_a_loop_over_clients():
    keys = jax.random.split(jax.random.key(3), 5)
    x = np.stack([images(64) // 2 + np.uint8(i) for i in range(5)])
    together = jax.jit(jax.vmap(crop_and_flip))(keys, x)
    for key, own, out in zip(keys, x, together, strict=True):
        np.testing.assert_array_equal(out, run(key, own, 4))


def test_it_is_one_gather_without_a_padded_copy():
    text = str(jax.make_jaxpr(crop_and_flip)(jax.random.key(0), images(4)))
    assert text.count(" gather[") == 1
    assert " pad[" not in text


def test_names():
    assert augmentations["none"] is None
    assert parse("none") == ()
    assert parse("crop_flip") == (crop_and_flip,)
    assert parse("time_shift+spec_augment") == (time_shift, spec_augment)
    assert parse("spec_augment+time_shift") == (spec_augment, time_shift)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crop", "unknown name 'crop'.*Did you mean 'crop_flip'"),
        ("time_shift+", "unknown name ''"),
        ("time_shift + spec_augment", "Did you mean 'time_shift'"),
        ("time_shift+time_shift", "different augmentations joined by"),
        ("none+crop_flip", "different augmentations joined by"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(ConfigError, match=r"local\.augment: .*" + message):
        parse(name)


def test_a_single_part_has_the_key_itself_and_several_have_their_own():
    x = np.random.default_rng(0).normal(size=(16, 98, 64, 1)).astype(np.float32)
    key = jax.random.key(5)
    assert make("spec_augment", (98, 64, 1), np.float32) is spec_augment
    both = jax.jit(make("time_shift+spec_augment", (98, 64, 1), np.float32))(key, x)
    shifted = jax.jit(time_shift)(jax.random.fold_in(key, 0), x)
    expected = jax.jit(spec_augment)(jax.random.fold_in(key, 1), shifted)
    np.testing.assert_allclose(both, expected, rtol=1e-6)  # the means may be summed differently


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("crop_flip", (64,), np.float32, r"crop_flip is for images"),
        ("spec_augment", (98, 64, 1), np.uint8, r"for float spectrograms .* uint8\[98, 64, 1\]"),
        ("spec_augment", (32, 32, 3), np.float32, r"float32\[32, 32, 3\]"),
        ("spec_augment", (16000,), np.int16, r"data\.features to log_mel"),
        ("spec_augment", (25, 64, 1), np.float32, r"25 frames and 15 bands.* 25 x 64"),
        ("time_shift", (64,), np.float32, r"up to 1600 .* length of 64"),
        ("time_shift", (10, 64, 1), np.float32, r"up to 10 .* length of 10"),
        ("time_shift", (8, 8, 1), np.uint8, r"waveforms \[samples\] or float spectrograms"),
        ("time_shift+crop_flip", (16000,), np.int16, r"crop_flip is for images"),
    ],
)
def test_data_that_cannot_be_augmented_so(name, shape, dtype, message):
    with pytest.raises(ConfigError, match=r"local\.augment: .*" + message):
        make(name, shape, dtype)


def test_an_experiment_refuses_it_before_it_compiles():
    config = replace(ExperimentConfig(), {"local.augment": "spec_augment"})
    with pytest.raises(ConfigError, match=r"spec_augment is for .* not for uint8\[8, 8, 1\]"):
        build(config)


def test_errors():
    with pytest.raises(ConfigError, match="pad -1"):
        crop_and_flip(jax.random.key(0), jnp.zeros((4, 8, 8, 1)), -1)
