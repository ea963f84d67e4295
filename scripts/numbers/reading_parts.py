"""The parts of ``record_numbers.py`` that read prompts back, or hold a model against its parent.

The prompts to be read are windows of exactly as many tokens as are asked for, so that it does not
matter whether prompts are chosen before or after they are cut. Where all of a set are read, it does not
matter either by which hash they are ranked.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from recording import (
    CONFIDENCE,
    Found,
    Q,
    Setting,
    comparisons_of,
    exposures_of,
    layers_of,
    middle_of,
    run_of,
)
from safetensors.torch import save_file

from pytest_injectivity import Audit, CustomRelease, load_decoder

READ, TOKENS = 10, 20
SLOW_READ, SLOW_TOKENS = 5, 8
CROSS_READ, CROSS_COUNT = 5, 10
PARENT_COUNT = 80
SHARED, SHARED_TOKENS = 6, 6
GAPS, EVERY_TOKENS, LAST_TOKENS = 3, 4, 2
DRIFT, FRACTION, MAX_RATE, MIN_AGREEMENT = 0.05, 0.5, 0.4, 0.9
CHILDREN: tuple[tuple[str, str | None, str | None], ...] = (
    ("bfloat16", None, None),
    ("auto", "torchao-int8", "torchao"),
    ("auto", "bnb-nf4", "bitsandbytes"),
)


def recovery(setting: Setting, found: Found) -> None:
    """Prompts read back by SipIt from the first, the middle and the last layer."""
    audit = setting.audit(length=TOKENS, max_prompts=READ)
    found.take("run", run_of, audit)
    layers: list[int | str] = [1, middle_of(audit), -1, "norm"]
    size: dict[str, Any] = {"prompts": READ, "tokens": TOKENS, "certify": 20}
    for rate, confidence in ((1.0, None), (0.8, CONFIDENCE)):
        found.take(
            f"lens {rate} {confidence}",
            audit.check_sipit_recovers,
            layers,
            min_rate=rate,
            confidence=confidence,
            policy="lens",
            **size,
        )
    short = setting.audit(length=SLOW_TOKENS, max_prompts=SLOW_READ)
    size = {"prompts": SLOW_READ, "tokens": SLOW_TOKENS, "certify": 0}
    for policy in ("lm-order", "gradient", "random"):
        found.take(
            policy,
            short.check_sipit_recovers,
            [1, -1],
            min_rate=1.0,
            confidence=None,
            policy=policy,
            **size,
        )


def external(setting: Setting, found: Found) -> None:
    """States captured by the model itself, written to a file and read back from it."""
    decoder = load_decoder(setting.model, dtype="float32", device="cpu", quantization=None)
    source = setting.audit(length=TOKENS, max_prompts=READ)
    layer, prompts = middle_of(source), source.prompts.ids
    taken = [decoder.states(torch.tensor([ids]), [layer])[layer][0] for ids in prompts]
    exact = {f"states.{at}": one.detach().clone() for at, one in enumerate(taken)}
    ids = {f"ids.{at}": torch.tensor(one) for at, one in enumerate(prompts)}
    coarse = {name: one.bfloat16() for name, one in exact.items()}
    error = max(float((exact[name] - coarse[name]).norm(dim=-1).max()) for name in exact)
    files: dict[str, tuple[dict[str, torch.Tensor], dict[str, str]]] = {
        "exact": (exact, {"layer": str(layer)}),
        "exact with ids": (exact | ids, {"layer": str(layer)}),
        "bfloat16 with ids": (coarse | ids, {"layer": str(layer)}),
        "bfloat16 with error": (coarse, {"layer": str(layer), "observation_error": str(error)}),
        "another layer": (exact, {"layer": "norm"}),
    }
    path = Path("states.safetensors")
    plainly, proved = (1.0, None, None), (0.8, CONFIDENCE, "lens")
    for name, (tensors, metadata) in files.items():
        save_file(tensors, path, metadata=metadata)
        audit = setting.audit(length=TOKENS, max_prompts=READ, states=str(path))
        for rate, confidence, policy in (plainly, proved) if "ids" in name else (plainly,):
            found.take(
                f"{name} {rate} {confidence} {policy}",
                audit.check_states_recoverable,
                min_rate=rate,
                confidence=confidence,
                policy=policy,
                certify=20,
            )
    path.unlink()


def parent(setting: Setting, found: Found) -> None:
    """The model in lower precisions, each held against the model as it is stored."""
    for dtype, quantization, package in CHILDREN:
        if package is not None and find_spec(package) is None:
            continue
        name = quantization or dtype
        own = setting.audit(max_prompts=PARENT_COUNT)
        child = own.in_precision(dtype=dtype, quantization=quantization)
        found.take(f"run {name}", run_of, child)
        _retained(child, name, found)
        found.take(f"layers {name}", layers_of, child, None)
        found.take(f"comparisons {name}", comparisons_of, child, (0, *child.layers))
        windows = setting.audit(length=SLOW_TOKENS, max_prompts=CROSS_COUNT)
        _cross(windows.in_precision(dtype=dtype, quantization=quantization), name, found)


def _retained(child: Audit, name: str, found: Found) -> None:
    for q in (0.0, Q):
        drift = child.check_state_drift_below
        found.take(f"drift {name} q={q}", drift, "0,all", relative=DRIFT, q=q)
    found.take(f"new collisions {name}", child.check_no_new_collisions, "0,all", eps=0.0)
    for normalized, confidence in ((False, None), (True, CONFIDENCE)):
        how: dict[str, Any] = {"q": Q, "normalized": normalized, "confidence": confidence}
        limits: dict[str, Any] = {"fraction": FRACTION, "at_most": 1.0 / FRACTION}
        for what, check in (
            ("margin", child.check_margin_retained),
            ("colipschitz", child.check_colipschitz_retained),
        ):
            asked = f"{name} normalized={normalized} confidence={confidence}"
            found.take(f"{what} retained {asked}", check, "all", **limits, **how)


def _cross(child: Audit, name: str, found: Found) -> None:
    layers = [1, -1]
    size = {"prompts": CROSS_READ, "tokens": SLOW_TOKENS}
    found.take(
        f"not read by reference {name}",
        child.check_not_read_by_reference,
        layers,
        max_rate=MAX_RATE,
        confidence=CONFIDENCE,
        **size,
    )
    every = {"prompts": CROSS_COUNT, "tokens": SLOW_TOKENS}
    found.each(f"SipIt {name}", child.sipit_rates, layers, **every)
    found.each(f"cross inversion {name}", child.cross_inversion, layers, **size)
    found.take(f"comparisons of windows {name}", comparisons_of, child, layers)


def privacy(setting: Setting, found: Found) -> None:
    """What attackers read of what is shared, and what use is left of it."""
    audit = setting.audit(length=SHARED_TOKENS, max_prompts=SHARED)
    middle = middle_of(audit)
    size: dict[str, Any] = {"prompts": SHARED, "tokens": SHARED_TOKENS, "free_running": 2}
    halved = CustomRelease(
        "halved", str(middle), apply=lambda rows: 0.5 * rows, undo=lambda rows: 2.0 * rows
    )
    releases: list[Any] = [
        "identity@1",
        f"gaussian(sigma=0.5 rel)@{middle}",
        f"lowrank(rank=4, sigma=1 rel)@{middle}",
        f"round(bits=4)@{middle}",
        f"topk(share=0.1)@{middle}",
        f"rotate(seed=1)@{middle}",
        f"permute@{middle}",
        f"round(bits=4)|permute@{middle}",
        f"identity@{middle} kv",
        f"cast(fp8)@{middle} keys",
        "cast(fp8)@-1",
        "identity@norm",
        halved,
    ]
    _shared(audit, releases, size, found)
    # Tokens without a released row of their own are searched together, which takes longest.
    for where, tokens in (("every=2", EVERY_TOKENS), ("last", LAST_TOKENS)):
        windows: dict[str, Any] = {"length": tokens, "max_prompts": GAPS}
        few: dict[str, Any] = {"prompts": GAPS, "tokens": tokens, "free_running": 1}
        release = f"identity@{middle} {where}"
        _shared(setting.audit(**windows, special_tokens="no"), [release], few, found)
    framed = setting.audit(**windows), [release]
    found.take(f"framed {release}", exposures_of, *framed, **few, attacker=None)
    other = size | {"attacker": "bfloat16"}
    found.take("attacker bfloat16", exposures_of, audit, [f"identity@{middle}"], **other)
    found.take(
        "sweep",
        audit.sweep,
        f"round(bits=?)@{middle}",
        [2, 3, 8],
        max_token_rate=MAX_RATE,
        min_agreement=MIN_AGREEMENT,
        confidence=CONFIDENCE,
        **size,
    )


def _shared(audit: Audit, releases: list[Any], size: dict[str, Any], found: Found) -> None:
    size = size | {"attacker": None}
    named = ", ".join(map(str, releases[:1]))
    found.take(f"exposures {named}", exposures_of, audit, releases, **size)
    hidden, useful = audit.check_not_recoverable, audit.check_utility_kept
    for confidence in (None, CONFIDENCE):
        how = {**size, "confidence": confidence}
        found.take(f"hidden {named} {confidence}", hidden, releases, max_token_rate=MAX_RATE, **how)
        found.each(f"useful {confidence}", useful, releases, min_agreement=MIN_AGREEMENT, **how)
