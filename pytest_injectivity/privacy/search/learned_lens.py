"""A lens of released rows, learned from examples of the release (`inversion.lens_fitting`).

It knows what the release's noise leaves of each token. The rows of position 0 have a lens of their own,
because attention sinks are like no other rows.
"""

from collections.abc import Callable
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
        self, rows: Float[Tensor, "rows width"], positions: Int64[Tensor, " rows"]
    ) -> Float[Tensor, "rows vocab"]:
        """The log-likelihood of each token for rows of some prompts, up to a constant a row.

        Tokens that are not ranked have the lowest number there is, so that a weight of 0 makes it 0.

        Raises:
            ValueError: no example has a row at such a position.
        """
        found: Tensor = self._of_each(rows, positions, lambda lens, aims: lens.misfits(aims) / -2)
        return found.clamp(min=torch.finfo(found.dtype).min)

    def best(
        self, rows: Float[Tensor, "rows width"], positions: Int64[Tensor, " rows"]
    ) -> Int64[Tensor, " rows"]:
        """The most likely token of each row, on the CPU.

        Raises:
            ValueError: as for `likelihoods`.
        """
        return self._of_each(rows, positions, lambda lens, aims: lens.rank(aims, 1)[:, 0])

    def at(self, position: int) -> Lens | None:
        """The lens of a position."""
        return self.later if position else self.first

    def _of_each(
        self,
        rows: Float[Tensor, "rows width"],
        positions: Int64[Tensor, " rows"],
        asked: Callable[[Lens, Tensor], Tensor],
    ) -> Tensor:
        """What the lens of each row says of it, in the order of the rows."""
        firsts = positions == 0
        found, order = [], []
        for lens, of in ((self.first, firsts), (self.later, ~firsts)):
            chosen = of.nonzero()[:, 0]
            if not len(chosen):
                continue
            if lens is None:
                raise ValueError(f"no example has a row at position {int(positions[chosen[0]])}")
            # The later rows' lens counts positions from the first of them.
            aims = lens.uncorrected(rows[chosen], (positions[chosen] - 1).clamp(min=0))
            found.append(asked(lens, aims))
            order.append(chosen)
        joined = torch.cat(found)
        return joined[torch.cat(order).argsort().to(joined.device)]


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
