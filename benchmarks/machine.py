"""The processor that a benchmark runs on, and what it multiplies matrices with."""

import os
from functools import cache
from pathlib import Path

import torch

from pytest_injectivity.geometry.search.kernels import chosen, measured

UNITS = (
    "amx_bf16",
    "amx_fp16",
    "avx512_fp16",
    "avx512_bf16",
    "avx512_vnni",
    "avx512f",
    "avx2",
    "asimd",
    "bf16",
)
"""Flags of /proc/cpuinfo that say something about the rate of products."""

CPUINFO = Path("/proc/cpuinfo")


@cache
def machine() -> str:
    """One line: the processor, its units, what the environment allows, the rates of its kernels."""
    told = _told(CPUINFO.read_text(encoding="utf-8")) if CPUINFO.exists() else {}
    flags = told.get("flags", told.get("Features", "")).split()
    units = ", ".join(unit for unit in UNITS if unit in flags) or "no units known"
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA")
    rates = ", ".join(
        f"{str(rate.dtype).removeprefix('torch.')} {rate.gflops:.0f}"
        for rate in measured(torch.get_num_threads())
    )
    return (
        f"{told.get('model name', 'unknown processor')} ({units};"
        f" torch: {torch.backends.cpu.get_cpu_capability()}"
        + (f"; oneDNN kept to {allowed}" if allowed else "")
        + f"); products, GFLOP/s: {rates}; chosen: {str(chosen().dtype).removeprefix('torch.')}"
    )


def status(field: str) -> int:
    """A size in /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{field} is not in /proc/self/status: peak memory needs Linux")


def _told(cpuinfo: str) -> dict[str, str]:
    """What the first processor of /proc/cpuinfo says."""
    lines = (line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}
