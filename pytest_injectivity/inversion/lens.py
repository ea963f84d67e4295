"""The lens: which token a state most likely belongs to, before any candidate is tested (SPEC section 4).

A forward model of the states of one layer, ``h ~ centre + signature(token)``, with one covariance for
all that it leaves unsaid. It is calibrated on random sequences in which every token appears equally
often, so that what the context adds averages out. A token's signature is the mean of its states, shrunk
towards a linear map of its embedding row ``e`` and of ``e / rms(e)`` (what a block reads is normed), by
as much as the scatter of a mean exceeds that of the tokens about the map. All tokens of all positions
are then ranked at once, by Mahalanobis distance: one product of two whitened matrices.

Where a state was computed after the same prefix, of any token ``g``, the context is known::

    F(v) ~ F(g) + signature(v) - signature(g)

Position 0 is left out: attention sinks have norms, and so covariances, far above the rest. Where its
table is too large to compute, it has a lens of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Bool, Float, Int
from pytest_injectivity.inversion.one_step import OneStep
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import plan_batches

CALIBRATION_TOKENS = 2**15
"""Tokens a calibration runs at most: seconds for a small model."""

# A vocabulary beyond this many tokens is calibrated by a part of it, a multiple of the width: what
# the linear map of 2 x width numbers needs.
_LARGE_VOCABULARY = 2**15
_TOKENS_A_WIDTH = 16
# More of a token's states say little more of it, nor more samples of the map; and a calibration must
# stay below the search it saves.
_TIMES_A_TOKEN = 4
_TIMES_A_WIDTH = 64
_SHARE_OF_SEARCH = 0.25
_FEWEST_ROWS = 32
_BATCH_TOKENS = 4096

_RIDGE = 1e-3
_SHRINKAGE = 1e-4
_KERNEL_RIDGE = 0.3
# Elements of one block of distances.
_BLOCK_ELEMENTS = 2**24
_BLOCK_ROWS = 2**15
# Tokens among which the likely ones behind a prefix are looked for, or so many times as are asked for.
_POOL = 2**14
_POOL_TIMES = 64


@dataclass(frozen=True, eq=False)
class Lens:
    """A forward model of one layer's states; made by :func:`calibrate`.

    Attributes:
        centre: mean state by position, from 0 to the last one calibrated; that one's serves all after.
        signatures: what each token adds to it.
        whitener: ``d x d``; in coordinates ``x @ whitener`` what is left has a covariance of one.
        rows: each token's embedding row divided by its root mean square.
        ranked: tokens that have a signature; the others (not finite) are never proposed.
        forwards: tokens run to calibrate it.
    """

    centre: Float[Tensor, "positions hidden"]
    signatures: Float[Tensor, "vocab hidden"]
    whitener: Float[Tensor, "hidden hidden"]
    rows: Float[Tensor, "vocab hidden"]
    ranked: Bool[Tensor, " vocab"]
    forwards: int

    @cached_property
    def _sites(self) -> Float[Tensor, "vocab hidden"]:
        return self.signatures @ self.whitener

    @cached_property
    def _lengths(self) -> Float[Tensor, " vocab"]:
        return self._sites.square().sum(dim=1).masked_fill(~self.ranked, torch.inf)

    def uncorrected(
        self, states: Float[Tensor, "states hidden"], positions: Int[Tensor, " states"]
    ) -> Float[Tensor, "states hidden"]:
        """What to rank where nothing of the context is known: a state less its position's mean."""
        return states.to(self.centre) - self.centre[positions.clamp(max=len(self.centre) - 1)]

    def corrected(
        self,
        states: Float[Tensor, "states hidden"],
        computed: Float[Tensor, "states hidden"],
        tokens: Int[Tensor, " states"],
    ) -> Float[Tensor, "states hidden"]:
        """What to rank where the states of some tokens after the same prefixes are known."""
        known = self.signatures[tokens.to(self.signatures.device)]
        return states.to(self.centre) - computed.to(self.centre) + known

    def rank(
        self, queries: Float[Tensor, "states hidden"], count: int
    ) -> Int[Tensor, "states count"]:
        """The most likely tokens of each, most likely first, on the CPU."""
        step = max(1, _BLOCK_ELEMENTS // len(self._sites))
        found = [
            self._nearest(some @ self.whitener, count).cpu()
            for some in torch.split(queries.to(self._sites), step)
        ]
        return torch.cat(found)

    def _nearest(
        self, aims: Float[Tensor, "states hidden"], count: int
    ) -> Int[Tensor, "states count"]:
        """The tokens whose whitened signatures are nearest, all of them where they are not so many."""
        away = torch.addmm(self._lengths, aims, self._sites.T, alpha=-2)
        # A query that is not finite ranks the tokens by their ids.
        away = torch.where(away.isnan(), torch.inf, away)
        return away.topk(min(count, away.shape[1]), dim=1, largest=False, sorted=True).indices

    def rank_behind(
        self,
        state: Float[Tensor, " hidden"],
        tokens: Int[Tensor, " tested"],
        computed: Float[Tensor, "tested hidden"],
        count: int,
    ) -> Int[Tensor, " count"]:
        """The most likely tokens of a state behind a prefix after which many tokens were computed.

        What the signatures leave unsaid there is much the same for tokens with like rows: it is
        interpolated from the tokens computed by kernel ridge regression, with the rows' inner product
        as the kernel.
        """
        tokens = tokens.to(self.rows.device)
        finite = computed.isfinite().all(dim=1)
        tokens, computed = tokens[finite], computed[finite].to(self.centre)
        left = computed @ self.whitener - self._sites[tokens]
        centre, mean = self.rows[tokens].mean(dim=0), left.mean(dim=0)
        features = self.rows[tokens] - centre
        kernel = features @ features.T
        kernel.diagonal().add_(_KERNEL_RIDGE * kernel.diagonal().mean() + 1e-30)
        slopes = torch.linalg.solve(kernel, left - mean)
        aim = state.to(self.centre) @ self.whitener - mean
        # What all tokens tested have in common tells most of them apart from the likely ones.
        pool = self._nearest(aim[None], max(_POOL, _POOL_TIMES * count))[0]
        # As few steps as the order of the products allows: few are told of a wide model at first.
        few = 2 * len(features) < features.shape[1]
        maps = (features.T, slopes) if few else (features.T @ slopes,)
        away = [
            (self._sites[some] + reduce(torch.matmul, maps, self.rows[some] - centre) - aim)
            .square()
            .sum(dim=1)
            for some in torch.split(pool, _BLOCK_ROWS)
        ]
        found = torch.cat(away).masked_fill(~self.ranked[pool], torch.inf)
        found = torch.where(found.isnan(), torch.inf, found)
        return pool[found.topk(count, largest=False, sorted=True).indices].cpu()


def calibration_size(vocab_size: int, hidden_size: int, positions: int) -> int:
    """How many tokens a calibration runs for so many positions to invert.

    As many as token means and the linear map need, and at most a quarter of brute force.
    """
    most = CALIBRATION_TOKENS
    if vocab_size > _LARGE_VOCABULARY:
        most = min(most, _TOKENS_A_WIDTH * hidden_size)
    enough = max(_TIMES_A_TOKEN * vocab_size, _TIMES_A_WIDTH * hidden_size)
    return max(1, min(most, enough, int(_SHARE_OF_SEARCH * positions * vocab_size)))


def calibrate(
    decoder: Decoder,
    layer: Layer,
    *,
    tokens: int = CALIBRATION_TOKENS,
    length: int = 64,
    known: Sequence[int] = (),
    seed: int = 0,
) -> Lens:
    """Fits the lens of one layer.

    Args:
        decoder: the model.
        layer: the layer.
        tokens: how many to run; :func:`calibration_size` says how many are worth it.
        length: of the prompts to be inverted, known tokens included.
        known: tokens every prompt begins with.
        seed: of the sequences.
    """
    usable = _usable(decoder)
    drawn = _sequences(usable, tokens, max(2, length - len(known)), seed)
    states = _states(decoder, layer, drawn, known)
    skipped = 0 if known else 1
    return _fitted(
        decoder, states[:, skipped:], drawn[:, skipped:], len(known) + skipped, drawn.numel()
    )


def calibrate_first(decoder: Decoder, layer: Layer, *, tokens: int, seed: int = 0) -> Lens:
    """Fits the lens of position 0, which is like no other.

    Args:
        decoder: the model.
        layer: the layer.
        tokens: how many to run, each alone.
        seed: which.
    """
    drawn = _sequences(_usable(decoder), tokens, 1, seed)
    states = OneStep.of(decoder, layer, ())(drawn[:, 0])[:, None]
    return _fitted(decoder, states, drawn, 0, drawn.numel())


def _fitted(
    decoder: Decoder,
    states: Float[Tensor, "rows length hidden"],
    drawn: Int[Tensor, "rows length"],
    skipped: int,
    forwards: int,
) -> Lens:
    """The lens of the states of drawn tokens, from the position after those skipped."""
    rows = decoder.embedding_matrix().float()
    usable = rows.isfinite().all(dim=1)
    states = states if states.dtype == torch.float64 else states.float()
    seen = drawn.to(states.device)
    finite = states.isfinite().all(dim=2)
    centre = _means(states, finite)
    samples, owners = (states - centre)[finite], seen[finite]
    signatures = _signatures(rows.nan_to_num(), usable, samples, owners)
    left = samples - signatures[owners]
    return Lens(
        centre=torch.cat([centre.new_zeros(skipped, centre.shape[1]), centre]),
        signatures=signatures,
        whitener=_whitener(left, signatures),
        rows=_normed(rows.nan_to_num()).to(signatures),
        ranked=usable,
        forwards=forwards,
    )


def _usable(decoder: Decoder) -> Int[Tensor, " tokens"]:
    """The tokens whose embedding rows are finite."""
    return decoder.embedding_matrix().isfinite().all(dim=1).cpu().nonzero()[:, 0]


def _sequences(
    usable: Int[Tensor, " tokens"], count: int, length: int, seed: int
) -> Int[Tensor, "rows length"]:
    """Rows in which every token appears equally often, a part of the tokens where they are many."""
    generator = np.random.default_rng(seed)
    # Position 0 is not used, and a mean over few rows is none.
    length = min(length, max(2, count // _FEWEST_ROWS))
    rows = max(2, count // length)
    needed = rows * length
    if not len(usable):
        return torch.zeros(rows, length, dtype=torch.long)
    passes = [generator.permutation(usable.numpy()) for _ in range(-(-needed // len(usable)))]
    return torch.from_numpy(np.concatenate(passes)[:needed].reshape(rows, length).copy())


def _states(
    decoder: Decoder, layer: Layer, drawn: Int[Tensor, "rows length"], known: Sequence[int]
) -> Float[Tensor, "rows length hidden"]:
    """The states of rows that begin with the known tokens, those left out."""
    prompts = [[*known, *row] for row in drawn.tolist()]
    found = []
    for batch in plan_batches(
        [len(prompt) for prompt in prompts], batch_tokens=_BATCH_TOKENS, context=decoder.context
    ):
        states = decoder.states(batch.ids(prompts), [layer])[layer]
        found.append(states[: len(batch.rows), len(known) : len(prompts[0])])
    return torch.cat(found)


def _means(
    states: Float[Tensor, "rows length hidden"], finite: Bool[Tensor, "rows length"]
) -> Float[Tensor, "length hidden"]:
    counts = finite.sum(dim=0).clamp(min=1)
    return states.where(finite[..., None], 0).sum(dim=0) / counts[:, None]


def _signatures(
    rows: Float[Tensor, "vocab hidden"],
    usable: Bool[Tensor, " vocab"],
    samples: Float[Tensor, "samples hidden"],
    owners: Int[Tensor, " samples"],
) -> Float[Tensor, "vocab hidden"]:
    """Token means, shrunk towards a linear map of the embedding rows (empirical Bayes)."""
    vocab = len(rows)
    counts = torch.bincount(owners, minlength=vocab).to(samples)
    sums = samples.new_zeros(vocab, samples.shape[1]).index_add_(0, owners, samples)
    means = sums / counts.clamp(min=1)[:, None]
    linear = _linear(rows.to(samples), usable, means, counts)
    seen = counts > 0
    repeated = len(samples) - int(seen.sum())
    if not repeated:
        # Each token was seen at most once: its scatter is unknown, the map is all there is.
        return linear
    scatter = (samples - means[owners]).square().sum() / repeated
    about = (means - linear)[seen].square().sum(dim=1).mean() - scatter * (1 / counts[seen]).mean()
    weight = counts * about.clamp(min=0)
    share = weight / (weight + scatter).clamp(min=torch.finfo(samples.dtype).tiny)
    return linear + share[:, None] * (means - linear)


def _linear(
    rows: Float[Tensor, "vocab width"],
    usable: Bool[Tensor, " vocab"],
    means: Float[Tensor, "vocab hidden"],
    counts: Float[Tensor, " vocab"],
) -> Float[Tensor, "vocab hidden"]:
    """A ridge regression of the means on ``e`` and ``e / rms(e)``, each token by its count."""
    features = torch.cat([rows, _normed(rows)], dim=1)
    features = features - features[usable].mean(dim=0) if usable.any() else features
    spread = features[usable].square().mean(dim=0).sqrt()
    features = features / torch.where(spread > 0, spread, 1)
    seen = counts > 0
    weighted = (features[seen] * counts[seen, None]).T
    normal = (weighted @ features[seen]).double()
    normal.diagonal().add_(_RIDGE * normal.diagonal().mean() + torch.finfo(torch.float64).tiny)
    slopes: Tensor = torch.linalg.solve(normal, (weighted @ means[seen]).double())
    return features @ slopes.to(features)


def _normed(rows: Float[Tensor, "vocab width"]) -> Float[Tensor, "vocab width"]:
    scale = rows.square().mean(dim=1, keepdim=True).sqrt()
    return rows / scale.clamp(min=torch.finfo(rows.dtype).tiny)


def _whitener(
    left: Float[Tensor, "samples hidden"], signatures: Float[Tensor, "vocab hidden"]
) -> Float[Tensor, "hidden hidden"]:
    """The inverse root of what the model leaves unsaid, shrunk towards a sphere."""
    hidden = signatures.shape[1]
    exact = left.double()
    covariance = exact.T @ exact / max(1, len(left))
    spread = signatures.double().var(dim=0).nan_to_num().mean()
    # Where nothing is left (layer 0), the signatures' own scale keeps the product finite.
    sphere = _SHRINKAGE * (covariance.diagonal().mean() + _SHRINKAGE * spread)
    covariance.diagonal().add_(sphere.clamp(min=torch.finfo(torch.float32).tiny))
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if failed:
        return torch.eye(hidden, dtype=left.dtype, device=left.device)
    identity = torch.eye(hidden, dtype=torch.float64, device=left.device)
    inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return inverse.T.to(left).contiguous()
