"""What blocks compute beside their states: attention weights, logits of routers, and experts chosen.

The library's own table says which module of a model's kind computes them and where they are in its
output. So the numbers are the library's, heads and sinks and soft caps included. Attention weights are
computed by its plain implementation, since faster ones never hold them.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.errors import ModelError, PromptError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix

What = Literal["attention", "routing", "experts"]

MOST_ATTENDED = 64
"""The most positions whose weights a row of attention holds; those that follow have the weight 0."""

_NAMES: dict[What, str] = {
    "attention": "attentions",
    "routing": "router_logits",
    "experts": "router_logits",
}


def recorded(
    decoder: Decoder,
    ids: Int[Tensor, "batch length"],
    block: int,
    what: What,
    *,
    prefix: Prefix | None = None,
) -> Float[Tensor, "batch length width"]:
    """Runs tokens and keeps what a block computes beside its states, or which experts all blocks choose.

    Args:
        decoder: the model.
        ids: the tokens, rows of one length.
        block: 1 to L.
        what: for each head the weights of all positions up to `MOST_ATTENDED`, in order; one logit for
            each expert; or of this block and those before it, for each expert 1 where it is chosen, else
            0.
        prefix: cached tokens that every row continues, cached down to this block at least.

    Raises:
        ModelError: the library does not say where a model of its kind computes this, or the block
            does not.
        PromptError: weights of more than `MOST_ATTENDED` positions are asked for.
    """
    length = ids.shape[1] + (0 if prefix is None else len(prefix))
    if what == "attention" and length > MOST_ATTENDED:
        raise PromptError(
            f"attention weights of {length} tokens: a row holds those of {MOST_ATTENDED}, give tokens="
            " of no more"
        )
    plain = _plain_attention(decoder.model) if what == "attention" else nullcontext()
    with plain, _listening(decoder, block, what) as found:
        decoder.states(ids, [block], prefix=prefix)
    if what == "attention":
        weights = found[0][: len(ids), :, -ids.shape[1] :].transpose(1, 2)
        return pad(weights, (0, MOST_ATTENDED - weights.shape[-1])).flatten(2)
    again = prefix is not None and prefix.cache is None
    run = length if again else ids.shape[1]
    rows = torch.cat([one.reshape(-1, run, one.shape[-1]) for one in found], dim=2)
    return rows[: len(ids), -ids.shape[1] :]


def recorded_candidates(
    decoder: Decoder, prefix: Prefix, tokens: Int[Tensor, " candidates"], block: int, what: What
) -> Float[Tensor, "candidates width"]:
    """What a block computes beside its state of many tokens, each put after the prefix."""
    return torch.cat(
        [
            recorded(decoder, some[:, None], block, what, prefix=prefix)[:, 0]
            for some in torch.split(tokens, decoder.candidate_batch(prefix))
        ]
    )


@contextmanager
def _plain_attention(model: Any) -> Iterator[None]:
    before = model.config._attn_implementation  # noqa: SLF001 - the library's only name for it
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _listening(decoder: Decoder, block: int, what: What) -> Iterator[list[Tensor]]:
    """Keeps what the modules give, each time that they run."""
    modules, at = _sources(decoder, block, what)
    found: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: Any) -> None:
        one = output[at] if isinstance(output, tuple) else output
        one = _chosen(decoder, one, output) if what == "experts" else one
        found.append(one.to(decoder.device))

    handles = [one.register_forward_hook(keep) for one in modules]
    try:
        yield found
    finally:
        for one in handles:
            one.remove()


def _chosen(decoder: Decoder, logits: Tensor, output: Any) -> Tensor:
    """1 for each expert that a router chose, 0 for the others."""
    indices = [one for one in output if not one.is_floating_point()]
    if len(indices) != 1:
        raise ModelError(
            f"{decoder.source}: its routers do not return the experts that they choose: observe routing"
        )
    return torch.zeros_like(logits).scatter_(-1, indices[0].long(), 1.0)


def _sources(decoder: Decoder, block: int, what: What) -> tuple[list[nn.Module], int]:
    """The module of a block, or those of all blocks with experts, and the place in their outputs."""
    table: Any = getattr(decoder.parts.base, "_can_record_outputs", None) or {}
    named = table.get(_NAMES[what])
    kind = getattr(named, "target_class", named)
    # Of a plain class the library takes the second output of attention.
    at = getattr(named, "index", 1)
    blocks = decoder.parts.blocks[0 if what == "experts" else block - 1 : block]
    found = [one for of in blocks for one in of.modules() if kind is not None and type(one) is kind]
    if not found or (what != "experts" and len(found) > 1):
        raise ModelError(
            f"{decoder.source}: the library does not say where block {block} computes its {what}:"
            " observe its states"
        )
    return found, at
