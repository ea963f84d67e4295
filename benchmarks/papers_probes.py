"""Identical next tokens ([N] appendix E.3), for ``./dev bench papers probes MODELS``.

Probes end in the same tokens (``builtin:challenge(probes)``). For each ending: how many prompts have the
commonest next token, and the smallest distance of two of its prompts, and of two of these, over the mean
norm of the layer. Beside them as many windows of ``builtin:stdlib`` of the same length, on which nothing
is planted. Collisions are those of the gate at both layers, over all prompts of a set.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from real_tables import markdown
from torch import Tensor

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.models.head import Head
from pytest_injectivity.prompts.probes import ENDINGS

PLAIN = "none"
COLUMNS = (
    "model",
    "ending",
    "prompts",
    "with the commonest next token",
    "layer 1: closest",
    "of these",
    "last layer: closest",
    "of these",
    "collisions at both",
)


def add_probes(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("probes", description=__doc__.partition("\n")[0])
    one.add_argument("models", nargs="+", help="folders, .gguf files or builtins")
    one.add_argument("--prompts", type=int, default=100, help="of each ending")
    one.add_argument("--length", type=int, default=96, help="tokens of each")
    one.add_argument("--dtype", default="float32")
    one.set_defaults(run=probes)


def probes(given: argparse.Namespace) -> None:
    """Measure, and print the table in Markdown."""
    rows = [row for model in given.models for row in _rows(model, given)]
    title = f"{given.prompts} prompts of {given.length} tokens an ending, {given.dtype}"
    print(markdown(title, COLUMNS, rows))


@dataclass(frozen=True)
class _Group:
    """The prompts of one ending."""

    audit: Audit
    members: Tensor
    says: Tensor
    collisions: str

    def cells(self) -> Iterator[str]:
        """What is said of the group."""
        said = self.says[self.members]
        commonest = said.mode().values
        yield str(len(self.members))
        yield f"{float((said == commonest).float().mean()):.0%}"
        for layer in (1, self.audit.n_layers):
            yield self._closest(layer, self.members)
            yield self._closest(layer, self.members[said == commonest])
        yield self.collisions

    def _closest(self, layer: int, members: Tensor) -> str:
        if len(members) < 2:  # noqa: PLR2004 - a pair is two
            return "-"
        rows = self.audit.states(layer)[members]
        return f"{closest_pair(rows).distance / self.audit.geometry(layer).mean_norm:.4f}"


def _rows(model: str, given: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    for source, count in (
        ("builtin:stdlib", given.prompts),
        ("builtin:challenge(probes)", given.prompts * len(ENDINGS)),
    ):
        audit = Audit(
            AuditConfig(
                model=model,
                prompts=source,
                length=given.length,
                max_prompts=count,
                layers="1,-1,norm",
                dtype=given.dtype,
                device="cpu",
                no_cache=True,
            )
        )
        says = Head(audit.decoder).logits(audit.states("norm")).argmax(dim=1)
        kinds = audit.prompts.kinds or (PLAIN,) * len(audit.prompts)
        verdict = audit.check_no_collisions([1, audit.n_layers])
        collisions = "none" if verdict.passed else verdict.text
        for kind in dict.fromkeys(kinds):
            members = torch.tensor([at for at, own in enumerate(kinds) if own == kind])
            cells = _Group(audit, members, says, collisions).cells()
            yield Path(model).name, kind, *cells
            print("…", Path(model).name, kind, flush=True)
