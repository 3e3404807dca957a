import chex
import jax
import pytest


@pytest.fixture(autouse=True, scope="session")
def _compilation_cache(tmp_path_factory):
    """Equal programs are compiled once a session: compiling is most of the suite's time."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(autouse=True)
def _fresh_trace_counter():
    chex.clear_trace_counter()
