"""Exact search among the images of all tokens at one position.

A matrix product in float32 (``|c|^2 - 2 y c`` on centered rows) is fast but rounds. It only selects the
candidates that may be among the nearest, with a bound of its rounding that leaves none out. The
distances of those few are then computed by subtraction in float64, and every answer comes from these.
The rounding of an inner product of ``n`` terms is at most ``n u |y| |c|`` to first order, whatever the
order of summation (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Float32, Float64, Int64
from pytest_injectivity.errors import ModelError
from pytest_injectivity.geometry.search.precision import precision_of
from pytest_injectivity.privacy.search.mahalanobis import EUCLIDEAN, MahalanobisMetric

_UNIT = 2.0**-24
# Further roundings, in the unit of the product's: of centered rows, squared lengths and sums.
_FURTHER = 16
# Elements of one block of float64 differences, 32 MB.
_BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest candidates of each released row, nearest first; equal ones by token id.

    Attributes:
        tokens: ids of the candidates.
        values: their squared distances in the metric, plus the penalty where there is one.
    """

    tokens: Int64[Tensor, "targets count"]
    values: Float64[Tensor, "targets count"]


class Candidates:
    """The images of all tokens, prepared for many searches.

    Args:
        rows: the image of each token, in any floating dtype; rows that are not finite are never found.
        metric: measures distances.
        named: which of the tokens may be answers; None: all of them.
        tokens: the id of each row, in rising order; None: they are numbered from 0.
        block_elements: distances held at once; of more rows they are computed block by block, each time
            they are asked for.

    Attributes:
        found: the candidates that may be found: named, and with a finite image; None where all are.
    """

    def __init__(
        self,
        rows: Float[Tensor, "vocab width"],
        metric: MahalanobisMetric = EUCLIDEAN,
        named: Bool[Tensor, " vocab"] | None = None,
        *,
        tokens: Int64[Tensor, " vocab"] | None = None,
        block_elements: int = 2**25,
    ) -> None:
        self.rows = rows
        self.tokens = None if tokens is None else tokens.to(rows.device)
        self.together = max(1, block_elements // max(1, len(rows)))
        self.metric = metric
        self.named = named
        self.found: Bool[Tensor, " vocab"] | None = None
        self._center = _wide(rows.mean(dim=0))
        if named is not None or not bool(self._center.isfinite().all()):
            self.found = rows.isfinite().all(dim=1)
            if named is not None:
                self.found &= named.to(rows.device)
            rows = rows.masked_fill(~self.found[:, None], 0.0)
            self._center = _wide(rows.mean(dim=0))
        self._coarse, self._off = self._whitened_float32(rows)
        lengths = self._coarse.square().sum(dim=1)
        self._longest = float(lengths.max()) ** 0.5
        self._lengths = (
            lengths if self.found is None else lengths.masked_fill(~self.found, torch.inf)
        )
        self._own: dict[tuple[int, ...], Scan] = {}

    def __len__(self) -> int:
        """The number of candidates that may be found."""
        return len(self.rows) if self.found is None else int(self.found.sum())

    def scan(self, targets: Float[Tensor, "targets width"]) -> "Scan":
        """Compares finite released rows with all candidates, in blocks of bounded memory."""
        return Scan(self, targets)

    def block(self, targets: Float[Tensor, "targets width"]) -> "ScanBlock":
        """Compares so few rows with all candidates by one product that its result fits in memory."""
        coarse = self.metric.whitened(_wide(targets).double() - self._center.double()).float()
        with precision_of(torch.float32):
            keys = torch.addmm(self._lengths, coarse, self._coarse.T, alpha=-2.0)
        reach = coarse.square().sum(dim=1).sqrt() + self._longest
        terms = self._coarse.shape[1] + _FURTHER
        slack = terms * _UNIT * reach.square() + (2 * reach + self._off) * self._off
        return ScanBlock(self, targets, keys, 1.01 * slack)

    def own(self, tokens: Int64[Tensor, " targets"]) -> "Scan":
        """Compares some candidates with all; kept, because many releases have the same images."""
        key = tuple(tokens.tolist())
        if len(tokens) > self.together:
            return self.scan(self.rows[tokens])
        if key not in self._own:
            self._own[key] = self.scan(self.rows[tokens])
        return self._own[key]

    def places(
        self, tokens: Int64[Tensor, " targets"]
    ) -> tuple[Int64[Tensor, " targets"], Bool[Tensor, " targets"]]:
        """The row of each token, and whether it may be found; any row where it may not."""
        own = tokens = tokens.to(self.rows.device)
        held = torch.ones_like(own, dtype=torch.bool)
        if self.tokens is not None:
            own = torch.searchsorted(self.tokens, tokens).clamp(max=len(self.tokens) - 1)
            held = self.tokens[own] == tokens
        return own, held if self.found is None else held & self.found[own]

    def nearest(self, targets: Float[Tensor, "targets width"], count: int = 1) -> Nearest:
        """The nearest candidates of each row (see `Scan.nearest`)."""
        return self.scan(targets).nearest(count)

    def margins(self, tokens: Int64[Tensor, " targets"]) -> Float64[Tensor, " targets"]:
        """The distance ``delta`` from each of some candidates to its nearest rival."""
        found = self.own(tokens).nearest(2)
        if found.tokens.shape[1] == 1:
            return found.values.new_full((len(tokens),), torch.inf)
        own = found.tokens[:, 0] == tokens
        return torch.where(own, found.values[:, 1], found.values[:, 0]).sqrt()

    def squared(
        self,
        targets: Float[Tensor, "targets width"],
        of: Int64[Tensor, " pairs"],
        tokens: Int64[Tensor, " pairs"],
    ) -> Float64[Tensor, " pairs"]:
        """Squared distances of pairs of a row and a candidate, by subtraction in the metric."""
        parts = [
            self.metric.whitened(targets[at].double() - self.rows[token].double())
            .square()
            .sum(dim=1)
            for at, token in self.blocks(of, tokens)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def away(
        self, targets: Float[Tensor, "targets width"], tokens: Int64[Tensor, " targets"]
    ) -> Float64[Tensor, " targets"]:
        """The distance from each row to one candidate."""
        return self.squared(
            targets, torch.arange(len(targets), device=tokens.device), tokens
        ).sqrt()

    def blocks(
        self, of: Int64[Tensor, " pairs"], tokens: Int64[Tensor, " pairs"]
    ) -> list[tuple[Tensor, Tensor]]:
        """The pairs in blocks of bounded memory."""
        step = max(1, _BLOCK_ELEMENTS // self.rows.shape[1])
        if len(of) <= step:
            return [(of, tokens)]
        return list(zip(torch.split(of, step), torch.split(tokens, step), strict=True))

    def _whitened_float32(
        self, rows: Float[Tensor, "rows width"]
    ) -> tuple[Float32[Tensor, "rows width"], float]:
        """Centered rows whitened in float32, and a bound of the error of whitening."""
        centered = (_wide(rows) - self._center).float()
        if self.metric.is_euclidean:
            return centered, 0.0
        with precision_of(torch.float32):
            return self.metric.whitened_float32(centered)


class Scan:
    """Released rows compared with all candidates, in blocks of bounded memory.

    Args:
        candidates: the candidates.
        targets: the released rows, finite.
    """

    def __init__(self, candidates: Candidates, targets: Float[Tensor, "targets width"]) -> None:
        self.candidates = candidates
        self.targets = targets

    @cached_property
    def _only(self) -> "ScanBlock":
        return self.candidates.block(self.targets)

    def blocks(self) -> Iterator["ScanBlock"]:
        """The blocks in the order of the rows; one alone is kept for the next question."""
        if len(self.targets) <= self.candidates.together:
            yield self._only
            return
        for some in torch.split(self.targets, self.candidates.together):
            yield self.candidates.block(some)

    def nearest(self, count: int = 1, penalties: Float[Tensor, " vocab"] | None = None) -> Nearest:
        """The nearest candidates of each row (see `ScanBlock.nearest`)."""
        found = [block.nearest(count, penalties) for block in self.blocks()]
        if len(found) == 1:
            return found[0]
        tokens, values = ([one.tokens for one in found], [one.values for one in found])
        return Nearest(torch.cat(tokens), torch.cat(values))

    def ranks(
        self, tokens: Int64[Tensor, " targets"], penalties: Float[Tensor, " vocab"] | None = None
    ) -> Int64[Tensor, " targets"]:
        """The place of one token a row among the nearest (see `ScanBlock.ranks`)."""
        parts = torch.split(tokens, self.candidates.together)
        return torch.cat(
            [block.ranks(some, penalties) for block, some in zip(self.blocks(), parts, strict=True)]
        )

    def radii(self, truths: Int64[Tensor, " targets"]) -> Float64[Tensor, " targets"]:
        """The smallest move of each row that makes another candidate nearer (see `ScanBlock.radii`)."""
        parts = torch.split(truths, self.candidates.together)
        return torch.cat(
            [block.radii(some) for block, some in zip(self.blocks(), parts, strict=True)]
        )


@dataclass(frozen=True, eq=False)
class ScanBlock:
    """A block of released rows compared with all candidates by one product.

    Attributes:
        candidates: the candidates.
        targets: the released rows, finite.
        keys: squared distances less the squared length of the target, rounded by the product.
        slack: a bound of the error of the keys.
    """

    candidates: Candidates
    targets: Float[Tensor, "targets width"]
    keys: Float32[Tensor, "targets vocab"]
    slack: Float32[Tensor, " targets"]

    def nearest(self, count: int = 1, penalties: Float[Tensor, " vocab"] | None = None) -> Nearest:
        """The nearest candidates of each row.

        Args:
            count: how many; fewer where fewer candidates are finite.
            penalties: finite numbers added to the candidates' squared distances, one a row.

        Raises:
            ModelError: no candidate is finite.
        """
        if not len(self.candidates):
            raise ModelError("no candidate is finite: audit the model first (assert_no_collisions)")
        found = self._nearest(count, penalties)
        ids = self.candidates.tokens
        return found if ids is None else Nearest(ids[found.tokens], found.values)

    def _nearest(self, count: int, penalties: Float[Tensor, " vocab"] | None) -> Nearest:
        """Does as `nearest`; rows stand for their tokens."""
        count = min(count, len(self.candidates))
        keys, slack = self._penalized(penalties)
        last = keys.amin(dim=1) if count == 1 else keys.kthvalue(count, dim=1).values
        of, tokens = (keys <= (last + 2 * slack)[:, None]).nonzero().unbind(1)
        values = self.candidates.squared(self.targets, of, tokens)
        if penalties is not None:
            values = values + penalties.double()[tokens]
        if len(values) == len(keys) * count == len(keys):
            return Nearest(tokens[:, None], values[:, None])
        # Stable sorts order the pairs by row, then by value, then by token id.
        order = values.argsort(stable=True)
        order = order[of[order].argsort(stable=True)]
        first = torch.searchsorted(of[order], torch.arange(len(keys), device=of.device))
        chosen = order[first[:, None] + torch.arange(count, device=of.device)]
        return Nearest(tokens[chosen], values[chosen])

    def ranks(
        self, tokens: Int64[Tensor, " targets"], penalties: Float[Tensor, " vocab"] | None = None
    ) -> Int64[Tensor, " targets"]:
        """The place of one token a row among all candidates, nearest first and equal ones by token id.

        Args:
            tokens: a token for each row; one that is not among the candidates comes after all of them.
            penalties: see `nearest`.
        """
        own, held = self.candidates.places(tokens)
        keys, slack = self._penalized(penalties)
        key = keys.gather(1, own[:, None])
        apart, unsure = keys - key, 2 * (slack[:, None] + 4 * _UNIT * key.abs())
        before = (apart < -unsure).sum(dim=1)
        of, rivals = (apart.abs() <= unsure).nonzero().unbind(1)
        every = torch.arange(len(keys), device=own.device)
        values, mine = (
            self.candidates.squared(self.targets, rows, some)
            + (0.0 if penalties is None else penalties.double()[some])
            for rows, some in ((of, rivals), (every, own))
        )
        first = (values < mine[of]) | ((values == mine[of]) & (rivals < own[of]))
        before += torch.bincount(of[first], minlength=len(keys))
        return torch.where(held, before, len(self.candidates)) + 1

    def _penalized(self, penalties: Float[Tensor, " vocab"] | None) -> tuple[Tensor, Tensor]:
        """The keys with penalties added, and the bound of their error."""
        if penalties is None:
            return self.keys, self.slack
        keys = self.keys + penalties.to(self.keys)
        further = penalties.abs().max().to(self.slack) + keys.abs().amin(dim=1)
        return keys, self.slack + 4 * _UNIT * further

    def radii(self, truths: Int64[Tensor, " targets"]) -> Float64[Tensor, " targets"]:
        """The smallest move of each row that makes another candidate nearer than the true one.

        The nearest candidate of ``y`` changes from ``u`` to ``v`` where ``y`` crosses their bisector,
        which is ``(|y - v|^2 - |y - u|^2) / (2 |v - u|)`` away. The radius is the least over all rivals
        ``v``. It is negative where a rival is nearer already, and 0 where a rival has the same image
        as the true token. For Euclidean candidates only.

        Args:
            truths: the true token of each row; its image is finite.
        """
        (own,), there = self.candidates.own(truths).blocks(), truths[:, None]
        over = self.keys - self.keys.gather(1, there)
        apart = own.keys - own.keys.gather(1, there)
        over_slack, apart_slack = 2 * self.slack[:, None], 2 * own.slack[:, None]
        near = (apart - apart_slack).clamp(min=0.0).sqrt()
        far = (apart + apart_slack).clamp(min=0.0).sqrt()
        low, high = over - over_slack, over + over_slack
        least = torch.where(low >= 0, low / far, low / near)
        most = torch.where(high >= 0, high / near, high / far)
        # 0 / 0 and inf - inf are computed exactly; the true token and what is not finite are no rivals.
        least = torch.where(least.isnan(), -torch.inf, least).scatter(1, there, torch.inf)
        most = torch.where(most.isnan(), torch.inf, most).scatter(1, there, torch.inf)
        if self.candidates.found is not None:
            least = least.masked_fill(~self.candidates.found, torch.inf)
            most = most.masked_fill(~self.candidates.found, torch.inf)
        bound = most.amin(dim=1)
        # The divisions above were rounded too.
        bound = bound + 8 * _UNIT * bound.abs()
        looked_at = (least <= bound[:, None]) & least.isfinite().logical_or(least < 0)
        of, tokens = looked_at.nonzero().unbind(1)
        found = torch.full_like(truths, torch.inf, dtype=torch.float64)
        return found.scatter_reduce(0, of, self._crossings(truths, of, tokens), reduce="amin")

    def _crossings(
        self,
        truths: Int64[Tensor, " targets"],
        of: Int64[Tensor, " pairs"],
        tokens: Int64[Tensor, " pairs"],
    ) -> Float64[Tensor, " pairs"]:
        parts, rows = [], self.candidates.rows
        for at, token in self.candidates.blocks(of, tokens):
            row, rival, truth = (
                one.double() for one in (self.targets[at], rows[token], rows[truths[at]])
            )
            over = ((truth - rival) * ((row - rival) + (row - truth))).sum(dim=1)
            length = torch.linalg.vector_norm(rival - truth, dim=1)
            parts.append(torch.where(length > 0, over / (2 * length), 0.0))
        return torch.cat(parts)


def _wide(rows: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Rows in float32 or float64: differences of half-precision rows do not fit half precision."""
    return rows if rows.dtype == torch.float64 else rows.float()
