"""Margins along a training (SPEC section 12), for ``./dev bench theory trajectory``.

Trains GPT-2s as the suite ``training_trajectory`` does, with a head of its own, and what the theory
excludes: weights that decay to zero, an activation that is not analytic, two embedding rows kept equal.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from real_tables import markdown

from pytest_injectivity import Audit, AuditConfig, SweepPoint, load_prompts, write_course
from pytest_injectivity.models.loading import load_decoder

sys.path.insert(0, str(Path(__file__).parents[1] / "example_suites" / "training_trajectory"))
from gpt2_training import TOKENIZER, Training, losses_of, trained

COLUMNS = (
    "training",
    "loss",
    "layer",
    "margin at step 0",
    "smallest share of it",
    "at step",
    "distance there",
    "norm there",
    "share at the end",
    "constant: smallest share",
    "at the end",
    "collisions",
)
LEFT = 1e-3
"""The share of weights that shrink which is left at the end: of less, products take forever."""
_LENGTH = 32


def add_trajectory(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("trajectory", description=__doc__.partition("\n")[0])
    one.add_argument("--steps", type=int, default=300)
    one.add_argument("--prompts", type=int, default=500)
    one.add_argument("--layers", default="1,4,norm")
    one.add_argument("--only", nargs="+", help="the names of trainings, as in the table")
    one.add_argument("--pictures", type=Path, help="a folder for training-NAME.svg")
    one.set_defaults(run=trajectory)


def trajectory(given: argparse.Namespace) -> None:
    """Train and measure, and print the table in Markdown."""
    plain = Training(steps=given.steps)
    windows = _windows(given.prompts)
    alike = _two_tokens(windows)
    shrink = partial(_shrink, LEFT ** (1.0 / given.steps))
    every: dict[str, tuple[Training, Callable[[Any], None] | None]] = {
        "as the suite": (plain, None),
        "another seed": (replace(plain, seed=1), None),
        "a tenth of the rate": (replace(plain, rate=plain.rate / 10), None),
        "no decay": (replace(plain, decay=0.0), None),
        "decay 30": (replace(plain, decay=30.0), None),
        "all weights to zero, no gradient": (replace(plain, rate=0.0), shrink),
        "all weights to zero": (plain, shrink),
        "untied": (replace(plain, tied=False), None),
        "ReLU": (replace(plain, activation="relu"), None),
        "two rows kept equal": (plain, lambda model: _tie(model, alike)),
    }
    begun, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.jsonl"
        prompts.write_text(_prompts(windows, alike))
        for name in given.only or every:
            training, change = every[name]
            run = trained(Path(folder) / name.replace(" ", "-"), training, change)
            points = _points(run, prompts, given.layers)
            rows += _rows(name, losses_of(run), points)
            if given.pictures:
                write_course(given.pictures / f"training-{name.replace(' ', '-')}.svg", points)
    size = f"{given.steps} steps, {given.prompts} prompts of {_LENGTH} tokens and a twin"
    took = time.perf_counter() - begun
    print(markdown(f"Normalized 1 % margins along trainings: {size}, {took:.0f} s", COLUMNS, rows))


def _points(run: Path, prompts: Path, layers: str) -> tuple[SweepPoint, ...]:
    config = AuditConfig(
        model=str(run / f"checkpoint-{max(losses_of(run))}"),
        prompts=str(prompts),
        layers=layers,
        no_cache=True,
        device="cpu",
    )
    return Audit(config).along_training().points


def _rows(
    name: str, losses: Mapping[int, float], found: Sequence[SweepPoint]
) -> list[tuple[str, ...]]:
    rows = []
    for layer in dict.fromkeys(one.layer for one in found):
        course = [one for one in found if one.layer == layer]
        margins = _shares(course, "normalized_margin_q")
        constants = _shares(course, "normalized_colipschitz_q")
        least = min(range(1, len(course)), key=margins.__getitem__)
        there = [_shares(course, one)[least] for one in ("margin_q", "mean_norm")]
        shares = (margins[-1], min(constants[1:]), constants[-1])
        rows.append(
            (
                name,
                f"{losses[max(losses)]:.2f}",
                layer,
                f"{course[0].normalized_margin_q:.3g}",
                f"{margins[least]:.3g}",
                str(course[least].step),
                *(f"{one:.3g}" for one in (*there, *shares)),
                str(max(one.collisions for one in course)),
            )
        )
    return rows


def _shares(course: Sequence[SweepPoint], metric: str) -> list[float]:
    """A number of each step over that of step 0, which is NaN where step 0 has 0."""
    values = [one[metric] or 0.0 for one in course]
    return [one / values[0] if values[0] else math.nan for one in values]


def _windows(count: int) -> list[list[int]]:
    prompts = load_prompts(
        "builtin:stdlib", load_decoder(TOKENIZER).tokenizer, length=_LENGTH, max_prompts=count
    )
    return [list(one) for one in prompts.ids]


def _two_tokens(windows: list[list[int]]) -> tuple[int, int]:
    """The two tokens that prompts hold most often."""
    tokens = torch.tensor(windows).flatten().bincount().argsort(descending=True)
    return int(tokens[0]), int(tokens[1])


def _prompts(windows: list[list[int]], alike: tuple[int, int]) -> str:
    """Windows, and a twin of one of them that holds the other of two tokens at one place."""
    one = next(one for one in windows if alike[0] in one)
    at = one.index(alike[0])
    twin = [*one[:at], alike[1], *one[at + 1 :]]
    return "".join(json.dumps({"ids": one}) + "\n" for one in (*windows, twin))


def _shrink(share: float, model: Any) -> None:
    with torch.no_grad():
        for one in model.parameters():
            one.mul_(share)


def _tie(model: Any, alike: tuple[int, int]) -> None:
    with torch.no_grad():
        rows = model.get_input_embeddings().weight
        rows[alike[1]] = rows[alike[0]]
