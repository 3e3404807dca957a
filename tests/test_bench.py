"""``fedcode bench``: the counts against hand-made ones, and a run of the command."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.bench import speed_table, training_flops, work_of
from fedcode_jax.bench.measuring import figures
from fedcode_jax.bench.table import si
from fedcode_jax.cli import main
from fedcode_jax.clients import LocalTraining
from fedcode_jax.models.conv import conv

TINY = [
    *("bench", "--repeats", "1", "--model.name", "mlp", "--data.name", "synthetic"),
    *("--data.shape", "6", "--data.num-classes", "3", "--data.train-size", "60"),
    *("--data.test-size", "20", "--partition.num-clients", "4", "--clients-per-round", "3"),
    *("--local.epochs", "2", "--local.batch-size", "8"),
]


def test_a_dense_layer():
    w, x = jnp.ones((7, 5)), jnp.ones((3, 7))
    assert work_of(lambda w, x: x @ w, w, x) == (3 * 7 * 5, 2 * 3 * 7 * 5)
    # Two layers: the second one's input depends on the weights, the first one's does not.
    v = jnp.ones((5, 4))
    both = work_of(lambda w, x: jax.nn.relu(x @ w[0]) @ w[1], (w, v), x)
    assert both == (105 + 60, 2 * 105 + 3 * 60)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("lowering", ["native", "patches"])
def test_a_convolution_with_stride(stride, lowering):
    # 9 x 9 pixels, so 9 or 5 a side, each a window of 3 x 3 x 2 for every one of 4 features
    x, kernel = jnp.ones((2, 9, 9, 2)), jnp.ones((3, 3, 2, 4))
    side = {1: 9, 2: 5}[stride]
    expected = 2 * side**2 * 9 * 2 * 4
    found = work_of(lambda k, x: conv(x, k, stride=stride, lowering=lowering), kernel, x)
    assert found == (expected, 2 * expected)


def test_grouped_batched_and_looped_products():
    x, kernel = jnp.ones((1, 4, 4, 6)), jnp.ones((1, 1, 2, 3))
    layout = ("NHWC", "HWIO", "NHWC")

    def grouped(kernel, x):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=layout, feature_group_count=3
        )

    assert work_of(grouped, kernel, x).forward == 16 * 3 * 2
    batched = jax.vmap(lambda w, x: x @ w)
    assert work_of(batched, jnp.ones((8, 7, 5)), jnp.ones((8, 3, 7))).forward == 8 * 105

    def looped(w, x):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, length=6)[0]

    assert work_of(looped, jnp.ones((5, 5)), jnp.ones((1, 5))) == (150, 450)
    with pytest.raises(ValueError, match="while loop"):
        work_of(
            lambda w, x: jax.lax.while_loop(lambda x: x[0] > 0, lambda x: x @ w, x),
            jnp.ones((5, 5)),
            jnp.ones(5),
        )


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet20_is_as_published(norm):
    model = models.make("resnet20", 10, norm=norm)
    weights = jax.eval_shape(lambda k: models.init(model, k, (32, 32, 3)), jax.random.key(0))
    images = jax.ShapeDtypeStruct((100, 32, 32, 3), jnp.uint8)
    training = LocalTraining(model, optax.sgd(0.1), batch_size=4)
    flop = training_flops(training, model, weights, images)
    assert flop.forward / 2 / 4 == pytest.approx(40.8e6, rel=0.02)
    assert flop.training == pytest.approx(3 * flop.forward, rel=0.02)


def _check(record, *, devices):
    counts, found, seconds = record["counts"], record["figures"], record["seconds"]
    assert record["info"]["device"].startswith(f"{devices} x ")
    assert counts["clients"] == 3
    assert counts["samples"] == 2 * 3 * 15
    assert counts["needed_steps"] == 2 * 3 * 2
    rates = [name for name in found if name.endswith("per_second") and name != "bytes_per_second"]
    positive = [found[name] for name in rates] + list(found["bytes_per_second"].values())
    positive += [record["startup_seconds"], record["compile_seconds"], counts["flop_per_step"]]
    positive += [sample for samples in seconds.values() for sample in samples]
    positive.append(record["memory_bytes"]["round_per_device"]["total"])
    assert len(positive) > 15
    assert min(positive) > 0
    shares, median = found["shares_of_round"], found["median_seconds"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["local training"] == pytest.approx(median["local training"] / median["round"])
    assert list(shares)[-1] == "the rest"
    assert found["product_flop_per_second"] == pytest.approx(2 * 2048**3 / median["product"])


def test_the_command(tmp_path, capsys):
    file = tmp_path / "bench.json"
    # float messages, since fitting codebooks takes long to compile
    assert main([*TINY, "--algorithm.name", "fedavg", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    record = json.loads(file.read_text())
    _check(record, devices=1)
    assert record["compilation_cache_reads"] >= 0
    assert record["command"].startswith("fedcode bench --repeats 1 --model.name")
    assert {"jax", "python", "device"} <= set(record["versions"])
    assert record["memory_bytes"]["process_peak_resident"] > 1e7
    assert record["counts"]["computed_steps"] == record["counts"]["executed_steps"] == 12
    for words in ("local training", "the rest", "FLOP/s", "B/s", "clients/s", "rule for cpu"):
        assert words in out
    assert speed_table(record).renderables  # from the file alone


@pytest.mark.slow
def test_devices_share_the_parts_as_they_share_a_round(tmp_path):
    file = tmp_path / "bench.json"
    code = (
        "import jax, sys; jax.config.update('jax_num_cpu_devices', 2);"
        "from fedcode_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    coded = "--execution.chunk 2 --algorithm.coding conditional --algorithm.num-clusters 4"
    command = [sys.executable, "-c", code, *TINY, "--json", str(file), *coded.split()]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    _check(record, devices=2)
    # Two chunks of two on two devices, for three clients: a place is idle, its lane computed.
    assert record["counts"]["computed_steps"] == record["counts"]["executed_steps"] == 16


def test_figures_are_of_medians():
    parts = {"local training": 4.0, "codebooks and codes": 2.0, "aggregation": 1.0}
    seconds = {name: [9.0, value, 0.1] for name, value in parts.items()}
    seconds |= {"round": [10.0], "evaluation": [0.5], "product": [2.0], "copy": [0.5]}
    counts = {"clients": 20, "samples": 100, "needed_steps": 30, "executed_steps": 36}
    counts |= {"computed_steps": 32, "flop_per_step": 5, "product_flop": 8, "copy_bytes": 6}
    found = figures(seconds, {**counts, "bytes_moved": {"aggregation": 3}})
    assert found["clients_per_second"] == 2
    assert found["training_flop_per_second"] == 32 * 5 / 4
    assert found["shares_of_round"]["the rest"] == pytest.approx(0.25)
    assert found["padding_waste"] == pytest.approx(0.2)
    assert found["bytes_per_second"] == {"aggregation": 3}
    assert (found["product_flop_per_second"], found["copy_bytes_per_second"]) == (4, 12)


@pytest.mark.parametrize("value", np.logspace(-8, 14, 12))
def test_units_keep_three_digits(value):
    prefixes = {"": 1, "n": 1e-9, "µ": 1e-6, "m": 1e-3}
    prefixes |= {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    for unit in ("s", "B/s") if value >= 1e-2 else ("s",):
        number, shown = si(-value, unit).split(" ")
        scale = prefixes[shown.removesuffix(unit)]
        assert float(number.replace(",", "")) * scale == pytest.approx(-value, rel=0.006)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--repeats 0", "repeats: 0 cannot be used"),
        ("--rounds 0", "rounds: 0 cannot be used"),
        ("--model.name mpl", "Did you mean 'mlp'?"),
        ("--json no/such/folder.json", "there is no folder no/such"),
        ("--json .", "is a folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fedcode: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_help_does_not_wait_for_jax():
    code = (
        "import sys; from fedcode_jax.cli import main; code = main(['bench', '--help']);"
        "sys.exit(code or 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--repeats" in done.stdout
    assert "--json" in done.stdout
