"""What ``import fedcode_jax`` offers."""

import ast
import subprocess
import sys
from pathlib import Path

import fedcode_jax


def test_the_public_names_are_listed():
    listed = dir(fedcode_jax)
    assert {"ExperimentConfig", "run", "build", "sweep", "advise", "advice", "bench"} < set(listed)
    assert all(not name.startswith("_") or name == "__version__" for name in listed)
    for name in listed:
        assert getattr(fedcode_jax, name) is not None
    assert set(fedcode_jax.__all__) < set(listed)


def test_rooms_need_no_import_of_their_own_and_none_is_loaded_before():
    code = (
        "import sys, fedcode_jax\n"
        "assert 'jax' not in sys.modules\n"
        "fedcode_jax.config.algorithms.FedAvg()\n"
        "assert 'jax' not in sys.modules\n"
        "fedcode_jax.advice.advise, fedcode_jax.bench.measure, fedcode_jax.data.partition.iid\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_room_imports_the_front_door():
    """It has names of all rooms, which would each depend on all others."""
    for path in Path(fedcode_jax.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert "fedcode_jax" not in [alias.name for alias in node.names], path
            if isinstance(node, ast.ImportFrom) and node.module == "fedcode_jax":
                taken = {alias.name for alias in node.names}
                assert not taken & set(fedcode_jax.__all__), path
