"""An experiment compiled for a machine that is not here: what decides its plan, what is told."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import types

import jax
import pytest
from rich.console import Console

from fedcode_jax import algorithms, bench, experiment
from fedcode_jax.bench import compile_for, elsewhere, hlo, machines, target_table
from fedcode_jax.bench.elsewhere import room
from fedcode_jax.bench.machines import machine
from fedcode_jax.bench.parts_elsewhere import (
    EVALUATION,
    ROUND,
    STEP,
    UPLOAD,
    UPLOADS,
    parts_elsewhere,
)
from fedcode_jax.cli import main
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.devices import device_count
from fedcode_jax.errors import ConfigError
from fedcode_jax.targets import Machine

TINY = {
    "model.name": "mlp",
    "data.name": "synthetic",
    "data.shape": (6,),
    "data.num_classes": 3,
    "data.train_size": 60,
    "data.test_size": 20,
    "partition.num_clients": 4,
    "local.epochs": 2,
    "local.batch_size": 8,
}
FEDAVG = replace(ExperimentConfig(), {**TINY, "algorithm.name": "fedavg"})
FEDCODE = replace(ExperimentConfig(), {**TINY, "algorithm.num_clusters": 4})


def another(target="gpu", memory=10**9):
    """A machine like this one, that counts as another: its compiler is here in any case."""
    return Machine("another", target, "cpu", tuple(jax.devices()[:1]), memory)


@pytest.fixture(scope="module")
def record():
    return compile_for(FEDAVG, another())


def test_a_record_can_be_kept_and_has_every_part(record):
    assert json.loads(json.dumps(record)) == record
    assert list(record["parts"]) == [STEP, UPLOAD, UPLOADS, EVALUATION, ROUND]
    for part in record["parts"].values():
        assert part["kernels"] > 0
        assert part["memory_bytes"]["total"] > 0
        assert part["bytes"] > 0
        assert part["compile_seconds"] > 0
        assert part["offences"] == []
    assert record["info"]["device"] == "1 x another"
    assert "rule for gpu" in record["info"]["plan"]


def test_operations_are_those_of_the_definition(record):
    layers = [kernel.size for kernel in jax.tree.leaves(_weights()) if kernel.ndim == 2]
    first, *others = (2 * 8 * size for size in layers)
    step = 4 * (2 * first + 3 * sum(others))  # four clients side by side
    assert record["parts"][STEP]["flop"] == step
    test = 20 // 8 * sum((first, *others)) + 20 % 8 * 2 * sum(layers)
    assert record["parts"][EVALUATION]["flop"] == test
    # 15 samples in batches of 8, two epochs: 4 steps of each client
    assert record["steps"] == {"needed": 16, "in_turn": 4}
    assert record["parts"][ROUND]["flop"] == 4 * step + test


def _weights():
    built = experiment.build(FEDAVG, machine=another())
    return built.weights


def test_kernels_of_a_step_are_those_of_its_loop_in_a_round(record):
    loop = record["parts"][ROUND]["loop_of_steps"]
    assert loop["turns"] is None
    assert loop["entered"] == 1
    assert record["parts"][STEP]["kernels"] == loop["kernels_a_turn"]
    # Alone it is a program without that loop, with the shuffling that a round has before it.
    assert not any(loop["of_steps"] for loop in record["parts"][STEP]["open_loops"])
    assert record["parts"][STEP]["alone"]["kernels"] > 0


@pytest.mark.parametrize(("target", "axis"), [("cpu", "map"), ("gpu", "vmap"), ("tpu", "vmap")])
def test_the_plan_is_that_of_the_target(target, axis):
    plan = experiment.build(FEDAVG, machine=another(target)).program.plan
    assert (plan.target, plan.client_axis) == (target, axis)


def test_the_memory_of_the_target_decides_not_that_of_this_machine():
    chunks = [
        experiment.build(FEDAVG, machine=another(memory=memory)).program.plan.chunk
        for memory in (10**9, 90_000, 1000, None)
    ]
    assert chunks[0] == chunks[3] == 4
    assert 1 <= chunks[2] <= chunks[1] < 4


def test_a_program_for_another_machine_is_not_run():
    built = experiment.build(FEDAVG, machine=another())
    state = jax.eval_shape(built.program.first_state, built.weights)
    for run in (
        lambda: built.program.start(built.weights),
        lambda: built.program.advance(state, 1),
    ):
        with pytest.raises(ConfigError, match=r"another is not here.*without a machine"):
            run()


def test_its_evaluation_too():
    whole, small = (
        experiment.build(FEDAVG, machine=another(memory=memory)).program.test.x.shape
        for memory in (10**9, 4000)
    )
    assert whole[:2] == (1, 20)
    assert small[0] > 1


def test_a_round_that_does_not_fit_says_which_chunk_would(record):
    whole = record["parts"][ROUND]
    needed = whole["memory_bytes"]["total"]
    assert room(whole, 4, needed) == {"fits": True, "needed_bytes": needed, "chunk_that_fits": 4}
    less = room(whole, 4, needed - whole["memory_bytes"]["temporary"] // 2)
    assert (less["fits"], less["chunk_that_fits"]) == (False, 2)
    assert room(whole, 4, None)["fits"] is None
    told = {"no_room": "RESOURCE_EXHAUSTED: temporaries (45.0G) exceed available HBM (15.0G)."}
    assert room(told, 6, 10**9)["chunk_that_fits"] == 2


def test_the_level_of_jax_is_told(record):
    assert record["optimization_level"] is None
    jax.config.update("jax_optimization_level", "O1")
    try:
        found = compile_for(FEDAVG, another())
    finally:
        jax.config.update("jax_optimization_level", "UNKNOWN")
    assert found["optimization_level"] == "O1"
    for one, told in ((record, False), (found, True)):
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(target_table(one))
        assert ("JAX_OPTIMIZATION_LEVEL O1" in console.export_text()) == told


@pytest.mark.parametrize(
    ("memory", "words"), [(10**9, "it fits"), (50_000, "DOES NOT FIT"), (None, "is not known")]
)
def test_the_table_says_so(memory, words, record):
    shown = {
        **record,
        "machine": {**record["machine"], "memory_bytes": memory},
        "room": room(record["parts"][ROUND], 4, memory),
    }
    text = _printed(target_table(shown))
    assert words in text
    for part in (STEP, UPLOAD, EVALUATION, ROUND, "a local step, one of 4"):
        assert part in text


def test_the_table_shows_what_no_round_may_have(record):
    bad = {**record["parts"][ROUND], "offences": ["float64: %a = f64[2] sine"]}
    text = _printed(target_table({**record, "parts": {**record["parts"], ROUND: bad}}))
    assert "a round has what no round may have: float64: %a = f64[2] sine" in text


def _printed(table):
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as told:
        console.print(table)
    return told.get()


def test_the_command(tmp_path, capsys, monkeypatch, record):
    asked = []

    def found(config, target):
        asked.append((config.local.batch_size, target))
        return record

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setattr(bench, "compile_for", found)
    file = tmp_path / "found.json"
    options = ["--target", "h100", "--local.batch-size", "8", "--json", str(file)]
    assert main(["bench", *options]) == 0
    assert asked == [(8, "h100")]
    assert "it fits" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written.pop("command").startswith("fedcode bench --target h100")
    assert written == record


def test_plans_cannot_be_probed_elsewhere():
    probing = replace(FEDAVG, {"execution.plan": "probe"})
    with pytest.raises(ConfigError, match=r"execution\.plan: 'probe' times programs"):
        compile_for(probing, another())


def test_devices_are_counted_there():
    there = another()
    assert device_count(None, 10, there) == device_count(1, 10, there) == 1
    with pytest.raises(ConfigError, match=r"execution\.devices: 2 .*another has 1 device"):
        device_count(2, 10, there)


def test_nothing_of_it_is_kept_from_one_process_to_the_next(tmp_path):
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_enable_compilation_cache
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    with elsewhere._nothing_kept():
        assert jax.config.jax_persistent_cache_min_compile_time_secs > 10**6
    assert jax.config.jax_persistent_cache_min_compile_time_secs == seconds
    assert before == (
        jax.config.jax_compilation_cache_dir,
        jax.config.jax_enable_compilation_cache,
    )


class Lowered:
    """Stands in for a program that the compiler does not take at first."""

    def __init__(self, said):
        self.said, self.options = said, []

    def compile(self, options):
        self.options.append(options)
        if len(self.options) == 1:
            raise jax.errors.JaxRuntimeError(self.said)
        return "compiled"


def test_a_product_without_tiles_that_fit_is_left_to_the_library():
    program = types.SimpleNamespace(plan=types.SimpleNamespace(compiler_options={"a": True}))
    small = Lowered("INTERNAL: Couldn't find output tile sizes that satisfy hlo: %dot")
    assert elsewhere.compiled_elsewhere(small, program) == "compiled"
    assert small.options == [{"a": True}, {"a": True, "xla_gpu_enable_triton_gemm": False}]
    other = Lowered("INTERNAL: something else")
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        elsewhere.compiled_elsewhere(other, program)


TWO = """
import jax, json
jax.config.update("jax_num_cpu_devices", 2)
from fedcode_jax.bench import compile_for
from fedcode_jax.config import from_yaml
from fedcode_jax.targets import Machine
import sys
there = Machine("another", "gpu", "cpu", tuple(jax.devices()[::-1]), 10**9)
print(json.dumps(compile_for(from_yaml(sys.stdin.read()), there)))
"""


@pytest.mark.slow
def test_several_devices_share_a_round_there():
    from fedcode_jax.config import to_yaml

    done = subprocess.run(
        [sys.executable, "-c", TWO],
        input=to_yaml(replace(FEDAVG, {"execution.devices": 2})),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["info"]["device"] == "2 x another"
    assert "2 side by side on each of 2 devices" in found["info"]["plan"]
    assert found["parts"][ROUND]["loop_of_steps"]["entered"] == 1


INSTALLED = {
    kind: any(importlib.util.find_spec(name) for name in packages)
    and os.environ.get("JAX_PLATFORMS") == "cpu"
    for kind, (_, *packages) in machines._EXTRAS.items()
}
REAL = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not INSTALLED[kind], reason=f"needs fedcode_jax[{kind}], and JAX_PLATFORMS=cpu"
        ),
    )
    for name, kind in (("h100", "gpu"), ("v5e", "tpu"))
]
UPDATES = {
    "codebooks both ways": {"algorithm.up.name": "codebook", "algorithm.down.name": "codebook"},
    "top-k up": {"algorithm.up.name": "topk"},
}
CASES = {name: {"algorithm.name": name} for name in algorithms.registry}
CASES |= {name: {"algorithm.name": "fedavg", **ways} for name, ways in UPDATES.items()}


@pytest.mark.slow
@pytest.mark.parametrize("target", REAL)
@pytest.mark.parametrize("case", CASES)
def test_every_algorithm_compiles_without_callback_float64_or_dynamic_shape(case, target):
    changes = {**TINY, **CASES[case]}
    if case in ("fedcode", "skip", "weight_clustering"):
        changes["algorithm.num_clusters"] = 4
    if case == "scaffold":
        changes["local.optimizer"] = "sgd"
    there = machine(target)
    built = experiment.build(replace(ExperimentConfig(), changes), machine=there)
    with elsewhere._nothing_kept():
        part = parts_elsewhere(built.program, built.weights)[ROUND]
        compiled = elsewhere.compiled_elsewhere(part.lower(), built.program)
    module = hlo.parse(compiled.as_text())
    assert len(module.computations) > 5
    assert hlo.offences(module) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", REAL)
def test_a_record_of_a_real_target(target):
    found = compile_for(FEDCODE, target)
    parts = found["parts"]
    assert found["room"]["fits"]
    assert parts[STEP]["kernels"] == parts[ROUND]["loop_of_steps"]["kernels_a_turn"] > 5
    assert parts[UPLOAD]["kernels"] > 5
    if target == "v5e":  # the compiler for GPUs gives no figures of its own
        assert parts[STEP]["compiler"]["seconds"] > 0
        assert parts[STEP]["compiler"]["flop"] > 0
    assert parts[ROUND]["memory_bytes"]["total"] < found["machine"]["memory_bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("target", REAL)
def test_several_devices_of_a_real_target(target):
    config = replace(FEDAVG, {"execution.devices": 2})
    built = experiment.build(config, machine=machine(target, 2))
    with elsewhere._nothing_kept():
        part = parts_elsewhere(built.program, built.weights)[ROUND]
        text = elsewhere.compiled_elsewhere(part.lower(), built.program).as_text()
    assert "2 side by side on each of 2 devices" in str(built.program.plan)
    assert "num_partitions=2" in text
    assert hlo.offences(hlo.parse(text)) == []
