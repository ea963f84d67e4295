"""The passes that many candidates behind one prefix are run in, and how they run block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.models.block_runs import BlockRuns
from pytest_injectivity.models.forward import Forward
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.models.prefix_buffer import seen


@dataclass(frozen=True, kw_only=True)
class CandidateLimits:
    """How many candidates `Decoder.candidates` runs at once; it bounds the memory, not the result.

    Attributes:
        rows: candidates that have a row each.
        tokens: of recomputed prefixes, in all rows.
        cpu_bytes: of keys and values of broadcast prefixes on a CPU: what its caches still serve, which
            was measured to be fastest there.
        device_bytes: of keys and values of broadcast prefixes on other devices.
        side_by_side: candidates in one row (measured, docs/log.md).
        side_rows: rows of candidates side by side.
    """

    rows: int = 512
    tokens: int = 2**14
    cpu_bytes: int = 2**26
    device_bytes: int = 2**30
    side_by_side: int = 128
    side_rows: int = 8


@dataclass(frozen=True, eq=False)
class CandidatePass:
    """One pass of some candidates, as `Forward.one_block` takes it.

    Attributes:
        ids: a candidate a row behind the tokens that are run again, or candidates side by side.
        count: how many candidates there are.
        named: further inputs of the library's pass.
    """

    ids: Int[Tensor, "rows width"]
    count: int
    named: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def side_by_side(
        cls, prefix: Prefix, tokens: Int[Tensor, " candidates"], most: int, device: torch.device
    ) -> "CandidatePass":
        """Candidates in a few rows, each seeing the prefix and itself.

        Args:
            prefix: the tokens before.
            tokens: the candidates.
            most: candidates in one row.
            device: where the pass runs.
        """
        rows = -(-len(tokens) // most)
        width = -(-len(tokens) // rows)
        ids = torch.cat([tokens, tokens[:1].expand(rows * width - len(tokens))]).view(rows, width)
        lengths = torch.full((rows,), len(prefix), device=device)
        mask = seen(lengths, width, side_by_side=True, cached=prefix.depth != 0)
        places = lengths[:, None].expand(rows, width)
        return cls(ids, len(tokens), {"attention_mask": mask, "position_ids": places})

    @classmethod
    def in_rows(cls, prefix: Prefix | None, tokens: Int[Tensor, " candidates"]) -> "CandidatePass":
        """A candidate a row, behind the prefix where it is run again.

        Args:
            prefix: the tokens before.
            tokens: the candidates.
        """
        ids = tokens[:, None]
        if prefix is not None and prefix.cache is None:
            ids = torch.cat([prefix.ids.to(ids).expand(len(ids), -1), ids], dim=1)
        return cls(ids, len(tokens))

    def kept(
        self, states: Float[Tensor, "rows width hidden"]
    ) -> Float[Tensor, "candidates hidden"]:
        """The candidates' own states."""
        own = states.flatten(0, 1) if self.named else states[:, -1]
        return own[: self.count].clone()


def candidates_by_block(
    forward: Forward,
    prefix: Prefix | None,
    passes: Sequence[CandidatePass],
    layers: Sequence[Layer],
) -> list[dict[Layer, Float[Tensor, "candidates hidden"]]]:
    """The states of each pass's candidates; a block is run on all passes before the next one is read.

    Args:
        forward: the model.
        prefix: the tokens before.
        passes: the passes.
        layers: at least one of a block or the norm.
    """
    runs, deepest = BlockRuns(forward), max(layers, key=depth)
    steps = runs.steps if deepest == "norm" else range(int(deepest))
    found: list[dict[Layer, Tensor]] = [{} for _ in passes]
    before: list[Tensor | None] = [None] * len(passes)
    for step in steps:
        with runs.at(step):
            for at, one in enumerate(passes):
                cache = None if prefix is None else prefix.broadcast(len(one.ids))
                for layer, states in runs.run(one.ids, before[at], cache, **one.named).items():
                    if layer in layers:
                        found[at][layer] = one.kept(states)
                    before[at] = states
    return found
