"""Compares the next-token distributions of two passes, position by position (SPEC section 7)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Float64

# How many logits are compared together: more do not stay in the processor's cache.
_TOGETHER = 2**17


@dataclass(frozen=True)
class Divergence:
    """The next-token distributions of two passes at some positions.

    Attributes:
        nats: ``KL(first || second)`` of each position over the ids that both have, at least 0; infinite
            where the second gives probability 0 to what the first may say, NaN where a pass has no
            distribution.
        agreed: whether both prefer the same id, each of all of its own; False where a pass has no
            distribution.
        elsewhere: the second pass's probability of ids that the first does not have.
        first_lost, second_lost: whether the pass has no distribution: a logit is NaN or plus infinity,
            or all are minus infinity.
    """

    nats: Float64[Tensor, " positions"]
    agreed: Bool[Tensor, " positions"]
    elsewhere: Float64[Tensor, " positions"]
    first_lost: Bool[Tensor, " positions"]
    second_lost: Bool[Tensor, " positions"]


def compare_logits(
    first: Float[Tensor, "positions vocab"], second: Float[Tensor, "positions others"]
) -> Divergence:
    """Compare two rows of logits at each position, with a log-softmax in float64.

    Beside the logits little is held: a few positions are compared at a time.

    Args:
        first: the logits of the pass that the other is measured by.
        second: those of the other pass; where one of them has more ids, as padded vocabularies do, both
            distributions are over the ids that both have, and an id of one alone is agreed on by none.

    Returns:
        A row a position, on the CPU.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0], [0.0, torch.nan]])
        >>> found = compare_logits(logits, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        >>> found.nats.numpy().round(4).tolist(), found.first_lost.tolist()
        ([0.1201, nan], [False, True])
    """
    # Float64 is computed where the logits are, unless that device has none.
    first, second = (one.cpu() if one.device.type == "mps" else one for one in (first, second))
    lost = [_lost(one) for one in (first, second)]
    both = min(first.shape[1], second.shape[1])
    shared = first[:, :both], second[:, :both]
    rows = max(1, _TOGETHER // both)
    parts = zip(*(torch.split(side, rows) for side in shared), strict=True)
    nats = torch.cat([_divergence(*part) for part in parts])
    unknown = lost[0] | lost[1]
    same = first.argmax(dim=1) == second.argmax(dim=1)
    return Divergence(
        nats=nats.masked_fill(unknown, torch.nan).cpu(),
        agreed=(same & ~unknown).cpu(),
        elsewhere=_elsewhere(second, both).cpu(),
        first_lost=lost[0].cpu(),
        second_lost=lost[1].cpu(),
    )


def _divergence(
    first: Float[Tensor, "positions vocab"], second: Float[Tensor, "positions vocab"]
) -> Float64[Tensor, " positions"]:
    """The divergence of each position: ``sum p (a - b) - log sum e^a + log sum e^b``."""
    one, other = first.double(), second.double()
    totals = one.logsumexp(dim=1), other.logsumexp(dim=1)
    likely = (one - totals[0][:, None]).exp_()
    apart = one.sub_(other)
    if not bool(apart.isfinite().all()):
        # An id of probability 0 (a logit of minus infinity) adds nothing.
        apart = torch.where(likely == 0.0, 0.0, apart)
    mean: Tensor = torch.linalg.vecdot(likely, apart)
    return (mean - totals[0] + totals[1]).clamp(min=0.0)


def _lost(logits: Float[Tensor, "positions vocab"]) -> Bool[Tensor, " positions"]:
    # The largest logit is NaN where any is.
    return ~logits.amax(dim=1).isfinite()


def _elsewhere(
    logits: Float[Tensor, "positions vocab"], both: int
) -> Float64[Tensor, " positions"]:
    """The probability of the ids from ``both`` on."""
    if logits.shape[1] == both:
        return torch.zeros(len(logits), dtype=torch.float64)
    wide = logits.double()
    return (wide[:, both:].logsumexp(dim=1) - wide.logsumexp(dim=1)).exp()
