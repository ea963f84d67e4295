"""The error of single blocks: what a child's block makes of its parent's states (SPEC section 7).

``b_l = sqrt(sum ||B'_l(h) - B_l(h)||^2 / sum ||branch_l(h)||^2)`` over positions, with ``h``
the PARENT's states into block ``l`` and ``branch`` what the parent's block adds to them. Drift adds up
over the blocks before; the error of a block is its own.

Positions whose state is far longer than the others' (attention sinks) are summed apart: their norms
would hide all others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import HEAD, Layer, layer_id
from pytest_injectivity.core.shapes import Bool, Float, Float64, Int
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.errors.forced import run_forced
from pytest_injectivity.reference.errors.positions import Positions, joined, root_of_quotient
from pytest_injectivity.reference.errors.post_norm import is_post_norm
from pytest_injectivity.reference.errors.routing import Routing, routing
from pytest_injectivity.reference.errors.turn import Turn
from pytest_injectivity.reference.errors.wide import wide
from pytest_injectivity.states.batches import Batch, plan_batches
from pytest_injectivity.stats import upper_quantile

SINK = 8.0
"""A state whose norm is above this many times the median is an attention sink."""

_ALONE = 4
_MOST_LOGITS = 2**24


@dataclass(frozen=True, eq=False)
class BlockError:
    """The error of one block, of the embeddings, of the final norm or of the head.

    Attributes:
        site: ``layer00`` for the embeddings, ``layer01`` for the first block, ``norm``, ``head``.
        value: ``b_l`` over the positions that are no sinks; NaN where a state is not finite, that of a
            sink included.
        q99: the 99 % quantile of the relative error of a position.
        largest: the largest relative error of a position.
        prompt: the prompt of that position, as an index into those measured.
        position: that position.
        positions: how many positions were measured, sinks included.
        sinks: how many of them are sinks.
        of_sinks: ``b_l`` over the sinks alone; NaN where there are none.
        residual: the norm of the states over that of the branch: to round a state to the dtype that is
            computed in is an error of the branch this many times larger.
        itself: ``b_l`` of the parent against itself in passes of another shape.
        experts: ``b_l`` of each expert, over the tokens that the parent sends to it; NaN for an expert
            without any. Empty where a block has none.
    """

    site: str
    value: float
    q99: float
    largest: float
    prompt: int
    position: int
    positions: int
    sinks: int
    of_sinks: float
    residual: float
    itself: float
    experts: Float64[np.ndarray, " experts"]

    @property
    def sqnr(self) -> float:
        """The signal-to-quantization-noise ratio in dB: ``-20 log10(b)``."""
        return math.inf if self.value == 0 else -20.0 * math.log10(self.value)


def block_errors(
    child: Decoder,
    parent: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    turn: Turn | None = None,
    batch_tokens: int = 2048,
    progress: Callable[[int], None] | None = None,
) -> tuple[BlockError, ...]:
    """The error of the embeddings, of every block, of the final norm and of the head.

    Args:
        child: the model.
        parent: the model it was made from, of the same shape.
        prompts: token ids; every position counts.
        turn: to the basis of the child, where its states are the parent's in another one.
        batch_tokens: tokens of one pass; the states of all layers are held for them.
        progress: called with the number of prompts done.

    Example:
        >>> from pytest_injectivity.testing import round_weights, tiny_decoder
        >>> parent, child = tiny_decoder("llama"), round_weights(tiny_decoder("llama"), 8)
        >>> errors = block_errors(child, parent, [[1, 2, 3], [4, 5]])
        >>> [one.site for one in errors]
        ['layer00', 'layer01', 'layer02', 'norm', 'head']
        >>> errors[0].value, 0 < errors[1].value < 0.05
        (0.0, True)
    """
    collected: dict[str, list[Positions]] = {}
    post_norm = is_post_norm(parent)
    done = 0
    for batch in plan_batches(
        [len(ids) for ids in prompts], batch_tokens=batch_tokens, context=parent.context
    ):
        ids = batch.ids(prompts)
        real = batch.real(prompts)
        found = _compared(child, parent, ids, real, turn, post_norm=post_norm)
        for site, one in found.items():
            collected.setdefault(site, []).append(one.of_prompts(batch.rows))
        done += len(batch.rows)
        if progress is not None:
            progress(done)
    # However long prompts are, the states of all layers are held for no more tokens than of a batch.
    few = [one[: max(1, batch_tokens // _ALONE)] for one in prompts[:_ALONE]]
    noise = _of_itself(parent, few, post_norm=post_norm)
    return tuple(_reduced(site, joined(parts), noise[site]) for site, parts in collected.items())


def _compared(
    child: Decoder,
    parent: Decoder,
    ids: Int[Tensor, "batch length"],
    real: Bool[Tensor, "batch length"],
    turn: Turn | None,
    *,
    post_norm: bool,
) -> dict[str, Positions]:
    """What a child makes of its parent's states in one batch, at the positions that are real."""
    with routing(parent) as routed:
        states = parent.states(ids, (0, *parent.layers))
    found = _forced(child, ids, states, real, routed, turn=turn, post_norm=post_norm)
    last = states["norm"][real.to(parent.device)]
    return found | {HEAD: _of_head(child, parent, last, real, turn)}


