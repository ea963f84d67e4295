"""The scatter attacker reads batches with more rows than coordinates, by their sum of squares.

A secret matrix that is as likely as each of its turns leaves one thing of the rows ``H`` that it mixes:
their sum of squares ``H^T H`` (their scatter matrix), exactly where the matrix is orthogonal and nearly
where it is not. No separation of the rows can use more. A row that was mixed has at most a part of 1 in
the scatter matrix ``G``, ``x^T G^-1 x <= 1`` (its leverage), and about as much as other rows; a row that
is nothing to it has more, the more unusual it is among the states of texts.

For Gaussian rows the likelihood ratio of "``x`` is one of the ``n`` rows" is, up to a constant,
``(n - d - 2) / 2 log(1 - x^T G^-1 x) + x^T S^-1 x / 2`` in ``d`` coordinates, ``S`` being the mean
square of rows. An attacker has ``S`` from texts of its own; the released rows tell how much longer the
matrix makes them and how much noise is among them. Rows of tokens that are known are anchors: their
directions are left out of all, those that all prompts of the batch begin with among them.

Source: Wishart, "The generalised product moment distribution in samples from a normal multivariate
population" (1928). "Good-Enough LLM Obfuscation" (GELO), arXiv 2603.05035, mixes so, and masks Gram
matrices by matrices that are not orthogonal. Comparing the candidates of the one-step map with the
scatter matrix is this package's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.releases.protocol import Secret
from pytest_injectivity.privacy.search.channel import Channel, ChannelView

# How much less likely a candidate is whose part is 2 and not 1; what rounding adds weighs little.
_IMPOSSIBLE = 1e6
# Parts nearer to 1 than this are 1.
_NEAR = 1e-9


class ScatterAttacker:
    """Answers with the candidate that is most likely one of the rows whose squares were summed."""

    name = "scatter"
    source = "likelihood ratio of Wishart 1928, against GELO's mixing, arXiv 2603.05035"
    teacher_forced = True
    free_running = False
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether as many mixed rows as coordinates are released, and it has twice as many itself."""
        mixed = channel.release.secret is Secret.MIXED_POSITIONS and channel.place.everywhere
        sent, own = min(map(len, channel.released)), sum(map(len, channel.practice.prompts))
        return mixed and sent >= sum(channel.sides) and own >= 2 * sum(channel.sides)

    def begin(self, setting: AttackSetting) -> "_ScatterAttack":
        """Learns what rows are usual."""
        return _ScatterAttack(setting)


class _ScatterAttack(BaseAttack):
    def __init__(self, setting: AttackSetting) -> None:
        released = torch.cat(setting.channel.released).double()
        images = setting.images(setting.channel.practice)
        own = _scatter(images, max(setting.channel.nu) ** 2 * len(images)) / len(images)
        self._usual = _as_released(own, released.T @ released / len(released))

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate with the largest likelihood ratio."""
        view = view.whole
        images, free = view.images.double(), _free(view.before, max(view.channel.nu))
        usual = _parts(images, self._usual, free)
        found = []
        for prompt in prompts:
            rows = view.channel.released[prompt].double()
            part = _parts(images, _scatter(rows, max(view.channel.nu) ** 2), free)
            left = max(1, len(rows) - rows.shape[1] - 2)
            likely = left * torch.log1p(-part.clamp(max=1 - _NEAR)) + usual
            found.append(likely - _IMPOSSIBLE * (part - 1).clamp(min=0))
        return Guess.of_scores(torch.stack(found), view)


def _as_released(
    own: Float64[Tensor, "width width"], released: Float64[Tensor, "width width"]
) -> Float64[Tensor, "width width"]:
    """The mean square of released rows, as a multiple of that of other rows plus noise of one size.

    A matrix that is not orthogonal makes rows longer, and shield vectors are noise. Two numbers are
    found by least squares, in units of the other rows: the released rows are those that are looked for,
    and may not tell what is usual by themselves.
    """
    inverse = torch.linalg.inv(own)
    same = torch.eye(len(own), dtype=own.dtype, device=own.device)
    seen = inverse @ released
    mixed = inverse.trace()
    squares = torch.stack(
        [torch.stack([same.trace(), mixed]), torch.stack([mixed, inverse.square().sum()])]
    )
    longer, noise = torch.linalg.solve(
        squares, torch.stack([seen.trace(), (seen * inverse).sum()])
    ).tolist()
    found: Tensor = max(longer, 0.0) * own + max(noise, 0.0) * same
    return found


def _scatter(rows: Float64[Tensor, "rows width"], error: float) -> Float64[Tensor, "width width"]:
    """The sum of squares of rows, and of their rounding, so that it can be inverted."""
    found = rows.T @ rows
    found.diagonal().add_(error)
    return found


def _free(known: Float[Tensor, "known width"], error: float) -> Float64[Tensor, "width free"]:
    """The directions in which known rows have nothing, orthonormal columns."""
    _, lengths, directions = torch.linalg.svd(known.double(), full_matrices=True)
    found: Tensor = directions[int((lengths > error).sum()) :].T
    return found


def _parts(
    rows: Float64[Tensor, "rows width"],
    square: Float64[Tensor, "width width"],
    free: Float64[Tensor, "width free"],
) -> Float64[Tensor, " rows"]:
    """``x^T G^-1 x`` of each row in the free directions."""
    inverse = free @ torch.linalg.inv(free.T @ square @ free) @ free.T
    found: Tensor = (rows @ inverse * rows).sum(dim=1)
    return found
