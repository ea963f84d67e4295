"""What numbers depend on, as text: the parts of a store's keys. A key is complete or it is wrong.

Left out on purpose: thresholds (they judge numbers, they do not change them), the layers (stored one
by one) and the number of threads (canonical shapes keep the bits, see `batches`).
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.formats.registry import installed
from pytest_injectivity.store.records import read_record, write_record

_PACKAGE = Path(__file__).parents[1]
_READ = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
_VERSIONED = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
_KERNELS = ("MKL_", "DNNL_", "ONEDNN_", "OPENBLAS_", "CUBLAS_", "NVIDIA_TF32_", "TORCH_ALLOW_TF32")
_CPUINFO = Path("/proc/cpuinfo")

# A file changed this recently may change again without its times showing it.
_SETTLED_NS = 2 * 10**9


def key(**parts: object) -> str:
    """The name of everything that depends on these parts and on nothing else."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


@cache
def code(*rooms: str) -> str:
    """The package's version and a hash of its source files: changed code reads no old numbers.

    So nobody has to remember to invalidate anything while developing: editing a file does it.

    Args:
        rooms: of these rooms and files only; of the whole package where none is named.
    """
    digest = hashlib.blake2b(digest_size=16)
    for room in rooms or (".",):
        named = _PACKAGE / room
        for path in sorted(named.rglob("*.py")) if named.is_dir() else [named]:
            digest.update(
                f"{path.relative_to(_PACKAGE).as_posix()} {path.stat().st_size} ".encode()
            )
            digest.update(path.read_bytes())
    return f"{version('pytest-injectivity')}+{digest.hexdigest()}"


def libraries() -> list[str]:
    """The versions of what computes."""
    versions = {name: version(name) for name in _VERSIONED} | installed()
    return [f"{name} {found}" for name, found in versions.items()]


def machine(device: torch.device) -> list[str]:
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
    return [device.type, where, *told, *_environment()]


def in_order(hashes: Sequence[str]) -> str:
    """The hash of prompts in their order, from the hash of each."""
    return hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()


def checkpoint(folder: Path, remembered: Path, file: str | None = None) -> str:
    """A hash of the content of a checkpoint's weights, configuration and tokenizer.

    A file's hash is remembered by its path, size, inode and times, so that 16 GB are read once.

    Args:
        folder: the checkpoint's.
        remembered: the folder the hashes are remembered in.
        file: the one file in the folder that is the checkpoint, where it is one.

    Raises:
        ModelError: a file cannot be read.
    """
    paths = sorted({path for pattern in _READ for path in folder.glob(pattern) if path.is_file()})
    if file is not None:
        paths = [folder / file]
    return key(**{path.name: _content(path, remembered) for path in paths})


def _content(path: Path, remembered: Path) -> str:
    subject = f"content of {path.resolve()}"
    record = remembered / hashlib.blake2b(subject.encode(), digest_size=16).hexdigest()
    try:
        seen = _seen(path)
        known = json.loads(read_record(record, subject) or b"[]")
        if known and known[0] == seen:
            return str(known[1])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
        settled = max(seen[2:4]) < time.time_ns() - _SETTLED_NS and seen == _seen(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if settled:
        write_record(record, subject, json.dumps([seen, digest]).encode())
    return digest


def _seen(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_dev]


def _environment() -> list[str]:
    """Variables by which people make the libraries of products choose other kernels."""
    return sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith(_KERNELS) and not name.endswith("_NUM_THREADS")
    )


def _processor() -> str:
    """Libraries choose their kernels by more than torch's capability says (AMX, the vendor)."""
    try:
        first = _CPUINFO.read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    told = [line for line in first if line.startswith(("vendor_id", "model name", "flags"))]
    return hashlib.blake2b("\n".join(told).encode(), digest_size=8).hexdigest()
