import gc
import os
from importlib import metadata
from pathlib import Path

# Compiling is most of the suite's time, and much of it LLVM's optimiser and XLA's newer emitters of
# fusions, which are left out here and in the processes that tests start. JAX reads this as it is
# imported, and ends a process that has a flag it does not know.
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_use_fusion_emitters=false"
        if tuple(map(int, metadata.version("jaxlib").split(".")[:3])) <= (0, 11, 0)
        else "",
        os.environ.get("XLA_FLAGS", ""),  # later ones win
    ]
)

import chex
import jax
import pytest

# One device, whatever the machine has; tests of several start processes of their own.
jax.config.update("jax_num_cpu_devices", 1)


_MOST_MAPPINGS = 15_000


@pytest.fixture(autouse=True, scope="session")
def _compilation_cache(tmp_path_factory):
    """Equal programs are compiled once a session: compiling is most of the suite's time."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a folder inside the session's
        folder = folder.parent
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """Every compiled program maps memory, and a process may have 65,530 mappings on Linux."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > _MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def _fresh_trace_counter():
    chex.clear_trace_counter()
