"""Continues a forward pass from given states, or from a given cache, as a receiver of them does.

The library runs its own pass, and its hidden states are replaced at the layer where the receiver's
begin. Positions, masks, soft caps and the head are therefore the model's own. What the blocks before
that layer compute is thrown away.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int, Int64
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix, cache_name
from pytest_injectivity.models.replacing import replaced

Pairs = tuple[Float[Tensor, "positions keys"], Float[Tensor, "positions values"]]


def logits(decoder: Decoder, ids: Int[Tensor, " length"]) -> Float[Tensor, "length vocab"]:
    """The next-token logits at every position of one prompt."""
    with torch.no_grad(), decoder.running():
        found: Tensor = decoder.model(
            input_ids=ids[None].to(decoder.device), use_cache=False
        ).logits
    return found[0]


def logits_from_states(
    decoder: Decoder,
    ids: Int[Tensor, "*rows length"],
    layer: Layer,
    states: Float[Tensor, "versions length hidden"],
    positions: Sequence[int] | None = None,
) -> Float[Tensor, "versions length vocab"]:
    """The logits at every position when the pass goes on from these states.

    Args:
        decoder: the model.
        ids: the tokens at the positions, of all rows or of each; they have no influence past the layer.
        layer: where the states are from.
        states: of one prompt in any number of versions, or of rows padded on the right.
        positions: the positions that the receiver has, where it has not all of them; no state attends to
            a position that is missing.

    Raises:
        ModelError: positions are given and the model takes none.
    """
    tokens = ids.to(decoder.device).expand(len(states), -1)
    batch: dict[str, Any] = {"input_ids": tokens}
    if positions is not None:
        if not decoder.masks:
            raise ModelError(
                f"{decoder.source} cannot go on from some of the positions: its blocks count them"
                " themselves"
            )
        batch["position_ids"] = torch.tensor([positions], device=decoder.device).expand_as(tokens)
        # Without a mask the library takes a gap between positions for the end of a text.
        batch["attention_mask"] = torch.ones_like(tokens)
    with torch.no_grad():
        return _run_on(decoder, batch, layer, states)


def differentiable_logits(
    decoder: Decoder,
    ids: Int[Tensor, "texts length"],
    layer: Layer,
    states: Float[Tensor, "texts length hidden"],
) -> Float[Tensor, "texts length vocab"]:
    """The logits at every position when the pass goes on from states, with gradients towards these.

    Args:
        decoder: the model.
        ids: texts of one length.
        layer: where the states are from.
        states: of each text; gradients are recorded where they ask for them.
    """
    with torch.enable_grad():
        return _run_on(decoder, {"input_ids": ids.to(decoder.device)}, layer, states)


def _run_on(
    decoder: Decoder,
    batch: Mapping[str, Any],
    layer: Layer,
    states: Float[Tensor, "versions length hidden"],
) -> Float[Tensor, "versions length vocab"]:
    # Replaced last: what is given is not rounded again by the block it is put behind.
    with decoder.running(), replaced(decoder.parts, layer, states.to(decoder.device)):
        found: Tensor = decoder.model(**batch, use_cache=False).logits
    return found


def logits_from_cache(
    decoder: Decoder,
    ids: Int[Tensor, " length"],
    blocks: Sequence[int],
    versions: Sequence[Sequence[Pairs]],
) -> Float[Tensor, "versions vocab"]:
    """The logits after the last token when it is read behind a cache with some blocks replaced.

    Args:
        decoder: the model.
        ids: a prompt of at least two tokens; all but the last are in the cache.
        blocks: whose keys and values are replaced, 1 to L.
        versions: in any number of versions, for each of these blocks the keys and the values of all
            tokens but the last, a row a position with heads side by side.

    Raises:
        ModelError: the model caches no keys and values.
    """
    prefix = decoder.prefix(ids[:-1], "norm")
    caches = (_filled(decoder, prefix, dict(zip(blocks, own, strict=True))) for own in versions)
    return torch.stack([_read_on(decoder, cache, ids[-1:])[0] for cache in caches])


def said_after_cache(
    decoder: Decoder,
    pairs: Sequence[Pairs],
    ids: Int[Tensor, " asked"],
    count: int,
    *,
    tokens: Int64[Tensor, " tokens"],
) -> Int64[Tensor, " count"]:
    """What the model says behind a cache and some further tokens, the likeliest token each time.

    Args:
        decoder: the model.
        pairs: the keys and the values of each block, a row a position with heads side by side.
        ids: what is read behind the cache, at least one token.
        count: how many tokens are said.
        tokens: those that may be said.

    Raises:
        ModelError: the model caches no keys and values.
    """
    # Any tokens give a cache of the right kind and length.
    other = decoder.prefix(torch.zeros(len(pairs[0][0]), dtype=torch.long), "norm")
    cache = _filled(decoder, other, dict(enumerate(pairs, 1)))
    said: list[Tensor] = []
    for _ in range(count):
        scores, cache = _read_on(decoder, cache, said[-1] if said else ids)
        # A head may have fewer logits than there are embedding rows.
        able = tokens[tokens < len(scores)]
        said.append(able[scores.cpu()[able].argmax()][None])
    return torch.cat(said)


def _filled(decoder: Decoder, prefix: Prefix, pairs: Mapping[int, Pairs]) -> DynamicCache:
    """A copy of a prefix's cache with the keys and values of some blocks replaced."""
    cache = prefix.broadcast(1)
    if cache is None:
        raise ModelError(f"{decoder.source} caches no keys and values")
    for block, (keys, values) in pairs.items():
        layer: Any = cache.layers[block - 1]
        layer.keys, layer.values = _heads(keys, layer.keys), _heads(values, layer.values)
    return cache


def _read_on(
    decoder: Decoder, cache: DynamicCache, ids: Int[Tensor, " length"]
) -> tuple[Float[Tensor, " vocab"], DynamicCache]:
    """The logits after tokens behind a cache, and the cache with these tokens in it."""
    batch: dict[str, Any] = {"input_ids": ids[None].to(decoder.device)}
    batch[str(cache_name(decoder.model))] = cache
    with torch.no_grad(), decoder.running():
        after = decoder.model(**batch, use_cache=True)
    return after.logits[0, -1], cache


def _heads(rows: Float[Tensor, "positions side"], like: Tensor) -> Tensor:
    """Arranges rows as the library caches them: ``(1, heads, positions, dim)``."""
    heads, dim = like.shape[1], like.shape[3]
    return rows.to(like).view(len(rows), heads, dim).transpose(0, 1)[None]
