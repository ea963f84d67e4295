"""Proves that a model's blocks can be run one after the other: they pass on hidden states alone."""

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Int
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.block_runs import BlockRuns
from pytest_injectivity.models.decoder import Decoder


def verify_block_runs(decoder: Decoder, ids: Int[Tensor, "batch length"]) -> None:
    """Refuses a model whose blocks, run one after the other, give other states than a whole pass.

    With and without a cached beginning.

    Args:
        decoder: the model.
        ids: token ids of some rows.

    Raises:
        ModelError: a state differs in a bit.
    """
    layers: tuple[Layer, ...] = (0, *decoder.layers)
    start, rest = ids[0, : ids.shape[1] // 2], ids[:, ids.shape[1] // 2 :]
    cached = decoder.family.prefix != "recompute" and len(start) > 0
    expected = [decoder.states(ids, layers)]
    if cached:
        expected.append(decoder.states(rest, layers, prefix=decoder.prefix(start, "norm")))
    runs = BlockRuns(decoder)
    before: list[Tensor | None] = [None, None]
    of_start: Tensor | None = None
    for step in runs.steps:
        with runs.at(step):
            found = [runs.run(ids, before[0])]
            if cached:
                of_start, prefix = runs.prefix(start, of_start)
                found.append(runs.run(rest, before[1], prefix.broadcast(len(rest))))
        for at, (own, whole) in enumerate(zip(found, expected, strict=True)):
            for layer, states in own.items():
                if not torch.equal(states.nan_to_num(), whole[layer].nan_to_num()):
                    raise ModelError(
                        f"{decoder.source} ({decoder.family.name}): its blocks pass on more than hidden"
                        f" states (layer {layer} differs), so that they cannot be run one after the"
                        " other: --injx-load=whole is accepted"
                    )
                before[at] = states
