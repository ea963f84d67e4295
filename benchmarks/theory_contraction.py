"""Local contraction (SPEC section 11), for ``./dev bench theory contraction MODEL``.

For some prompts and layers: the extreme singular values of the one-step map's Jacobian at the last
token; beside them anisotropy and intrinsic dimension of the states of more prompts.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from real_tables import markdown

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.geometry.dimension import anisotropy, intrinsic_dimension
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.theory.contraction import step_scales

COLUMNS = (
    "model",
    "layer",
    "smallest: least",
    "median",
    "known from",
    "largest: median",
    "greatest",
    "anisotropy",
    "intrinsic dimension",
)


def add_contraction(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("contraction", description=__doc__.partition("\n")[0])
    one.add_argument("model", help="a folder, a .gguf file or a builtin")
    one.add_argument("--layers", type=int, nargs="+", required=True)
    one.add_argument("--prompts", type=int, default=10, help="whose last step is measured")
    one.add_argument("--states", type=int, default=500, help="prompts of the last two columns")
    one.add_argument("--length", type=int, default=10, help="tokens of each")
    one.add_argument("--dtype", default="float64")
    one.set_defaults(run=contraction)


def contraction(given: argparse.Namespace) -> None:
    """Measure, and print the table in Markdown."""
    audit = Audit(
        AuditConfig(model=given.model, length=given.length, max_prompts=given.states, no_cache=True)
    )
    ids = [torch.tensor(one) for one in audit.prompts.ids]
    decoder = load_decoder(given.model, dtype=given.dtype, device="cpu")
    begun = time.perf_counter()
    last = given.length - 1
    found = [
        one
        for prompt in ids[: given.prompts]
        for one in step_scales(decoder, prompt, given.layers, [last])
    ]
    took = time.perf_counter() - begun
    states = [
        decoder.states(torch.stack(ids), given.layers)[layer][:, -1] for layer in given.layers
    ]
    rows = []
    for layer, own in zip(given.layers, states, strict=True):
        smallest, floor, largest = (
            torch.tensor([getattr(one, name) for one in found if one.layer == layer])
            for name in ("smallest", "floor", "largest")
        )
        figures = (
            smallest.min(),
            smallest.median(),
            floor.max(),
            largest.median(),
            largest.max(),
        )
        told = [f"{float(one):.3g}" for one in figures]
        rows.append(
            (
                Path(given.model).name,
                str(layer),
                *told,
                f"{anisotropy(own):.3f}",
                f"{intrinsic_dimension(own):.1f}",
            )
        )
    many = f"{given.prompts} prompts of {given.length} tokens in {given.dtype}, {took:.0f} s"
    print(markdown(f"Local contraction at the last token of {many}", COLUMNS, rows))
