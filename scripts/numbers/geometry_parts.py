"""The parts of ``record_numbers.py`` that measure states: geometry, rounding, baselines and sweeps."""

import json
from itertools import product
from pathlib import Path
from typing import Any

from recording import (
    CONFIDENCE,
    Found,
    Q,
    Setting,
    layers_of,
    resolution_of,
    run_of,
    trends_of,
    updated,
)

from pytest_injectivity import Audit, one_step_margins, sweep_bits, sweep_lengths

GRIDS: tuple[int | str, ...] = (
    8,
    4,
    2,
    "4 asymmetric per-token",
    "4 per-channel clip=99.9",
    "3 asymmetric calibrated=64",
)
METRICS = ("hamming", "levenshtein/length")
QUANTILES = (0.0, Q, 0.1)
MARGIN, ALPHA, DISTORTION = 0.02, 5e-4, 100.0
NEAR = "5e-2 rel"
CONTINUED = 2
ROUNDED_COUNT, CHALLENGE_COUNT, BASELINE_COUNT, SWEEP_COUNT = 60, 60, 50, 60
LENGTHS = (8, 16, 32)


def geometry(setting: Setting, found: Found) -> None:
    """Collisions, margins and Lipschitz constants of one prompt set, and every layer's summary."""
    audit = setting.audit()
    found.take("run", run_of, audit)
    _collisions(audit, found)
    _quantiles(audit, found)
    found.take("layers", layers_of, audit, None)
    for bits in GRIDS:
        found.take(f"layers {bits}", layers_of, audit, bits)
    found.take("trends", trends_of, audit)
    found.take("resolution", resolution_of, audit)


def _collisions(audit: Audit, found: Found) -> None:
    found.take("collisions", audit.check_no_collisions, "0,all", eps=0.0)
    found.take("collisions near", audit.check_no_collisions, "all", eps=NEAR)
    by_layer: dict[Any, float | str] = {":2": 1e-3, "norm": NEAR}
    found.take("collisions by layer", audit.check_no_collisions, None, eps=by_layer)
    for bits in GRIDS:
        found.take(f"collisions {bits}", audit.check_no_collisions, "all", eps=0.0, bits=bits)
    found.take(
        "continuations",
        audit.check_no_continuation_collisions,
        "0,all",
        eps=0.0,
        prompts=CONTINUED,
    )
    found.take("one step", audit.check_one_step_distinct, "0,all", eps=0.0)


def _quantiles(audit: Audit, found: Found) -> None:
    margin, alpha = audit.check_margin_above, audit.check_colipschitz_above
    for q, normalized, confidence in product(QUANTILES, (False, True), (None, CONFIDENCE)):
        if q == 0.0 and confidence is not None:
            continue  # no sample bounds a minimum from below
        how: dict[str, Any] = {"q": q, "normalized": normalized, "confidence": confidence}
        name = f"q={q} normalized={normalized} confidence={confidence}"
        found.take(f"margin {name}", margin, "all", margin=MARGIN, bits=None, **how)
        found.take(f"colipschitz {name}", alpha, "all", alpha=ALPHA, bits=None, **how)
    for bits in GRIDS:
        rounded: dict[str, Any] = {"q": Q, "normalized": True, "confidence": None, "bits": bits}
        found.take(f"margin {bits}", margin, "all", margin=MARGIN, **rounded)
        found.take(f"colipschitz {bits}", alpha, "all", alpha=ALPHA, **rounded)
    for q in QUANTILES:
        found.take(
            f"bilipschitz q={q}",
            audit.check_bilipschitz_within,
            "all",
            distortion=DISTORTION,
            q=q,
        )


def metrics(setting: Setting, found: Found) -> None:
    """The co-Lipschitz constants of other prompt metrics."""
    for metric in METRICS:
        audit = setting.audit(prompt_metric=metric)
        how: dict[str, Any] = {"normalized": False, "confidence": CONFIDENCE, "bits": None}
        found.take(
            f"colipschitz {metric}",
            audit.check_colipschitz_above,
            "all",
            alpha=ALPHA,
            q=Q,
            **how,
        )
        found.take(
            f"bilipschitz {metric}",
            audit.check_bilipschitz_within,
            "all",
            distortion=DISTORTION,
            q=Q,
        )
        found.take(f"layers {metric}", layers_of, audit, None)


def challenge(setting: Setting, found: Found) -> None:
    """Prompts made to collide, whose collisions are diagnosed."""
    audit = setting.audit(
        prompts=f"builtin:challenge({setting.prompts})", max_prompts=CHALLENGE_COUNT
    )
    found.take("run", run_of, audit)
    found.take("collisions", audit.check_no_collisions, "0,all", eps=0.0)
    found.take("collisions near", audit.check_no_collisions, "all", eps=NEAR)
    found.take("layers", layers_of, audit, None)


def rounded(setting: Setting, found: Found) -> None:
    """The model with its activations rounded as it runs."""
    for grid in ("8 asymmetric per-token", "4 per-channel calibrated=16"):
        audit = setting.audit(activation_bits=grid, max_prompts=ROUNDED_COUNT)
        found.take(f"run {grid}", run_of, audit)
        found.take(f"collisions {grid}", audit.check_no_collisions, "all", eps=0.0, bits=None)
        how: dict[str, Any] = {"normalized": True, "confidence": CONFIDENCE, "bits": None}
        margin = audit.check_margin_above
        found.take(f"margin {grid}", margin, "all", margin=MARGIN, q=Q, **how)
        found.take(f"layers {grid}", layers_of, audit, None)


def baseline(setting: Setting, found: Found) -> None:
    """A baseline that is recorded, held against the same numbers, and against raised ones."""
    folder = Path("baseline")
    asked: dict[str, Any] = {"max_prompts": BASELINE_COUNT, "baseline": str(folder)}
    missing = setting.audit(**asked)
    found.take("missing", missing.check_matches_baseline, "all", tolerance=0.01, bits=None)
    recording = setting.audit(**asked, update_baseline=True)
    for bits in (None, 4):
        check = recording.check_matches_baseline
        found.take(f"recorded {bits}", check, "all", tolerance=0.01, bits=bits)
    found.take("sentences", updated, recording)
    (file,) = folder.glob("*.json")
    text = file.read_text(encoding="utf-8")
    found.take("file", json.loads, text)
    for name, content in (("same", text), ("raised", json.dumps(_raised(json.loads(text))))):
        file.write_text(content, encoding="utf-8")
        again = setting.audit(**asked)
        for bits in (None, 4):
            check = again.check_matches_baseline
            found.take(f"{name} {bits}", check, "all", tolerance=0.01, bits=bits)
    file.unlink()


def _raised(recorded: Any) -> Any:
    """A baseline whose 1 % margins are half as large again."""
    if isinstance(recorded, dict):
        return {
            key: 1.5 * value if key == "margin_q" else _raised(value)
            for key, value in recorded.items()
        }
    return recorded


def sweeps(setting: Setting, found: Found) -> None:
    """The curves over prompt lengths and over bits, and the one-step margins."""
    config = setting.config(max_prompts=SWEEP_COUNT)
    found.take("lengths", sweep_lengths, config, LENGTHS)
    found.take("bits", sweep_bits, config, GRIDS)
    audit = setting.audit(max_prompts=SWEEP_COUNT)
    found.take("one-step margins", one_step_margins, audit, prompts=4, continuations=500)
