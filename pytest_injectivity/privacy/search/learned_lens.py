"""A lens of released rows, learned from examples of the release (`inversion.lens_fitting`).

It knows what the release's noise leaves of each token. The rows of position 0 have a lens of their own,
because attention sinks are like no other rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.lens_calibration import usable_tokens
from pytest_injectivity.inversion.lens_fitting import fit_lens
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.releases.examples import Examples


@dataclass(frozen=True, eq=False)
class LearnedLens:
    """The lenses of position 0 and of all later ones; None where the examples have no such row."""

    first: Lens | None
    later: Lens | None

    @classmethod
    def of(cls, decoder: Decoder, examples: Examples) -> "LearnedLens":
        """Learns from examples, all of one length."""
        rows, tokens = examples.stacked
        return cls(
            _fitted(decoder, rows[:, :1], tokens[:, :1]),
            _fitted(decoder, rows[:, 1:], tokens[:, 1:]),
        )

    def likelihoods(
        self, rows: Float[Tensor, "positions width"]
    ) -> Float[Tensor, "positions vocab"]:
        """The log-likelihood of each token for the rows of one prompt, up to a constant a row.

        Tokens that are not ranked have the lowest number there is, so that a weight of 0 makes it 0.
        """
        found = [
            lens.misfits(lens.uncorrected(some, torch.arange(len(some)))) / -2
            for lens, some in self._parts(rows)
        ]
        likelihoods = torch.cat(found)
        return likelihoods.clamp(min=torch.finfo(likelihoods.dtype).min)

    def likelihoods_at(
        self, row: Float[Tensor, " width"], position: int
    ) -> Float[Tensor, " vocab"]:
        """The log-likelihood of each token for one row, up to a constant."""
        lens = self.at(position)
        if lens is None:
            raise ValueError(f"no example has a row at position {position}")
        at = torch.tensor([max(0, position - 1)])
        found = lens.misfits(lens.uncorrected(row[None], at))[0] / -2
        return found.clamp(min=torch.finfo(found.dtype).min)

    def best(self, rows: Float[Tensor, "positions width"]) -> Int64[Tensor, " positions"]:
        """The most likely token of each row of one prompt, on the CPU."""
        found = [
            lens.rank(lens.uncorrected(some, torch.arange(len(some))), 1)[:, 0]
            for lens, some in self._parts(rows)
        ]
        return torch.cat(found)

    def _parts(
        self, rows: Float[Tensor, "positions width"]
    ) -> list[tuple[Lens, Float[Tensor, "some width"]]]:
        """The rows of one prompt, each part with its lens."""
        both = (self.first, rows[:1]), (self.later, rows[1:])
        return [(lens, some) for lens, some in both if lens is not None and len(some)]

    def at(self, position: int) -> Lens | None:
        """The lens of a position."""
        return self.later if position else self.first


def _fitted(
    decoder: Decoder,
    rows: Float[Tensor, "examples length width"],
    tokens: Int64[Tensor, "examples length"],
) -> Lens | None:
    """The lens of rows at some positions; None where there is none."""
    if not rows.numel():
        return None
    embeddings = decoder.embedding_matrix().to(rows.device)
    return fit_lens(embeddings, usable_tokens(decoder), rows, tokens, 0, 0)
