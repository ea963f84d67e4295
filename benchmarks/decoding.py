"""Codes and scales turned into numbers here, against compressed-tensors' own decompression.

    ./dev bench decoding [--size 4096] [--runs 5]

A square matrix of random codes in three layouts, both ways in one process, runs alternating: the median
time of each, their ratio, and the most memory that each takes beside its result, in bytes a weight.
Cost grows with the number of weights alone. The library decodes floats of 4 bits to bfloat16.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from side_by_side import medians, table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from pytest_injectivity.quantization.formats.compressed_layout import ROLES, matrix_of
from pytest_injectivity.quantization.stored_tensors import StoredTensor, StoredWeights

LAYER = "layer"
_NAMES = {
    torch.uint8: "U8",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.float8_e4m3fn: "F8_E4M3",
}


def layouts(size: int) -> Mapping[str, tuple[dict[str, Tensor], Any]]:
    """The tensors of a matrix in each layout, and the library's preset."""
    draw = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (size, size // 2), dtype=torch.uint8, generator=draw)
    words = torch.randint(-(2**31), 2**31, (size, size // 8), generator=draw).int()
    eights = torch.rand(size, size // 16, generator=draw).to(torch.float8_e4m3fn)
    powers = torch.randint(110, 130, (size, size // 32), dtype=torch.uint8, generator=draw)
    return {
        "NVFP4A16": {
            "weight_packed": packed,
            "weight_scale": eights,
            "weight_global_scale": torch.tensor([700.0]),
        },
        "MXFP4A16": {"weight_packed": packed, "weight_scale": powers},
        "W4A16": {
            "weight_packed": words,
            "weight_scale": torch.rand(size, size // 128, generator=draw),
            "weight_shape": torch.tensor([size, size]),
        },
    }


def ours(tensors: dict[str, Tensor]) -> Callable[[], Tensor]:
    """What decodes a matrix here."""
    names = {f"{LAYER}.{role}": one for role, one in tensors.items()}
    headers = {
        name: StoredTensor(_NAMES[one.dtype], tuple(one.shape)) for name, one in names.items()
    }
    stored = StoredWeights(headers, names.__getitem__)
    parts = {role: f"{LAYER}.{role}" for role in ROLES.values() if role in tensors}
    matrix = matrix_of(LAYER, parts, stored, {})
    return lambda: matrix.values(stored.read)


def theirs(name: str, tensors: dict[str, Tensor]) -> Callable[[], Tensor]:
    """What decompresses it in the library."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import preset_name_to_scheme

    scheme = preset_name_to_scheme(name, ["Linear"])
    kind = {"NVFP4A16": "nvfp4-pack-quantized", "MXFP4A16": "mxfp4-pack-quantized"}
    compressor: Any = BaseCompressor.get_value_from_registry(kind.get(name, "pack-quantized"))
    return lambda: compressor.decompress(dict(tensors), scheme)["weight"]


def peak(work: Callable[[], Tensor], numbers: int) -> float:
    """The most bytes that are held at once beside what was there, for each weight."""
    held = most = 0
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / numbers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    rows = []
    for name, tensors in layouts(given.size).items():
        both = ours(tensors), theirs(name, tensors)
        mine, library = medians(both, given.runs)
        memory = [peak(one, given.size**2) for one in both]
        rows.append(
            (
                name,
                f"{mine:.2f} s",
                f"{library:.2f} s",
                f"{mine / library:.2f}",
                *(f"{one:.1f}" for one in memory),
            )
        )
    columns = ("layout", "here", "library", "here / library", "bytes a weight", "library")
    table(f"{given.size} x {given.size}", columns, rows)


if __name__ == "__main__":
    main()
