from pathlib import Path

import psutil
import torch

from pytest_injectivity.core.free_memory import free_memory

CPU = torch.device("cpu")


def of_group(system: Path, name: str, **files: str) -> None:
    """A control group with these files."""
    folder = system / "sys/fs/cgroup" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file.replace("_", ".", 1)).write_text(content + "\n")


def test_free_memory_is_the_systems(tmp_path: Path) -> None:
    """Where no container limits it."""
    free, total = free_memory(CPU, system=tmp_path), psutil.virtual_memory().total
    assert 0 < free < total


def test_a_container_has_less(tmp_path: Path) -> None:
    """What its limit leaves of it (cgroup 2)."""
    of_group(tmp_path, "", memory_max="300000", memory_current="50000")
    assert 250_000 == free_memory(CPU, system=tmp_path)


def test_a_container_without_a_limit_has_what_the_system_has(tmp_path: Path) -> None:
    """Its limit says max."""
    of_group(tmp_path, "", memory_max="max", memory_current="50000")
    assert free_memory(CPU, system=tmp_path) > 10**6


def test_a_full_container_has_nothing(tmp_path: Path) -> None:
    """Not less than that."""
    of_group(tmp_path, "", memory_max="300000", memory_current="300001")
    assert 0 == free_memory(CPU, system=tmp_path)


def test_the_tightest_group_decides(tmp_path: Path) -> None:
    """The process's own or one above it."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/user/job\n")
    of_group(tmp_path, "user/job", memory_max="max", memory_current="1")
    of_group(tmp_path, "user", memory_max="90000", memory_current="10000")
    of_group(tmp_path, "", memory_max="300000", memory_current="50000")
    assert 80_000 == free_memory(CPU, system=tmp_path)


def test_groups_of_the_first_version_count(tmp_path: Path) -> None:
    """Where memory has a hierarchy of its own, and its files other names."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:cpu:/\n4:memory:/job\n")
    of_group(tmp_path, "memory/job", memory_limit_in_bytes="70000", memory_usage_in_bytes="10000")
    of_group(tmp_path, "cpu", memory_max="1", memory_current="0")
    assert 60_000 == free_memory(CPU, system=tmp_path)
