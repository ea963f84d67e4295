"""Whether the gate against the parent sees a broken quantization, and names where it broke.

    ./dev bench damage [SEEDS]
    ./dev bench damage thresholds    # drift layer by layer: what the default thresholds come from

The shipped model is rounded to 8 and to 4 bits and then damaged in one place: a block's scales doubled,
a block rounded to 2 bits, two embedding rows merged. Each seed draws the place and the prompts. What
is healthy is rounded and not damaged; with the extra ``bnb``, quantized to nf4 too. All at the default
thresholds: the gate is red where one of its checks is, and what is named is the first bad layer of the
state drift, or for the embedding of the new collisions.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pytest_injectivity import Audit, AuditConfig, layer_id, load_decoder
from pytest_injectivity.config.options import SHIPPED_MODEL
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    double_block,
    plant_equal_embeddings,
    round_weights,
    save_checkpoint,
)

PROMPTS = 200
CHECKS: dict[str, dict[str, float]] = {
    "state_drift_below": {"relative": 0.35},
    "no_new_collisions": {},
    "margin_retained": {"fraction": 0.5},
    "colipschitz_retained": {"fraction": 0.5},
}
_TITLES = ("drift", "new coll.", "margin", "co-Lipschitz")

Damage = Callable[[Decoder, np.random.Generator], str]


def doubled(decoder: Decoder, generator: np.random.Generator) -> str:
    """One block's scales doubled; the layer that is to be named."""
    layer = int(generator.integers(1, decoder.n_layers + 1))
    double_block(decoder, layer)
    return layer_id(layer)


def coarse(decoder: Decoder, generator: np.random.Generator) -> str:
    """One block rounded to 2 bits."""
    layer = int(generator.integers(1, decoder.n_layers + 1))
    round_weights(decoder, 2, blocks=[layer])
    return layer_id(layer)


def merged(decoder: Decoder, generator: np.random.Generator) -> str:
    """Two embedding rows made one."""
    kept, copied = generator.choice(decoder.vocab_size, 2, replace=False)
    plant_equal_embeddings(decoder, int(kept), int(copied))
    return layer_id(0)


def healthy(decoder: Decoder, generator: np.random.Generator) -> str:  # noqa: ARG001 - nothing drawn
    """Nothing is broken, and no layer is to be named."""
    return ""


DAMAGES: dict[str, Damage] = {
    "scales doubled": doubled,
    "2-bit block": coarse,
    "rows merged": merged,
    "healthy": healthy,
}


@dataclass(frozen=True)
class Trial:
    """One checkpoint at the gate.

    Attributes:
        expected: the layer that is to be named; empty where none is.
        red: the checks that are.
        named: the first bad layer, read from the first lines of drift and new collisions.
        drift: of each layer.
        kept: of each layer the shares kept of margin and co-Lipschitz constant.
    """

    expected: str
    red: frozenset[str]
    named: str
    drift: dict[str, float]
    kept: tuple[float, ...]


def tried(audit: Audit, expected: str) -> Trial:
    """What the gate says of a checkpoint, at the default thresholds."""
    verdicts = [getattr(audit, f"check_{name}")(**given) for name, given in CHECKS.items()]
    drift, new, margin, colipschitz = verdicts
    first = [one.first_line.split()[2].rstrip(":") for one in (drift, new) if not one.passed]
    return Trial(
        expected=expected,
        red=frozenset(verdict.check for verdict in verdicts if not verdict.passed),
        named=min(first, key=lambda name: (name == "norm", name), default=""),
        drift={reason.where: reason.value for reason in drift.reasons},
        kept=tuple(reason.value for one in (margin, colipschitz) for reason in one.reasons),
    )


def written(folder: Path, prompts: int) -> Path:
    """Prompts of the standard library as token ids, tokenised once for all trials."""
    source = Audit(AuditConfig(max_prompts=4 * prompts, no_cache=True)).prompts
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"ids": ids}) for ids in source.ids))
    return path