def _forced(
    child: Decoder,
    ids: Tensor,
    states: dict[Layer, Tensor],
    real: Tensor,
    routed: dict[int, Routing],
    *,
    turn: Turn | None = None,
    post_norm: bool,
) -> dict[str, Positions]:
    found: dict[str, Positions] = {}
    place = real.nonzero().numpy()
    here = real.to(child.device)

    given = (
        states
        if turn is None
        else {layer: turn.to_child(layer, one) for layer, one in states.items()}
    )

    def in_parents(layer: Layer, own: Tensor) -> Tensor:
        return wide(own) if turn is None else turn.to_parent(layer, own)

    def seen(layer: Layer, own: Tensor) -> None:
        exact = wide(states[layer][here])
        error, branch = in_parents(layer, own[here]) - exact, exact
        if layer not in (0, "norm") and not post_norm:
            last: Layer = int(layer) - 1
            before = wide(states[last][here])
            branch = exact - before
            # A block of another dtype gets the state rounded, which is no error of the block.
            error -= in_parents(last, given[last][here].to(own.dtype)) - before
        chosen, experts = _choices(routed.get(layer) if layer != "norm" else None, real)
        found[layer_id(layer)] = Positions(
            _squares(error), _squares(branch), _squares(exact), place, chosen, experts
        )

    run_forced(child, ids, given, seen)
    return found


def _of_head(
    child: Decoder,
    parent: Decoder,
    last: Float[Tensor, "positions hidden"],
    real: Tensor,
    turn: Turn | None,
) -> Positions:
    """The error of the logits at the parent's final states.

    The mean over the vocabulary is left out of both sides: a softmax does not see it.
    """
    models: list[Any] = [child.model, parent.model]
    heads = [one.get_output_embeddings() for one in models]
    ids = min(child.vocab_size, parent.vocab_size)
    parts = []
    for rows in torch.split(last, max(1, _MOST_LOGITS // ids)):
        given = rows if turn is None else turn.to_child("norm", rows)
        with torch.no_grad():
            own, exact = (
                wide(head(side.to(one.dtype)))[:, :ids]
                for head, side, one in zip(heads, (given, rows), (child, parent), strict=True)
            )
        own, exact = (one - one.mean(dim=1, keepdim=True) for one in (own, exact))
        parts.append((_squares(own - exact), _squares(exact)))
    error, reference = (np.concatenate(side) for side in zip(*parts, strict=True))
    none = np.empty((len(error), 0), dtype=np.int64)
    return Positions(error, reference, reference, real.nonzero().numpy(), none)


def _of_itself(
    parent: Decoder, prompts: Sequence[Sequence[int]], *, post_norm: bool
) -> dict[str, float]:
    """The error of each site of the parent between prompts in one batch and the same prompts alone."""
    ids = Batch(tuple(range(len(prompts))), max(map(len, prompts))).ids(prompts)
    states = parent.states(ids, (0, *parent.layers))
    collected: dict[str, list[Positions]] = {}
    for row, one in enumerate(prompts):
        alone = {layer: each[row : row + 1, : len(one)] for layer, each in states.items()}
        real = torch.ones(1, len(one), dtype=torch.bool)
        found = _forced(
            parent, ids[row : row + 1, : len(one)], alone, real, {}, post_norm=post_norm
        )
        for site, part in found.items():
            collected.setdefault(site, []).append(part)
    noise = {site: joined(parts).ratio for site, parts in collected.items()}
    return noise | {HEAD: 0.0}


def _choices(found: Routing | None, real: Tensor) -> tuple[np.ndarray, int]:
    # Integers of fewer rows than tokens are positions, as recurrent blocks take them.
    if found is None or len(found.chosen) < real.numel():
        return np.empty((int(real.sum()), 0), dtype=np.int64), 0
    # A small pass repeats its rows; the first are those that were given.
    tokens = found.chosen[: real.numel()].cpu().long()
    return tokens[real.flatten()].numpy(), found.experts


def _reduced(site: str, found: Positions, itself: float) -> BlockError:
    norms = np.sqrt(found.state)
    sinks = norms > SINK * np.median(norms)
    others = found.at(~sinks)
    relative = others.relative
    worst = int(np.argmax(np.where(np.isnan(relative), np.inf, relative)))
    experts = [
        others.at((others.chosen == expert).any(axis=1)).ratio for expert in range(found.experts)
    ]
    return BlockError(
        site=site,
        value=others.ratio if np.isfinite(found.error).all() else math.nan,
        q99=upper_quantile(relative, 0.01),
        largest=float(relative[worst]),
        prompt=int(others.place[worst, 0]),
        position=int(others.place[worst, 1]),
        positions=len(norms),
        sinks=int(sinks.sum()),
        of_sinks=found.at(sinks).ratio,
        residual=root_of_quotient(float(others.state.sum()), float(others.reference.sum())),
        itself=itself,
        experts=np.array(experts, dtype=np.float64),
    )


def _squares(rows: Float[Tensor, "positions width"]) -> Float64[np.ndarray, " positions"]:
    found: np.ndarray = rows.square().sum(dim=1).double().cpu().numpy()
    return found
