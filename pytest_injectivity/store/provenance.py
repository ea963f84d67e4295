"""What numbers depend on beside their input, as text: our code, the libraries, the machine."""

import hashlib
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pytest_injectivity.core.versions import version
from pytest_injectivity.quantization.formats.registry import installed

_PACKAGE = Path(__file__).parents[1]
_VERSIONED = ("transformers", "tokenizers", "safetensors", "numpy")
_KERNELS = ("MKL_", "DNNL_", "ONEDNN_", "OPENBLAS_", "CUBLAS_", "NVIDIA_TF32_", "TORCH_ALLOW_TF32")
_CPUINFO = Path("/proc/cpuinfo")


@cache
def code(*rooms: str, package: Path = _PACKAGE) -> str:
    """The package's version and a hash of its source files: changed code reads no old numbers.

    Editing a file is enough; nothing has to be invalidated by hand while developing.

    Args:
        rooms: hash these rooms and files only; the whole package where none is named.
        package: the folder of the package.
    """
    digest = hashlib.blake2b(digest_size=16)
    for room in rooms or (".",):
        named = package / room
        for path in sorted(named.rglob("*.py")) if named.is_dir() else [named]:
            digest.update(f"{path.relative_to(package).as_posix()} {path.stat().st_size} ".encode())
            digest.update(path.read_bytes())
    return f"{version('pytest-injectivity')}+{digest.hexdigest()}"


def libraries() -> tuple[str, ...]:
    """The versions of the libraries that compute."""
    # Wheels of one version of torch are built with other libraries of matrices, which only it says.
    versions = {"torch": str(torch.__version__)}
    versions |= {name: version(name) for name in _VERSIONED} | installed()
    return tuple(f"{name} {found}" for name, found in versions.items())


def machine(device: torch.device) -> tuple[str, ...]:
    """The device's kind, its instruction set, and the settings that change what it computes."""
    backends: Any = torch.backends  # ships no types
    cuda, mkldnn = backends.cuda, backends.mkldnn
    precisions = [
        cuda.matmul.fp32_precision,
        cuda.matmul.allow_fp16_reduced_precision_reduction,
        cuda.matmul.allow_bf16_reduced_precision_reduction,
        mkldnn.matmul.fp32_precision,
    ]
    settings = [mkldnn.enabled, *precisions, torch.are_deterministic_algorithms_enabled()]
    attention = [
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.math_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
    ]
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_processor()}"
    told = [f"settings {settings}", f"attention: the library's own {attention}"]
    return (device.type, where, *told, *_environment())


def _environment() -> list[str]:
    """The environment variables by which users make the matrix libraries choose other kernels."""
    return sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith(_KERNELS) and not name.endswith("_NUM_THREADS")
    )


def _processor() -> str:
    """The processor: libraries choose kernels by more than torch's capability says (AMX, the vendor)."""
    try:
        first = _CPUINFO.read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    told = [line for line in first if line.startswith(("vendor_id", "model name", "flags"))]
    return hashlib.blake2b("\n".join(told).encode(), digest_size=8).hexdigest()
