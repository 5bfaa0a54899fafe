"""What a container may take, by the files of the kernel."""

from __future__ import annotations

from pathlib import Path

from swiftop.runner.export.limits import memory, processors

GIB = 1 << 30


def write(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_the_limit_of_the_container_counts_without_cached_files(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=f"MemTotal: 1 kB\nMemAvailable:  {24 * GIB // 1024} kB\n")
    assert memory(tmp_path) == 24 * GIB
    write(tmp_path / "sys/fs/cgroup", **{"memory.max": f"{8 * GIB}\n", "memory.current": f"{6 * GIB}\n"})
    assert memory(tmp_path) == 2 * GIB
    write(tmp_path / "sys/fs/cgroup", **{"memory.stat": f"anon 1\nactive_file {GIB}\ninactive_file {3 * GIB}\n"})
    assert memory(tmp_path) == 6 * GIB


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    write(tmp_path / "sys/fs/cgroup", **{"memory.max": "max\n", "memory.current": "5\n"})
    assert memory(tmp_path) is None
    write(tmp_path, proc__meminfo="MemAvailable: 1024 kB\n")
    assert memory(tmp_path) == 1 << 20


def test_processors_are_whole_ones_and_one_at_least(tmp_path: Path) -> None:
    assert processors(tmp_path) is None
    cgroup = tmp_path / "sys/fs/cgroup"
    write(cgroup, **{"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"})
    assert processors(tmp_path) == 2
    for quota, found in (("max 100000", None), ("400000 100000", 4), ("50000 100000", 1)):
        write(cgroup, **{"cpu.max": f"{quota}\n"})
        assert processors(tmp_path) == found
