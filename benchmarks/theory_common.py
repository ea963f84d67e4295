"""How much of the states of a training all of them share, for ``./dev bench theory common``.

For each checkpoint of a folder, at a layer: the 1 % margin, the mean norm, the norm of the mean state
over it, and the mean distance of a state from that mean.
"""

import argparse
from typing import Any

from real_tables import markdown

from pytest_injectivity import Audit, AuditConfig, list_checkpoints

COLUMNS = ("step", "layer", "1 % margin", "mean norm", "common share", "distance from the mean")


def add_common(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("common", description=__doc__.partition("\n")[0])
    one.add_argument("folder", help="that holds checkpoint-STEP folders")
    one.add_argument("--layers", default="4,norm")
    one.add_argument("--steps", type=int, nargs="*", help="default: all")
    one.add_argument("--prompts", type=int, default=200)
    one.add_argument("--length", type=int, default=32)
    one.set_defaults(run=common)


def common(given: argparse.Namespace) -> None:
    """Measure, and print the table in Markdown."""
    asked = {
        "prompts": "builtin:stdlib",
        "length": given.length,
        "max_prompts": given.prompts,
        "layers": given.layers,
        "no_cache": True,
    }
    rows = []
    for step, model in list_checkpoints(given.folder).items():
        if given.steps and step not in given.steps:
            continue
        audit = Audit(AuditConfig(model=model, **asked))
        for layer in audit.layers:
            states = audit.states(layer).double()
            mean, norm = states.mean(0), float(states.norm(dim=1).mean())
            numbers = (
                audit.geometry(layer).margin(q=0.01),
                norm,
                float(mean.norm()) / norm,
                float((states - mean).norm(dim=1).mean()),
            )
            rows.append((f"{step:,}", str(layer), *(f"{one:.3g}" for one in numbers)))
    print(markdown(f"{given.prompts} prompts of {given.length} tokens", COLUMNS, rows))
