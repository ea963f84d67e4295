"""Blames the part of a site that an error comes from, by causal exchange (SPEC section 7, "Blame").

Each part is taken from the child into the parent, and from the parent into the child; the error of the
site, the last layer's states and the next-token distribution are measured again. Two controls go with
it: the parent with its own part (exactly no error), and the child with every part of the parent (what is
left is no weight's doing, but another configuration's). Factors that the child moved from one part to
the next (AWQ, SmoothQuant) are taken back of what is exchanged, and put on what is restored. Where the
parts' errors do not add up to the site's, the group of parts is named and not the part.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.layers import HEAD, Layer, layer_id
from pytest_injectivity.core.shapes import Bool, Float, Float64, Int
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.divergence import compare_logits
from pytest_injectivity.reference.blame.exchange import exchanged
from pytest_injectivity.reference.blame.site_runs import Run, run_of
from pytest_injectivity.reference.errors.bounds import bounds_of
from pytest_injectivity.reference.errors.positions import root_of_quotient
from pytest_injectivity.reference.errors.post_norm import is_post_norm
from pytest_injectivity.reference.errors.rescaled import Scales, with_scales
from pytest_injectivity.reference.errors.weight_error import part_errors
from pytest_injectivity.reference.parts import Part, Role, parts_of
from pytest_injectivity.states.batches import Batch

GROUPS: tuple[tuple[str, tuple[Role, ...]], ...] = (
    ("norm, q, k and v", ("attention norm", "q", "k", "v")),
    ("v and o", ("v", "o")),
    ("norm, up, gate and down", ("mlp norm", "up", "gate", "down")),
)
"""Parts of a block whose errors work together."""

TOKENS = 1024
_LONGEST = 128
_PADDED = 4  # tokens in a batch, padding included, for each that is run
_MOST_LOGITS = 2**24
_TYPICAL = 0.6  # of what is accepted, about what sound children show
_ADDS_UP = 0.5
_NO_WEIGHT = 0.5


@dataclass(frozen=True)
class Swap:
    """What exchanging a part, or a group of parts, does.

    Attributes:
        name: of the part, or of the group.
        alone: the error of the site where the parent has this of the child.
        restored: the error of the site where the child has this of the parent.
        drift: how far the parent's last states move with this of the child, relative to their norm;
            None where it was not asked for.
        kl: the mean ``KL(parent || parent with this of the child)`` of a next token in nats; likewise.
        weights: the largest weight error of its tensors.
        excess: ``alone``, less what rounding to the proved bits explains of it.
    """

    name: str
    alone: float
    restored: float
    drift: float | None
    kl: float | None
    weights: float
    excess: float


@dataclass(frozen=True)
class Blame:
    """Where the error of a site comes from.

    Attributes:
        site: the layer's id.
        error: of the site, over the tokens that were run.
        parts: by excess, largest first.
        groups: groups of parts, by ``alone``.
        control: the error of the parent with its own part: exactly 0.
        left: the error of the child with every part of the parent.
        additivity: the squares of the parts' errors alone, summed, over the square of the site's.
        culprit: the part that is blamed, or the group; empty where no weight is, or nothing errs.
        tokens: how many positions were run.
    """

    site: str
    error: float
    parts: tuple[Swap, ...]
    groups: tuple[Swap, ...]
    control: float
    left: float
    additivity: float
    culprit: str
    tokens: int

    @property
    def words(self) -> str:
        """Who is blamed, in a line."""
        if self.error == 0:
            return f"{self.site}: no error: nothing is to blame"
        if not self.culprit:
            return (
                f"{self.site}: with every weight of the parent an error of {self.left:.3g} is left of"
                f" {self.error:.3g}: no weight's doing, but another configuration's, or the arithmetic's"
            )
        first = next(one for one in (*self.parts, *self.groups) if one.name == self.culprit)
        kl = "" if first.kl is None else f" (KL {first.kl:.3g} nats)"
        return (
            f"{self.site}: {self.culprit}: alone in the parent it makes an error of {first.alone:.3g} of"
            f" {self.error:.3g}{kl}; restored, {first.restored:.3g} is left"
        )


def blame(
    child: Decoder,
    parent: Decoder,
    layer: Layer,
    prompts: Sequence[Sequence[int]],
    *,
    bits: float,
    most_tokens: int | None = None,
    downstream: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Blame:
    """Blames a part of one site.

    Args:
        child: the model.
        parent: the model it was made from, of the same shape.
        layer: 0 for the embeddings, 1 to L for a block, ``"norm"`` for the final norm and the head.
        prompts: token ids; the first `TOKENS` tokens are run, at most 128 of a prompt.
        bits: the fewest that were proved of the site's weights.
        most_tokens: how many tokens are run instead; at most four times as many places of a batch,
            padding included, have logits.
        downstream: what an exchange does to the last states and to the next tokens is measured as
            well, which takes a whole pass for each; nobody is blamed by it.
        progress: called with the number of exchanges done.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> child = tiny_decoder("llama")
        >>> _ = child.parts.blocks[1].mlp.up_proj.weight.mul_(1.5)
        >>> blame(child, tiny_decoder("llama"), 2, [[1, 2, 3], [4, 5]], bits=16).culprit
        'mlp.up_proj'
    """
    most = most_tokens or _most_tokens(parent)
    return _Trial(
        child,
        parent,
        layer,
        prompts,
        bits=bits,
        most_tokens=most,
        downstream=downstream,
        progress=progress,
    ).blame()


class _Trial:
    """One site of two models on a few prompts.

    Args:
        child, parent, layer, prompts, bits, most_tokens, downstream, progress: as for `blame`.
    """

    def __init__(
        self,
        child: Decoder,
        parent: Decoder,
        layer: Layer,
        prompts: Sequence[Sequence[int]],
        *,
        bits: float,
        most_tokens: int,
        downstream: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._child, self._parent, self._layer, self._bits = child, parent, layer, bits
        self._progress = progress
        self._done = 0
        self._ids, self._real = _padded(prompts, most_tokens)
        before: Layer = max(int(layer) - 1, 0) if layer != "norm" else parent.n_layers
        given = parent.states(self._ids, [before])[before]
        self._last_and_next = _run(parent, self._ids, self._real) if downstream else None
        both = min(child.vocab_size, parent.vocab_size)
        self._runs = {
            id(one): run_of(one, layer, self._ids, given, both) for one in (child, parent)
        }
        self._exact = self._runs[id(parent)]()[self._real]
        adds = layer not in {0, "norm"} and not is_post_norm(parent)
        branch = self._exact - given.cpu()[self._real].double() if adds else self._exact
        self._size = float(branch.square().sum())
        sites = {layer_id(layer), HEAD} if layer == "norm" else {layer_id(layer)}
        self._parts = [one for one in parts_of(parent) if one.site in sites]
        as_they_are = [each for one in self._parts for each in part_errors(one, child, parent)]
        self._errors, self._scales = with_scales(child, parent, self._parts, as_they_are)

    def blame(self) -> Blame:
        """Exchanges everything, and blames."""
        whole = self._error(self._child, self._parent, [])
        parts = sorted((self._swap(one.name, [one]) for one in self._parts), key=_first)
        groups = [
            self._swap(name, members)
            for name, roles in GROUPS
            if len(members := [one for one in self._parts if one.role in roles]) > 1
        ]
        left = self._error(self._child, self._parent, self._parts)
        sum_of_squares = sum(one.alone**2 for one in parts)
        additivity = root_of_quotient(sum_of_squares, whole**2) ** 2
        return Blame(
            site=layer_id(self._layer),
            error=whole,
            parts=tuple(parts),
            groups=tuple(sorted(groups, key=lambda one: -_rank(one.alone))),
            control=self._error(self._parent, self._parent, self._parts[:1]),
            left=left,
            additivity=additivity,
            culprit=_culprit(whole, left, additivity, parts, groups),
            tokens=int(self._real.sum()),
        )

    def _swap(self, name: str, parts: Sequence[Part]) -> Swap:
        alone = self._error(self._parent, self._child, parts)
        drift, kl = self._effects(parts)
        weights, explained = self._weights(parts)
        self._done += 1
        if self._progress is not None:
            self._progress(self._done)
        return Swap(
            name=name,
            alone=alone,
            restored=self._error(self._child, self._parent, parts),
            drift=drift,
            kl=kl,
            weights=weights,
            excess=alone * math.sqrt(max(0.0, 1.0 - min(1.0, explained) ** 2)),
        )

    def _effects(self, parts: Sequence[Part]) -> tuple[float | None, float | None]:
        """How far the parent's last states move with parts of the child, and its next tokens' KL."""
        if self._last_and_next is None:
            return None, None
        exact, following = self._last_and_next
        with exchanged(self._parent, self._child, parts, self._scales):
            last, own = _run(self._parent, self._ids, self._real)
        moved = root_of_quotient(float((last - exact).square().sum()), float(exact.square().sum()))
        return moved, float(compare_logits(following, own).nats.mean())

    def _error(self, decoder: Decoder, other: Decoder, parts: Sequence[Part]) -> float:
        """The error of the site of one model with parts of another one."""
        run: Run = self._runs[id(decoder)]
        with exchanged(decoder, other, parts, self._between(decoder, other)):
            found = run()[self._real]
        return root_of_quotient(float((found - self._exact).square().sum()), self._size)

    def _between(self, decoder: Decoder, other: Decoder) -> Mapping[tuple[str, str], Scales] | None:
        """What the parts of one model are multiplied by to stand in the other one."""
        if decoder is other:
            return None
        if other is self._child:
            return self._scales
        return {key: one.inverse for key, one in self._scales.items()}

    def _weights(self, parts: Sequence[Part]) -> tuple[float, float]:
        """The largest weight error of parts, and the share of it that their bits explain."""
        worst, explained = 0.0, 1.0
        names = {(part.site, part.name) for part in parts}
        for one in self._errors:
            if (one.site, one.part) not in names:
                continue
            usual = _TYPICAL * bounds_of(self._bits if one.matrix else math.inf).tensor
            if math.isnan(one.error) or one.error > worst:
                worst = one.error
                explained = usual / one.error if one.error > 0 else 1.0
        return worst, 0.0 if math.isnan(explained) else explained


def _culprit(
    whole: float, left: float, additivity: float, parts: Sequence[Swap], groups: Sequence[Swap]
) -> str:
    """The part with the largest excess; the group it works in where errors do not add up."""
    if not parts or whole == 0 or math.isnan(left) or left > _NO_WEIGHT * whole:
        return ""
    first = parts[0]
    adds_up = _ADDS_UP <= additivity <= 1.0 / _ADDS_UP or first.excess >= _ADDS_UP * whole
    if adds_up or not groups or _rank(first.excess) == math.inf:
        return first.name
    return max(groups, key=lambda one: _rank(one.alone)).name


def _first(one: Swap) -> tuple[float, float]:
    """Sorts parts by what is to blame on them, then by what they do."""
    return -_rank(one.excess), -_rank(one.alone)


def _rank(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _most_tokens(decoder: Decoder) -> int:
    return max(16, min(TOKENS, _MOST_LOGITS // decoder.vocab_size))


def _padded(
    prompts: Sequence[Sequence[int]], most: int
) -> tuple[Int[Tensor, "batch length"], Bool[Tensor, "batch length"]]:
    """The first tokens of prompts, padded on the right, and which of the places are theirs."""
    chosen: list[list[int]] = []
    for one in prompts:
        room = most - sum(map(len, chosen))
        longest = max(map(len, [*chosen, one[:_LONGEST]]))
        if room <= 0 or (len(chosen) + 1) * min(longest, most) > _PADDED * most:
            break
        chosen.append(list(one[: min(_LONGEST, room)]))
    batch = Batch(tuple(range(len(chosen))), max(map(len, chosen)))
    return batch.ids(chosen), batch.real(chosen)


def _run(
    decoder: Decoder, ids: Tensor, real: Tensor
) -> tuple[Float64[Tensor, "positions hidden"], Float[Tensor, "positions vocab"]]:
    """The last states and the logits at the tokens that are real, in one pass."""
    base: Any = decoder.parts.base
    last: list[Tensor] = []
    handle = base.register_forward_hook(
        lambda _base, _args, one: last.append(one.last_hidden_state)
    )
    try:
        with torch.no_grad(), decoder.running():
            logits: Tensor = decoder.model(input_ids=ids.to(decoder.device), use_cache=False).logits
    finally:
        handle.remove()
    return last[0].cpu()[real].double(), logits.cpu()[real].float()