def trials(
    seeds: Sequence[int], folder: Path, prompts: Path, sample: int, bases: Sequence[int] = (8, 4)
) -> Iterator[tuple[str, str, Trial]]:
    """Each damage, base and trial.

    Args:
        seeds: each draws the places of the damages, and a sample of the prompts.
        folder: where checkpoints and stores are written.
        prompts: the file they are drawn from.
        sample: how many.
        bases: bits that the model is rounded to before it is damaged.
    """
    for seed in seeds:
        # The parent is measured once a seed: all share its store.
        shared = {
            "reference": SHIPPED_MODEL,
            "prompts": str(prompts),
            "max_prompts": sample,
            "seed": seed,
            "cache_dir": str(folder / f"store{seed}"),
        }
        for bits in bases:
            for at, (name, damage) in enumerate(DAMAGES.items()):
                decoder = round_weights(load_decoder(SHIPPED_MODEL), bits)
                expected = damage(decoder, np.random.default_rng([seed, bits, at]))
                path = save_checkpoint(decoder, folder / f"{seed}-{bits}-{at}")
                audit = Audit(AuditConfig(model=str(path), **shared))
                yield name, f"{bits} bits", tried(audit, expected)
        if find_spec("bitsandbytes") and find_spec("accelerate"):
            audit = Audit(AuditConfig(quantization="bnb-nf4", **shared))
            yield "healthy", "nf4", tried(audit, "")


# Bits, inputs that share a scale, the block rounded to 2 bits, the block doubled.
THRESHOLDS: dict[str, tuple[int, int, int | None, int | None]] = {
    "8 bits": (8, 64, None, None),
    "4 bits, groups of 32": (4, 32, None, None),
    "4 bits, groups of 64": (4, 64, None, None),
    "4 bits, groups of 128": (4, 128, None, None),
    "3 bits": (3, 64, None, None),
    **{f"4 bits, block {at} in 2 bits": (4, 64, at, None) for at in (1, 2, 3, 4)},
    **{f"4 bits, scales of block {at} doubled": (4, 64, None, at) for at in (1, 2, 3, 4)},
}


def thresholds() -> None:
    """Drift and shares kept of each checkpoint, layer by layer."""
    from side_by_side import table

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shared = {"reference": SHIPPED_MODEL, "cache_dir": str(place / "store")}
        shared["prompts"] = str(written(place, PROMPTS))
        for name, (bits, group, coarse_block, doubled_block) in THRESHOLDS.items():
            decoder = round_weights(load_decoder(SHIPPED_MODEL), bits, group=group)
            if coarse_block:
                round_weights(decoder, 2, blocks=[coarse_block])
            if doubled_block:
                double_block(decoder, doubled_block)
            path = save_checkpoint(decoder, place / name.replace(" ", "-"))
            config = AuditConfig(model=str(path), max_prompts=PROMPTS, **shared)
            trial = tried(Audit(config), "")
            drifts = ", ".join(
                f"{trial.drift[layer_id(layer)]:.2f}" for layer in range(1, decoder.n_layers + 1)
            )
            rows.append((name, drifts, f"{min(trial.kept):.2f} to {max(trial.kept):.2f}"))
    table("99 % drift by layer", ("checkpoint", "drift", "kept"), rows)


def main() -> None:
    """Measure and print."""
    from side_by_side import CONSOLE, table

    if sys.argv[1:] == ["thresholds"]:
        thresholds()
        return
    seeds = int(sys.argv[1]) if sys.argv[1:] else 20
    found: dict[tuple[str, str], list[Trial]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        every = trials(range(seeds), place, written(place, PROMPTS), PROMPTS)
        for damage, base, trial in every:
            found.setdefault((damage, base), []).append(trial)
            red = ", ".join(sorted(trial.red)) or "green"
            CONSOLE.print(f"{damage}, {base}: {red}; named {trial.named} of {trial.expected}")
    rows = []
    for (damage, base), some in found.items():
        # Of a damaged block what it says there, of the others the most there is anywhere.
        drifts = [trial.drift.get(trial.expected, max(trial.drift.values())) for trial in some]
        shares = [share for trial in some for share in trial.kept]
        rows.append(
            (
                f"{damage}, {base}",
                f"{sum(bool(trial.red) for trial in some)} of {len(some)}",
                f"{sum(trial.named == trial.expected for trial in some)} of {len(some)}",
                *(str(sum(name in trial.red for trial in some)) for name in CHECKS),
                f"{min(drifts):.3f} to {max(drifts):.3f}",
                f"{min(shares):.2f} to {max(shares):.2f}",
            )
        )
    table("damage", ("checkpoint", "red", "named", *_TITLES, "drift there", "kept"), rows)


if __name__ == "__main__":
    main()
