"""What a container leaves of a machine, from files as the kernel writes them."""

import os

import pytest

from fedcode_jax import host

GB = 1024**3
MEMINFO = "MemTotal: 33554432 kB\nMemFree: 1048576 kB\nMemAvailable: 16777216 kB\n"


@pytest.fixture
def machine(tmp_path):
    """Gives a made-up file system with these files."""

    def make(files):
        for name, text in {"proc/meminfo": MEMINFO, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def test_what_files_hold_in_memory_counts_as_free(machine):
    assert host.available_memory(machine({})) == 16 * GB


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{4 * GB}\n",
                "sys/fs/cgroup/memory.current": f"{3 * GB}\n",
                "sys/fs/cgroup/memory.stat": f"anon {GB}\ninactive_file {GB}\n",
            },
            2 * GB,
        ),
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/step/memory.current": "5\n",
                "sys/fs/cgroup/job/memory.max": f"{8 * GB}\n",
                "sys/fs/cgroup/job/memory.current": f"{5 * GB}\n",
            },
            3 * GB,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/\n4:memory:/docker/ab\n0::/\n",
                "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": f"{2 * GB}\n",
                "sys/fs/cgroup/memory/docker/ab/memory.usage_in_bytes": f"{GB}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{20 * GB}\n",
            },
            GB,
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{4 * GB}\n",
                "sys/fs/cgroup/memory.current": f"{5 * GB}\n",
            },
            0,
        ),
    ],
)
def test_the_containers_limit_counts(machine, files, left):
    assert host.available_memory(machine(files)) == left


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": "1:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
    ],
)
def test_cores_are_those_that_the_quota_grants(machine, files, cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert host.granted_cores(machine(files)) == cores


def test_a_system_that_does_not_tell(tmp_path, monkeypatch):
    assert host.available_memory(tmp_path) is None
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert host.granted_cores(tmp_path) is None


def test_this_machine():
    memory = host.available_memory()
    assert memory is None or 0 < memory < 1 << 50
    assert host.granted_cores() in (None, *range(1, 4097))


def test_where_no_program_counts_cores_no_oracle_fails(monkeypatch):
    """joblib starts lscpu and then cat for scikit-learn, and warns where there is neither."""
    from joblib.externals.loky.backend import context

    monkeypatch.setattr(context, "physical_cores_cache", None)
    monkeypatch.setenv("PATH", "")
    assert context.cpu_count(only_physical_cores=True) >= 1  # a warning is an error here
    assert context._count_physical_cores()[0] == "not found"
