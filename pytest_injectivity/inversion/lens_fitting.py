"""Fits a lens to the states of drawn tokens: signatures of tokens, and what they leave unexplained.

A token's signature is the mean of its states, shrunk towards a linear map of its embedding row
``e`` and of ``e / rms(e)`` (a block reads the normed stream), by as much as the scatter of a mean
exceeds that of the tokens about the map (empirical Bayes). So a token that was drawn often has its
own mean, and one that was never drawn has what its embedding row predicts.
"""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Int
from pytest_injectivity.inversion.lens import Lens

_RIDGE = 1e-3
_SHRINKAGE = 1e-4


def fit_lens(  # noqa: PLR0917 - what was drawn, and what came of it
    embeddings: Float[Tensor, "vocab embedding"],
    ranked: Int[Tensor, " ranked"],
    states: Float[Tensor, "rows length hidden"],
    drawn: Int[Tensor, "rows length"],
    skipped: int,
    forwards: int,
) -> Lens:
    """The lens of the states of drawn tokens.

    Args:
        embeddings: the model's input embedding, a row for each token.
        ranked: the tokens that are ranked, whose rows are finite.
        states: of each row of drawn tokens, at each of its positions.
        drawn: the tokens.
        skipped: positions before the first one of ``states``; the lens has no mean for them.
        forwards: tokens that were run to compute the states.
    """
    rows = embeddings.float()
    usable = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    usable[ranked.to(rows.device)] = True
    states = states if states.dtype == torch.float64 else states.float()
    seen = drawn.to(states.device)
    finite = states.isfinite().all(dim=2)
    center = _means(states, finite)
    samples, owners = (states - center)[finite], seen[finite]
    signatures = _signatures(rows.nan_to_num(), usable, samples, owners)
    left = samples - signatures[owners]
    return Lens(
        center=torch.cat([center.new_zeros(skipped, center.shape[1]), center]),
        signatures=signatures,
        whitener=_whitener(left, signatures),
        rows=_normed(rows.nan_to_num()).to(signatures),
        ranked=usable,
        forwards=forwards,
    )


def _means(
    states: Float[Tensor, "rows length hidden"], finite: Bool[Tensor, "rows length"]
) -> Float[Tensor, "length hidden"]:
    counts = finite.sum(dim=0).clamp(min=1)
    return states.where(finite[..., None], 0).sum(dim=0) / counts[:, None]


def _signatures(
    rows: Float[Tensor, "vocab embedding"],
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
